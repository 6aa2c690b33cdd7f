//! Sending datagrams: from the SA's own address, with its DSCP and ECN, many of one size with one call.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::address::{self, Address};
use super::check;
use super::socket::Socket;

const UDP_SEGMENT: libc::c_int = 103;
const CONTROL: usize = 16; // in words of eight octets

/// Datagrams of one UDP_SEGMENT call (kernels before 6.9 take no more), and octets of them together.
pub const MAX_SEGMENTS: usize = 64;
pub const MAX_OCTETS: usize = 65_000;

/// From where to where, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// None: the routing table chooses.
    pub source: Option<IpAddr>,
    pub destination: SocketAddr,
    pub tos: u8,
}

/// Send `data` as datagrams of `segment` octets each (the last may be shorter) with one UDP_SEGMENT call.
///
/// An error that an ICMP message left on the socket is not this send's, here and below: it is taken off by being
/// reported, and the send tried once more.
pub fn send_train(socket: &Socket, way: &Way, data: &[u8], segment: usize) -> io::Result<()> {
    once_more(|| {
        let mut control = [0_u64; CONTROL];
        let used = write_controls(&mut control, way, u16::try_from(segment).ok());
        send_many::<1>(socket, way, &control, used, data, data.len()).map(drop)
    })
}

/// Send the datagrams of `data`, of `size` octets each (the last may be shorter), without UDP_SEGMENT: how many of them
/// the kernel took, at least one.
pub fn send_each(socket: &Socket, way: &Way, data: &[u8], size: usize) -> io::Result<usize> {
    once_more(|| {
        let mut control = [0_u64; CONTROL];
        let used = write_controls(&mut control, way, None);
        send_many::<MAX_SEGMENTS>(socket, way, &control, used, data, size)
    })
}

fn once_more<T>(mut send: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match send() {
        Err(error) if may_be_anothers(&error) => send(),
        result => result,
    }
}

/// Errors that an ICMP message about an earlier packet puts on the socket.
fn may_be_anothers(error: &io::Error) -> bool {
    let Some(number) = error.raw_os_error() else { return false };
    matches!(
        number,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::ENONET
            | libc::EACCES
            | libc::EMSGSIZE
    )
}

/// Whether this send was refused for its size.  Kernels before 6.14 say EINVAL to UDP_SEGMENT beyond the MTU.
pub fn is_too_big(error: &io::Error, segmented: bool) -> bool {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => true,
        Some(libc::EINVAL | libc::EIO) => segmented,
        _ => false,
    }
}

/// Send the datagrams of `data`, `N` at most, each with the same `control` of `used` octets.
fn send_many<const N: usize>(
    socket: &Socket,
    way: &Way,
    control: &[u64; CONTROL],
    used: usize,
    data: &[u8],
    size: usize,
) -> io::Result<usize> {
    let (mut to, to_len) = Address::new(way.destination);
    // SAFETY: all zeros is a valid value of both.
    let (mut pieces, mut messages): ([libc::iovec; N], [libc::mmsghdr; N]) = unsafe { std::mem::zeroed() };
    let mut count = 0;
    for datagram in data.chunks(size.max(1)).take(N) {
        pieces[count] = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
        let message = &mut messages[count].msg_hdr;
        message.msg_name = (&raw mut to).cast();
        message.msg_namelen = to_len;
        message.msg_iov = &raw mut pieces[count];
        message.msg_iovlen = 1;
        message.msg_control = control.as_ptr().cast_mut().cast();
        message.msg_controllen = used;
        count += 1;
    }
    // SAFETY: each message points to live memory of the lengths that it says; the kernel reads all but `msg_len`.
    check(unsafe { libc::sendmmsg(socket.fd(), messages.as_mut_ptr(), count as u32, 0) }).map(|sent| sent as usize)
}

/// Write the control messages; their octets.
fn write_controls(control: &mut [u64; CONTROL], way: &Way, segment: Option<u16>) -> usize {
    let mut writer = Writer { control, used: 0 };
    let tos = libc::c_int::from(way.tos);
    if way.destination.is_ipv4() {
        writer.put(libc::IPPROTO_IP, libc::IP_TOS, tos);
        if let Some(IpAddr::V4(source)) = way.source {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
            let info =
                libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
            writer.put(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
    } else {
        writer.put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, tos);
        if let Some(IpAddr::V6(source)) = way.source {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: source.octets() }, ipi6_ifindex: 0 };
            writer.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
    if let Some(size) = segment {
        writer.put(libc::SOL_UDP, UDP_SEGMENT, size);
    }
    writer.used
}

struct Writer<'a> {
    control: &'a mut [u64; CONTROL],
    used: usize,
}

impl Writer<'_> {
    fn put<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        let size = size_of::<T>() as u32;
        // SAFETY: these two only compute.
        let (space, len) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size) as usize) };
        if self.used + space > CONTROL * 8 {
            return; // never: room is for all that `write_controls` may put
        }
        // SAFETY: a control message of this type fits between `used` and the end, and the array is aligned for it.
        unsafe {
            let header = self.control.as_mut_ptr().cast::<u8>().add(self.used).cast::<libc::cmsghdr>();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = len;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        self.used += space;
    }
}

const _: () = assert!(address::LEN >= size_of::<libc::sockaddr_in6>());
