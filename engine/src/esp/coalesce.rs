//! Runs of TCP and UDP packets made into super-packets (the other way round of `segment`).
//!
//! Packets stay where they were decrypted, in one arena; a run is a list of pieces of it.  Runs leave in the order
//! of their first packets, and a packet that does not continue its flow's run ends that run: so no flow is reordered.
//! Fragments belong to no flow, and so a flow's whole datagrams may pass its fragmented ones.

use std::ops::Range;

use super::inner::{self, Ip, TCP, UDP};
use super::vnet::{self, Header};

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// Octets of the longest super-packet, and packets in it.
const MAX_OCTETS: usize = 65_535;
pub const MAX_PACKETS: usize = 64;
/// Places of flows; a power of two.  Of two flows in one place only the one seen last is joined on.
const FLOWS: usize = 1024;

const NONE: u32 = u32::MAX;

/// A run of packets of one flow for one interface, or a single packet.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Whose packets these are; the caller's own number.
    pub owner: u32,
    pub packets: u32,
    ip: Ip,
    start: u32,
    /// Octets of IP and transport header; 0: not a packet that can be joined.
    headers: u32,
    /// Octets of payload of each packet but the last.
    size: u32,
    payload: u32,
    flow: u32,
    open: bool,
    /// Checksum seen to be right.
    verified: bool,
    first: u32,
    last: u32,
}

impl Run {
    /// Whether it is a TCP flow's and ends with a full segment, without PSH.
    pub fn is_open_tcp(&self) -> bool {
        self.open && self.ip.protocol == TCP
    }

