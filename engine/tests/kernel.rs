//! Segmentation and coalescing against the kernel's own: super-packets are sent through it, and compared octet by octet.
//!
//!     in0, with a virtio header: super-packets in ==== forwarded ==== out0, without offloads: the kernel segments
//!
//! What the kernel makes of a super-packet must be what `segment` makes of it, and what it makes of a run that
//! `coalesce` joined must be the packets that were joined.  Needs root; without it nothing is tested.

#[allow(dead_code)] // the other tests use the rest
mod common;
#[path = "common/netns.rs"]
mod netns;

use std::fs::File;
use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use _engine::esp::coalesce::Coalescer;
use _engine::esp::inner;
use _engine::esp::segment::Plan;
use _engine::esp::vnet::{self, Header};
use _engine::io::tun::Tun;
use common::{ACK, Flow, PSH, is_sound};

const FIN: u8 = 0x01;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

/// A kernel that forwards from `tun` to `plain`.
struct Kernel {
    tun: Tun,
    plain: File,
}

impl Kernel {
    fn new() -> Self {
        let device = || File::options().read(true).write(true).open("/dev/net/tun").unwrap();
        let tun = Tun::attach(device().as_fd(), "in0").unwrap();
        let plain = device();
        let mut request = [0_u8; 40];
        request[..4].copy_from_slice(b"out0");
        request[16..18].copy_from_slice(&0x1001_u16.to_ne_bytes()); // IFF_TUN | IFF_NO_PI
        // SAFETY: the request is an ifreq of the right size, and the descriptor is open.
        assert_eq!(unsafe { libc::ioctl(plain.as_raw_fd(), 0x4004_54ca, request.as_mut_ptr()) }, 0);
        // SAFETY: no pointer is passed.
        unsafe { libc::fcntl(plain.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        for name in ["in0", "out0"] {
            ip(&format!("link set {name} mtu 9000 up"));
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0").unwrap();
        }
        ip("link set out0 txqueuelen 5000");
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        // The flows' sources lie behind in0, their destinations behind out0.
        ip("address add 10.9.0.1/24 dev in0");
        ip("address add 10.9.1.1/24 dev out0");
        ip("route add 10.0.0.1/32 dev in0");
        ip("route add 10.0.0.2/32 dev out0");
        ip("-6 route add fd00::1/128 dev in0");
        ip("-6 route add fd00::2/128 dev out0");
        Self { tun, plain }
    }

    /// What comes out, the hop taken back.
    fn forward(&mut self, header: &Header, packet: &[u8], expected: usize) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        while self.plain.read(&mut buffer).is_ok() {} // the kernel's own: router solicitations and the like
        self.tun.write(&[IoSlice::new(&header.octets()), IoSlice::new(packet)]).unwrap();
        let (start, mut packets) = (Instant::now(), Vec::new());
        while packets.len() < expected && start.elapsed() < Duration::from_secs(2) {
            match self.plain.read(&mut buffer) {
                Ok(len) if is_ours(&buffer[..len]) => packets.push(hop_taken_back(&buffer[..len])),
                Ok(_) => (),
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        packets
    }
}

fn is_ours(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        4 => packet[12..20] == [10, 0, 0, 1, 10, 0, 0, 2],
        _ => packet.len() > 40 && packet[8] == 0xfd && packet[23] == 1,
    }
}

fn hop_taken_back(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[8] += 1;
        let ip = inner::parse(&packet).unwrap();
        inner::write_header_checksum(&mut packet, &ip);
    } else {
        packet[7] += 1;
    }
    packet
}

fn octets(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 31 % 251) as u8).collect()
}

fn flows() -> Vec<Flow> {
    let mut flows = Vec::new();
    for ipv6 in [false, true] {
        for tcp in [false, true] {
            for (df, tos, id, options) in [(true, 0, 7, 0), (false, 2, 65_530, 12), (true, 0xb9, 0, 40)] {
                let options = if tcp { options } else { 0 };
                flows.push(Flow { ipv6, tcp, df, tos, id, options, sequence: u32::MAX - 3000, ..Flow::default() });
            }
        }
    }
    flows
}

