//! ESP on bytes: no file, no clock, no randomness, no `unsafe`.
//!
//! One file for each thing that happens to a packet: `segment` and `coalesce` take super-packets apart and make them,
//! `frame` puts header and trailer on and takes them off, the cipher files seal and open, `replay` judges sequence
//! numbers, `ecn`, `mss` and `icmp` change or answer inner packets, `classify` tells what a datagram is.
#![forbid(unsafe_code)]

use std::ops::Range;

pub mod aead;
pub mod auth;
pub mod cbc;
pub mod checksum;
pub mod classify;
pub mod coalesce;
pub mod ecn;
pub mod frame;
pub mod gcm;
pub mod gcm192;
pub mod hmac256;
pub mod icmp;
pub mod inner;
pub mod mss;
pub mod null;
pub mod replay;
pub mod segment;
pub mod suite;
pub mod vnet;

/// Octets of the ESP header: SPI and sequence number (RFC 4303 §2).
pub const HEADER: usize = 8;
/// Octets of the UDP header in front of ESP in UDP (RFC 3948 §2.1).
pub const UDP_HEADER: usize = 8;

/// A packet that fails its integrity check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

/// Where a transform's fields lie in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub iv: usize,
    pub icv: usize,
    /// The ciphertext is a multiple of this many octets (RFC 4303 §2.4).
    pub align: usize,
}

impl Shape {
    /// Octets in front of the plaintext.
    pub fn before(&self) -> usize {
        HEADER + self.iv
    }

    /// Octets of ESP that carry `inner` octets of packet.
    pub fn sealed_len(&self, inner: usize) -> usize {
        self.before() + (inner + 2).next_multiple_of(self.align) + self.icv
    }

    /// Octets of inner packet that fit into `esp` octets.
    pub fn inner_len(&self, esp: usize) -> usize {
        let text = esp.saturating_sub(self.before() + self.icv);
        (text - text % self.align).saturating_sub(2)
    }
}

/// A packet of a run to open, which lies at `place` of an arena.
#[derive(Clone, Debug)]
pub struct Opening {
    pub place: Range<usize>,
    /// Its whole sequence number; None when it was refused.
    pub sequence: Option<u64>,
}

/// What an SA's algorithms do to its packets.
///
/// A packet is ESP header, IV, plaintext with its trailer, and room for the ICV; everything but the IV and the ICV
/// is written by the caller.  `sequence` is the whole 64-bit number; without ESN its upper half is zero.
pub trait Transform: Send + Sync {
    fn shape(&self) -> Shape;

    /// Write the IV, encrypt in place, write the ICV.
    fn seal(&self, sequence: u64, packet: &mut [u8]);

    /// Verify and decrypt in place.  When the check fails, no plaintext is left: the text is as it was, or zeros.
    fn open(&self, sequence: u64, packet: &mut [u8]) -> Result<(), Forged>;

    /// Seal packets of `stride` octets each (the last may be shorter) that lie one behind the other.
    fn seal_run(&self, first: u64, stride: usize, packets: &mut [u8]) {
        for (sequence, packet) in (first..).zip(packets.chunks_mut(stride)) {
            self.seal(sequence, packet);
        }
    }

    /// Open the packets of a run; those that are forged lose their sequence number.
    fn open_run(&self, arena: &mut [u8], packets: &mut [Opening]) {
        for packet in packets {
            packet.sequence =
                packet.sequence.filter(|sequence| self.open(*sequence, &mut arena[packet.place.clone()]).is_ok());
        }
    }
}
