//! From the network to TUN queues: receive, classify, verify, decrypt, decapsulate.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use super::Shared;
use super::deliver::Delivery;
use super::mailbox::Queue;
use super::network::Port;
use crate::counters::{Counter, Shard};
use crate::esp::classify::{self, Class};
use crate::esp::frame::Content;
use crate::esp::{Opening, ecn, frame, inner, mss};
use crate::events::Event;
use crate::io::receive::{BATCH, Datagram, Receiver};
use crate::io::socket::Socket;
use crate::io::steer;
use crate::sadb::sa::Sa;

/// Datagrams of a batch of trains: what is received first is still near when its turn comes, and the answers to it, which
/// leave after the batch, are not held up for long.
const TRAINS: usize = 4;
/// How long the rest of a bulk transfer is waited for where packets come one by one (protocol 50).
const NAP: Duration = Duration::from_micros(30);
/// Octets that make a datagram a train of a bulk transfer.
const TRAIN: usize = 16 << 10;
/// Octets of an IKE header (RFC 7296 §3.1): what is shorter is no IKE.
const IKE_HEADER: usize = 28;
/// Packets that are opened together at most.
const TOGETHER: usize = 64;

pub struct Inbound {
    receiver: Receiver,
    delivery: Delivery,
    /// Packets of one SA that came one after the other and wait to be opened together.
    waiting: Vec<Opening>,
    /// Their SPI and outside.
    spi: u32,
    outside: Outside,
    /// Whether the last batch was of trains.
    trains: bool,
    /// Whether the last batch of protocol 50 ended amid a bulk transfer.
    bulk: bool,
    /// Whether the last batch was one packet.
    lone: bool,
}

/// What all packets of a batch are handled with.
struct Context<'a> {
    shared: &'a Shared,
    counters: &'a Shard,
    worker: usize,
    queues: &'a [Option<Queue>],
    now_ms: u64,
}

/// One packet's outside.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Outside {
    remote: SocketAddr,
    local: IpAddr,
    tos: u8,
    udp: bool,
}

const NOWHERE: Outside = Outside {
    remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    local: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    tos: 0,
    udp: false,
};

impl Inbound {
    pub fn new() -> Self {
        Self {
            receiver: Receiver::new(),
            delivery: Delivery::new(),
            waiting: Vec::with_capacity(TOGETHER),
            spi: 0,
            outside: NOWHERE,
            trains: false,
            bulk: false,
            lone: true,
        }
    }

    /// Whether the last batch was of trains.
    pub fn is_bulk(&self) -> bool {
        self.trains
    }

    /// Whether the last batch was one packet.
    pub fn is_lone(&self) -> bool {
        self.lone
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
        let single = matches!(port, Port::Raw4 | Port::Raw6);
        if single && self.bulk {
            // Each packet by itself wakes its receiver, is delivered and acknowledged by itself.  While nobody waits
            // the next ones gather.
            thread::sleep(NAP);
        }
        let limit = if self.trains && !single { TRAINS } else { BATCH };
        // An error is an ICMP message about a packet sent; its turn is the error queue's.
        let Ok(got) = self.receiver.receive(socket, limit) else { return };
        let context = Context { shared, counters, worker, queues, now_ms: shared.now_ms() };
        self.lone = got == 1;
        let mut trains = false;
        for i in 0..got {
            match self.receiver.datagram(i) {
                Some(datagram) => {
                    self.datagram(&context, port, number, &datagram);
                    trains |= datagram.place.len() >= TRAIN;
                    self.lone &= datagram.place.len() <= datagram.segment;
                }
                None => counters.add(Counter::Malformed, 1),
            }
        }
        self.open(&context);
        if single {
            self.bulk = self.delivery.ends_amid_run();
        } else {
            self.trains = trains;
        }
        self.delivery.flush(counters, self.receiver.arena(), queues);
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
        if spi != self.spi || *outside != self.outside || self.waiting.len() == TOGETHER {
            self.open(context);
            self.spi = spi;
            self.outside = *outside;
        }
        self.waiting.push(Opening { place, sequence: Some(u64::from(sequence)) });
    }

    /// Take in the packets that wait.
    fn open(&mut self, context: &Context<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        let mut packets = std::mem::take(&mut self.waiting);
        let count = packets.len() as u64;
        match context.shared.table.inbound().find(self.spi, self.outside.local) {
            None => context.counters.add(Counter::UnknownSpi, count),
            Some(Err(_)) => context.counters.add(Counter::WrongDestination, count),
            Some(Ok(sa)) => match self.admit(context, &sa, count) {
                Err(counter) => refuse(context, &sa, counter, count),
                Ok(slot) => {
                    self.verify(context, &sa, &mut packets);
                    self.accept(context, &sa, &packets, slot);
                }
            },
        }
        packets.clear();
        self.waiting = packets;
    }

