//! The virtio-net header in front of each packet of a TUN queue.

/// Octets of the header.
pub const LEN: usize = 10;

pub const NEEDS_CSUM: u8 = 1;
pub const DATA_VALID: u8 = 2;

pub const GSO_NONE: u8 = 0;
pub const GSO_TCPV4: u8 = 1;
pub const GSO_TCPV6: u8 = 4;
pub const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub flags: u8,
    pub gso_type: u8,
    pub hdr_len: u16,
    pub gso_size: u16,
    pub csum_start: u16,
    pub csum_offset: u16,
}

impl Header {
    /// Read what the kernel wrote, in the machine's own byte order.
    pub fn read(octets: &[u8; LEN]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([octets[at], octets[at + 1]]);
        Self {
            flags: octets[0],
            gso_type: octets[1] & !GSO_ECN,
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
        }
    }

    pub fn octets(&self) -> [u8; LEN] {
        let mut octets = [0; LEN];
        octets[0] = self.flags;
        octets[1] = self.gso_type;
        for (at, word) in [(2, self.hdr_len), (4, self.gso_size), (6, self.csum_start), (8, self.csum_offset)] {
            octets[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
        octets
    }
}
