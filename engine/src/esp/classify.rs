//! What a datagram on the NAT-T port is (RFC 3948 §2): every segment of a train is looked at by itself.

use super::HEADER;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Keepalive,
    /// IKE behind the four zero octets of the non-ESP marker.
    Ike,
    /// ESP with this SPI and (lower half of the) sequence number.
    Esp {
        spi: u32,
        sequence: u32,
    },
    Malformed,
}

/// The non-ESP marker (RFC 3948 §2.2).
pub const MARKER: [u8; 4] = [0; 4];

pub fn classify(datagram: &[u8]) -> Class {
    if datagram == [0xff] {
        return Class::Keepalive;
    }
    match datagram.first_chunk::<4>() {
        None => Class::Malformed,
        Some(&MARKER) => Class::Ike,
        Some(_) => esp(datagram),
    }
}

/// The ESP header of a packet that can only be ESP: one of protocol 50.
pub fn esp(packet: &[u8]) -> Class {
    let Some(header) = packet.first_chunk::<HEADER>() else { return Class::Malformed };
    let spi = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    Class::Esp { spi, sequence }
}
