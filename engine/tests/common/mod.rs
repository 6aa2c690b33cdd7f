//! TCP and UDP packets of a flow, with right checksums, computed here the slow way.

use _engine::esp::vnet::{self, Header};

pub const ACK: u8 = 0x10;
pub const PSH: u8 = 0x08;
const SYN: u8 = 0x02;

#[derive(Clone, Debug)]
pub struct Flow {
    pub ipv6: bool,
    pub tcp: bool,
    pub df: bool,
    pub tos: u8,
    pub id: u16,
    pub sequence: u32,
    /// Octets of TCP options.
    pub options: usize,
    pub port: u16,
}

impl Default for Flow {
    fn default() -> Self {
        Self { ipv6: false, tcp: false, df: false, tos: 0, id: 7, sequence: 100, options: 0, port: 5000 }
    }
}

impl Flow {
    pub fn ip_header(&self) -> usize {
        if self.ipv6 { 40 } else { 20 }
    }

    fn ip(&self, len: usize) -> Vec<u8> {
        let protocol = if self.tcp { 6 } else { 17 };
        if self.ipv6 {
            let mut h = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 9, 0, 0, protocol, 64];
            h[4..6].copy_from_slice(&(len as u16).to_be_bytes());
            h.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            h.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
            return h;
        }
        let mut h = vec![0x45, self.tos, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        h[2..4].copy_from_slice(&(len as u16 + 20).to_be_bytes());
        h[4..6].copy_from_slice(&self.id.to_be_bytes());
        h[6] = if self.df { 0x40 } else { 0 };
        let sum = !sum(&h);
        h[10..12].copy_from_slice(&sum.to_be_bytes());
        h
    }

    fn transport(&self, flags: u8, options: &[u8], payload: usize) -> Vec<u8> {
        let mut h = self.port.to_be_bytes().to_vec();
        h.extend([0, 80]);
        if self.tcp {
            h.extend(self.sequence.to_be_bytes());
            h.extend([0, 0, 0, 1, ((20 + options.len()) / 4 * 16) as u8, flags, 1, 0, 0, 0, 0, 0]);
            h.extend(options);
        } else {
            h.extend((payload as u16 + 8).to_be_bytes());
            h.extend([0, 0]);
        }
        h
    }

    fn checksum_offset(&self) -> usize {
        if self.tcp { 16 } else { 6 }
    }

    /// The next packet of the flow.
    pub fn next(&mut self, payload: &[u8], flags: u8) -> Vec<u8> {
        let packet = self.packet(payload, flags, &vec![1; self.options]);
        self.sequence = self.sequence.wrapping_add(payload.len() as u32);
        self.id = self.id.wrapping_add(1);
        packet
    }

    pub fn syn(&mut self, options: &[u8]) -> Vec<u8> {
        self.packet(&[], SYN, options)
    }

    fn packet(&self, payload: &[u8], flags: u8, options: &[u8]) -> Vec<u8> {
        let mut segment = self.transport(flags, options, payload.len());
        segment.extend(payload);
        let mut packet = self.ip(segment.len());
        packet.extend(segment);
        let sum = match !transport_sum(&packet) {
            0 if !self.tcp => 0xffff,
            sum => sum,
        };
        let at = self.ip_header() + self.checksum_offset();
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// A super-packet as the kernel hands it over: with the pseudo-header's sum for a checksum.
    pub fn super_packet(&self, payload: &[u8], size: usize, flags: u8) -> (Header, Vec<u8>) {
        let mut segment = self.transport(flags, &vec![1; self.options], payload.len());
        let headers = self.ip_header() + segment.len();
        segment.extend(payload);
        let mut packet = self.ip(segment.len());
        packet.extend(segment);
        let partial = pseudo_sum(&packet);
        let at = self.ip_header() + self.checksum_offset();
        packet[at..at + 2].copy_from_slice(&partial.to_be_bytes());
        let gso_type = match (self.tcp, self.ipv6) {
            (true, false) => vnet::GSO_TCPV4,
            (true, true) => vnet::GSO_TCPV6,
            _ => vnet::GSO_UDP_L4,
        };
        let header = Header {
            flags: vnet::NEEDS_CSUM,
            gso_type,
            hdr_len: headers as u16,
            gso_size: size as u16,
            csum_start: self.ip_header() as u16,
            csum_offset: self.checksum_offset() as u16,
        };
        (header, packet)
    }

    pub fn owns(&self, packet: &[u8]) -> bool {
        (packet[0] >> 4 == 6) == self.ipv6
            && packet.get(self.ip_header()..self.ip_header() + 2) == Some(&self.port.to_be_bytes())
    }

    /// The packet without its IPv4 identification and header checksum, which segmentation may choose.
    pub fn without_id(&self, packet: &[u8]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        if !self.ipv6 {
            packet[4..6].fill(0);
            packet[10..12].fill(0);
        }
        packet
    }
}

/// Ones' complement sum of 16-bit words.
fn sum(data: &[u8]) -> u16 {
    let mut total = 0_u32;
    for word in data.chunks(2) {
        total += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn header_len(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 6 { 40 } else { usize::from(packet[0] & 15) * 4 }
}

fn pseudo_sum(packet: &[u8]) -> u16 {
    let header = header_len(packet);
    let (addresses, protocol) =
        if header == 40 && packet[0] >> 4 == 6 { (&packet[8..40], packet[6]) } else { (&packet[12..20], packet[9]) };
    let mut pseudo = addresses.to_vec();
    pseudo.extend([0, protocol]);
    pseudo.extend(((packet.len() - header) as u16).to_be_bytes());
    sum(&pseudo)
}

fn transport_sum(packet: &[u8]) -> u16 {
    let both = [pseudo_sum(packet).to_be_bytes().to_vec(), packet[header_len(packet)..].to_vec()].concat();
    sum(&both)
}

/// Whether the IP header's checksum and the transport's are right.
pub fn is_sound(packet: &[u8]) -> bool {
    let header = header_len(packet);
    let (v4, protocol) = if packet[0] >> 4 == 4 { (true, packet[9]) } else { (false, packet[6]) };
    let header_ok = !v4 || sum(&packet[..header]) == 0xffff;
    let body_ok = if protocol == 1 { sum(&packet[header..]) == 0xffff } else { transport_sum(packet) == 0xffff };
    header_ok && body_ok
}
