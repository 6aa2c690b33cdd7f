//! Truncated HMACs: HMAC-SHA1-96 (RFC 2404), HMAC-SHA2-256-128, -384-192 and -512-256 (RFC 4868).

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::hmac256::{Hmac256, Text};
use super::{Forged, Opening};
use crate::secret::Secret;

/// A keyed HMAC; a packet starts from a copy of its state, so the key is hashed once only.
pub enum Auth {
    Sha1(Secret<Hmac<Sha1>>),
    Sha256(Hmac256),
    Sha384(Secret<Hmac<Sha384>>),
    Sha512(Secret<Hmac<Sha512>>),
}

/// Names as ipsec.conf(5) spells them and the octets of key each takes: those of the digest.
pub const NAMES: &[(&str, usize)] =
    &[("hmac-sha1", 20), ("hmac-sha2-256", 32), ("hmac-sha2-384", 48), ("hmac-sha2-512", 64)];

/// Octets of the longest digest.
const MAX_DIGEST: usize = 64;

impl Auth {
    pub fn new(name: &str, key: &[u8]) -> Option<Self> {
        Some(match name {
            "hmac-sha1" => Self::Sha1(Secret::new(Hmac::new_from_slice(key).ok()?)),
            "hmac-sha2-256" => Self::Sha256(Hmac256::new(key)?),
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

    /// Write the ICV at the end of each packet, over all before it and, with `esn`, over the upper half of its sequence
    /// number, which is not sent (RFC 4303 §2.2.1).
    pub fn sign<const N: usize>(&self, packets: [&mut [u8]; N], sequences: [u64; N], esn: bool) {
        let len = self.icv();
        let digests = {
            let texts = std::array::from_fn(|i| &packets[i][..packets[i].len() - len]);
            self.digests(texts, sequences, esn)
        };
        for (packet, digest) in packets.into_iter().zip(digests) {
            let start = packet.len() - len;
            packet[start..].copy_from_slice(&digest[..len]);
        }
    }

    /// Compare the ICV of each packet in constant time.
    pub fn verify<const N: usize>(
        &self,
        packets: [&[u8]; N],
        sequences: [u64; N],
        esn: bool,
    ) -> [Result<(), Forged>; N] {
        let texts = packets.map(|packet| packet.split_at(packet.len() - self.icv()));
        let digests = self.digests(texts.map(|(text, _)| text), sequences, esn);
        std::array::from_fn(|i| {
            let (_, icv) = texts[i];
            if bool::from(icv.ct_eq(&digests[i][..icv.len()])) { Ok(()) } else { Err(Forged) }
        })
    }

    /// Verify the packets of a run, two at a time: the sequence numbers of the forged ones go.
    pub fn verify_run(&self, arena: &[u8], packets: &mut [Opening], esn: bool) {
        let mut pair = [None; 2];
        for i in 0..packets.len() {
            if packets[i].sequence.is_none() {
                continue;
            }
            match pair[0] {
                None => pair[0] = Some(i),
                Some(first) => {
                    self.verify_some([first, i], arena, packets, esn);
                    pair[0] = None;
                }
            }
        }
        if let Some(last) = pair[0] {
            self.verify_some([last], arena, packets, esn);
        }
    }

    fn verify_some<const N: usize>(&self, which: [usize; N], arena: &[u8], packets: &mut [Opening], esn: bool) {
        let sequences = which.map(|i| packets[i].sequence.unwrap_or(0));
        let verdicts = self.verify(which.map(|i| &arena[packets[i].place.clone()]), sequences, esn);
        for (i, verdict) in which.into_iter().zip(verdicts) {
            if verdict.is_err() {
                packets[i].sequence = None;
            }
        }
    }

    fn digests<const N: usize>(&self, texts: [&[u8]; N], sequences: [u64; N], esn: bool) -> [[u8; MAX_DIGEST]; N] {
        let high = sequences.map(|sequence| ((sequence >> 32) as u32).to_be_bytes());
        let tail = |i: usize| if esn { &high[i][..] } else { &[] };
        let mut digests = [[0; MAX_DIGEST]; N];
        match self {
            Self::Sha1(mac) => each(&**mac, texts, tail, &mut digests),
            Self::Sha384(mac) => each(&**mac, texts, tail, &mut digests),
            Self::Sha512(mac) => each(&**mac, texts, tail, &mut digests),
            Self::Sha256(mac) => {
                let signed: [_; N] = mac.sign(std::array::from_fn(|i| Text { text: texts[i], tail: tail(i) }));
                for (digest, signed) in digests.iter_mut().zip(signed) {
                    digest[..signed.len()].copy_from_slice(&signed);
                }
            }
        }
        digests
    }
}

fn each<'a, M: Mac + Clone, const N: usize>(
    mac: &M,
    texts: [&[u8]; N],
    tail: impl Fn(usize) -> &'a [u8],
    digests: &mut [[u8; MAX_DIGEST]; N],
) {
    for i in 0..N {
        let mut mac = mac.clone();
        mac.update(texts[i]);
        mac.update(tail(i));
        let digest = mac.finalize().into_bytes();
        digests[i][..digest.len()].copy_from_slice(&digest);
    }
}
