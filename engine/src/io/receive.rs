//! Receiving datagrams, many at a time, each perhaps a train of several that the kernel joined (UDP_GRO).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::address::{self, Address};
use super::check;
use super::socket::Socket;

/// Datagrams of one call at most, and octets of each: a train is as long as an IP packet may be.
pub const BATCH: usize = 64;
const SIZE: usize = 65_536;
/// From one datagram's place to the next one's.  A power of two would put all of them into the same sets of the caches.
const STRIDE: usize = SIZE + 2112;
/// Octets in front of each datagram that are its reader's, for a header of its own.
pub const HEADROOM: usize = 64;
const CONTROL: usize = 32; // in words of eight octets

const UDP_GRO: libc::c_int = 104;

/// Where each datagram of a batch came from and lies.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub remote: SocketAddr,
    /// The address that it was sent to.
    pub local: IpAddr,
    /// DSCP and ECN.
    pub tos: u8,
    pub place: Range<usize>,
    /// Octets of each segment but the last; the whole datagram when it is no train.
    pub segment: usize,
}

/// Buffers for one batch.
pub struct Receiver {
    arena: Box<[u8]>,
    addresses: Box<[Address; BATCH]>,
    controls: Box<[[u64; CONTROL]; BATCH]>,
    pieces: Box<[libc::iovec; BATCH]>,
    messages: Box<[libc::mmsghdr; BATCH]>,
}

// SAFETY: the raw pointers in `pieces` and `messages` point into the other fields' heap memory, are set anew before
// each call and read by nobody between calls.
unsafe impl Send for Receiver {}

impl Receiver {
    pub fn new() -> Self {
        // SAFETY: all zeros is a valid value of both.
        let (pieces, messages) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            arena: vec![0; BATCH * STRIDE].into(),
            addresses: Box::new([Address::unspecified(); BATCH]),
            controls: Box::new([[0; CONTROL]; BATCH]),
            pieces: Box::new(pieces),
            messages: Box::new(messages),
        }
    }

    /// All buffers as one, in which each datagram has its `place`.
    pub fn arena(&mut self) -> &mut [u8] {
        &mut self.arena
    }

    /// Receive up to `limit` datagrams; WouldBlock when there is nothing.
    pub fn receive(&mut self, socket: &Socket, limit: usize) -> io::Result<usize> {
        let limit = limit.min(BATCH);
        for i in 0..limit {
            self.pieces[i] = libc::iovec { iov_base: self.arena[place(i)..].as_mut_ptr().cast(), iov_len: SIZE };
            let header = &mut self.messages[i].msg_hdr;
            header.msg_name = (&raw mut self.addresses[i]).cast();
            header.msg_namelen = address::LEN as libc::socklen_t;
            header.msg_iov = &raw mut self.pieces[i];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[i].as_mut_ptr().cast();
            header.msg_controllen = CONTROL * 8;
            header.msg_flags = 0;
        }
        // SAFETY: each message points to memory of ours, of the length that it says.
        let got = check(unsafe {
            libc::recvmmsg(socket.fd(), self.messages.as_mut_ptr(), limit as u32, 0, std::ptr::null_mut())
        })?;
        Ok(got as usize)
    }

    /// Datagram number `index` of the last batch; None when it is not whole or says not where it came from or went.
    pub fn datagram(&self, index: usize) -> Option<Datagram> {
        let message = self.messages.get(index)?;
        let remote = self.addresses[index].get().filter(|_| message.msg_hdr.msg_namelen > 0)?;
        let len = (message.msg_len as usize).min(SIZE);
        if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let (mut local, mut tos, mut segment) = (None, 0, len);
        each_control(&message.msg_hdr, |level, kind, data| match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                local = read::<libc::in_pktinfo>(data).map(|info| address::v4(info.ipi_addr));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                local = read::<libc::in6_pktinfo>(data).map(|info| address::v6(info.ipi6_addr));
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => tos = data.first().copied().unwrap_or(0),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => tos = read::<libc::c_int>(data).unwrap_or(0) as u8,
            (libc::SOL_UDP, UDP_GRO) => {
                segment = read::<libc::c_int>(data).map_or(len, |size| usize::try_from(size).unwrap_or(0));
            }
            _ => (),
        });
        let start = place(index);
        Some(Datagram { remote, local: local?, tos, place: start..start + len, segment: segment.max(1) })
    }
}

/// Where datagram number `index` begins.
fn place(index: usize) -> usize {
    index * STRIDE + HEADROOM
}

/// Call `found` with level, type and data of each control message.
pub(super) fn each_control(header: &libc::msghdr, mut found: impl FnMut(libc::c_int, libc::c_int, &[u8])) {
    // SAFETY: the kernel has written whole control messages, `msg_controllen` octets of them, and the macros walk
    // within that length.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = control.as_ref() {
            let len = message.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            let data = std::slice::from_raw_parts(libc::CMSG_DATA(control), len);
            found(message.cmsg_level, message.cmsg_type, data);
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
}

/// A plain structure of the kernel's at the head of `data`.
pub(super) fn read<T: Copy>(data: &[u8]) -> Option<T> {
    if data.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough octets, and the types that this is used for take every bit pattern.
    Some(unsafe { data.as_ptr().cast::<T>().read_unaligned() })
}
