//! Truncated HMACs: HMAC-SHA1-96 (RFC 2404), HMAC-SHA2-256-128, -384-192 and -512-256 (RFC 4868).

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::Forged;
use crate::secret::Secret;

/// A keyed HMAC; a packet starts from a copy of its state, so the key is hashed once only.
pub enum Auth {
    Sha1(Secret<Hmac<Sha1>>),
    Sha256(Secret<Hmac<Sha256>>),
    Sha384(Secret<Hmac<Sha384>>),
    Sha512(Secret<Hmac<Sha512>>),
}

/// Names as ipsec.conf(5) spells them and the octets of key each takes: those of the digest.
pub const NAMES: &[(&str, usize)] =
    &[("hmac-sha1", 20), ("hmac-sha2-256", 32), ("hmac-sha2-384", 48), ("hmac-sha2-512", 64)];

macro_rules! each {
    ($auth:expr, $mac:ident => $body:expr) => {
        match $auth {
            Auth::Sha1($mac) => $body,
            Auth::Sha256($mac) => $body,
            Auth::Sha384($mac) => $body,
            Auth::Sha512($mac) => $body,
        }
    };
}

impl Auth {
    pub fn new(name: &str, key: &[u8]) -> Option<Self> {
        Some(match name {
            "hmac-sha1" => Self::Sha1(Secret::new(Hmac::new_from_slice(key).ok()?)),
            "hmac-sha2-256" => Self::Sha256(Secret::new(Hmac::new_from_slice(key).ok()?)),
            "hmac-sha2-384" => Self::Sha384(Secret::new(Hmac::new_from_slice(key).ok()?)),
            "hmac-sha2-512" => Self::Sha512(Secret::new(Hmac::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }

    /// Octets of ICV.
    pub fn icv(&self) -> usize {
        match self {
            Self::Sha1(_) => 12,
            Self::Sha256(_) => 16,
            Self::Sha384(_) => 24,
            Self::Sha512(_) => 32,
        }
    }

    /// Write the ICV of `text`; `tail` is what is authenticated but not sent, ESN's upper half (RFC 4303 §2.2.1).
    pub fn sign(&self, text: &[u8], tail: &[u8], icv: &mut [u8]) {
        each!(self, mac => {
            let mut mac = Hmac::clone(mac);
            mac.update(text);
            mac.update(tail);
            icv.copy_from_slice(&mac.finalize().into_bytes()[..icv.len()]);
        });
    }

    /// Compare in constant time.
    pub fn verify(&self, text: &[u8], tail: &[u8], icv: &[u8]) -> Result<(), Forged> {
        each!(self, mac => {
            let mut mac = Hmac::clone(mac);
            mac.update(text);
            mac.update(tail);
            mac.verify_truncated_left(icv).map_err(|_| Forged)
        })
    }
}

/// What is authenticated behind the packet: the upper half of the sequence number with ESN, nothing without.
pub(super) fn tail(sequence: u64, esn: bool) -> ([u8; 4], usize) {
    (((sequence >> 32) as u32).to_be_bytes(), if esn { 4 } else { 0 })
}
