//! The ESP engine: IP packets from TUN interfaces become ESP on the network, and the other way round.
//!
//! `esp` transforms bytes and knows no file, and `simd` helps it to do several packets side by side; `io` is all that
//! speaks to the kernel; `sadb` holds what is installed; `workers` carry packets between the two; `engine` is the
//! control side that Python calls through `python`.  `kem` is apart: a key exchange that iked's library lacks.
#![deny(clippy::unwrap_used, clippy::expect_used)]

pub mod counters;
pub mod engine;
pub mod esp;
pub mod events;
pub mod io;
pub mod kem;
pub mod sadb;
pub mod secret;
pub mod simd;
pub mod workers;

#[cfg(feature = "python")]
mod python;
