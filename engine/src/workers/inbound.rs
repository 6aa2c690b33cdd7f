//! From the network to TUN queues: receive, classify, verify, decrypt, decapsulate.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Shared;
use super::deliver::Delivery;
use super::mailbox::Queue;
use super::network::Port;
use crate::counters::{Counter, Shard};
use crate::esp::classify::{self, Class};
use crate::esp::frame::Content;
use crate::esp::{ecn, frame, inner, mss};
use crate::events::Event;
use crate::io::receive::{Datagram, Receiver};
use crate::io::socket::Socket;
use crate::io::steer;
use crate::sadb::Snapshot;
use crate::sadb::sa::Sa;

/// Batches from one socket before the next has its turn.
const TURN: usize = 2;
/// Octets of a train that goes to its interface by itself: what is decrypted is then still near.
const TRAIN: usize = 16 << 10;
/// Octets of an IKE header (RFC 7296 §3.1): what is shorter is no IKE.
const IKE_HEADER: usize = 28;

pub struct Inbound {
    receiver: Receiver,
    delivery: Delivery,
}

/// What all packets of a batch are handled with.
struct Context<'a> {
    shared: &'a Shared,
    counters: &'a Shard,
    snapshot: &'a Snapshot,
    worker: usize,
    queues: &'a [Option<Queue>],
    now_ms: u64,
}

/// One packet's outside.
struct Outside {
    remote: SocketAddr,
    local: IpAddr,
    tos: u8,
    udp: bool,
}

impl Inbound {
    pub fn new() -> Self {
        Self { receiver: Receiver::new(), delivery: Delivery::new() }
    }

    /// Carry what waits in `socket`, whose UDP port is `number`.
    pub fn drain(
        &mut self,
        shared: &Shared,
        worker: usize,
        port: Port,
        socket: &Socket,
        number: u16,
        queues: &[Option<Queue>],
    ) {
        let counters = shared.counters.worker(worker);
        for _ in 0..TURN {
            let got = match self.receiver.receive(socket) {
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => continue, // an ICMP error about a packet sent; its turn is the error queue's
            };
            let snapshot = shared.snapshot.load();
            let context = Context { shared, counters, snapshot: &snapshot, worker, queues, now_ms: shared.now_ms() };
            for i in 0..got {
                match self.receiver.datagram(i) {
                    Some(datagram) => {
                        self.datagram(&context, port, number, &datagram);
                        if datagram.place.len() >= TRAIN {
                            self.delivery.flush(counters, self.receiver.arena(), queues);
                        }
                    }
                    None => counters.add(Counter::Malformed, 1),
                }
            }
            self.delivery.flush(counters, self.receiver.arena(), queues);
        }
    }

    fn datagram(&mut self, context: &Context<'_>, port: Port, number: u16, datagram: &Datagram) {
        let udp = !matches!(port, Port::Raw4 | Port::Raw6);
        let outside = Outside { remote: datagram.remote, local: datagram.local, tos: datagram.tos, udp };
        let end = datagram.place.end;
        if datagram.place.is_empty() {
            return context.counters.add(Counter::Malformed, 1);
        }
        match port {
            Port::Ike4 | Port::Ike6 => self.ike(context, number, &outside, datagram.place.clone()),
            Port::Raw4 | Port::Raw6 => {
                let first = self.receiver.arena()[datagram.place.start];
                let skip = if port == Port::Raw4 { usize::from(first & 15) * 4 } else { 0 };
                let place = (datagram.place.start + skip).min(end)..end;
                let class = classify::esp(&self.receiver.arena()[place.clone()]);
                self.esp(context, &outside, class, place);
            }
            _ => {
                for start in datagram.place.clone().step_by(datagram.segment) {
                    let place = start..(start + datagram.segment).min(end);
                    match classify::classify(&self.receiver.arena()[place.clone()]) {
                        Class::Keepalive => context.counters.add(Counter::Keepalives, 1),
                        Class::Ike => self.ike(context, number, &outside, place.start + 4..place.end),
                        class => self.esp(context, &outside, class, place),
                    }
                }
            }
        }
    }

    fn ike(&mut self, context: &Context<'_>, number: u16, outside: &Outside, place: Range<usize>) {
        let data = &self.receiver.arena()[place];
        if data == [0xff] {
            return context.counters.add(Counter::Keepalives, 1);
        }
        if data.len() < IKE_HEADER {
            return context.counters.add(Counter::Malformed, 1);
        }
        context.counters.add(Counter::IkeReceived, 1);
        let local = SocketAddr::new(outside.local, number);
        if !context.shared.events.push(Event::Ike { local, remote: outside.remote, data: data.to_vec() }) {
            context.counters.add(Counter::IkeQueue, 1);
        }
    }

