//! Packets of several SAs in one train: together on the way, each by itself in every book.
//!
//! Needs root; without it nothing is tested.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use _engine::engine::Engine;
use _engine::esp::suite::Suite;
use _engine::io::receive::Receiver;
use _engine::io::send::MAX_OCTETS;
use _engine::io::socket::{self, Family, Socket};
use _engine::sadb::Id;
use _engine::sadb::interface::Interface;
use _engine::sadb::sa::{Limits, Path, Ports, Sa, State};
use _engine::workers::Shared;
use _engine::workers::network::Network;
use _engine::workers::outbox::{Exit, Outbox, Patience, Terms};
use pair::{HERE, New, PORTS, add, delivered, engine, ip, name};

#[path = "common/netns.rs"]
mod netns;
#[path = "common/pair.rs"]
mod pair;

const SIZE: usize = 1200;

/// An outbox with the worker and the network around it, and a peer that only listens.
struct Bench {
    shared: Shared,
    network: Network,
    outbox: Outbox,
    peer: Socket,
}

impl Bench {
    fn new() -> Self {
        ip("link set lo up");
        Self {
            shared: Shared::new(2, None).unwrap(),
            network: Network::open(2, 500, PORTS[0]).unwrap(),
            outbox: Outbox::new(),
            peer: socket::group(Family::V4, PORTS[1], 1).unwrap().0.remove(0),
        }
    }

    fn exit<'a>(shared: &'a Shared, network: &'a Network) -> Exit<'a> {
        Exit { shared, counters: shared.counters.worker(0), network, worker: 0, now_ms: 1 }
    }

    /// Put `count` packets of `len` octets into the outbox; whether they found room in what is under way.
    fn add(&mut self, sa: &Arc<Sa>, dont_fragment: bool, count: usize, len: usize) -> bool {
        let terms = Terms::new(sa, 0, dont_fragment, 2);
        if self.outbox.room(&terms, len) < count {
            return false;
        }
        let out = self.outbox.add(sa, &terms, len, count, count * len, (count * 100) as u64);
        out.chunks_mut(len).for_each(|packet| packet[..4].copy_from_slice(&sa.spi.to_be_bytes()));
        true
    }

    fn flush(&mut self) {
        self.outbox.flush(&Self::exit(&self.shared, &self.network), &mut Patience::default());
    }

    /// The SPIs of the trains that have come, in order.
    fn received(&self) -> Vec<Vec<u32>> {
        let mut receiver = Receiver::new();
        let got = receiver.receive(&self.peer, 64).unwrap();
        let trains: Vec<_> = (0..got).map(|i| receiver.datagram(i).unwrap()).collect();
        let arena = receiver.arena();
        let spis = |place: std::ops::Range<usize>, segment| {
            arena[place].chunks(segment).map(|esp| u32::from_be_bytes([esp[0], esp[1], esp[2], esp[3]])).collect()
        };
        trains.into_iter().map(|train| spis(train.place, train.segment)).collect()
    }
}

fn sa(spi: u32) -> Arc<Sa> {
    let suite = Suite { encryption: "aes-256-gcm", encryption_key: &[7; 36], auth: "", auth_key: &[], esn: false };
    let iface = Interface::new("sec0");
    iface.tunneldf.store(true, Relaxed);
    Arc::new(Sa {
        spi,
        outbound: true,
        iface,
        source: HERE,
        destination: HERE,
        encap: Some(Ports { local: PORTS[0], remote: PORTS[1] }),
        state: Arc::new(State::new(suite.build(&[0; 16]).unwrap(), false, 64, 0, Limits::default())),
        path: Path::default(),
    })
}

/// Packets sent, octets of theirs, octets outside, packets lost.
fn books(sa: &Sa) -> [u64; 4] {
    let counters = &sa.iface.counters;
    [&counters.output_packets, &counters.output_bytes, &sa.state.esp_bytes, &sa.state.drops].map(|n| n.load(Relaxed))
}

#[test]
fn packets_of_several_sas_leave_in_one_train_and_each_is_counted_for_its_own() {
    if !netns::enter() {
        return;
    }
    let mut bench = Bench::new();
    let (a, b, c) = (sa(0x1000), sa(0x1002), sa(0x1004));
    assert!(bench.add(&a, false, 2, SIZE) && bench.add(&b, false, 1, SIZE) && bench.add(&a, false, 1, SIZE));
    assert!(bench.add(&c, false, 1, 800));
    assert!(!bench.add(&b, false, 1, 800), "none may follow a smaller one");
    bench.flush();
    assert_eq!(bench.received(), [[0x1000, 0x1000, 0x1002, 0x1000, 0x1004]]);
    let outer = 28;
    assert_eq!(books(&a), [3, 300, 3 * (SIZE as u64 + outer), 0]);
    assert_eq!(books(&b), [1, 100, SIZE as u64 + outer, 0]);
    assert_eq!(books(&c), [1, 100, 800 + outer, 0]);
}

