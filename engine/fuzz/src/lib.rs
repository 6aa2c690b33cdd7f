//! What is fuzzed: octets of the network up to the interface, and octets of the interface up to the network.
//!
//! Both are keyed: most inputs are sealed before they are opened, so that what lies behind the integrity check is
//! reached too.  Whatever the octets are, nothing may panic, and what is sealed is opened as it was.

use _engine::esp::classify::{self, Class};
use _engine::esp::coalesce::Coalescer;
use _engine::esp::frame::{self, Content};
use _engine::esp::replay::Window;
use _engine::esp::segment::Plan;
use _engine::esp::suite::Suite;
use _engine::esp::vnet::{self, Header};
use _engine::esp::{HEADER, Opening, Shape, Transform, ecn, icmp, inner, mss};
use std::cell::RefCell;
use std::collections::HashMap;

/// Every cipher, one authentication each.
const SUITES: [(&str, usize, &str, usize); 10] = [
    ("aes-128-gcm", 20, "", 0),
    ("aes-192-gcm", 28, "", 0),
    ("aes-256-gcm", 36, "", 0),
    ("chacha20-poly1305", 36, "", 0),
    ("aes-128", 16, "hmac-sha1", 20),
    ("aes-192", 24, "hmac-sha2-384", 48),
    ("aes-256", 32, "hmac-sha2-256", 32),
    ("aes-256", 32, "hmac-sha2-512", 64),
    ("null", 0, "hmac-sha1", 20),
    ("null", 0, "hmac-sha2-256", 32),
];

/// Octets of one input's packets in all.
const MOST: usize = 1 << 16;

type Made = HashMap<u8, &'static dyn Transform>;

thread_local! {
    static MADE: RefCell<Made> = RefCell::new(HashMap::new());
}

/// The transform that an input's first octet chooses; made once.
fn transform(choice: u8) -> (&'static dyn Transform, bool) {
    let (index, esn) = (choice % SUITES.len() as u8, choice & 0x80 != 0);
    let made = MADE.with_borrow_mut(|made| {
        *made.entry(index | u8::from(esn) << 7).or_insert_with(|| {
            let (encryption, key, auth, auth_key) = SUITES[index as usize];
            let (key, auth_key) = (vec![7; key], vec![9; auth_key]);
            let suite = Suite { encryption, encryption_key: &key, auth, auth_key: &auth_key, esn };
            Box::leak(suite.build(&[3; 16]).expect("the table is right"))
        })
    });
    (made, esn)
}

/// A train of datagrams: classified, judged, opened, read, and joined again.  Gives how many packets got through.
pub fn inbound(data: &[u8]) -> usize {
    let Some((&[choice, window, flags], mut rest)) = data.split_first_chunk() else { return 0 };
    let (transform, esn) = transform(choice);
    let shape = transform.shape();
    let mut window = Window::new(u32::from(window) * 16, esn, 0);
    let mut arena = Vec::new();
    let mut packets = Vec::new();
    while let Some((&[how, high, low], after)) = rest.split_first_chunk() {
        let len = (usize::from(high) << 8 | usize::from(low)).min(after.len());
        let (part, after) = after.split_at(len);
        rest = after;
        let start = arena.len();
        if start + part.len() + 256 > MOST {
            break;
        }
        arena.extend(one(transform, esn, how, part, packets.len()));
        packets.push(start..arena.len());
    }
    let mut openings: Vec<Opening> = Vec::new();
    for place in packets {
        if let Class::Esp { spi: _, sequence } = classify::classify(&arena[place.clone()]) {
            let least = shape.before() + shape.icv + shape.align.max(2);
            let sound = place.len() >= least && (place.len() - shape.before() - shape.icv) % shape.align == 0;
            if let (true, Ok(sequence)) = (sound, window.check(sequence)) {
                openings.push(Opening { place, sequence: Some(sequence) });
            }
        }
    }
    // One by one on a copy: a run must come to the same.
    let mut copy = arena.clone();
    let alone: Vec<bool> = openings
        .iter()
        .map(|each| transform.open(each.sequence.unwrap_or(0), &mut copy[each.place.clone()]).is_ok())
        .collect();
    transform.open_run(&mut arena, &mut openings);
    for (each, alone) in openings.iter().zip(alone) {
        assert_eq!(each.sequence.is_some(), alone, "a run and its packets alone");
        if alone {
            let text = each.place.start + shape.before()..each.place.end - shape.icv;
            assert_eq!(arena[text.clone()], copy[text], "a run and its packets alone");
        }
    }
    deliver(flags, &mut arena, &openings, &mut window, shape)
}

/// One datagram of the train: as it is, or `part` as plaintext sealed, and perhaps damaged.
fn one(transform: &dyn Transform, esn: bool, how: u8, part: &[u8], index: usize) -> Vec<u8> {
    if how & 3 == 0 {
        return part.to_vec();
    }
    let shape = transform.shape();
    let sequence = (u64::from(esn) << 32) * u64::from(how >> 7) + index as u64 + 1;
    let inner = &part[..part.len().min(4096)];
    let mut packet = vec![0; shape.before()];
    packet[..4].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
    packet[4..HEADER].copy_from_slice(&(sequence as u32).to_be_bytes());
    if how & 4 != 0 && !inner.is_empty() {
        // A right trailer around whatever the inner packet is.
        packet.resize(shape.sealed_len(inner.len()), 0);
        packet[shape.before()..shape.before() + inner.len()].copy_from_slice(inner);
        frame::write(shape, 0x1234_5678, sequence, inner.len(), &mut packet);
    } else {
        // The trailer is the input's too.
        packet.extend(inner);
        while packet.len() == shape.before() || (packet.len() - shape.before()) % shape.align != 0 {
            packet.push(0);
        }
        packet.resize(packet.len() + shape.icv, 0);
    }
    transform.seal(sequence, &mut packet);
    if how & 3 == 3 {
        let at = usize::from(how >> 3) % packet.len();
        packet[at] ^= 1;
    }
    packet
}