    /// Where its first packet begins.
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// Octets of all its packets.
    pub fn octets(&self) -> u64 {
        if self.packets == 1 { self.ip.total as u64 } else { u64::from(self.packets * self.headers + self.payload) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    len: u32,
    next: u32,
}

/// Runs under way.  Its memory is kept from batch to batch.
pub struct Coalescer {
    runs: Vec<Run>,
    pieces: Vec<Piece>,
    /// By a flow's number the newest run in that place: perhaps one of an earlier batch, or of another flow.
    newest: Box<[u32; FLOWS]>,
}

impl Coalescer {
    /// Room for `packets` packets.
    pub fn new(packets: usize) -> Self {
        Self { runs: Vec::with_capacity(packets), pieces: Vec::with_capacity(packets), newest: Box::new([NONE; FLOWS]) }
    }

    pub fn is_full(&self) -> bool {
        self.pieces.len() == self.pieces.capacity()
    }

    pub fn clear(&mut self) {
        self.runs.clear();
        self.pieces.clear();
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Take the packet at `place` of `arena`, whose header is `ip`, for `owner`; `udp` tells whether that one takes UDP
    /// super-packets.  To be called while not `is_full`, or memory is allocated.
    pub fn push(&mut self, arena: &mut [u8], place: Range<usize>, ip: &Ip, owner: u32, udp: bool) {
        let start = place.start;
        let Some(packet) = arena.get(place) else { return };
        let mut new = Run {
            owner,
            packets: 1,
            ip: *ip,
            start: start as u32,
            headers: 0,
            size: 0,
            payload: 0,
            flow: flow(packet, ip),
            open: false,
            verified: false,
            first: self.pieces.len() as u32,
            last: self.pieces.len() as u32,
        };
        if new.flow != 0 {
            read_transport(packet, udp, &mut new);
            let place = (new.flow ^ owner.wrapping_mul(0x9e37_79b1)) as usize >> 1 & (FLOWS - 1);
            let newest = std::mem::replace(&mut self.newest[place], self.runs.len() as u32) as usize;
            let run = self.runs.get_mut(newest);
            if let Some(run) = run.filter(|run| run.flow == new.flow && run.owner == owner) {
                if run.open && continues(arena, run, &new) {
                    let at = new.start + new.headers;
                    self.pieces[run.last as usize].next = self.pieces.len() as u32;
                    run.last = self.pieces.len() as u32;
                    self.pieces.push(Piece { start: at, len: new.payload, next: NONE });
                    run.packets += 1;
                    run.payload += new.payload;
                    run.open = new.open && new.payload == run.size && run.packets < MAX_PACKETS as u32;
                    if ip.protocol == TCP {
                        arena[run.start as usize + ip.header + 13] |= arena[start + ip.header + 13] & PSH;
                    }
                    self.newest[place] = newest as u32;
                    return;
                }
                run.open = false;
            }
        }
        self.pieces.push(Piece { start: start as u32, len: ip.total as u32, next: NONE });
        self.runs.push(new);
    }

    /// Make `run`'s header that of the whole and tell the vnet header to write before it.
    pub fn finish(&self, run: &Run, arena: &mut [u8]) -> Header {
        let flags = if run.verified { vnet::DATA_VALID } else { 0 };
        if run.packets == 1 {
            return Header { flags, ..Header::default() };
        }
        let ip = &run.ip;
        let total = (run.headers + run.payload) as usize;
        let packet = &mut arena[run.start as usize..];
        inner::write_total(packet, ip, total);
        inner::write_header_checksum(packet, ip);
        let len = total - ip.header;
        let (gso_type, offset) = match (ip.protocol, ip.version) {
            (TCP, 4) => (vnet::GSO_TCPV4, 16),
            (TCP, _) => (vnet::GSO_TCPV6, 16),
            _ => (vnet::GSO_UDP_L4, 6),
        };
        if ip.protocol == UDP {
            packet[ip.header + 4..ip.header + 6].copy_from_slice(&(len as u16).to_be_bytes());
        }
        let at = ip.header + offset;
        let pseudo = inner::pseudo_header(packet, ip, ip.protocol, len).partial();
        packet[at..at + 2].copy_from_slice(&pseudo);
        Header {
            flags: vnet::NEEDS_CSUM,
            gso_type,
            hdr_len: run.headers as u16,
            gso_size: run.size as u16,
            csum_start: ip.header as u16,
            csum_offset: offset as u16,
        }
    }

    /// The places of `run` in the arena, in order.
    pub fn pieces(&self, run: &Run) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut next = run.first;
        std::iter::from_fn(move || {
            let piece = self.pieces.get(next as usize)?;
            next = piece.next;
            Some(piece.start as usize..(piece.start + piece.len) as usize)
        })
    }
}

/// Fill in the transport's part of `new`: whether it can begin or continue a run.
fn read_transport(packet: &[u8], udp: bool, new: &mut Run) {
    let ip = &new.ip;
    let Some(segment) = packet.get(ip.header..ip.total) else { return };
    let plain = match ip.version {
        4 => ip.header == 20,
        _ => true,
    };
    let header = match ip.protocol {
        TCP if segment.len() >= 20 => usize::from(segment[12] >> 4) * 4,
        UDP if segment.len() >= 8 => 8,
        _ => return,
    };
    // A TCP header that says it is shorter than it must be: no sound packet, and not ours to judge.
    let least = if ip.protocol == TCP { 20 } else { 8 };
    if header < least || header > segment.len() {
        return;
    }
    let zero_checksum = ip.protocol == UDP && segment[6..8] == [0, 0];
    if zero_checksum || !inner::pseudo_header(packet, ip, ip.protocol, segment.len()).with(segment).is_sound() {
        return; // left for the kernel to judge
    }
    new.verified = true;
    let eligible = match ip.protocol {
        TCP => segment[13] & !PSH == ACK,
        _ => udp && usize::from(u16::from_be_bytes([segment[4], segment[5]])) == segment.len(),
    };
    let payload = segment.len() - header;
    if !plain || !eligible || payload == 0 {
        return;
    }
    new.headers = (ip.header + header) as u32;
    new.size = payload as u32;
    new.payload = payload as u32;
    new.open = ip.protocol == UDP || segment[13] & PSH == 0;
}

/// A number for the packet's flow: 0 for what belongs to none.  Two flows with one number only end each other's runs.
fn flow(packet: &[u8], ip: &Ip) -> u32 {
    if ip.fragment || !matches!(ip.protocol, TCP | UDP) {
        return 0;
    }
    let Some(ports) = packet.get(ip.header..ip.header + 4) else { return 0 };
    let mut hash = 0x811c_9dc5_u32 ^ u32::from(ip.protocol);
    for word in inner::addresses(packet, ip).chunks_exact(4).chain([ports]) {
        hash ^= u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        hash = hash.wrapping_mul(0x9e37_79b1).rotate_left(15);
    }
    hash | 1
}

/// Whether `new` goes on where `run` stops.
fn continues(arena: &[u8], run: &Run, new: &Run) -> bool {
    let (ip, next) = (&run.ip, &new.ip);
    if new.headers == 0 || run.headers != new.headers || new.payload > run.size {
        return false;
    }
    if ip.version != next.version || ip.protocol != next.protocol || ip.tos != next.tos || ip.df != next.df {
        return false;
    }
    if (run.headers + run.payload + new.payload) as usize > MAX_OCTETS {
        return false;
    }
    let headers = run.headers as usize;
    let a = &arena[run.start as usize..run.start as usize + headers];
    let b = &arena[new.start as usize..new.start as usize + headers];
    let same_ip = if ip.version == 4 {
        // TTL and addresses; the identification matters only to what may be fragmented.
        let id = |h: &[u8]| u16::from_be_bytes([h[4], h[5]]);
        a[8] == b[8] && a[12..20] == b[12..20] && (ip.df || id(b) == id(a).wrapping_add(run.packets as u16))
    } else {
        a[0..4] == b[0..4] && a[7..40] == b[7..40]
    };
    let (a, b) = (&a[ip.header..], &b[ip.header..]);
    if !same_ip || a[..4] != b[..4] {
        return false;
    }
    if ip.protocol == UDP {
        return true;
    }
    // Acknowledgement, header length, window and options as they were; the sequence number goes on.
    let sequence = |h: &[u8]| u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
    a[8..13] == b[8..13]
        && a[14..16] == b[14..16]
        && a[18..] == b[18..]
        && sequence(b) == sequence(a).wrapping_add(run.payload)
}
