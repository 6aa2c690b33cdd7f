//! What is installed: interfaces and SAs.
//!
//! The control side changes the `Registry` under its lock; workers read an immutable `Snapshot`, swapped whole, and
//! each interface's outbound SA, swapped by itself.

pub mod interface;
pub mod registry;
pub mod sa;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use sa::Sa;

/// An SA's name (RFC 2367 §2.3.1): SPI, direction and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub spi: u32,
    pub outbound: bool,
    pub destination: IpAddr,
}

/// SAs by SPI.  Several of one SPI differ in their destination.
#[derive(Default)]
pub struct Snapshot {
    pub inbound: HashMap<u32, Vec<Arc<Sa>>, Hasher>,
    pub outbound: HashMap<u32, Vec<Arc<Sa>>, Hasher>,
}

/// Whose SPI was found, but not at this destination.
pub struct WrongDestination;

impl Snapshot {
    pub fn inbound(&self, spi: u32, destination: IpAddr) -> Option<Result<&Arc<Sa>, WrongDestination>> {
        let with_spi = self.inbound.get(&spi)?;
        Some(with_spi.iter().find(|sa| sa.destination == destination).ok_or(WrongDestination))
    }
}

pub type Hasher = std::hash::BuildHasherDefault<SpiHasher>;

/// SPIs of inbound SAs are random numbers of ours; mixing them a little is hash enough.
#[derive(Default)]
pub struct SpiHasher(u64);

impl std::hash::Hasher for SpiHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_u32(u32::from(*octet));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}
