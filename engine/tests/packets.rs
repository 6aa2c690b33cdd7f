//! Segmentation, coalescing and all that looks into inner packets.

mod common;

use _engine::esp::coalesce::Coalescer;
use _engine::esp::segment::Plan;
use _engine::esp::vnet::{self, Header};
use _engine::esp::{checksum, ecn, icmp, inner, mss};
use common::{ACK, Flow, PSH, is_sound};
use proptest::prelude::*;

/// What `Plan` makes of a super-packet.
fn segments(header: &Header, packet: &[u8]) -> Vec<Vec<u8>> {
    let plan = Plan::new(header, packet).unwrap();
    let mut out = Vec::new();
    for i in 0..plan.count() {
        let mut segment = vec![0; plan.len(i)];
        plan.write(i, packet, &mut segment);
        out.push(segment);
    }
    assert_eq!(plan.span(0, plan.count()), out.iter().map(Vec::len).sum::<usize>());
    out
}

/// What the coalescer makes of packets: super-packets with their headers.
fn coalesced(packets: &[Vec<u8>], udp: bool) -> Vec<(Header, Vec<u8>)> {
    let mut coalescer = Coalescer::new(packets.len());
    let mut arena: Vec<u8> = packets.concat();
    let mut at = 0;
    for packet in packets {
        let ip = inner::parse(packet).unwrap();
        coalescer.push(&mut arena, at..at + packet.len(), &ip, 0, udp);
        at += packet.len();
    }
    let mut out = Vec::new();
    for run in coalescer.runs() {
        let header = coalescer.finish(run, &mut arena);
        out.push((header, coalescer.pieces(run).flat_map(|place| arena[place].to_vec()).collect()));
    }
    out
}

prop_compose! {
    fn flow()(ipv6: bool, tcp: bool, df: bool, tos: u8, id: u16, sequence: u32, options in 0..3_usize) -> Flow {
        Flow { ipv6, tcp, df, tos, id, sequence, options: options * 4, ..Flow::default() }
    }
}

/// RFC 9293 §3.1: a TCP header has five words at least.  Nobody on the way need have looked.
#[test]
fn a_tcp_header_that_says_it_is_too_short_is_joined_to_nothing() {
    for words in 0..5_u8 {
        let mut flow = Flow { tcp: true, df: true, ..Flow::default() };
        let at = flow.ip_header();
        let mut packet = flow.next(&[7; 100], ACK);
        let old = u16::from_be_bytes([packet[at + 12], packet[at + 13]]);
        packet[at + 12] = words << 4;
        let new = u16::from_be_bytes([packet[at + 12], packet[at + 13]]);
        let mut field = [packet[at + 16], packet[at + 17]];
        checksum::update(&mut field, old, new);
        packet[at + 16..at + 18].copy_from_slice(&field);
        let packets = vec![packet; 3];
        let out: Vec<_> = coalesced(&packets, true).into_iter().map(|(_, packet)| packet).collect();
        assert_eq!(out, packets);
    }
}