#[test]
fn packets_for_another_worker_of_the_peer_or_with_other_terms_do_not_join_a_train() {
    if !netns::enter() {
        return;
    }
    let mut bench = Bench::new();
    let a = sa(0x1000);
    assert!(bench.add(&a, false, 1, SIZE));
    assert!(!bench.add(&sa(0x1001), false, 1, SIZE), "its packets could overtake each other");
    assert!(!bench.add(&a, true, 1, SIZE), "with DF");
    let other_port = Sa { encap: Some(Ports { local: 4500, remote: 4502 }), ..Arc::into_inner(sa(0x1002)).unwrap() };
    assert!(!bench.add(&Arc::new(other_port), false, 1, SIZE), "to elsewhere");
    let raw = Sa { encap: None, ..Arc::into_inner(sa(0x1004)).unwrap() };
    assert!(!bench.add(&Arc::new(raw), false, 1, SIZE), "protocol 50");
}

#[test]
fn a_packet_longer_than_a_train_goes_by_itself() {
    if !netns::enter() {
        return;
    }
    let mut bench = Bench::new();
    let a = sa(0x1000);
    assert!(bench.add(&a, false, 1, MAX_OCTETS + 100));
    assert!(!bench.add(&a, false, 1, MAX_OCTETS + 100));
    assert!(!bench.add(&a, false, 1, SIZE));
}

#[test]
fn one_sas_packets_that_are_too_big_for_the_way_do_not_take_the_others_of_their_train_with_them() {
    if !netns::enter() {
        return;
    }
    let mut bench = Bench::new();
    ip("link set lo mtu 1000");
    let (big, small) = (sa(0x1000), sa(0x1002));
    assert!(bench.add(&big, true, 2, SIZE) && bench.add(&small, true, 1, 800));
    bench.flush();
    assert_eq!(bench.received(), [[0x1002]]);
    assert_eq!(books(&big)[0], 0);
    assert_eq!(books(&big)[3], 2, "lost");
    assert_eq!(books(&small), [1, 100, 828, 0]);
    let now = bench.shared.now_ms();
    assert_eq!(big.path.pmtu(now), Some(1000), "it has learnt");
    assert_eq!(small.path.pmtu(now), None, "nothing was said about this one's packets");
}

fn wait_for(what: &str, mut found: impl FnMut() -> bool) {
    let start = Instant::now();
    while !found() {
        assert!(start.elapsed() < Duration::from_secs(5), "not seen within 5 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn drops(engine: &Engine, spi: u32) -> u64 {
    engine.sa(&Id { spi, outbound: true, destination: HERE }).unwrap().state.drops.load(Relaxed)
}

#[test]
fn packets_over_several_interfaces_arrive_each_at_its_own_and_a_lifetime_that_ends_ends_only_its_own() {
    const TUNNELS: usize = 6;
    const EACH: u64 = 40;
    const HARD: u64 = 25;
    if !netns::enter() {
        return;
    }
    // IPv6 would ask for routers over the new interfaces.
    std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    ip("link set lo up");
    let (first, second) = (engine(0, TUNNELS), engine(1, TUNNELS));
    for tunnel in 0..TUNNELS {
        let spi = 0x1000 + tunnel as u32;
        let limits = Limits { hard_packets: if tunnel == 2 { HARD } else { 0 }, ..Limits::default() };
        let new = New { spi, encryption: "aes-256-gcm", auth: "", limits };
        add(&first, 0, tunnel, true, &new);
        add(&second, 1, tunnel, false, &New { limits: Limits::default(), ..new });
        ip(&format!("address add 10.99.{tunnel}.1/24 dev {}", name(0, tunnel)));
    }
    let before: Vec<_> = (0..TUNNELS).map(|tunnel| delivered(&second, 1, tunnel)).collect();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    for _ in 0..EACH {
        for tunnel in 0..TUNNELS {
            socket.send_to(&[0x55; 100], SocketAddr::from(([10, 99, tunnel as u8, 2], 9))).unwrap();
        }
    }
    for (tunnel, before) in before.into_iter().enumerate() {
        let (wanted, lost) = if tunnel == 2 { (HARD, EACH - HARD) } else { (EACH, 0) };
        wait_for(&format!("{wanted} packets of tunnel {tunnel}"), || delivered(&second, 1, tunnel) - before == wanted);
        wait_for("what its lifetime did not allow", || drops(&first, 0x1000 + tunnel as u32) == lost);
    }
    for (name, count) in first.counters().into_iter().chain(second.counters()).filter(|row| row.0.starts_with("drop")) {
        assert_eq!(count, if name == "drop_hard_lifetime" && count > 0 { EACH - HARD } else { 0 }, "{name}");
    }
}
