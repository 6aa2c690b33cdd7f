//! From a TUN queue to the network: read, segment, encapsulate, seal, send.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::mailbox::Queue;
use super::outbox::{Exit, Outbox, Patience, Terms};
use super::pmtu::{self, Relay};
use crate::counters::{Counter, Shard};
use crate::esp::segment::Plan;
use crate::esp::vnet::{self, Header};
use crate::esp::{ecn, frame, mss};
use crate::events::Event;
use crate::io::steer;
use crate::sadb::sa::{Refusal, Sa};

/// Reads from one interface, and octets, before the next has its turn.
pub const TURN: usize = 64;
const TURN_OCTETS: usize = 512 << 10;
/// Octets that make a packet one of a bulk transfer.
const BULK: usize = 16 << 10;
/// Trains under way at most: the more there are, the smaller they are.
const OUTBOXES: usize = 8;
/// A vnet header in front of the largest IP packet.
const BUFFER: usize = vnet::LEN + 65_536;

pub struct Outbound {
    buffer: Box<[u8]>,
    outboxes: Outboxes,
    patience: Patience,
    relay: Relay,
    /// Whether the last packet read was a super-packet.
    bulk: bool,
    /// Whether it was alone in its queue.
    lone: bool,
}

/// Trains under way, side by side: one for each worker of a peer like us.
struct Outboxes(Vec<Outbox>);

impl Outboxes {
    fn of(&mut self, sa: &Sa, workers: usize) -> &mut Outbox {
        let index = steer::worker_of(sa.spi, workers) % self.0.len();
        &mut self.0[index]
    }
}

impl Outbound {
    pub fn new(workers: usize) -> Self {
        let outboxes = (0..workers.clamp(1, OUTBOXES)).map(|_| Outbox::new()).collect();
        Self {
            buffer: vec![0; BUFFER].into(),
            outboxes: Outboxes(outboxes),
            patience: Patience::default(),
            relay: Relay::default(),
            bulk: false,
            lone: true,
        }
    }

    /// Whether the last packet was one of a bulk transfer.
    pub fn is_bulk(&self) -> bool {
        self.bulk
    }

    /// Whether the last packet was alone in its queue.
    pub fn is_lone(&self) -> bool {
        self.lone
    }

