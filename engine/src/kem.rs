//! ML-KEM-512 (FIPS 203), for iked: the library it otherwise uses has only the two stronger parameter sets.
//!
//! All randomness comes from the caller.  Private keys are seeds (d | z), expanded at each use and wiped.

use ml_kem::kem::Decapsulate;
use ml_kem::{B32, Ciphertext, EncapsulateDeterministic, Encoded, EncodedSizeUser, KemCore, MlKem512};
use zeroize::Zeroize;

pub const SEED_OCTETS: usize = 64;
pub const SECRET_OCTETS: usize = 32;

type Public = <MlKem512 as KemCore>::EncapsulationKey;
type Private = <MlKem512 as KemCore>::DecapsulationKey;

/// The encapsulation key of a seed.
pub fn public_key(seed: &[u8; SEED_OCTETS]) -> Vec<u8> {
    expand(seed).1.as_bytes().to_vec()
}

/// The ciphertext and the secret for the random octets `m`; None if `public` is no encapsulation key (FIPS 203 §7.2).
pub fn encapsulate(public: &[u8], m: &[u8; SECRET_OCTETS]) -> Option<(Vec<u8>, [u8; SECRET_OCTETS])> {
    let encoded = Encoded::<Public>::try_from(public).ok()?;
    let key = Public::from_bytes(&encoded);
    if key.as_bytes() != encoded {
        return None; // a coefficient above the modulus does not come out as it went in
    }
    let mut random = B32::from(*m);
    let made = key.encapsulate_deterministic(&random);
    random.zeroize();
    let (ciphertext, mut secret) = made.ok()?;
    let copy = secret.into();
    secret.zeroize();
    Some((ciphertext.to_vec(), copy))
}

/// The secret in `ciphertext`, or another that nobody knows if it was tampered with; None if its length is wrong.
pub fn decapsulate(seed: &[u8; SEED_OCTETS], ciphertext: &[u8]) -> Option<[u8; SECRET_OCTETS]> {
    let ciphertext = Ciphertext::<MlKem512>::try_from(ciphertext).ok()?;
    let mut secret = expand(seed).0.decapsulate(&ciphertext).ok()?;
    let copy = secret.into();
    secret.zeroize();
    Some(copy)
}

fn expand(seed: &[u8; SEED_OCTETS]) -> (Private, Public) {
    let (mut d, mut z) = (B32::default(), B32::default());
    d.copy_from_slice(&seed[..SECRET_OCTETS]);
    z.copy_from_slice(&seed[SECRET_OCTETS..]);
    let pair = MlKem512::generate_deterministic(&d, &z);
    d.zeroize();
    z.zeroize();
    pair
}
