//! HMAC-SHA2-256-128 (RFC 4868), of two packets at once where there are two.

use crate::secret::Secret;
use crate::simd::sha256::{BLOCK, INITIAL, State, compress};

/// Octets of digest.
const DIGEST: usize = 32;

/// The states after the two padded keys: a packet starts from a copy.
pub struct Hmac256(Secret<[State; 2]>);

/// What is authenticated of a packet, and what behind it is not sent.
#[derive(Clone, Copy, Default)]
pub struct Text<'a> {
    pub text: &'a [u8],
    pub tail: &'a [u8],
}

impl Hmac256 {
    /// None when the key is longer than a block: ESP's has 32 octets.
    pub fn new(key: &[u8]) -> Option<Self> {
        if key.len() > BLOCK {
            return None;
        }
        let mut states = Secret::new([INITIAL; 2]);
        for (state, pad) in states.iter_mut().zip([0x36, 0x5c]) {
            let mut block = Secret::new([pad; BLOCK]);
            for (octet, key) in block.iter_mut().zip(key) {
                *octet ^= key;
            }
            compress(std::array::from_mut(state), [&block[..]]);
        }
        Some(Self(states))
    }

    /// The digests of `N` texts.
    pub fn sign<const N: usize>(&self, texts: [Text<'_>; N]) -> [[u8; DIGEST]; N] {
        let mut states = [self.0[0]; N];
        compress(&mut states, texts.map(|text| &text.text[..text.text.len() / BLOCK * BLOCK]));
        let ends = texts.map(|text| End::new(&text));
        compress(&mut states, std::array::from_fn(|i| ends[i].blocks()));

        let inner = states.map(|state| End::of_digest(&octets(&state)));
        let mut states = [self.0[1]; N];
        compress(&mut states, std::array::from_fn(|i| inner[i].blocks()));
        states.map(|state| octets(&state))
    }
}

fn octets(state: &State) -> [u8; DIGEST] {
    let mut digest = [0; DIGEST];
    for (octets, word) in digest.chunks_exact_mut(4).zip(state) {
        octets.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// The last one or two blocks of a message: its rest, the padding and its length (FIPS 180-4 §5.1.1), a block of key
/// in front of it included.
struct End {
    data: [u8; 2 * BLOCK],
    len: usize,
}

impl End {
    fn new(text: &Text<'_>) -> Self {
        let rest = &text.text[text.text.len() / BLOCK * BLOCK..];
        Self::of(&[rest, text.tail], text.text.len() + text.tail.len())
    }

    fn of_digest(digest: &[u8; DIGEST]) -> Self {
        Self::of(&[digest], DIGEST)
    }

    fn of(parts: &[&[u8]], octets: usize) -> Self {
        let mut data = [0; 2 * BLOCK];
        let mut used = 0;
        for part in parts {
            data[used..used + part.len()].copy_from_slice(part);
            used += part.len();
        }
        data[used] = 0x80;
        let len = if used + 9 > BLOCK { 2 * BLOCK } else { BLOCK };
        let bits = ((BLOCK + octets) as u64 * 8).to_be_bytes();
        data[len - 8..len].copy_from_slice(&bits);
        Self { data, len }
    }

    fn blocks(&self) -> &[u8] {
        &self.data[..self.len]
    }
}
