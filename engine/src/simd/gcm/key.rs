//! Keys, as they are used: round keys, and the powers of the hash key.

use std::arch::x86_64::*;

use super::Run;
use super::field::Powers;
use super::stream;

/// Round keys of the longest key.
pub const KEYS: usize = 15;

#[repr(C, align(64))]
pub struct Key {
    pub(super) powers: Powers,
    pub(super) round_keys: [[u8; 16]; KEYS],
    rounds: usize,
}

fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
}

impl Key {
    /// None when the processor lacks the instructions, or when AES takes no key of this length.
    pub fn new(key: &[u8]) -> Option<Self> {
        let rounds = match key.len() {
            16 => 10,
            24 => 12,
            32 => 14,
            _ => return None,
        };
        // SAFETY: the instructions are there.
        is_available().then(|| unsafe { Self::expand(key, rounds) })
    }

    /// FIPS 197 §5.2.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,aes,pclmulqdq")]
    fn expand(key: &[u8], rounds: usize) -> Self {
        let words = key.len() / 4;
        let mut schedule = [0_u32; KEYS * 4];
        for (word, octets) in schedule.iter_mut().zip(key.chunks_exact(4)) {
            *word = u32::from_le_bytes([octets[0], octets[1], octets[2], octets[3]]);
        }
        let mut constant = 1_u32;
        for i in words..(rounds + 1) * 4 {
            let mut word = schedule[i - 1];
            if i % words == 0 {
                word = substitute(word.rotate_right(8)) ^ constant;
                constant = (constant << 1) ^ ((constant >> 7) * 0x11b);
            } else if words == 8 && i % 8 == 4 {
                word = substitute(word);
            }
            schedule[i] = schedule[i - words] ^ word;
        }
        let mut round_keys = [[0; 16]; KEYS];
        for (octets, word) in round_keys.as_flattened_mut().chunks_exact_mut(4).zip(schedule) {
            octets.copy_from_slice(&word.to_le_bytes());
        }
        let block = |i: usize| u128::from_le_bytes(round_keys[i]);
        let load = |i: usize| _mm_set_epi64x((block(i) >> 64) as i64, block(i) as i64);
        let zeros = (1..rounds).fold(load(0), |state, i| _mm_aesenc_si128(state, load(i)));
        let powers = Powers::new(_mm_aesenclast_si128(zeros, load(rounds)));
        Self { powers, round_keys, rounds }
    }

    /// Encrypt the texts of a run, and write heads and tags.
    pub fn seal(&self, run: &mut impl Run) {
        self.pass::<true>(run);
    }

    /// Decrypt the texts of a run; where the tag is wrong, zeros are left of the text.
    pub fn open(&self, run: &mut impl Run) {
        self.pass::<false>(run);
    }

    fn pass<const SEAL: bool>(&self, run: &mut impl Run) {
        // SAFETY: the instructions are there, or there would be no key.
        unsafe {
            match self.rounds {
                10 => stream::run::<10, SEAL>(self, run),
                12 => stream::run::<12, SEAL>(self, run),
                _ => stream::run::<14, SEAL>(self, run),
            }
        }
    }
}

/// AES's substitution of each octet of a word: of four equal columns, whose rows can be shifted without any change.
#[target_feature(enable = "aes,sse2")]
fn substitute(word: u32) -> u32 {
    _mm_cvtsi128_si32(_mm_aesenclast_si128(_mm_set1_epi32(word as i32), _mm_setzero_si128())) as u32
}