/// What was opened goes to the interface.
fn deliver(flags: u8, arena: &mut [u8], openings: &[Opening], window: &mut Window, shape: Shape) -> usize {
    let mut coalescer = Coalescer::new(openings.len().max(1));
    for each in openings {
        let Some(sequence) = each.sequence else { continue };
        if window.commit(sequence).is_err() {
            continue;
        }
        let Content::Packet(place) = frame::read(shape, &arena[each.place.clone()]) else { continue };
        let place = each.place.start + place.start..each.place.start + place.end;
        let packet = &mut arena[place.clone()];
        let ip = inner::parse(packet).expect("read has found it sound");
        let Some(tos) = ecn::merge(ip.tos, flags & 3) else { continue };
        if tos != ip.tos {
            inner::write_tos(packet, &ip, tos);
        }
        if flags & 4 != 0 {
            mss::clamp(packet, &ip, 1280, false);
        }
        let ip = inner::parse(packet).expect("still sound");
        if !coalescer.is_full() {
            coalescer.push(arena, place, &ip, u32::from(flags >> 4 & 1), flags & 8 != 0);
        }
    }
    let (mut octets, mut packets) = (0, 0);
    for run in coalescer.runs() {
        let header = coalescer.finish(run, arena);
        let pieces: Vec<u8> = coalescer.pieces(run).flat_map(|place| arena[place].to_vec()).collect();
        assert_eq!(pieces.len() as u64, run.octets());
        octets += pieces.len();
        packets += run.packets as usize;
        if run.packets > 1 {
            let plan = Plan::new(&header, &pieces).expect("what we join can be taken apart");
            assert_eq!(plan.count(), run.packets as usize);
        }
    }
    assert!(octets <= arena.len());
    packets
}

/// A read of a TUN queue: planned, cut, sealed, and opened again.  Gives how many packets it became.
pub fn outbound(data: &[u8]) -> usize {
    let Some((&[choice, flags], rest)) = data.split_first_chunk() else { return 0 };
    let Some((header, packet)) = rest.split_first_chunk::<{ vnet::LEN }>() else { return 0 };
    let (transform, _) = transform(choice);
    let shape = transform.shape();
    let header = Header::read(header);
    let mut packet = packet[..packet.len().min(MOST - 1)].to_vec();
    let Some(plan) = Plan::new(&header, &packet) else { return 0 };
    assert!(plan.count() >= 1 && plan.largest() <= packet.len());
    if flags & 1 != 0 {
        let ip = plan.ip;
        mss::clamp(&mut packet, &ip, 1280, header.flags & vnet::NEEDS_CSUM != 0);
    }
    if flags & 2 != 0 {
        let mut out = [0; icmp::MAX];
        if let Some(len) = icmp::too_big(&packet, &plan.ip, 1280, &mut out) {
            assert!(inner::parse(&out[..len]).is_some_and(|ip| ip.total == len));
        }
    }
    let _ = ecn::outer(plan.ip.tos);
    for index in (0..plan.count()).take(64) {
        let len = plan.len(index);
        let mut sealed = vec![0; shape.sealed_len(len)];
        let place = shape.before()..shape.before() + len;
        plan.write(index, &packet, &mut sealed[place.clone()]);
        let inner = sealed[place.clone()].to_vec();
        let sequence = index as u64 + 1;
        frame::write(shape, 0x1234_5678, sequence, len, &mut sealed);
        transform.seal(sequence, &mut sealed);
        transform.open(sequence, &mut sealed).expect("what is sealed is opened");
        assert_eq!(sealed[place.clone()], inner);
        match frame::read(shape, &sealed) {
            Content::Packet(found) => assert_eq!(found, place),
            other => panic!("{other:?} came of a packet of {len} octets"),
        }
    }
    plan.count().min(64)
}

pub type Target = fn(&[u8]) -> usize;

/// Inputs that are right, to begin with.
pub fn seeds() -> Vec<(Target, Vec<u8>)> {
    let mut tcp = vec![0x45, 0, 0, 60, 0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    tcp.extend([19, 136, 0, 80, 0, 0, 0, 100, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    tcp.extend([0x61; 20]);
    let mut syn = tcp.clone();
    syn[32..34].copy_from_slice(&[0x60, 0x02]);
    syn[40..44].copy_from_slice(&[2, 4, 5, 0xb4]);
    let mut udp = vec![0x60, 0, 0, 0, 0, 40, 17, 64];
    udp.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    udp.extend([19, 136, 0, 80, 0, 40, 0, 0]);
    udp.extend([0x62; 32]);
    let mut seeds: Vec<(Target, Vec<u8>)> = Vec::new();
    for choice in 0..SUITES.len() as u8 {
        for packet in [&tcp, &syn, &udp] {
            let mut train = vec![choice, 4, 0x0c];
            for how in [5, 5, 1, 6, 0, 7, 133] {
                train.extend([how, 0, packet.len() as u8]);
                train.extend(packet);
            }
            seeds.push((inbound, train));
            for header in [
                Header::default(),
                Header { flags: 1, gso_type: 1, hdr_len: 40, gso_size: 7, csum_start: 20, csum_offset: 16 },
                Header { flags: 1, gso_type: 5, hdr_len: 48, gso_size: 9, csum_start: 40, csum_offset: 6 },
                Header { flags: 1, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start: 20, csum_offset: 16 },
            ] {
                let mut read = vec![choice, 3];
                read.extend(header.octets());
                read.extend(packet);
                seeds.push((outbound, read));
            }
        }
    }
    seeds
}
