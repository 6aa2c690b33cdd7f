//! AES-GCM (NIST SP 800-38D) of packets: 16 octets that are not encrypted, the text, 16 octets of tag.
//!
//! A text is decrypted while it is verified, in one pass, as `ring` does it; zeros are left of a forged one.
//!
//! Only with AVX-512, VAES and VPCLMULQDQ; `Key::new` gives None without, for `ring` does well enough there.
#![allow(clippy::incompatible_msrv)] // build.rs leaves out what is younger than the oldest Rust

#[cfg(has_avx512)]
mod field;
#[cfg(has_avx512)]
mod key;
#[cfg(has_avx512)]
mod stream;

#[cfg(has_avx512)]
pub use key::Key;
#[cfg(not(has_avx512))]
pub use never::Key;

/// Octets in front of the text.
pub const HEAD: usize = 16;
/// Octets of tag.
pub const TAG: usize = 16;
/// Octets of text that a packet may have: 2^16 blocks, so that the counter, which begins anew in each packet and has 32
/// bits, cannot come round.  What is longer is neither sealed nor opened.
pub const LIMIT: usize = 1 << 20;

/// Packets under one key, one after the other.
pub trait Run {
    /// The next packet, with all its octets, and what stands around its text.
    fn next(&mut self) -> Option<(Around, &mut [u8])>;

    /// What came of it: whether its tag was right, or could be written.
    fn verdict(&mut self, right: bool);
}

/// What stands around a text, in words as memory has them: they stay in registers, for octets that were just written in
/// pieces could be read as a whole only once the pieces have left the processor.
#[derive(Clone, Copy)]
pub struct Around {
    /// The 16 octets in front of the text, as they are sent.
    pub head: [u64; 2],
    pub salt: u32,
    pub iv: u64,
    /// The associated data, zeros behind it.
    pub associated: [u64; 2],
    /// Octets of associated data, at most 16.
    pub associated_len: usize,
}

#[cfg(not(has_avx512))]
mod never {
    use super::Run;

    /// There is none.
    pub enum Key {}

    impl Key {
        pub fn new(_: &[u8]) -> Option<Self> {
            None
        }

        pub fn seal(&self, _: &mut impl Run) {
            match *self {}
        }

        pub fn open(&self, _: &mut impl Run) {
            match *self {}
        }
    }
}
