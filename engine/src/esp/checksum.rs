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
        let mut sum = simd::checksum::sum(blocks) + (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let mut words = rest.chunks_exact(2);
        for word in &mut words {
            sum += u64::from(u16::from_ne_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            sum += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Self(sum)
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
