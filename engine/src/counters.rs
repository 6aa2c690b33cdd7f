//! Named counters, one set for each worker so that counting never shares a cache line.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($variant:ident $name:literal $meaning:literal)*) => {
        /// Everything that is counted for the whole engine.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter { $(#[doc = $meaning] $variant),* }

        /// Names as they are printed, in the order of [`Counter`].
        pub const NAMES: &[&str] = &[$($name),*];
    };
}

counters! {
    NoSa "drop_no_sa" "An inner packet for an interface without an outbound SA."
    NotRunning "drop_not_running" "A packet for or from an interface that is not up."
    InnerMalformed "drop_inner_malformed" "An inner packet to send that is no sound IPv4 or IPv6 packet."
    TooBig "drop_too_big" "An inner packet that must not be fragmented and exceeds the path MTU learnt."
    SeqExhausted "drop_seq_exhausted" "A packet to send after the SA's last sequence number."
    HardLifetime "drop_hard_lifetime" "A packet of an SA whose hard lifetime in bytes or packets is over."
    Send "drop_send" "An ESP packet that the kernel refused to send."
    UnknownSpi "drop_unknown_spi" "ESP for an SPI that no inbound SA has."
    WrongDestination "drop_wrong_destination" "ESP for a known SPI at an outer address that is not the SA's."
    WrongEncap "drop_wrong_encap" "Plain ESP for an SA with udpencap, or the other way round."
    Replay "drop_replay" "ESP with a sequence number seen before or older than the replay window."
    Auth "drop_auth" "ESP whose integrity check failed."
    Malformed "drop_malformed" "A datagram too short or misshapen to be ESP or IKE, or with a broken trailer."
    InnerProtocol "drop_inner_protocol" "A decrypted packet that is neither IPv4 nor IPv6."
    Ecn "drop_ecn" "An inner packet that is not ECN-capable inside an outer one marked CE (RFC 6040 §4.2)."
    TunWrite "drop_tun_write" "A decrypted packet that the interface did not take."
    IkeQueue "drop_ike_queue" "An IKE datagram that found the event queue full."
    Event "drop_event" "Another event that found the event queue full."
    TfcDummies "tfc_dummies" "TFC dummy packets received (next header 59), dropped as they must be."
    Keepalives "keepalives" "NAT keepalives received."
    IkeReceived "ike_received" "IKE datagrams received."
    IkeSent "ike_sent" "IKE datagrams sent."
    Handover "other_worker" "ESP packets in UDP whose SA is steered to another worker."
    PmtuLowered "pmtu_lowered" "Answers `too big` from outside that lowered an SA's path MTU."
    PmtuIgnored "pmtu_ignored" "Answers `too big` that named no SPI of ours, or a size below the floor."
    PmtuRelayed "pmtu_relayed" "ICMP `too big` sent into a tunnel."
    GsoRefused "gso_refused" "Sends with UDP_SEGMENT that were too big for the path and went out one by one."
}

const COUNT: usize = NAMES.len();

/// One worker's counters.
#[repr(align(128))]
pub struct Shard([AtomicU64; COUNT]);

impl Shard {
    pub fn add(&self, counter: Counter, amount: u64) {
        self.0[counter as usize].fetch_add(amount, Relaxed);
    }
}

/// The counters of all workers, and one set more for the control side.
pub struct Counters(Box<[Shard]>);

impl Counters {
    pub fn new(workers: usize) -> Self {
        Self((0..=workers).map(|_| Shard([const { AtomicU64::new(0) }; COUNT])).collect())
    }

    pub fn worker(&self, index: usize) -> &Shard {
        &self.0[index.min(self.0.len() - 1)]
    }

    /// The set of whoever is no worker.
    pub fn control(&self) -> &Shard {
        &self.0[self.0.len() - 1]
    }

    pub fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().enumerate().map(|(i, name)| (*name, self.0.iter().map(|shard| shard.0[i].load(Relaxed)).sum()))
    }
}
