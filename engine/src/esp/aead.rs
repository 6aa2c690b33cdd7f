//! AES-GCM with a 16-octet ICV (RFC 4106) and ChaCha20-Poly1305 (RFC 7634): one layout, two ciphers, both by `ring`.
//!
//! Where there is AVX-512, `gcm` has AES-GCM's place.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::{Forged, HEADER, Shape, Transform};
use crate::secret::Secret;

pub(super) const IV: usize = 8;
pub(super) const ICV: usize = 16;
pub(super) const SHAPE: Shape = Shape { iv: IV, icv: ICV, align: 4 };

pub struct Aead {
    key: Secret<LessSafeKey>,
    salt: Secret<[u8; 4]>,
    esn: bool,
}

impl Aead {
    /// `key` ends with the four octets of salt.  None when it has not the length that `algorithm` takes.
    fn new(algorithm: &'static Algorithm, key: &[u8], esn: bool) -> Option<Self> {
        let (key, salt) = key.split_last_chunk::<4>()?;
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Self { key: Secret::new(key), salt: Secret::new(*salt), esn })
    }

    pub fn aes_128_gcm(key: &[u8], esn: bool) -> Option<Self> {
        Self::new(&AES_128_GCM, key, esn)
    }

    pub fn aes_256_gcm(key: &[u8], esn: bool) -> Option<Self> {
        Self::new(&AES_256_GCM, key, esn)
    }

    pub fn chacha20_poly1305(key: &[u8], esn: bool) -> Option<Self> {
        Self::new(&CHACHA20_POLY1305, key, esn)
    }
}

/// The nonce: salt, then the IV as sent (RFC 4106 §4, RFC 7634 §2).
pub(super) fn nonce(salt: &[u8; 4], iv: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(salt);
    nonce[4..].copy_from_slice(iv);
    nonce
}

/// The associated data: SPI and sequence number, all 64 bits of it with ESN (RFC 4106 §5), and its length.
pub(super) fn associated(header: &[u8], sequence: u64, esn: bool) -> ([u8; 12], usize) {
    let mut data = [0; 12];
    if esn {
        data[..4].copy_from_slice(&header[..4]);
        data[4..8].copy_from_slice(&((sequence >> 32) as u32).to_be_bytes());
        data[8..].copy_from_slice(&header[4..HEADER]);
        (data, 12)
    } else {
        data[..HEADER].copy_from_slice(&header[..HEADER]);
        (data, HEADER)
    }
}

impl Transform for Aead {
    fn shape(&self) -> Shape {
        SHAPE
    }

    /// The IV is the sequence number: it never repeats under one key, which is all that these ciphers ask of it.
    fn seal(&self, sequence: u64, packet: &mut [u8]) {
        let (header, rest) = packet.split_at_mut(HEADER);
        let (iv, rest) = rest.split_at_mut(IV);
        let (text, icv) = rest.split_at_mut(rest.len() - ICV);
        iv.copy_from_slice(&sequence.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce(&self.salt, iv));
        let (data, len) = associated(header, sequence, self.esn);
        match self.key.seal_in_place_separate_tag(nonce, Aad::from(&data[..len]), text) {
            Ok(tag) => icv.copy_from_slice(tag.as_ref()),
            // Only a text beyond the cipher's limit of 64 GiB fails; whatever it is, plaintext must not leave.
            Err(_) => rest.fill(0),
        }
    }

    fn open(&self, sequence: u64, packet: &mut [u8]) -> Result<(), Forged> {
        if packet.len() < HEADER + IV + ICV {
            return Err(Forged);
        }
        let (header, rest) = packet.split_at_mut(HEADER);
        let (iv, text) = rest.split_at_mut(IV);
        let nonce = Nonce::assume_unique_for_key(nonce(&self.salt, iv));
        let (data, len) = associated(header, sequence, self.esn);
        self.key.open_in_place(nonce, Aad::from(&data[..len]), text).map(|_| ()).map_err(|_| Forged)
    }
}