proptest! {
    /// A super-packet taken apart gives sound packets, and those joined give the super-packet again.
    #[test]
    fn segments_join_to_what_they_were(flow in flow(), size in 1..1400_usize, count in 2..40_usize, tail in 0..1400_usize,
                                       push: bool) {
        let last = 1 + tail % size;
        let payload: Vec<u8> = (0..size * (count - 1) + last).map(|i| (i * 7) as u8).collect();
        let flags = if push { ACK | PSH } else { ACK };
        let (header, packet) = flow.super_packet(&payload, size, flags);
        let parts = segments(&header, &packet);
        prop_assert_eq!(parts.len(), count);
        for (i, part) in parts.iter().enumerate() {
            prop_assert!(is_sound(part));
            if flow.tcp && i + 1 < count {
                prop_assert_eq!(part[flow.ip_header() + 13] & PSH, 0);
            }
        }
        let joined = coalesced(&parts, true);
        prop_assert_eq!(joined.len(), 1);
        prop_assert_eq!(&joined[0].1, &packet);
        prop_assert_eq!(joined[0].0, header);
    }

    /// Whatever is joined comes apart into the same packets, and no flow is reordered.
    #[test]
    fn interleaved_flows_keep_their_order(picks in prop::collection::vec((0..4_usize, 1..4_usize, any::<bool>()), 1..80)) {
        let mut flows: Vec<Flow> = (0..4).map(|i| Flow { port: 1000 + i as u16, tcp: i % 2 == 0, ipv6: i > 1,
                                                         df: true, ..Flow::default() }).collect();
        let mut packets = Vec::new();
        for (flow, size, push) in picks {
            packets.push(flows[flow].next(&vec![flow as u8; size * 100], if push { ACK | PSH } else { ACK }));
        }
        let mut apart = Vec::new();
        for (header, packet) in coalesced(&packets, true) {
            apart.extend(segments(&header, &packet));
        }
        prop_assert_eq!(apart.len(), packets.len());
        for flow in &flows {
            let of_flow = |all: &[Vec<u8>]| -> Vec<Vec<u8>> {
                all.iter().filter(|p| flow.owns(p)).map(|p| flow.without_id(p)).collect()
            };
            prop_assert_eq!(of_flow(&apart), of_flow(&packets));
        }
    }

    #[test]
    fn arbitrary_octets_cause_no_panic(header in prop::array::uniform10(any::<u8>()),
                                       packet in prop::collection::vec(any::<u8>(), 0..300), version in 0..3_u8) {
        let mut packet = packet;
        if let Some(first) = packet.first_mut().filter(|_| version > 0) {
            *first = if version == 1 { 0x45 } else { 0x60 };
            let len = packet.len() as u16;
            if version == 1 && packet.len() >= 20 { packet[2..4].copy_from_slice(&len.to_be_bytes()) }
            if version == 2 && packet.len() >= 40 { packet[4..6].copy_from_slice(&(len - 40).to_be_bytes()) }
        }
        let mut header = Header::read(&header);
        header.csum_start %= 64;
        header.gso_type %= 6;
        if let Some(plan) = Plan::new(&header, &packet) {
            for i in 0..plan.count() {
                let mut out = vec![0; plan.len(i)];
                plan.write(i, &packet, &mut out);
            }
        }
        if let Some(ip) = inner::parse(&packet) {
            let total = ip.total;
            let mut out = [0; icmp::MAX];
            let _ = icmp::too_big(&packet, &ip, 1280, &mut out);
            mss::clamp(&mut packet, &ip, 1280, false);
            let mut coalescer = Coalescer::new(2);
            let mut arena = [&packet[..total], &packet[..total]].concat();
            coalescer.push(&mut arena, 0..total, &ip, 0, true);
            coalescer.push(&mut arena, total..2 * total, &ip, 0, true);
            for run in coalescer.runs() {
                let _ = coalescer.finish(run, &mut arena);
                let octets: usize = coalescer.pieces(run).map(|piece| piece.len()).sum();
                prop_assert!(octets <= arena.len());
            }
        }
    }

    /// The clamp keeps the checksum right, wherever the option lies.
    #[test]
    fn clamped_syns_stay_sound(ipv6: bool, nops in 0..4_usize, value: u16, mtu in 576..1500_usize) {
        let mut flow = Flow { ipv6, tcp: true, ..Flow::default() };
        let mut options = vec![1; nops];
        options.extend([2, 4]);
        options.extend(value.to_be_bytes());
        options.resize(options.len().next_multiple_of(4), 0);
        let mut packet = flow.syn(&options);
        prop_assert!(is_sound(&packet));
        let ip = inner::parse(&packet).unwrap();
        mss::clamp(&mut packet, &ip, mtu, false);
        prop_assert!(is_sound(&packet));
        let at = ip.header + 20 + nops + 2;
        let got = u16::from_be_bytes([packet[at], packet[at + 1]]);
        prop_assert_eq!(got, value.min((mtu - ip.header - 20) as u16));
    }

    #[test]
    fn a_changed_tos_keeps_the_header_sound(ipv6: bool, old: u8, new: u8) {
        let mut packet = Flow { ipv6, tos: old, ..Flow::default() }.next(b"payload", ACK);
        let ip = inner::parse(&packet).unwrap();
        prop_assert_eq!(ip.tos, old);
        inner::write_tos(&mut packet, &ip, new);
        prop_assert_eq!(inner::parse(&packet).unwrap().tos, new);
        prop_assert!(is_sound(&packet));
    }
}

#[test]
fn a_packet_with_a_wrong_checksum_is_never_joined_nor_vouched_for() {
    let mut flow = Flow { tcp: true, df: true, ..Flow::default() };
    let mut packets = vec![flow.next(&[1; 100], ACK), flow.next(&[2; 100], ACK), flow.next(&[3; 100], ACK)];
    *packets[1].last_mut().unwrap() ^= 1;
    let out = coalesced(&packets, true);
    assert_eq!(out.len(), 3);
    assert_eq!(out[0].0.flags, vnet::DATA_VALID);
    assert_eq!(out[1].0.flags, 0);
}

