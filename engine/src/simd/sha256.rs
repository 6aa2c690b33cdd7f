//! SHA-256's compression function (FIPS 180-4 §6.2.2) on one state, or on two at once.
//!
//! The SHA instructions take four cycles to give a result and a new one can start after two: two independent messages
//! need the time of one.

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;

/// Octets of a block.
pub const BLOCK: usize = 64;

pub type State = [u32; 8];

pub const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Compress the whole blocks of each message into its state; the messages may differ in length.
pub fn compress<const N: usize>(states: &mut [State; N], messages: [&[u8]; N]) {
    #[cfg(target_arch = "x86_64")]
    if N == 2 && x86::is_there() {
        let common = messages.iter().map(|message| message.len() / BLOCK).min().unwrap_or(0);
        // SAFETY: the instructions are there.
        unsafe { x86::compress(states, &messages, common) };
        for (state, message) in states.iter_mut().zip(messages) {
            one(state, &message[common * BLOCK..]);
        }
        return;
    }
    for (state, message) in states.iter_mut().zip(messages) {
        one(state, message);
    }
}

fn one(state: &mut State, message: &[u8]) {
    for block in message.chunks_exact(BLOCK) {
        compress256(state, std::slice::from_ref(GenericArray::from_slice(block)));
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, State};

    /// The round constants, four rounds a register.
    static K: [u32; 64] = [
        0x428a_2f98,
        0x7137_4491,
        0xb5c0_fbcf,
        0xe9b5_dba5,
        0x3956_c25b,
        0x59f1_11f1,
        0x923f_82a4,
        0xab1c_5ed5,
        0xd807_aa98,
        0x1283_5b01,
        0x2431_85be,
        0x550c_7dc3,
        0x72be_5d74,
        0x80de_b1fe,
        0x9bdc_06a7,
        0xc19b_f174,
        0xe49b_69c1,
        0xefbe_4786,
        0x0fc1_9dc6,
        0x240c_a1cc,
        0x2de9_2c6f,
        0x4a74_84aa,
        0x5cb0_a9dc,
        0x76f9_88da,
        0x983e_5152,
        0xa831_c66d,
        0xb003_27c8,
        0xbf59_7fc7,
        0xc6e0_0bf3,
        0xd5a7_9147,
        0x06ca_6351,
        0x1429_2967,
        0x27b7_0a85,
        0x2e1b_2138,
        0x4d2c_6dfc,
        0x5338_0d13,
        0x650a_7354,
        0x766a_0abb,
        0x81c2_c92e,
        0x9272_2c85,
        0xa2bf_e8a1,
        0xa81a_664b,
        0xc24b_8b70,
        0xc76c_51a3,
        0xd192_e819,
        0xd699_0624,
        0xf40e_3585,
        0x106a_a070,
        0x19a4_c116,
        0x1e37_6c08,
        0x2748_774c,
        0x34b0_bcb5,
        0x391c_0cb3,
        0x4ed8_aa4a,
        0x5b9c_ca4f,
        0x682e_6ff3,
        0x748f_82ee,
        0x78a5_636f,
        0x84c8_7814,
        0x8cc7_0208,
        0x90be_fffa,
        0xa450_6ceb,
        0xbef9_a3f7,
        0xc671_78f2,
    ];

    pub fn is_there() -> bool {
        is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx")
    }

    /// `blocks` blocks of each message, which holds that many.
    ///
    /// # Safety
    /// The processor must have these instructions.
    #[target_feature(enable = "sha,avx")]
    #[allow(unused_unsafe)] // which of these calls are unsafe depends on the compiler's age
    pub unsafe fn compress<const N: usize>(states: &mut [State; N], messages: &[&[u8]; N], blocks: usize) {
        // SAFETY: the caller has the instructions; every pointer is to an array or slice of the size read or written.
        unsafe {
            let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
            let zero = _mm_setzero_si128();
            let (mut abef, mut cdgh) = ([zero; N], [zero; N]);
            for lane in 0..N {
                let words = states[lane].as_ptr();
                let abcd = _mm_shuffle_epi32(_mm_loadu_si128(words.cast()), 0xb1);
                let efgh = _mm_shuffle_epi32(_mm_loadu_si128(words.add(4).cast()), 0x1b);
                abef[lane] = _mm_alignr_epi8(abcd, efgh, 8);
                cdgh[lane] = _mm_blend_epi16(efgh, abcd, 0xf0);
            }
            for block in 0..blocks {
                let before = (abef, cdgh);
                let (mut w0, mut w1, mut w2, mut w3) = ([zero; N], [zero; N], [zero; N], [zero; N]);
                for lane in 0..N {
                    let octets = messages[lane][block * BLOCK..(block + 1) * BLOCK].as_ptr();
                    w0[lane] = _mm_shuffle_epi8(_mm_loadu_si128(octets.cast()), swap);
                    w1[lane] = _mm_shuffle_epi8(_mm_loadu_si128(octets.add(16).cast()), swap);
                    w2[lane] = _mm_shuffle_epi8(_mm_loadu_si128(octets.add(32).cast()), swap);
                    w3[lane] = _mm_shuffle_epi8(_mm_loadu_si128(octets.add(48).cast()), swap);
                }
                // Four rounds: $now are their words of the schedule, which become the words of four groups later.
                macro_rules! rounds {
                    ($group:literal, $now:ident, $second:ident, $third:ident, $last:ident) => {
                        let k = _mm_loadu_si128(K.as_ptr().add($group * 4).cast());
                        for lane in 0..N {
                            let sum = _mm_add_epi32($now[lane], k);
                            cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], sum);
                            abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32(sum, 0x0e));
                        }
                        if $group < 12 {
                            for lane in 0..N {
                                let next = _mm_add_epi32(
                                    _mm_sha256msg1_epu32($now[lane], $second[lane]),
                                    _mm_alignr_epi8($last[lane], $third[lane], 4),
                                );
                                $now[lane] = _mm_sha256msg2_epu32(next, $last[lane]);
                            }
                        }
                    };
                }
                macro_rules! sixteen {
                    ($a:literal, $b:literal, $c:literal, $d:literal) => {
                        rounds!($a, w0, w1, w2, w3);
                        rounds!($b, w1, w2, w3, w0);
                        rounds!($c, w2, w3, w0, w1);
                        rounds!($d, w3, w0, w1, w2);
                    };
                }
                sixteen!(0, 1, 2, 3);
                sixteen!(4, 5, 6, 7);
                sixteen!(8, 9, 10, 11);
                sixteen!(12, 13, 14, 15);
                for lane in 0..N {
                    abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
                    cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
                }
            }
            for lane in 0..N {
                let feba = _mm_shuffle_epi32(abef[lane], 0x1b);
                let dchg = _mm_shuffle_epi32(cdgh[lane], 0xb1);
                let words = states[lane].as_mut_ptr();
                _mm_storeu_si128(words.cast(), _mm_blend_epi16(feba, dchg, 0xf0));
                _mm_storeu_si128(words.add(4).cast(), _mm_alignr_epi8(dchg, feba, 8));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_are_as_two_alone() {
        let messages: Vec<Vec<u8>> = (0..2).map(|n| (0..BLOCK * 5).map(|i| (i * 7 + n * 13) as u8).collect()).collect();
        for (a, b) in [(0, 0), (1, 1), (5, 5), (5, 2), (0, 3)] {
            let (a, b) = (&messages[0][..a * BLOCK], &messages[1][..b * BLOCK]);
            let mut both = [INITIAL; 2];
            compress(&mut both, [a, b]);
            let (mut first, mut second) = ([INITIAL], [INITIAL]);
            compress(&mut first, [a]);
            compress(&mut second, [b]);
            assert_eq!(both, [first[0], second[0]]);
        }
    }
}
