//! AES-192-GCM (RFC 4106), which `ring` leaves out.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::aes::Aes192;
use aes_gcm::{AesGcm, Nonce, Tag};

use super::aead::{ICV, IV, SHAPE, associated, nonce};
use super::{Forged, HEADER, Shape, Transform};
use crate::secret::Secret;

pub struct Gcm192 {
    key: Secret<AesGcm<Aes192, U12>>,
    salt: Secret<[u8; 4]>,
    esn: bool,
}

impl Gcm192 {
    /// `key` ends with the four octets of salt.
    pub fn new(key: &[u8], esn: bool) -> Option<Self> {
        let (key, salt) = key.split_last_chunk::<4>()?;
        let key = AesGcm::new_from_slice(key).ok()?;
        Some(Self { key: Secret::new(key), salt: Secret::new(*salt), esn })
    }
}

impl Transform for Gcm192 {
    fn shape(&self) -> Shape {
        SHAPE
    }

    fn seal(&self, sequence: u64, packet: &mut [u8]) {
        let (header, rest) = packet.split_at_mut(HEADER);
        let (iv, rest) = rest.split_at_mut(IV);
        let (text, icv) = rest.split_at_mut(rest.len() - ICV);
        iv.copy_from_slice(&sequence.to_be_bytes());
        let (data, len) = associated(header, sequence, self.esn);
        let nonce = nonce(&self.salt, iv);
        match self.key.encrypt_in_place_detached(Nonce::from_slice(&nonce), &data[..len], text) {
            Ok(tag) => icv.copy_from_slice(&tag),
            Err(_) => rest.fill(0),
        }
    }

    fn open(&self, sequence: u64, packet: &mut [u8]) -> Result<(), Forged> {
        if packet.len() < HEADER + IV + ICV {
            return Err(Forged);
        }
        let (header, rest) = packet.split_at_mut(HEADER);
        let (iv, rest) = rest.split_at_mut(IV);
        let (text, icv) = rest.split_at_mut(rest.len() - ICV);
        let (data, len) = associated(header, sequence, self.esn);
        let nonce = nonce(&self.salt, iv);
        self.key
            .decrypt_in_place_detached(Nonce::from_slice(&nonce), &data[..len], text, Tag::from_slice(icv))
            .map_err(|_| Forged)
    }
}
