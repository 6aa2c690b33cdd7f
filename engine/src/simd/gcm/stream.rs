//! Four blocks a register.  AES of some blocks and GHASH of those before them stand in one loop, so that the processor
//! always has work that waits for nothing.
//!
//! A packet's head lies where block 0 of the text would be, and the counter of that place is the one that masks the
//! tag.  So a register of packet meets a register of key stream without shifting, and the lane that the head leaves
//! free carries the associated data through GHASH.

use std::arch::x86_64::*;

use super::field::{Hash, pin, turn};
use super::key::{KEYS, Key};
use super::{Around, HEAD, LIMIT, Run, TAG};

/// Octets of a register.
const WIDE: usize = 64;
/// Registers that are worked on at once.
const GROUP: usize = 4;

/// Encrypt or decrypt the packets of a run.
///
/// # Safety
/// The processor has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,aes,pclmulqdq")]
pub unsafe fn run<const ROUNDS: usize, const SEAL: bool>(key: &Key, run: &mut impl Run) {
    let mut keys = [_mm512_setzero_si512(); KEYS];
    for (wide, octets) in keys.iter_mut().zip(&key.round_keys) {
        // SAFETY: there are 16 octets.
        *wide = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(octets.as_ptr().cast()) });
    }
    while let Some((around, packet)) = run.next() {
        let right = match packet.len().checked_sub(HEAD + TAG) {
            // SAFETY: the packet has these octets.
            Some(text) if text <= LIMIT => unsafe {
                one::<ROUNDS, SEAL>(key, keys, &around, packet.as_mut_ptr(), text)
            },
            _ => false,
        };
        if !right {
            // Forged, or of no length that a packet has: in either direction no plaintext is left.
            packet.iter_mut().skip(HEAD).for_each(|octet| *octet = 0);
        }
        run.verdict(right);
    }
}

/// The text encrypted or decrypted, and the tag written or found to be right.
///
/// # Safety
/// The processor has the instructions, and there are `text` octets between head and tag at `packet`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,aes,pclmulqdq")]
unsafe fn one<const ROUNDS: usize, const SEAL: bool>(
    key: &Key,
    keys: [__m512i; KEYS],
    around: &Around,
    packet: *mut u8,
    text: usize,
) -> bool {
    let area = HEAD + text;
    let mut left = area.div_ceil(WIDE);
    let last = u64::MAX >> (left * WIDE - area);
    let mut hash = Hash::new(&key.powers, area.div_ceil(16));
    let mut work = Work::<ROUNDS, SEAL>::new(keys, around, packet);
    // SAFETY: `left` registers, of which the last may be short, are still in the packet; so many the hash waits for.
    unsafe {
        match left {
            1 => work.end::<1, 0>([], &mut hash, last),
            2 => work.end::<2, 0>([], &mut hash, last),
            3 => work.end::<3, 0>([], &mut hash, last),
            _ => {
                let mut before = work.group([], &mut hash, if left == GROUP { last } else { u64::MAX });
                left -= GROUP;
                while left >= GROUP {
                    before = work.group(before, &mut hash, if left == GROUP { last } else { u64::MAX });
                    left -= GROUP;
                }
                match left {
                    0 => hash.group(before),
                    1 => work.end::<1, GROUP>(before, &mut hash, last),
                    2 => work.end::<2, GROUP>(before, &mut hash, last),
                    _ => work.end::<3, GROUP>(before, &mut hash, last),
                }
            }
        }
    }
    let lengths = _mm_set_epi64x(around.associated_len as i64 * 8, text as i64 * 8);
    let tag = _mm_xor_si128(turn(hash.end(lengths)), work.mask);
    // SAFETY: the tag's 16 octets are behind the text.
    unsafe {
        let place = packet.add(area).cast();
        if SEAL {
            _mm_storeu_si128(place, tag);
            return true;
        }
        let difference = _mm_xor_si128(tag, _mm_loadu_si128(place));
        _mm_testz_si128(difference, difference) == 1
    }
}

/// One packet under way.
struct Work<const ROUNDS: usize, const SEAL: bool> {
    keys: [__m512i; KEYS],
    /// The next four counters, the octets of each turned round.
    counters: __m512i,
    /// The nonce, under the first round key.
    nonce: __m512i,
    /// What masks the tag.
    mask: __m128i,
    head: __m512i,
    associated: __m512i,
    at: *mut u8,
}

