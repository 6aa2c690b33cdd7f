//! `Fragmentation needed` (RFC 1191 §4) and `packet too big` (RFC 4443 §3.2) for inner packets that do not fit.

use super::checksum::Sum;
use super::inner::{self, Ip};

/// Octets of the longest answer (RFC 4443 §2.4).
pub const MAX: usize = 1280;
/// Octets of the longest ICMPv4 answer (RFC 1812 §4.3.2.3).
const MAX_V4: usize = 576;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Write into `out` the answer to `packet`, which exceeds `mtu`; its length, or None when none may be sent.
/// It comes from the packet's destination, which is routed into this very tunnel.
pub fn too_big(packet: &[u8], ip: &Ip, mtu: usize, out: &mut [u8; MAX]) -> Option<usize> {
    if !may_be_answered(packet, ip) {
        return None;
    }
    let mtu = (mtu as u32).to_be_bytes();
    if ip.version == 4 {
        let quote = &packet[..ip.total.min(MAX_V4 - 28)];
        let len = 28 + quote.len();
        out[..28].fill(0);
        out[0] = 0x45;
        out[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        out[8..10].copy_from_slice(&[64, ICMP]);
        out[12..16].copy_from_slice(&packet[16..20]);
        out[16..20].copy_from_slice(&packet[12..16]);
        let sum = Sum::default().with(&out[..20]).finish();
        out[10..12].copy_from_slice(&sum);
        out[20..22].copy_from_slice(&[3, 4]);
        out[26..28].copy_from_slice(&mtu[2..]);
        out[28..len].copy_from_slice(quote);
        let sum = Sum::default().with(&out[20..len]).finish();
        out[22..24].copy_from_slice(&sum);
        return Some(len);
    }
    let quote = &packet[..ip.total.min(MAX - 48)];
    let len = 48 + quote.len();
    out[..48].fill(0);
    out[0] = 0x60;
    out[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    out[6..8].copy_from_slice(&[ICMPV6, 64]);
    out[8..24].copy_from_slice(&packet[24..40]);
    out[24..40].copy_from_slice(&packet[8..24]);
    out[40] = 2;
    out[44..48].copy_from_slice(&mtu);
    out[48..len].copy_from_slice(quote);
    let answer = inner::parse(&out[..len])?;
    let sum = inner::pseudo_header(&out[..], &answer, ICMPV6, len - 40).with(&out[40..len]).finish();
    out[42..44].copy_from_slice(&sum);
    Some(len)
}

/// RFC 1122 §3.2.2 and RFC 4443 §2.4 (e): no answer to multicast, to nobody in particular, or to an ICMP error.
/// (IPv6 would answer multicast here; a tunnel has no use for it.)
fn may_be_answered(packet: &[u8], ip: &Ip) -> bool {
    let later_fragment = ip.version == 4 && (packet[6] & 0x1f != 0 || packet[7] != 0);
    let (source, destination) = inner::addresses(packet, ip).split_at(if ip.version == 4 { 4 } else { 16 });
    let multicast = if ip.version == 4 { destination[0] >= 224 || source[0] >= 224 } else { destination[0] == 0xff };
    if later_fragment || multicast || source.iter().all(|octet| *octet == 0) {
        return false;
    }
    match (ip.protocol, packet.get(ip.header)) {
        (ICMP, Some(kind)) if ip.version == 4 => matches!(kind, 0 | 8 | 13 | 14),
        (ICMPV6, Some(kind)) if ip.version == 6 => *kind >= 128,
        _ => true,
    }
}