fn segments(plan: &Plan, packet: &[u8]) -> Vec<Vec<u8>> {
    let write = |i| {
        let mut out = vec![0; plan.len(i)];
        plan.write(i, packet, &mut out);
        out
    };
    (0..plan.count()).map(write).collect()
}

/// An IPv6 packet with a hop-by-hop header of padding in front of its transport header, and its virtio header.
fn extended(header: &Header, packet: &[u8]) -> (Header, Vec<u8>) {
    let mut extended = packet[..40].to_vec();
    extended.extend([packet[6], 0, 1, 4, 0, 0, 0, 0]);
    extended.extend(&packet[40..]);
    extended[6] = 0;
    let len = (extended.len() - 40) as u16;
    extended[4..6].copy_from_slice(&len.to_be_bytes());
    let header = Header { hdr_len: header.hdr_len + 8, csum_start: header.csum_start + 8, ..*header };
    (header, extended)
}

#[test]
fn super_packets_and_runs_are_to_the_kernel_what_they_are_to_us() {
    if !netns::enter() {
        return;
    }
    let mut kernel = Kernel::new();
    let mut compared = 0;
    for flow in flows() {
        let flags: &[u8] = if flow.tcp { &[ACK, ACK | PSH, ACK | PSH | FIN, ACK | CWR | ECE] } else { &[0] };
        for (payload, size) in [(1, 1), (1447, 1448), (2 * 1448, 1448), (60_000, 1379), (4001, 500)] {
            for flags in flags {
                let (header, packet) = flow.super_packet(&octets(payload), size, *flags);
                // A super-packet of one packet is none: the kernel sends it with its checksum to be done.
                let header =
                    if payload <= size { Header { gso_type: vnet::GSO_NONE, gso_size: 0, ..header } } else { header };
                let more = flow.ipv6.then(|| extended(&header, &packet));
                for (header, packet) in [(header, packet)].into_iter().chain(more) {
                    let plan = Plan::new(&header, &packet).unwrap();
                    let ours = segments(&plan, &packet);
                    let theirs = kernel.forward(&header, &packet, ours.len());
                    assert_eq!(theirs.len(), ours.len(), "{flow:?} {payload} by {size} flags {flags:#x}");
                    for (i, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
                        assert_eq!(theirs, ours, "{flow:?} {payload} by {size} flags {flags:#x}: packet {i}");
                    }
                    compared += ours.len();
                }
            }
        }
        compared += joined(&mut kernel, &flow);
    }
    println!("{compared} packets compared");
}

/// Runs of `flow`, joined by us and taken apart by the kernel.
fn joined(kernel: &mut Kernel, flow: &Flow) -> usize {
    let mut compared = 0;
    for (count, size, last) in [(2, 1379, 1379), (40, 1379, 700), (64, 900, 1), (5, 33, 33)] {
        let mut flow = flow.clone();
        let packets: Vec<_> = (0..count)
            .map(|i| {
                let end = i + 1 == count;
                flow.next(&octets(if end { last } else { size }), if end { ACK | PSH } else { ACK })
            })
            .collect();
        assert!(packets.iter().all(|packet| is_sound(packet)));
        let mut arena = packets.concat();
        let mut coalescer = Coalescer::new(packets.len());
        let mut at = 0;
        for packet in &packets {
            let ip = inner::parse(packet).unwrap();
            coalescer.push(&mut arena, at..at + packet.len(), &ip, 0, true);
            at += packet.len();
        }
        assert!(coalescer.runs().len() <= 2, "{count} packets of {size} made {} runs", coalescer.runs().len());
        let mut theirs = Vec::new();
        for run in coalescer.runs() {
            let header = coalescer.finish(run, &mut arena);
            let whole: Vec<u8> = coalescer.pieces(run).flat_map(|place| arena[place].to_vec()).collect();
            theirs.extend(kernel.forward(&header, &whole, run.packets as usize));
        }
        assert_eq!(theirs.len(), packets.len(), "{flow:?} {count} of {size}");
        for (i, (theirs, packet)) in theirs.iter().zip(&packets).enumerate() {
            assert_eq!(theirs, packet, "{flow:?} {count} of {size}: packet {i}");
        }
        compared += packets.len();
    }
    compared
}
