//! GHASH's field (NIST SP 800-38D §6.3), as POLYVAL has it (RFC 8452 §3): blocks with their octets turned round, and
//! products that are divided by x^128, which is what a reduction from below gives.

use std::arch::asm;
use std::arch::x86_64::*;

/// Powers of the hash key kept: so many blocks are multiplied and summed up before they are reduced.  A multiple of a
/// group's sixteen.
pub const BLOCKS: usize = 48;
/// One more, for the block of lengths; and three places that a register reads beyond the last.
const PLACES: usize = BLOCKS + 1 + 3;

/// The powers of the hash key, highest first, and the sum of each one's halves (Karatsuba).
#[repr(C, align(64))]
pub struct Powers {
    powers: [[u64; 2]; PLACES],
    sums: [[u64; 2]; PLACES],
}

impl Powers {
    /// From the encrypted block of zeros.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq")]
    pub fn new(key: __m128i) -> Self {
        let key = times_x(turn(key));
        let mut this = Self { powers: [[0; 2]; PLACES], sums: [[0; 2]; PLACES] };
        let mut power = key;
        for place in (0..=BLOCKS).rev() {
            let [low, high] = halves(power);
            this.powers[place] = [low, high];
            this.sums[place] = [low ^ high; 2];
            power = multiply(power, key);
        }
        this
    }

    /// Where the powers from `exponent` downwards are; it is at most `BLOCKS` + 1.
    fn from(&self, exponent: usize) -> *const u8 {
        (&raw const *self).cast::<u8>().wrapping_add((BLOCKS + 1 - exponent) * 16)
    }
}

/// Products that are not yet reduced.
#[derive(Clone, Copy)]
struct Sum {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: zero, middle: zero, high: zero }
    }

    /// Add four blocks times the four powers at `powers`.
    ///
    /// # Safety
    /// `powers` is a place in the table of a `Powers` with four powers from it on, the three places behind the lowest
    /// one included.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn add(&mut self, blocks: __m512i, powers: *const u8) {
        // SAFETY: by the caller's promise both places are within the tables.
        let (power, sum) = unsafe {
            (_mm512_loadu_si512(powers.cast()), _mm512_loadu_si512(powers.add(size_of::<[[u64; 2]; PLACES]>()).cast()))
        };
        let halves = _mm512_xor_si512(blocks, _mm512_shuffle_epi32(blocks, SWAP));
        self.low = _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128(blocks, power, 0x00));
        self.high = _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128(blocks, power, 0x11));
        self.middle = _mm512_xor_si512(self.middle, _mm512_clmulepi64_epi128(halves, sum, 0x00));
    }

    /// The sum as one block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,vpclmulqdq")]
    fn reduce(self) -> __m128i {
        let Self { low, middle, high } = self;
        let polynomial = _mm512_set1_epi64(POLYNOMIAL);
        let middle = _mm512_xor_si512(middle, _mm512_xor_si512(low, high));
        let first = _mm512_clmulepi64_epi128(low, polynomial, 0x00);
        let middle = _mm512_xor_si512(middle, _mm512_xor_si512(first, _mm512_shuffle_epi32(low, SWAP)));
        let second = _mm512_clmulepi64_epi128(middle, polynomial, 0x00);
        let sum = _mm512_xor_si512(high, _mm512_xor_si512(second, _mm512_shuffle_epi32(middle, SWAP)));
        let sum = _mm256_xor_si256(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
        _mm_xor_si128(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1))
    }
}

/// GHASH of one message under way: groups of whole registers come from the first to the last.
pub struct Hash<'a> {
    powers: &'a Powers,
    sum: Sum,
    /// Where the power for the next group's first block is.
    at: *const u8,
    /// Blocks of this span and of those behind it.
    blocks: usize,
}

