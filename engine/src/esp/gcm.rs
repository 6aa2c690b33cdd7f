//! AES-GCM with a 16-octet ICV (RFC 4106) by AVX-512; `aead` and `gcm192` do the same where that is missing.

use super::aead::{ICV, IV, SHAPE};
use super::{Forged, HEADER, Shape, Transform};
use crate::secret::Secret;
use crate::simd::gcm::{Around, Key};

pub struct Gcm {
    key: Secret<Key>,
    salt: Secret<[u8; 4]>,
    esn: bool,
}

impl Gcm {
    /// `key` ends with the four octets of salt.  None when AES has no such key, or the processor not the instructions.
    pub fn new(key: &[u8], esn: bool) -> Option<Self> {
        let (key, salt) = key.split_last_chunk::<4>()?;
        Some(Self { key: Secret::new(Key::new(key)?), salt: Secret::new(*salt), esn })
    }

    /// Nonce and associated data as in `aead`, but in words.
    fn around(&self, sequence: u64, [spi, low]: [u32; 2], iv: u64) -> Around {
        let head = [pair(spi, low), iv];
        let (associated, associated_len) = if self.esn {
            let high = u32::from_le_bytes(((sequence >> 32) as u32).to_be_bytes());
            ([pair(spi, high), u64::from(low)], HEADER + 4)
        } else {
            ([head[0], 0], HEADER)
        };
        Around { head, salt: u32::from_le_bytes(*self.salt), iv, associated, associated_len }
    }
}

impl Transform for Gcm {
    fn shape(&self) -> Shape {
        SHAPE
    }

    fn seal(&self, sequence: u64, packet: &mut [u8]) {
        let header = [word(packet, 0), word(packet, 4)];
        self.key.seal(&self.around(sequence, header, u64::from_le_bytes(sequence.to_be_bytes())), packet);
    }

    fn open(&self, sequence: u64, packet: &mut [u8]) -> Result<(), Forged> {
        if packet.len() < HEADER + IV + ICV {
            return Err(Forged);
        }
        let [spi, low, iv @ ..] = [0, 4, 8, 12].map(|at| word(packet, at));
        let around = self.around(sequence, [spi, low], pair(iv[0], iv[1]));
        if self.key.open(&around, packet) { Ok(()) } else { Err(Forged) }
    }
}

/// Four octets of a packet that is known to have them.
fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

fn pair(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}
