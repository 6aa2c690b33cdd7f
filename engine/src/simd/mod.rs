//! Work on several packets side by side, by instructions that the standard library offers only as `unsafe`.
//!
//! Each function here is safe: it asks the processor once, and without the instructions does the same another way.

pub mod checksum;
pub mod gcm;
pub mod sha256;
