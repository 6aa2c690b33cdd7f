//! The Internet checksum (RFC 1071), fast enough for every octet that passes.

use crate::simd::{self, checksum::BLOCK};

/// A ones' complement sum under way.  It adds words in memory order, which the sum does not mind, and turns round
/// at the end only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Add `data`, which begins at an even offset of what is summed; only the last piece may be odd.
    #[must_use]
    pub fn with(self, data: &[u8]) -> Self {
        let (blocks, rest) = data.split_at(data.len() & !(BLOCK - 1));
        self.and(Self(simd::checksum::sum(blocks))).and(Self::of_few(rest))
    }

    /// Copy `from` to `to`, which is as long, and add it on the way, as `with` does.
    #[must_use]
    pub fn with_copy(self, from: &[u8], to: &mut [u8]) -> Self {
        let whole = from.len().min(to.len()) & !(BLOCK - 1);
        let (blocks, rest) = from.split_at(whole);
        let (to_blocks, to_rest) = to.split_at_mut(whole);
        to_rest.copy_from_slice(rest);
        self.and(Self(simd::checksum::copy(blocks, to_blocks))).and(Self::of_few(rest))
    }

    /// Of less than a block.
    fn of_few(data: &[u8]) -> Self {
        let mut words = data.chunks_exact(4);
        let mut sum = 0;
        for word in &mut words {
            sum += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
        let mut last = [0; 4];
        last[..words.remainder().len()].copy_from_slice(words.remainder());
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let folded = |sum: u64| (sum & 0xffff_ffff) + (sum >> 32);
        Self(folded(self.0) + folded(other.0))
    }

    /// Add a number as it stands in a header.
    #[must_use]
    pub fn with_u16(self, value: u16) -> Self {
        Self(self.0 + u64::from(value.to_be()))
    }

    /// The sum itself, not complemented, as it is written in a header.
    pub fn partial(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum as u16).to_ne_bytes()
    }

    /// The checksum as it is written in a header.
    pub fn finish(self) -> [u8; 2] {
        let [a, b] = self.partial();
        [!a, !b]
    }

    /// Whether data that holds its own checksum is sound.
    pub fn is_sound(self) -> bool {
        self.partial() == [0xff, 0xff]
    }
}

/// Change the checksum at the head of `field` for 16 bits that went from `old` to `new` (RFC 1624, equation 3).
pub fn update(field: &mut [u8; 2], old: u16, new: u16) {
    let sum = u32::from(!u16::from_be_bytes(*field)) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    *field = (!(sum as u16)).to_be_bytes();
}
