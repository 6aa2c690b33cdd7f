//! SAs by SPI, as workers look them up: a change touches the few SAs of one shard, however many there are.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::sa::Sa;

/// A power of two: with the most SAs that the database takes, a shard has eight each way.
const SHARDS: usize = 1 << 12;

/// SAs of one direction.  Several of one SPI differ in their destination.
pub struct Side(Box<[ArcSwapOption<Vec<Arc<Sa>>>]>);

/// Every SA.  The control side changes it, under a lock of its own; workers only look.
#[derive(Default)]
pub struct Table {
    inbound: Side,
    outbound: Side,
}

/// Whose SPI was found, but not at this destination.
pub struct WrongDestination;

impl Default for Side {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| ArcSwapOption::empty()).collect())
    }
}

impl Side {
    fn shard(&self, spi: u32) -> &ArcSwapOption<Vec<Arc<Sa>>> {
        // SPIs of ours are random; a peer's may all differ in their upper half only.
        &self.0[(spi.wrapping_mul(0x9e37_79b1) >> 20) as usize & (SHARDS - 1)]
    }

    pub fn find(&self, spi: u32, destination: IpAddr) -> Option<Result<Arc<Sa>, WrongDestination>> {
        let shard = self.shard(spi).load();
        let mut with_spi = shard.as_deref()?.iter().filter(|sa| sa.spi == spi).peekable();
        with_spi.peek()?;
        Some(with_spi.find(|sa| sa.destination == destination).cloned().ok_or(WrongDestination))
    }

    /// Put `sa` in the place of the one of `spi` to `destination`, if there is one; None takes that one away.
    fn replace(&self, spi: u32, destination: IpAddr, sa: Option<Arc<Sa>>) {
        let shard = self.shard(spi);
        let others = shard.load();
        let others = others.as_deref().map_or(&[][..], Vec::as_slice).iter();
        let kept = others.filter(|other| other.spi != spi || other.destination != destination).cloned();
        let now: Vec<_> = kept.chain(sa).collect();
        shard.store((!now.is_empty()).then(|| Arc::new(now)));
    }
}

impl Table {
    pub fn inbound(&self) -> &Side {
        &self.inbound
    }

    pub fn outbound(&self) -> &Side {
        &self.outbound
    }

    pub fn put(&self, sa: Arc<Sa>) {
        self.side(sa.outbound).replace(sa.spi, sa.destination, Some(sa));
    }

    pub fn take(&self, sa: &Sa) {
        self.side(sa.outbound).replace(sa.spi, sa.destination, None);
    }

    fn side(&self, outbound: bool) -> &Side {
        if outbound { &self.outbound } else { &self.inbound }
    }
}
