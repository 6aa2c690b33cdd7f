//! AES-GCM with a 16-octet ICV (RFC 4106) by AVX-512; `aead` and `gcm192` do the same where that is missing.

use std::slice::ChunksMut;

use super::aead::{ICV, IV, SHAPE};
use super::{Forged, HEADER, Opening, Shape, Transform};
use crate::secret::Secret;
use crate::simd::gcm::{Around, Key, Run};

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
    #[inline(always)]
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

/// Packets of one size, the last maybe shorter, to be sealed.
struct Sealing<'a> {
    gcm: &'a Gcm,
    sequence: u64,
    packets: ChunksMut<'a, u8>,
}

impl Run for Sealing<'_> {
    #[inline(always)]
    fn next(&mut self) -> Option<(Around, &mut [u8])> {
        loop {
            let packet = self.packets.next()?;
            let sequence = self.sequence;
            self.sequence = sequence.wrapping_add(1);
            let Some([spi, low, ..]) = words(packet) else {
                // None is so short; whatever it is, plaintext must not leave.
                packet.fill(0);
                continue;
            };
            let iv = u64::from_le_bytes(sequence.to_be_bytes());
            return Some((self.gcm.around(sequence, [spi, low], iv), packet));
        }
    }

    #[inline(always)]
    fn verdict(&mut self, _: bool) {}
}

/// Packets to be opened; `next` is the place behind the one under way.
struct Unsealing<'a> {
    gcm: &'a Gcm,
    arena: &'a mut [u8],
    packets: &'a mut [Opening],
    next: usize,
}

impl Run for Unsealing<'_> {
    #[inline(always)]
    fn next(&mut self) -> Option<(Around, &mut [u8])> {
        loop {
            let opening = self.packets.get_mut(self.next)?;
            self.next += 1;
            let Some(sequence) = opening.sequence else { continue };
            let Some([spi, low, iv @ ..]) = words(&self.arena[opening.place.clone()]) else {
                opening.sequence = None;
                continue;
            };
            let around = self.gcm.around(sequence, [spi, low], pair(iv[0], iv[1]));
            return Some((around, &mut self.arena[opening.place.clone()]));
        }
    }

    #[inline(always)]
    fn verdict(&mut self, right: bool) {
        if !right {
            self.packets[self.next - 1].sequence = None;
        }
    }
}

impl Transform for Gcm {
    fn shape(&self) -> Shape {
        SHAPE
    }

    fn seal(&self, sequence: u64, packet: &mut [u8]) {
        self.seal_run(sequence, packet.len(), packet);
    }

    fn open(&self, sequence: u64, packet: &mut [u8]) -> Result<(), Forged> {
        let mut opening = [Opening { place: 0..packet.len(), sequence: Some(sequence) }];
        self.open_run(packet, &mut opening);
        opening[0].sequence.map(|_| ()).ok_or(Forged)
    }

    fn seal_run(&self, first: u64, stride: usize, packets: &mut [u8]) {
        self.key.seal(&mut Sealing { gcm: self, sequence: first, packets: packets.chunks_mut(stride.max(1)) });
    }

    fn open_run(&self, arena: &mut [u8], packets: &mut [Opening]) {
        self.key.open(&mut Unsealing { gcm: self, arena, packets, next: 0 });
    }
}

/// The words in front of the text; None when a packet is too short for a transform's fields.
#[inline(always)]
fn words(packet: &[u8]) -> Option<[u32; 4]> {
    let front = packet.first_chunk::<{ HEADER + IV }>().filter(|_| packet.len() >= HEADER + IV + ICV)?;
    Some([0, 4, 8, 12].map(|at| u32::from_le_bytes([front[at], front[at + 1], front[at + 2], front[at + 3]])))
}

#[inline(always)]
fn pair(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}
