//! What a TUN read brings, taken apart into packets: TCP and UDP segmentation, and checksums left to us.

use super::checksum::Sum;
use super::inner::{self, Ip, TCP, UDP};
use super::vnet::{self, Header};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// How one (super-)packet becomes packets.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub ip: Ip,
    /// Where the transport header begins, when its checksum is ours to write.
    transport: usize,
    /// Where the checksum lies in the transport header.
    checksum: usize,
    kind: Kind,
    /// Octets of IP and transport header of each packet.
    headers: usize,
    /// Octets of payload of each packet but the last.
    size: usize,
    count: usize,
    /// What the checksums of all segments have in common: of the IPv4 header all but total length and identification, of
    /// the transport's all but length, sequence number, flags and payload.
    ip_sum: Sum,
    transport_sum: Sum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Goes as it is.
    Whole,
    /// Goes whole, with its checksum filled in.
    Checksum,
    Tcp,
    Udp,
}

impl Plan {
    /// None when header and packet contradict each other.
    pub fn new(header: &Header, packet: &[u8]) -> Option<Self> {
        let ip = inner::parse(packet)?;
        if header.flags & vnet::NEEDS_CSUM == 0 {
            // A super-packet always comes with its checksum unfinished.
            return (header.gso_type == vnet::GSO_NONE).then_some(Self::whole(ip));
        }
        let transport = usize::from(header.csum_start);
        let checksum = usize::from(header.csum_offset);
        if transport < ip.header || transport + checksum + 2 > ip.total {
            return None;
        }
        let plan = Self { transport, checksum, ..Self::whole(ip) };
        let (kind, headers) = match header.gso_type {
            vnet::GSO_NONE => return Some(Self { kind: Kind::Checksum, ..plan }),
            vnet::GSO_TCPV4 | vnet::GSO_TCPV6 if checksum == 16 => {
                let offset = packet.get(transport + 12)? >> 4;
                (offset >= 5).then_some((Kind::Tcp, transport + usize::from(offset) * 4))?
            }
            vnet::GSO_UDP_L4 if checksum == 6 => (Kind::Udp, transport + 8),
            _ => return None,
        };
        let size = usize::from(header.gso_size);
        let payload = ip.total.checked_sub(headers)?;
        if size == 0 || payload == 0 {
            return None;
        }
        let (ip_sum, transport_sum) = common_sums(packet.get(..headers)?, &ip, transport, kind)?;
        Some(Self { kind, headers, size, count: payload.div_ceil(size), ip_sum, transport_sum, ..plan })
    }

    fn whole(ip: Ip) -> Self {
        Self {
            ip,
            transport: 0,
            checksum: 0,
            kind: Kind::Whole,
            headers: 0,
            size: ip.total,
            count: 1,
            ip_sum: Sum::default(),
            transport_sum: Sum::default(),
        }
    }

    /// Packets that come out.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether this was a super-packet, behind which a batch ends.
    pub fn is_super(&self) -> bool {
        self.count > 1
    }

    /// Octets of the largest packet that comes out.
    pub fn largest(&self) -> usize {
        self.len(0)
    }

    /// Octets of packet number `index`.
    pub fn len(&self, index: usize) -> usize {
        let payload = self.ip.total - self.headers;
        self.headers + self.size.min(payload - index * self.size)
    }

    /// Octets of packets `first..first + count` together.
    pub fn span(&self, first: usize, count: usize) -> usize {
        if count == 0 { 0 } else { (count - 1) * self.len(0) + self.len(first + count - 1) }
    }

    /// Write packet number `index` of `packet` to `out`, of `self.len(index)` octets.
    pub fn write(&self, index: usize, packet: &[u8], out: &mut [u8]) {
        match self.kind {
            Kind::Whole => out.copy_from_slice(&packet[..self.ip.total]),
            Kind::Checksum => {
                out.copy_from_slice(&packet[..self.ip.total]);
                self.write_checksum(out, Sum::default().with(&packet[self.transport..self.ip.total]));
            }
            Kind::Tcp | Kind::Udp => self.write_segment(index, packet, out),
        }
    }

    fn write_segment(&self, index: usize, packet: &[u8], out: &mut [u8]) {
        let total = out.len();
        let (head, payload) = out.split_at_mut(self.headers);
        head.copy_from_slice(&packet[..self.headers]);
        let start = self.headers + index * self.size;
        let sum = self.transport_sum.with_copy(&packet[start..start + payload.len()], payload);

        inner::write_total(head, &self.ip, total);
        if self.ip.version == 4 {
            let id = u16::from_be_bytes([head[4], head[5]]).wrapping_add(index as u16);
            head[4..6].copy_from_slice(&id.to_be_bytes());
            head[10..12].copy_from_slice(&self.ip_sum.with_u16(total as u16).with_u16(id).finish());
        }
        let len = (total - self.transport) as u16;
        let header = &mut head[self.transport..];
        let sum = sum.with_u16(len); // in the pseudo-header
        let sum = if self.kind == Kind::Tcp {
            let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let sequence = sequence.wrapping_add((index * self.size) as u32);
            header[4..8].copy_from_slice(&sequence.to_be_bytes());
            if index > 0 {
                header[13] &= !CWR;
            }
            if index + 1 < self.count {
                header[13] &= !(FIN | PSH);
            }
            sum.with_u16((sequence >> 16) as u16).with_u16(sequence as u16).with_u16(u16::from(header[13]))
        } else {
            header[4..6].copy_from_slice(&len.to_be_bytes());
            sum.with_u16(len)
        };
        self.write_checksum(out, sum);
    }

    /// Write the transport checksum, whose sum is `sum`.  Without segmentation the kernel has put the pseudo-header's
    /// sum where the checksum goes, and so it was summed up with the rest.
    fn write_checksum(&self, out: &mut [u8], sum: Sum) {
        let mut sum = sum.finish();
        if self.checksum == 6 && sum == [0, 0] {
            sum = [0xff, 0xff]; // in UDP, zero says that there is none (RFC 768)
        }
        let at = self.transport + self.checksum;
        out[at..at + 2].copy_from_slice(&sum);
    }
}

/// `Plan::ip_sum` and `Plan::transport_sum` of a super-packet whose headers are `head`; None when they are no headers.
fn common_sums(head: &[u8], ip: &Ip, transport: usize, kind: Kind) -> Option<(Sum, Sum)> {
    let mut ip_sum = Sum::default();
    if ip.version == 4 {
        let words = [head.get(..2)?, head.get(6..10)?, head.get(12..ip.header)?];
        ip_sum = words.into_iter().fold(ip_sum, Sum::with);
    }
    let header = head.get(transport..)?;
    let (protocol, words) = match kind {
        Kind::Tcp => (TCP, [header.get(..4)?, header.get(8..12)?, header.get(14..16)?, header.get(18..)?]),
        _ => (UDP, [header.get(..4)?, &[], &[], &[]]),
    };
    let sum = words.into_iter().fold(inner::pseudo_header(head, ip, protocol, 0), Sum::with);
    let offset = if kind == Kind::Tcp { u16::from(*header.get(12)?) << 8 } else { 0 };
    Some((ip_sum, sum.with_u16(offset)))
}
