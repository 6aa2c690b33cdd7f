//! One secN: its switches, its counters and the SA that its packets leave by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwapOption;

use super::sa::Sa;

pub const NO_SLOT: u32 = u32::MAX;

/// Lives as long as the interface is attached or an SA names it.
pub struct Interface {
    pub name: String,
    /// The number by which workers find their queue of it; `NO_SLOT` while it is not attached.
    pub slot: AtomicU32,
    pub running: AtomicBool,
    pub tunneldf: AtomicBool,
    pub mss_clamp: AtomicBool,
    pub mtu: AtomicU32,
    /// The newest outbound SA.
    pub outbound: ArcSwapOption<Sa>,
    pub counters: Counters,
}

#[derive(Default)]
pub struct Counters {
    pub input_packets: AtomicU64,
    pub input_bytes: AtomicU64,
    pub output_packets: AtomicU64,
    pub output_bytes: AtomicU64,
    pub input_errors: AtomicU64,
    pub output_errors: AtomicU64,
}

impl Counters {
    pub fn input(&self, packets: u64, bytes: u64) {
        self.input_packets.fetch_add(packets, Relaxed);
        self.input_bytes.fetch_add(bytes, Relaxed);
    }

    pub fn output(&self, packets: u64, bytes: u64) {
        self.output_packets.fetch_add(packets, Relaxed);
        self.output_bytes.fetch_add(bytes, Relaxed);
    }
}

impl Interface {
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            slot: AtomicU32::new(NO_SLOT),
            running: AtomicBool::new(false),
            tunneldf: AtomicBool::new(false),
            mss_clamp: AtomicBool::new(false),
            mtu: AtomicU32::new(1280),
            outbound: ArcSwapOption::empty(),
            counters: Counters::default(),
        })
    }

    /// Its slot, if it exists and is up.
    pub fn running_slot(&self) -> Option<u32> {
        let slot = self.slot.load(Relaxed);
        (slot != NO_SLOT && self.running.load(Relaxed)).then_some(slot)
    }
}