impl<const ROUNDS: usize, const SEAL: bool> Work<ROUNDS, SEAL> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,aes,pclmulqdq")]
    fn new(keys: [__m512i; KEYS], around: &Around, at: *mut u8) -> Self {
        let [head, associated] =
            [around.head, around.associated].map(|words| _mm_set_epi64x(words[1] as i64, words[0] as i64));
        let iv = around.iv;
        let nonce = _mm_set_epi64x((iv >> 32) as i64, (u64::from(around.salt) | iv << 32) as i64);
        Self {
            counters: _mm512_set_epi32(4, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0),
            nonce: _mm512_xor_si512(_mm512_broadcast_i32x4(nonce), keys[0]),
            keys,
            mask: _mm_setzero_si128(),
            head: _mm512_zextsi128_si512(head),
            associated: _mm512_zextsi128_si512(associated),
            at,
        }
    }

    /// Encrypt or decrypt the next `N` registers, of which the last has the octets of `last`, and meanwhile hash the
    /// ciphertext `before` them; without one these are the first.  Their own ciphertext.
    ///
    /// # Safety
    /// The registers are in the packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,aes,pclmulqdq")]
    unsafe fn group<const N: usize, const BEFORE: usize>(
        &mut self,
        mut before: [__m512i; BEFORE],
        hash: &mut Hash<'_>,
        last: u64,
    ) -> [__m512i; N] {
        let turn_counter = _mm512_set4_epi32(0x0c0d_0e0f, -1, -1, -1);
        let turn_block = _mm512_set4_epi32(0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f);
        let mut stream = [_mm512_setzero_si512(); N];
        for register in &mut stream {
            *register = _mm512_xor_si512(_mm512_shuffle_epi8(self.counters, turn_counter), self.nonce);
            self.counters = _mm512_add_epi32(self.counters, _mm512_set4_epi32(4, 0, 0, 0));
        }
        macro_rules! rounds {
            ($($round:literal)*) => {
                $(if $round < ROUNDS {
                    for register in &mut stream {
                        *register = _mm512_aesenc_epi128(*register, self.keys[$round]);
                    }
                    // After rounds 3, 5, 7 and 9, the last register first: the first one may wait for a reduction.
                    if $round % 2 == 1 && $round > 1 && $round / 2 <= BEFORE {
                        // SAFETY: the powers are as many as the blocks.
                        unsafe { hash.add(before[BEFORE - $round / 2], BEFORE - $round / 2) };
                        hash.pin();
                        for register in &mut stream {
                            pin(register);
                        }
                    }
                })*
            };
        }
        hash.open_span(&mut before);
        rounds!(1 2 3 4 5 6 7 8 9 10 11 12 13);
        hash.close(BEFORE);
        let mut cipher = [_mm512_setzero_si512(); N];
        for i in 0..N {
            let key = _mm512_aesenclast_epi128(stream[i], self.keys[ROUNDS]);
            let mask = if i + 1 == N { last } else { u64::MAX };
            // SAFETY: a register lies here, or as much of one as the mask covers.
            let input = unsafe { _mm512_maskz_loadu_epi8(mask, self.at.cast()) };
            let mut output = _mm512_xor_si512(input, key);
            let mut text = if SEAL { _mm512_maskz_mov_epi8(mask, output) } else { input };
            if i == 0 && BEFORE == 0 {
                self.mask = _mm512_castsi512_si128(key);
                output = _mm512_mask_blend_epi64(0b11, output, self.head);
                text = _mm512_mask_blend_epi64(0b11, text, self.associated);
            }
            // SAFETY: as above.
            unsafe { _mm512_mask_storeu_epi8(self.at.cast(), mask, output) };
            cipher[i] = _mm512_shuffle_epi8(text, turn_block);
            self.at = self.at.wrapping_add(WIDE);
        }
        cipher
    }

    /// The last group, with its own ciphertext hashed too.
    ///
    /// # Safety
    /// As `group`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,aes,pclmulqdq")]
    unsafe fn end<const N: usize, const BEFORE: usize>(
        &mut self,
        before: [__m512i; BEFORE],
        hash: &mut Hash<'_>,
        last: u64,
    ) {
        // SAFETY: passed on; the powers are as many as the blocks.
        unsafe {
            let cipher = self.group::<N, BEFORE>(before, hash, last);
            hash.group(cipher);
        }
    }
}