impl<'a> Hash<'a> {
    /// Of so many blocks; the one of lengths is not counted.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn new(powers: &'a Powers, blocks: usize) -> Self {
        let highest = if blocks > BLOCKS { BLOCKS } else { blocks + 1 };
        Self { powers, sum: Sum::new(), at: powers.from(highest), blocks }
    }

    /// Before a group is added: where the powers are at their end they begin anew, and what was summed up goes into
    /// the group's first block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,vpclmulqdq")]
    pub fn open_span<const N: usize>(&mut self, group: &mut [__m512i; N]) {
        if N > 0 && self.at == self.powers.from(0) {
            group[0] = _mm512_xor_si512(group[0], _mm512_zextsi128_si512(self.sum.reduce()));
            *self = Self::new(self.powers, self.blocks - BLOCKS);
        }
    }

    /// Add register `i` of the group.
    ///
    /// # Safety
    /// The message has this register, and all groups but its last are of four registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    pub unsafe fn add(&mut self, register: __m512i, i: usize) {
        // SAFETY: the powers of this span are not at their end, and three places are behind them.
        unsafe { self.sum.add(register, self.at.add(i * 64)) };
    }

    /// What has been added is added here, before what follows in the program.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn pin(&mut self) {
        pin(&mut self.sum.low);
        pin(&mut self.sum.middle);
        pin(&mut self.sum.high);
    }

    /// Add a whole group at once.
    ///
    /// # Safety
    /// As `add`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq")]
    pub unsafe fn group<const N: usize>(&mut self, mut group: [__m512i; N]) {
        self.open_span(&mut group);
        for (i, register) in group.into_iter().enumerate() {
            // SAFETY: passed on.
            unsafe { self.add(register, i) };
        }
        self.close(N);
    }

    /// The group of so many registers is over.
    #[inline]
    pub fn close(&mut self, registers: usize) {
        self.at = self.at.wrapping_add(registers * 64);
    }

    /// The hash, with the block of lengths.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq")]
    pub fn end(mut self, lengths: __m128i) -> __m128i {
        // SAFETY: the lowest power has three places behind it.
        unsafe { self.sum.add(_mm512_zextsi128_si512(lengths), self.powers.from(1)) };
        self.sum.reduce()
    }
}

/// Swaps the halves of each block.
const SWAP: i32 = 0b01_00_11_10;
/// x^63 + x^62 + x^57: what of the field's polynomial lies between its lowest and its highest term, over x^64.
const POLYNOMIAL: i64 = 0xc2 << 56;

/// The value is computed here: the compiler moves no part of it before or behind another `pin`.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn pin(value: &mut __m512i) {
    // SAFETY: there is no instruction.
    unsafe { asm!("/* {0} */", inout(zmm_reg) * value, options(nomem, nostack, preserves_flags)) }
}

/// A block with its octets the other way round.
#[inline]
#[target_feature(enable = "ssse3")]
pub fn turn(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
}

#[target_feature(enable = "sse2")]
fn halves(block: __m128i) -> [u64; 2] {
    [_mm_cvtsi128_si64(block) as u64, _mm_cvtsi128_si64(_mm_unpackhi_epi64(block, block)) as u64]
}

/// Times x (RFC 8452, appendix A: mulX_POLYVAL), without a branch on the secret.
#[target_feature(enable = "sse2")]
fn times_x(block: __m128i) -> __m128i {
    let [low, high] = halves(block);
    let carry = 0_u64.wrapping_sub(high >> 63);
    let (low, high) = ((low << 1) ^ (carry & 1), ((high << 1) | (low >> 63)) ^ (carry & POLYNOMIAL as u64));
    _mm_set_epi64x(high as i64, low as i64)
}

/// A product, reduced.
#[target_feature(enable = "avx512f,avx512vl,vpclmulqdq,pclmulqdq")]
fn multiply(a: __m128i, b: __m128i) -> __m128i {
    let cross = _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01), _mm_clmulepi64_si128(a, b, 0x10));
    let (low, high) = (_mm_clmulepi64_si128(a, b, 0x00), _mm_clmulepi64_si128(a, b, 0x11));
    let middle = _mm_xor_si128(cross, _mm_xor_si128(low, high));
    Sum { low: _mm512_zextsi128_si512(low), middle: _mm512_zextsi128_si512(middle), high: _mm512_zextsi128_si512(high) }
        .reduce()
}