    /// The slot of the interface that the SA's packets go to, or the reason to drop them.
    fn admit(&self, context: &Context<'_>, sa: &Sa, packets: u64) -> Result<u32, Counter> {
        if sa.encap.is_some() != self.outside.udp {
            return Err(Counter::WrongEncap);
        }
        let slot = sa.iface.running_slot().ok_or(Counter::NotRunning)?;
        if sa.state.is_dead() {
            return Err(Counter::HardLifetime);
        }
        if sa.encap.is_some() && steer::worker_of(sa.spi, context.shared.workers) != context.worker {
            context.counters.add(Counter::Handover, packets);
        }
        Ok(slot)
    }

    /// Verify and decrypt in place.  What is refused loses its sequence number.
    fn verify(&mut self, context: &Context<'_>, sa: &Sa, packets: &mut [Opening]) {
        let state = &sa.state;
        let open = |packets: &[Opening]| packets.iter().filter(|packet| packet.sequence.is_some()).count() as u64;
        // Twice locked, so that two workers with packets of one SA decrypt side by side.
        {
            let window = state.window();
            for packet in packets.iter_mut() {
                packet.sequence = packet.sequence.and_then(|low| window.check(low as u32).ok());
            }
        }
        let fresh = open(packets);
        state.transform.open_run(self.receiver.arena(), packets);
        let authentic = open(packets);
        let mut newest = false;
        {
            let mut window = state.window();
            for packet in packets.iter_mut() {
                let verdict = packet.sequence.map(|sequence| window.commit(sequence));
                newest |= verdict == Some(Ok(true));
                packet.sequence = packet.sequence.filter(|_| !matches!(verdict, Some(Err(_))));
            }
        }
        if newest {
            tell_mapping(context, &self.outside, sa);
        }
        let replayed = packets.len() as u64 - fresh + authentic - open(packets);
        for (counter, count) in [(Counter::Replay, replayed), (Counter::Auth, fresh - authentic)] {
            if count > 0 {
                refuse(context, sa, counter, count);
            }
        }
    }

    /// Take authentic packets in.
    fn accept(&mut self, context: &Context<'_>, sa: &Sa, packets: &[Opening], slot: u32) {
        let (state, shape) = (&sa.state, sa.state.transform.shape());
        let limited = state.is_limited();
        let (mut esp_bytes, mut taken, mut inner_bytes) = (0, 0, 0);
        for packet in packets.iter().filter(|packet| packet.sequence.is_some()) {
            let place = packet.place.clone();
            let octets = place.len() + sa.outer_headers();
            let arena = self.receiver.arena();
            let inner_place = match frame::read(shape, &arena[place.clone()]) {
                Content::Packet(inner) => place.start + inner.start..place.start + inner.end,
                Content::Dummy => {
                    esp_bytes += octets;
                    context.counters.add(Counter::TfcDummies, 1);
                    continue;
                }
                Content::Foreign => {
                    refuse(context, sa, Counter::InnerProtocol, 1);
                    continue;
                }
                Content::Malformed => {
                    refuse(context, sa, Counter::Malformed, 1);
                    continue;
                }
            };
            if limited && !charge(context, sa, inner_place.len()) {
                refuse(context, sa, Counter::HardLifetime, 1);
                continue;
            }
            esp_bytes += octets;
            taken += 1;
            inner_bytes += inner_place.len() as u64;
            self.deliver(context, sa, inner_place, slot);
        }
        if esp_bytes > 0 {
            state.used(esp_bytes as u64, context.now_ms);
        }
        if taken > 0 && !limited {
            state.charge(taken, inner_bytes);
        }
    }

    /// Give an inner packet to its interface, with what happened to it outside.
    fn deliver(&mut self, context: &Context<'_>, sa: &Sa, place: Range<usize>, slot: u32) {
        let packet = &mut self.receiver.arena()[place.clone()];
        let Some(mut ip) = inner::parse(packet) else { return refuse(context, sa, Counter::Malformed, 1) };
        let Some(tos) = ecn::merge(ip.tos, self.outside.tos) else { return refuse(context, sa, Counter::Ecn, 1) };
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
        self.delivery.push(self.receiver.arena(), place, &ip, slot, context.queues);
    }
}

/// Count one packet against the SA's lifetimes; whether it may pass.
fn charge(context: &Context<'_>, sa: &Sa, octets: usize) -> bool {
    let admission = sa.state.charge(1, octets as u64);
    if let Some((kind, limit)) = admission.reached {
        let event = Event::Expire { spi: sa.spi, outbound: false, destination: sa.destination, kind, limit };
        context.shared.tell(context.counters, event);
    }
    admission.packets > 0
}

fn refuse(context: &Context<'_>, sa: &Sa, counter: Counter, packets: u64) {
    context.counters.add(counter, packets);
    sa.state.drops.fetch_add(packets, Relaxed);
    sa.iface.counters.input_errors.fetch_add(packets, Relaxed);
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
