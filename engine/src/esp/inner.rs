//! The headers of an inner packet, as far as a tunnel has to know them.

use super::checksum::{self, Sum};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// An IPv4 or IPv6 header that was found sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    pub version: u8,
    /// Octets of the IP header: IPv4 options are in it, IPv6 extension headers are not.
    pub header: usize,
    /// Octets of the whole packet.
    pub total: usize,
    /// What follows the header (in IPv6 perhaps an extension header).
    pub protocol: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// One of several fragments (IPv4).
    pub fragment: bool,
    /// Must not be fragmented on the way: IPv6, or IPv4 with DF.
    pub df: bool,
}

/// Read the header; None when the packet is neither IPv4 nor IPv6 or shorter than it says.  It may be longer.
pub fn parse(packet: &[u8]) -> Option<Ip> {
    match packet.first()? >> 4 {
        4 => {
            let h = packet.first_chunk::<20>()?;
            let header = usize::from(h[0] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
            let fragment = u16::from_be_bytes([h[6], h[7]]);
            (header >= 20 && total >= header && total <= packet.len()).then_some(Ip {
                version: 4,
                header,
                total,
                protocol: h[9],
                tos: h[1],
                fragment: fragment & 0x3fff != 0,
                df: fragment & 0x4000 != 0,
            })
        }
        6 => {
            let h = packet.first_chunk::<40>()?;
            let total = 40 + usize::from(u16::from_be_bytes([h[4], h[5]]));
            (total <= packet.len()).then_some(Ip {
                version: 6,
                header: 40,
                total,
                protocol: h[6],
                tos: h[0] << 4 | h[1] >> 4,
                fragment: false,
                df: true,
            })
        }
        _ => None,
    }
}

/// Source and destination address, one behind the other.  `packet` holds a header that `parse` found sound.
pub fn addresses<'a>(packet: &'a [u8], ip: &Ip) -> &'a [u8] {
    if ip.version == 4 { &packet[12..20] } else { &packet[8..40] }
}

/// The pseudo-header's sum for `protocol` and `len` octets behind it (RFC 9293 §3.1, RFC 8200 §8.1).
pub fn pseudo_header(packet: &[u8], ip: &Ip, protocol: u8, len: usize) -> Sum {
    Sum::default().with(addresses(packet, ip)).with_u16(u16::from(protocol)).with_u16(len as u16)
}

/// Recompute an IPv4 header's checksum; IPv6 has none.
pub fn write_header_checksum(packet: &mut [u8], ip: &Ip) {
    if ip.version == 4 {
        packet[10..12].fill(0);
        let sum = Sum::default().with(&packet[..ip.header]).finish();
        packet[10..12].copy_from_slice(&sum);
    }
}

/// Write the packet's length into its header; the IPv4 checksum is the caller's.
pub fn write_total(packet: &mut [u8], ip: &Ip, total: usize) {
    if ip.version == 4 {
        packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
    }
}

/// Change DSCP and ECN, the IPv4 checksum with them.
pub fn write_tos(packet: &mut [u8], ip: &Ip, tos: u8) {
    if ip.version == 4 {
        let old = u16::from_be_bytes([packet[0], packet[1]]);
        packet[1] = tos;
        let new = u16::from_be_bytes([packet[0], tos]);
        let mut field = [packet[10], packet[11]];
        checksum::update(&mut field, old, new);
        packet[10..12].copy_from_slice(&field);
    } else {
        packet[0] = packet[0] & 0xf0 | tos >> 4;
        packet[1] = packet[1] & 0x0f | tos << 4;
    }
}
