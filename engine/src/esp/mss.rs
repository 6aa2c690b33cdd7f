//! Clamping the TCP maximum segment size in SYNs that pass.

use super::checksum;
use super::inner::{Ip, TCP};

const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// Lower the MSS option of a SYN to what fits into packets of `mtu` octets.  The TCP checksum follows, unless it is
/// `unfinished` (it then covers the pseudo-header only).
pub fn clamp(packet: &mut [u8], ip: &Ip, mtu: usize, unfinished: bool) {
    if ip.protocol != TCP || ip.fragment {
        return;
    }
    let limit = mtu.saturating_sub(ip.header + 20).min(usize::from(u16::MAX)) as u16;
    let Some(segment) = packet.get_mut(ip.header..ip.total) else { return };
    if segment.len() < 20 || segment[13] & SYN == 0 {
        return;
    }
    let end = (usize::from(segment[12] >> 4) * 4).min(segment.len());
    let mut at = 20;
    while at + 1 < end {
        match segment[at] {
            OPTION_END => return,
            OPTION_NOP => at += 1,
            OPTION_MSS if segment[at + 1] == 4 && at + 4 <= end => return lower(segment, at + 2, limit, unfinished),
            _ => at += usize::from(segment[at + 1].max(2)),
        }
    }
}

fn lower(segment: &mut [u8], at: usize, limit: u16, unfinished: bool) {
    let old = u16::from_be_bytes([segment[at], segment[at + 1]]);
    if old <= limit {
        return;
    }
    segment[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    if !unfinished {
        let mut field = [segment[16], segment[17]];
        if at % 2 == 0 {
            checksum::update(&mut field, old, limit);
        } else {
            // The option lies across two of the checksum's words: each octet counts for the other half.
            checksum::update(&mut field, old.swap_bytes(), limit.swap_bytes());
        }
        segment[16..18].copy_from_slice(&field);
    }
}
