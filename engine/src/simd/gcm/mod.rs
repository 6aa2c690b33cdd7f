//! AES-GCM (NIST SP 800-38D) of packets: 16 octets that are not encrypted, the text, 16 octets of tag.
//!
//! Only with AVX-512, VAES and VPCLMULQDQ; `Key::new` gives None without, for `ring` does well enough there.
#![allow(clippy::incompatible_msrv)] // build.rs leaves out what is younger than the oldest Rust

#[cfg(has_avx512)]
mod avx512;
#[cfg(has_avx512)]
mod field;

#[cfg(has_avx512)]
pub use avx512::Key;
#[cfg(not(has_avx512))]
pub use never::Key;

/// Octets in front of the text.
pub const HEAD: usize = 16;
/// Octets of tag.
pub const TAG: usize = 16;
/// Octets of text that a packet may have: far fewer blocks than the 2^32 at which the counter would come round.
pub const LIMIT: usize = 1 << 20;

/// What stands around a text.  All of it in words as memory has them: what was written in pieces and is read as a
/// whole at once would have to wait until the pieces have left the processor.
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
    use super::Around;

    /// There is none.
    pub enum Key {}

    impl Key {
        pub fn new(_: &[u8]) -> Option<Self> {
            None
        }

        pub fn seal(&self, _: &Around, _: &mut [u8]) {
            match *self {}
        }

        pub fn open(&self, _: &Around, _: &mut [u8]) -> bool {
            match *self {}
        }
    }
}
