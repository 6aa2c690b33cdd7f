//! ESP header and trailer around an inner packet (RFC 4303 §2), tunnel mode.

use std::ops::Range;

use super::inner;
use super::{HEADER, Shape};

pub const IPV4: u8 = 4;
pub const IPV6: u8 = 41;
pub const NO_NEXT_HEADER: u8 = 59;

/// What a decrypted packet holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An IP packet at this place, without TFC padding behind it.
    Packet(Range<usize>),
    /// A TFC dummy (RFC 4303 §2.6).
    Dummy,
    /// Neither IPv4 nor IPv6.
    Foreign,
    /// The trailer contradicts itself, or the inner packet does.
    Malformed,
}

/// Write header and trailer into `packet`, of `shape.sealed_len(inner)` octets, around the inner packet that is
/// already in its place.
pub fn write(shape: Shape, spi: u32, sequence: u64, inner: usize, packet: &mut [u8]) {
    packet[..4].copy_from_slice(&spi.to_be_bytes());
    packet[4..HEADER].copy_from_slice(&(sequence as u32).to_be_bytes());
    let start = shape.before();
    let next = if packet[start] >> 4 == 6 { IPV6 } else { IPV4 };
    let end = packet.len() - shape.icv;
    let trailer = &mut packet[start + inner..end];
    let pad = trailer.len() - 2;
    for (i, octet) in (1..).zip(&mut trailer[..pad]) {
        *octet = i;
    }
    trailer[pad] = pad as u8;
    trailer[pad + 1] = next;
}

/// Look at a packet that was verified and decrypted.
pub fn read(shape: Shape, packet: &[u8]) -> Content {
    let start = shape.before();
    let Some(text) = packet.len().checked_sub(shape.icv).and_then(|end| packet.get(start..end)) else {
        return Content::Malformed;
    };
    let [body @ .., pad, next] = text else { return Content::Malformed };
    let Some(len) = body.len().checked_sub(usize::from(*pad)) else { return Content::Malformed };
    let version = match *next {
        IPV4 => 4,
        IPV6 => 6,
        NO_NEXT_HEADER => return Content::Dummy,
        _ => return Content::Foreign,
    };
    match inner::parse(&body[..len]) {
        Some(ip) if ip.version == version => Content::Packet(start..start + ip.total),
        _ => Content::Malformed,
    }
}
