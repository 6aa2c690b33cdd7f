//! One SA: what never changes of it, and what every packet changes.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Id;
use super::interface::Interface;
use crate::esp::replay::Window;
use crate::esp::{Transform, UDP_HEADER};
use crate::events::{Kind, Limit};

/// Seconds after which a path MTU learnt is forgotten (RFC 1191 §6.3), and a size refused by UDP_SEGMENT is tried again.
const PMTU_AGE: u64 = 600;
const GSO_RETRY: u64 = 60;

/// An SA where it stands.  Moving it to other addresses makes another of these around the same `state`.
pub struct Sa {
    pub spi: u32,
    pub outbound: bool,
    pub iface: Arc<Interface>,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// UDP ports, ours and the peer's; None for protocol 50.
    pub encap: Option<Ports>,
    pub state: Arc<State>,
    pub path: Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub local: u16,
    pub remote: u16,
}

/// Limits in inner octets and packets; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub soft_bytes: u64,
    pub soft_packets: u64,
    pub hard_bytes: u64,
    pub hard_packets: u64,
}

/// What an SA has done so far.
pub struct State {
    pub transform: Box<dyn Transform>,
    pub esn: bool,
    limits: Limits,
    /// Outbound: the last sequence number given away.
    sequence: AtomicU64,
    /// Inbound.
    window: Mutex<Window>,
    soft_told: AtomicBool,
    dead: AtomicBool,
    pub packets: AtomicU64,
    pub inner_bytes: AtomicU64,
    pub esp_bytes: AtomicU64,
    pub drops: AtomicU64,
    /// Milliseconds of the engine's clock, plus one; 0: never.
    first_use: AtomicU64,
    last_use: AtomicU64,
    /// The peer's address that was last told as a new mapping.
    told_mapping: Mutex<Option<SocketAddr>>,
}

/// What is known of the way to the peer.
#[derive(Default)]
pub struct Path {
    pmtu: AtomicU32,
    pmtu_since: AtomicU64,
    /// Largest ESP packet (UDP payload) that UDP_SEGMENT takes; 0: no limit known.
    gso_limit: AtomicU32,
    gso_since: AtomicU64,
}

/// Packets that may pass, the number of the first, and the lifetime that this use reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Admission {
    pub packets: u64,
    pub first_sequence: u64,
    pub reached: Option<(Kind, Limit)>,
    pub refused: Option<Refusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    HardLifetime,
    SequenceExhausted,
}

impl State {
    pub fn new(transform: Box<dyn Transform>, esn: bool, replay: u32, sequence: u64, limits: Limits) -> Self {
        Self {
            transform,
            esn,
            limits,
            sequence: AtomicU64::new(sequence),
            window: Mutex::new(Window::new(replay, esn, sequence)),
            soft_told: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            packets: AtomicU64::new(0),
            inner_bytes: AtomicU64::new(0),
            esp_bytes: AtomicU64::new(0),
            drops: AtomicU64::new(0),
            first_use: AtomicU64::new(0),
            last_use: AtomicU64::new(0),
            told_mapping: Mutex::new(None),
        }
    }