    fn esp(&mut self, context: &Context<'_>, outside: &Outside, class: Class, place: Range<usize>) {
        let Class::Esp { spi, sequence } = class else {
            return context.counters.add(Counter::Malformed, 1);
        };
        let sa = match context.snapshot.inbound(spi, outside.local) {
            Some(Ok(sa)) => sa,
            Some(Err(_)) => return context.counters.add(Counter::WrongDestination, 1),
            None => return context.counters.add(Counter::UnknownSpi, 1),
        };
        match self.open(context, outside, sa, sequence, place.clone()) {
            Ok(slot) => self.accept(context, outside, sa, place, slot),
            Err(counter) => refuse(context, sa, counter),
        }
    }

    /// Verify and decrypt in place; the slot of the interface, or the reason to drop.
    fn open(
        &mut self,
        context: &Context<'_>,
        outside: &Outside,
        sa: &Sa,
        sequence: u32,
        place: Range<usize>,
    ) -> Result<u32, Counter> {
        let state = &sa.state;
        if sa.encap.is_some() != outside.udp {
            return Err(Counter::WrongEncap);
        }
        let slot = sa.iface.running_slot().ok_or(Counter::NotRunning)?;
        if state.is_dead() {
            return Err(Counter::HardLifetime);
        }
        if steer::worker_of(sa.spi, context.shared.workers) != context.worker {
            context.counters.add(Counter::Handover, 1);
        }
        // Twice locked, so that two workers with packets of one SA decrypt side by side.
        let sequence = state.window().check(sequence).map_err(|_| Counter::Replay)?;
        state.transform.open(sequence, &mut self.receiver.arena()[place]).map_err(|_| Counter::Auth)?;
        let newest = state.window().commit(sequence).map_err(|_| Counter::Replay)?;
        if newest {
            tell_mapping(context, outside, sa);
        }
        Ok(slot)
    }

    /// Take an authentic packet in.
    fn accept(&mut self, context: &Context<'_>, outside: &Outside, sa: &Arc<Sa>, place: Range<usize>, slot: u32) {
        let state = &sa.state;
        let esp_bytes = (place.len() + sa.outer_headers()) as u64;
        let arena = self.receiver.arena();
        let inner_place = match frame::read(state.transform.shape(), &arena[place.clone()]) {
            Content::Packet(inner) => place.start + inner.start..place.start + inner.end,
            Content::Dummy => {
                state.used(esp_bytes, context.now_ms);
                return context.counters.add(Counter::TfcDummies, 1);
            }
            Content::Foreign => return refuse(context, sa, Counter::InnerProtocol),
            Content::Malformed => return refuse(context, sa, Counter::Malformed),
        };
        let packet = &mut arena[inner_place.clone()];
        let Some(mut ip) = inner::parse(packet) else { return refuse(context, sa, Counter::Malformed) };
        let admission = state.charge(1, packet.len() as u64);
        if let Some((kind, limit)) = admission.reached {
            let event = Event::Expire { spi: sa.spi, outbound: false, destination: sa.destination, kind, limit };
            context.shared.tell(context.counters, event);
        }
        if admission.packets == 0 {
            return refuse(context, sa, Counter::HardLifetime);
        }
        state.used(esp_bytes, context.now_ms);
        let Some(tos) = ecn::merge(ip.tos, outside.tos) else { return refuse(context, sa, Counter::Ecn) };
        if tos != ip.tos {
            inner::write_tos(packet, &ip, tos);
            ip.tos = tos;
        }
        if sa.iface.mss_clamp.load(Relaxed) {
            mss::clamp(packet, &ip, sa.iface.mtu.load(Relaxed) as usize, false);
        }
        if self.delivery.is_full() {
            self.delivery.flush(context.counters, self.receiver.arena(), context.queues);
        }
        self.delivery.push(self.receiver.arena(), inner_place, &ip, slot, context.queues);
    }
}

fn refuse(context: &Context<'_>, sa: &Sa, counter: Counter) {
    context.counters.add(counter, 1);
    sa.state.drops.fetch_add(1, Relaxed);
    sa.iface.counters.input_errors.fetch_add(1, Relaxed);
}

/// The newest authentic packet came from elsewhere than the SA says: a NAT has a new mapping, or the peer has moved.
fn tell_mapping(context: &Context<'_>, outside: &Outside, sa: &Sa) {
    let known = SocketAddr::new(sa.source, sa.encap.map_or(0, |ports| ports.remote));
    let remote = SocketAddr::new(outside.remote.ip(), if outside.udp { outside.remote.port() } else { 0 });
    if remote != known && sa.state.is_new_mapping(remote) {
        let event = Event::Mapping { spi: sa.spi, source: remote.ip(), port: remote.port() };
        context.shared.tell(context.counters, event);
    }
}