    /// Carry what waits in `queue`, up to `turn` reads, except for what `flush` is to send; false when its device is
    /// gone.
    pub fn drain(&mut self, exit: &Exit<'_>, queue: &Queue, turn: usize) -> bool {
        // Looked up once a turn, as sec(4)'s drain task does: an SA that is replaced meanwhile is still good.
        let sa = queue.iface.outbound.load_full();
        let usable = sa.as_ref().filter(|sa| exit.socket(sa).is_some());
        let mut octets = 0;
        for nth in 0..turn {
            match queue.tun.read(&mut self.buffer) {
                Ok(len) => {
                    match usable {
                        Some(sa) => self.packet(exit, sa, queue, len),
                        None => drop_without_sa(exit.counters, queue, sa.is_some()),
                    }
                    octets += len;
                    self.bulk = len >= BULK;
                    self.lone = nth == 0;
                    if octets >= TURN_OCTETS {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) if error.raw_os_error() == Some(libc::EBADFD) => return false,
                Err(_) => exit.counters.add(Counter::InnerMalformed, 1), // what the kernel could not describe to us
            }
        }
        self.send(exit); // there is more: what others have left in the outboxes does not wait for the end of it
        true
    }

    /// Send what waits; the end of a round, or of a part of it.
    pub fn flush(&mut self, exit: &Exit<'_>) {
        self.send(exit);
        self.patience = Patience::default();
    }

    fn send(&mut self, exit: &Exit<'_>) {
        for outbox in &mut self.outboxes.0 {
            outbox.flush(exit, &mut self.patience);
        }
    }

    fn packet(&mut self, exit: &Exit<'_>, sa: &Arc<Sa>, queue: &Queue, len: usize) {
        let iface = &queue.iface;
        let Some((header, packet)) = self.buffer[..len].split_first_chunk_mut::<{ vnet::LEN }>() else { return };
        let header = Header::read(header);
        let Some(plan) = Plan::new(&header, packet) else {
            drop_packets(exit.counters, Counter::InnerMalformed, sa, 1);
            return;
        };
        if iface.running_slot().is_none() {
            drop_packets(exit.counters, Counter::NotRunning, sa, plan.count() as u64);
            return;
        }
        if iface.mss_clamp.load(Relaxed) {
            let mtu = sa.inner_mtu(exit.now_ms).unwrap_or(usize::MAX).min(iface.mtu.load(Relaxed) as usize);
            mss::clamp(packet, &plan.ip, mtu, header.flags & vnet::NEEDS_CSUM != 0);
        }
        let mut dont_fragment = iface.tunneldf.load(Relaxed);
        let exceeded = || sa.inner_mtu(exit.now_ms).filter(|mtu| plan.largest() > *mtu);
        if let Some(mtu) = exceeded().filter(|_| dont_fragment) {
            if !pmtu::may_fragment(&plan.ip, plan.largest()) {
                drop_packets(exit.counters, Counter::TooBig, sa, plan.count() as u64);
                self.relay.answer(exit.counters, &queue.tun, packet, &plan.ip, mtu, exit.now_ms);
                return;
            }
            dont_fragment = false;
        }
        let workers = exit.shared.workers;
        let terms = Terms::new(sa, ecn::outer(plan.ip.tos), dont_fragment, workers);
        seal((self.outboxes.of(sa, workers), &mut self.patience), exit, sa, &plan, packet, &terms);
        if dont_fragment && plan.is_super() {
            // Just now it turned out too big for this host's own way out: its sender need not wait to find out.
            if let Some(mtu) = exceeded() {
                self.relay.answer(exit.counters, &queue.tun, packet, &plan.ip, mtu, exit.now_ms);
            }
        }
    }
}

/// Seal the packets of `plan` into the outbox, and send it where a batch ends.
fn seal(
    (outbox, patience): (&mut Outbox, &mut Patience),
    exit: &Exit<'_>,
    sa: &Arc<Sa>,
    plan: &Plan,
    packet: &[u8],
    terms: &Terms,
) {
    let state = &sa.state;
    let (transform, shape) = (&*state.transform, state.transform.shape());
    let admission = state.admit(plan.count() as u64, plan.span(0, plan.count()) as u64);
    if let Some((kind, limit)) = admission.reached {
        let event = Event::Expire { spi: sa.spi, outbound: true, destination: sa.destination, kind, limit };
        exit.shared.tell(exit.counters, event);
    }
    if let Some(refusal) = admission.refused {
        let counter = match refusal {
            Refusal::HardLifetime => Counter::HardLifetime,
            Refusal::SequenceExhausted => Counter::SeqExhausted,
        };
        drop_packets(exit.counters, counter, sa, plan.count() as u64 - admission.packets);
    }
    let admitted = admission.packets as usize;
    let stride = shape.sealed_len(plan.largest());
    if plan.is_super() && outbox.ends_with_another(sa) {
        outbox.flush(exit, patience); // one that fits into a train goes in one
    }
    let mut done = 0;
    while done < admitted {
        let mut room = outbox.room(terms, stride);
        if room == 0 {
            outbox.flush(exit, patience);
            room = outbox.room(terms, stride);
        }
        let count = room.min(admitted - done);
        let last = shape.sealed_len(plan.len(done + count - 1));
        let octets = (count - 1) * stride + last;
        let out = outbox.add(sa, terms, stride, count, octets, plan.span(done, count) as u64);
        let first = admission.first_sequence + done as u64;
        for (i, esp) in out.chunks_mut(stride).enumerate() {
            let len = plan.len(done + i);
            plan.write(done + i, packet, &mut esp[shape.before()..shape.before() + len]);
            frame::write(shape, sa.spi, first + i as u64, len, esp);
        }
        transform.seal_run(first, stride, out);
        done += count;
    }
    if plan.is_super() && !outbox.is_rest() {
        outbox.flush(exit, patience);
    }
}

fn drop_without_sa(counters: &Shard, queue: &Queue, has_sa: bool) {
    // With an SA it is the socket that is missing: no IPv6, or no CAP_NET_RAW.
    counters.add(if has_sa { Counter::Send } else { Counter::NoSa }, 1);
    queue.iface.counters.output_errors.fetch_add(1, Relaxed);
}

fn drop_packets(counters: &Shard, counter: Counter, sa: &Sa, packets: u64) {
    counters.add(counter, packets);
    sa.state.drops.fetch_add(packets, Relaxed);
    sa.iface.counters.output_errors.fetch_add(packets, Relaxed);
}
