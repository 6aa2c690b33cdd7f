//! From the names of an SA's algorithms to its transform: adding a cipher is its file and a row here.

use super::Transform;
use super::aead::Aead;
use super::auth::{self, Auth};
use super::cbc::aes_cbc;
use super::gcm::Gcm;
use super::gcm192::Gcm192;
use super::null::Null;

/// Encryption names as ipsec.conf(5) spells them, the octets of key each takes (salt included), and whether the
/// cipher authenticates by itself.
const ENCRYPTION: &[(&str, usize, bool)] = &[
    ("aes-128-gcm", 20, true),
    ("aes-192-gcm", 28, true),
    ("aes-256-gcm", 36, true),
    ("chacha20-poly1305", 36, true),
    ("aes-128", 16, false),
    ("aes-192", 24, false),
    ("aes-256", 32, false),
    ("null", 0, false),
];

/// An SA's algorithms and keys, as they come over the seam.
pub struct Suite<'a> {
    pub encryption: &'a str,
    pub encryption_key: &'a [u8],
    pub auth: &'a str,
    pub auth_key: &'a [u8],
    pub esn: bool,
}

impl Suite<'_> {
    /// The transform, or a sentence that says what is wrong.  `iv_key` is random, the SA's own.
    pub fn build(&self, iv_key: &[u8; 16]) -> Result<Box<dyn Transform>, String> {
        let name = self.encryption;
        let Some(&(_, octets, combined)) = ENCRYPTION.iter().find(|row| row.0 == name) else {
            let known: Vec<_> = ENCRYPTION.iter().map(|row| row.0).collect();
            return Err(format!("encryption {name:?} is not known: use one of {}", known.join(", ")));
        };
        if self.encryption_key.len() != octets {
            let got = self.encryption_key.len();
            return Err(format!("{name} takes a key of {octets} octets (with its salt, if it has one), not {got}"));
        }
        let wrong_key = || format!("{name} refused its key");
        if combined {
            if !self.auth.is_empty() || !self.auth_key.is_empty() {
                return Err(format!("{name} authenticates by itself: auth must be empty, not {:?}", self.auth));
            }
            let by_avx512 = || Gcm::new(self.encryption_key, self.esn).map(boxed);
            return match name {
                "aes-128-gcm" => by_avx512().or_else(|| Aead::aes_128_gcm(self.encryption_key, self.esn).map(boxed)),
                "aes-192-gcm" => by_avx512().or_else(|| Gcm192::new(self.encryption_key, self.esn).map(boxed)),
                "aes-256-gcm" => by_avx512().or_else(|| Aead::aes_256_gcm(self.encryption_key, self.esn).map(boxed)),
                _ => Aead::chacha20_poly1305(self.encryption_key, self.esn).map(boxed),
            }
            .ok_or_else(wrong_key);
        }
        let auth = self.build_auth()?;
        if name == "null" {
            return Ok(Box::new(Null::new(auth, self.esn)));
        }
        aes_cbc(self.encryption_key, iv_key, auth, self.esn).ok_or_else(wrong_key)
    }

    fn build_auth(&self) -> Result<Auth, String> {
        let name = self.auth;
        let Some(&(_, octets)) = auth::NAMES.iter().find(|row| row.0 == name) else {
            let known: Vec<_> = auth::NAMES.iter().map(|row| row.0).collect();
            return Err(format!("{} needs auth to be one of {}, not {name:?}", self.encryption, known.join(", ")));
        };
        if self.auth_key.len() != octets {
            return Err(format!("{name} takes a key of {octets} octets, not {}", self.auth_key.len()));
        }
        Auth::new(name, self.auth_key).ok_or_else(|| format!("{name} refused its key"))
    }
}

fn boxed<T: Transform + 'static>(transform: T) -> Box<dyn Transform> {
    Box::new(transform)
}
