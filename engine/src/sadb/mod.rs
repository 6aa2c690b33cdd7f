//! What is installed: interfaces and SAs.
//!
//! The control side changes the `Registry` under its lock; workers look SAs up in the `Table`, whose parts are swapped
//! whole, and each interface's outbound SA, swapped by itself.

pub mod interface;
pub mod registry;
pub mod sa;
pub mod table;

use std::net::IpAddr;

/// An SA's name (RFC 2367 §2.3.1): SPI, direction and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub spi: u32,
    pub outbound: bool,
    pub destination: IpAddr,
}