#[test]
fn a_push_ends_a_run() {
    let mut flow = Flow { tcp: true, df: true, ..Flow::default() };
    let packets: Vec<_> = [ACK, ACK | PSH, ACK, ACK].iter().map(|flags| flow.next(&[1; 100], *flags)).collect();
    let counts: Vec<_> = coalesced(&packets, true).iter().map(|(_, packet)| (packet.len() - 40) / 100).collect();
    assert_eq!(counts, [2, 2]);
}

#[test]
fn a_smaller_packet_ends_a_run_and_a_larger_one_starts_another() {
    let mut flow = Flow { df: true, ..Flow::default() };
    let packets: Vec<_> = [100, 100, 40, 40, 100].iter().map(|size| flow.next(&vec![1; *size], ACK)).collect();
    let sizes: Vec<_> = coalesced(&packets, true).iter().map(|(_, packet)| packet.len() - 28).collect();
    assert_eq!(sizes, [240, 40, 100]);
}

#[test]
fn udp_is_joined_only_where_the_interface_takes_it() {
    let mut flow = Flow { df: true, ..Flow::default() };
    let packets = vec![flow.next(&[1; 100], ACK), flow.next(&[2; 100], ACK)];
    assert_eq!(coalesced(&packets, false).len(), 2);
    assert_eq!(coalesced(&packets, true).len(), 1);
}

#[test]
fn different_marks_are_not_joined() {
    let mut flow = Flow { tcp: true, df: true, ..Flow::default() };
    let first = flow.next(&[1; 100], ACK);
    flow.tos = 3;
    let second = flow.next(&[2; 100], ACK);
    assert_eq!(coalesced(&[first, second], true).len(), 2);
}

#[test]
fn ecn_follows_every_row_of_rfc_6040() {
    let rows = [
        (0, [Some(0), Some(0), Some(0), None]), // by outer Not-ECT, ECT(1), ECT(0), CE
        (1, [Some(1), Some(1), Some(1), Some(3)]),
        (2, [Some(2), Some(1), Some(2), Some(3)]),
        (3, [Some(3), Some(3), Some(3), Some(3)]),
    ];
    for (inner, expected) in rows {
        for (outer, expected) in (0..).zip(expected) {
            assert_eq!(ecn::merge(inner, outer), expected, "inner {inner} outer {outer}");
            assert_eq!(ecn::merge(0xb8 | inner, outer), expected.map(|ecn| 0xb8 | ecn));
        }
    }
    assert_eq!(ecn::outer(0xbb), 0xbb);
}

#[test]
fn too_big_is_answered_from_the_destination_with_the_mtu() {
    for ipv6 in [false, true] {
        let packet = Flow { ipv6, df: true, ..Flow::default() }.next(&[9; 1400], ACK);
        let ip = inner::parse(&packet).unwrap();
        let mut out = [0; icmp::MAX];
        let len = icmp::too_big(&packet, &ip, 1300, &mut out).unwrap();
        let answer = inner::parse(&out[..len]).unwrap();
        assert_eq!(answer.total, len);
        assert!(is_sound(&out[..len]));
        let (old, new) = (inner::addresses(&packet, &ip), inner::addresses(&out, &answer));
        let half = old.len() / 2;
        assert_eq!((&new[..half], &new[half..]), (&old[half..], &old[..half]));
        let message = &out[answer.header..len];
        assert_eq!(message[..2], if ipv6 { [2, 0] } else { [3, 4] });
        assert_eq!(u16::from_be_bytes([message[6], message[7]]), 1300);
        assert_eq!(&message[8..], &packet[..message.len() - 8]);
        // An answer to an answer there is not.
        let unanswered = icmp::too_big(&out[..len], &answer, 600, &mut [0; icmp::MAX]);
        assert_eq!(unanswered, None);
    }
}

/// However many there are: what is looked for is a flow's last run, not one of the last few.
#[test]
fn packets_of_many_flows_in_turn_are_joined_each_to_its_own() {
    const FLOWS: usize = 48;
    let mut flows: Vec<_> = (0..FLOWS).map(|i| Flow { port: 5000 + i as u16, ..Flow::default() }).collect();
    let packets: Vec<_> =
        (0..5).flat_map(|_| flows.iter_mut().map(|flow| flow.next(&[7; 64], 0)).collect::<Vec<_>>()).collect();
    let runs = coalesced(&packets, true);
    let joined = runs.iter().filter(|(header, _)| header.gso_type == vnet::GSO_UDP_L4).count();
    assert!(joined > FLOWS - 5, "only {joined} of {FLOWS} flows were joined"); // two may share a place
}