    /// Whether it has any lifetime in octets or packets.
    pub fn is_limited(&self) -> bool {
        self.limits != Limits::default()
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    pub fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last sequence number that may be sent.
    fn last_sequence(&self) -> u64 {
        if self.esn { u64::MAX - (1 << 32) } else { u64::from(u32::MAX) }
    }

    /// Next sequence number to send, or the highest received.
    pub fn rpl(&self, outbound: bool) -> u64 {
        if outbound {
            self.sequence.load(Relaxed).saturating_add(1).min(self.last_sequence().saturating_add(1))
        } else {
            self.window().top()
        }
    }

    /// Count `packets` packets of `bytes` octets against the lifetimes: how many of them may pass.
    pub fn charge(&self, packets: u64, bytes: u64) -> Admission {
        if self.is_dead() {
            return Admission { refused: Some(Refusal::HardLifetime), ..Admission::default() };
        }
        let before = self.packets.fetch_add(packets, Relaxed);
        let bytes_before = self.inner_bytes.fetch_add(bytes, Relaxed);
        let limits = &self.limits;
        let mut admission = Admission { packets, ..Admission::default() };
        if limits.hard_packets > 0 {
            admission.packets = packets.min(limits.hard_packets.saturating_sub(before));
        }
        if limits.hard_bytes > 0 && bytes_before >= limits.hard_bytes {
            admission.packets = 0;
        }
        if admission.packets < packets {
            admission.refused = Some(Refusal::HardLifetime);
            self.packets.fetch_sub(packets - admission.packets, Relaxed);
            self.inner_bytes.fetch_sub(bytes / packets.max(1) * (packets - admission.packets), Relaxed);
        }
        let (now, bytes_now) = (before + admission.packets, bytes_before + bytes);
        let reached = |bytes: u64, packets: u64| match () {
            () if bytes > 0 && bytes_now >= bytes => Some(Limit::Bytes),
            () if packets > 0 && now >= packets => Some(Limit::Packets),
            () => None,
        };
        if let Some(limit) = reached(limits.hard_bytes, limits.hard_packets) {
            admission.reached = self.kill().then_some((Kind::Hard, limit));
        } else if let Some(limit) = reached(limits.soft_bytes, limits.soft_packets) {
            admission.reached = self.tell_soft().then_some((Kind::Soft, limit));
        }
        admission
    }

    /// As `charge`, and give away that many sequence numbers.  None is ever given twice.  Their end is a hard lifetime
    /// in packets, and a sixteenth before it a soft one.
    pub fn admit(&self, packets: u64, bytes: u64) -> Admission {
        let mut admission = self.charge(packets, bytes);
        if admission.packets == 0 {
            return admission;
        }
        let last = self.last_sequence();
        let before = self.sequence.fetch_add(admission.packets, Relaxed);
        admission.first_sequence = before + 1;
        let left = last.saturating_sub(before);
        if left < admission.packets {
            self.sequence.store(last, Relaxed);
            let refused = admission.packets - left;
            self.packets.fetch_sub(refused, Relaxed);
            self.inner_bytes.fetch_sub(bytes / packets.max(1) * refused, Relaxed);
            admission.packets = left;
            admission.refused = Some(Refusal::SequenceExhausted);
            if self.kill() {
                admission.reached = Some((Kind::Hard, Limit::Packets));
            }
        } else if left - admission.packets < last / 16 && admission.reached.is_none() && self.tell_soft() {
            admission.reached = Some((Kind::Soft, Limit::Packets));
        }
        admission
    }

    /// True the first time.
    fn tell_soft(&self) -> bool {
        !self.soft_told.load(Relaxed) && !self.soft_told.swap(true, Relaxed)
    }

    /// True the first time.
    fn kill(&self) -> bool {
        !self.dead.swap(true, Relaxed)
    }

    pub fn used(&self, esp_bytes: u64, now_ms: u64) {
        self.esp_bytes.fetch_add(esp_bytes, Relaxed);
        if self.first_use.load(Relaxed) == 0 {
            self.first_use.store(now_ms + 1, Relaxed);
        }
        self.last_use.store(now_ms + 1, Relaxed);
    }

    pub fn first_use(&self) -> Option<u64> {
        self.first_use.load(Relaxed).checked_sub(1)
    }

    pub fn last_use(&self) -> Option<u64> {
        self.last_use.load(Relaxed).checked_sub(1)
    }

    /// Whether `remote` is news.
    pub fn is_new_mapping(&self, remote: SocketAddr) -> bool {
        let mut told = self.told_mapping.lock().unwrap_or_else(PoisonError::into_inner);
        let new = *told != Some(remote);
        *told = Some(remote);
        new
    }

    /// The SA was moved: whatever comes from elsewhere now is news again.
    pub fn forget_mapping(&self) {
        *self.told_mapping.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Sa {
    pub fn id(&self) -> Id {
        Id { spi: self.spi, outbound: self.outbound, destination: self.destination }
    }

    /// Octets in front of ESP outside.
    pub fn outer_headers(&self) -> usize {
        let ip = if self.destination.is_ipv4() { 20 } else { 40 };
        ip + if self.encap.is_some() { UDP_HEADER } else { 0 }
    }

    /// Octets outside of a packet of `inner` octets.
    pub fn outer_len(&self, inner: usize) -> usize {
        self.outer_headers() + self.state.transform.shape().sealed_len(inner)
    }

    /// Octets of inner packet that fit into the path MTU learnt; None when none is.
    pub fn inner_mtu(&self, now_ms: u64) -> Option<usize> {
        let pmtu = self.path.pmtu(now_ms)? as usize;
        Some(self.state.transform.shape().inner_len(pmtu.saturating_sub(self.outer_headers())))
    }
}

impl Path {
    pub fn pmtu(&self, now_ms: u64) -> Option<u32> {
        match self.pmtu.load(Relaxed) {
            0 => None,
            _ if now_ms.saturating_sub(self.pmtu_since.load(Relaxed)) > PMTU_AGE * 1000 => {
                self.pmtu.store(0, Relaxed);
                None
            }
            pmtu => Some(pmtu),
        }
    }

    /// Lower the path MTU; false when it was that low already.
    pub fn lower_pmtu(&self, mtu: u32, now_ms: u64) -> bool {
        if self.pmtu(now_ms).is_some_and(|pmtu| pmtu <= mtu) {
            return false;
        }
        self.pmtu_since.store(now_ms, Relaxed);
        self.pmtu.store(mtu, Relaxed);
        true
    }

    /// Whether UDP_SEGMENT may be tried for datagrams of `size` octets.
    pub fn may_segment(&self, size: usize, now_ms: u64) -> bool {
        match self.gso_limit.load(Relaxed) as usize {
            0 => true,
            limit if size <= limit => true,
            _ if now_ms.saturating_sub(self.gso_since.load(Relaxed)) > GSO_RETRY * 1000 => {
                self.gso_limit.store(0, Relaxed);
                true
            }
            _ => false,
        }
    }

    /// UDP_SEGMENT was refused for datagrams of `size` octets.
    pub fn lower_segment(&self, size: usize, now_ms: u64) {
        self.gso_since.store(now_ms, Relaxed);
        self.gso_limit.store(size as u32 - 1, Relaxed);
    }
}
