//! The sockets: UDP for IKE and ESP, raw for ESP as protocol 50.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use super::address::Address;
use super::{Failure, check, set_option, steer};

const IP_PMTUDISC_DONT: libc::c_int = 0;
const IP_PMTUDISC_PROBE: libc::c_int = 3;
const IP_PMTUDISC_OMIT: libc::c_int = 5;
const UDP_GRO: libc::c_int = 104;
/// Octets of socket buffer asked for each way.
const BUFFER: libc::c_int = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn domain(self) -> libc::c_int {
        if self == Self::V4 { libc::AF_INET } else { libc::AF_INET6 }
    }

    fn wildcard(self, port: u16) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            Self::V6 => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
        }
    }

    fn loopback(self) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
            Self::V6 => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0),
        }
    }
}

pub struct Socket {
    fd: OwnedFd,
    pub family: Family,
    /// Whether packets leave with DF set: an option of the socket, switched when the next packet wants it otherwise.
    dont_fragment: AtomicI32,
    raw: bool,
}

impl Socket {
    fn new(family: Family, kind: libc::c_int, protocol: libc::c_int) -> io::Result<Self> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointer is passed; the descriptor is new and ours.
        let fd = check(unsafe { libc::socket(family.domain(), kind | flags, protocol) })?;
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self { fd, family, dont_fragment: AtomicI32::new(-1), raw: kind == libc::SOCK_RAW };
        socket.set_common_options()?;
        socket.set_dont_fragment(false)?;
        Ok(socket)
    }

    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn is_raw(&self) -> bool {
        self.raw
    }

    fn set_common_options(&self) -> io::Result<()> {
        let fd = self.fd();
        match self.family {
            Family::V4 => {
                for option in [libc::IP_PKTINFO, libc::IP_RECVTOS, libc::IP_RECVERR] {
                    set_option(fd, libc::IPPROTO_IP, option, 1)?;
                }
            }
            Family::V6 => {
                if !self.raw {
                    set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
                }
                for option in [libc::IPV6_RECVPKTINFO, libc::IPV6_RECVTCLASS, libc::IPV6_RECVERR] {
                    set_option(fd, libc::IPPROTO_IPV6, option, 1)?;
                }
            }
        }
        for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            if set_option(fd, libc::SOL_SOCKET, force, BUFFER).is_err() {
                set_option(fd, libc::SOL_SOCKET, plain, BUFFER)?; // cut to the system's limit
            }
        }
        Ok(())
    }

    /// Take away the error that the kernel has noted for the next call on this socket.
    pub fn forget_error(&self) {
        let mut error: libc::c_int = 0;
        let mut len = size_of_val(&error) as libc::socklen_t;
        // SAFETY: pointers and length describe `error`; that nothing is got is no harm.
        unsafe {
            libc::getsockopt(self.fd(), libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut len);
        }
    }

    /// Let the next packets leave with DF set, or without.
    ///
    /// With DF the kernel's own idea of the path MTU is left out of account (PROBE): an SA keeps one itself.  Without,
    /// IPv4 ignores what is said about the path (OMIT) since routers fragment; IPv6 must know it to fragment here.
    pub fn set_dont_fragment(&self, on: bool) -> io::Result<()> {
        if self.dont_fragment.load(Relaxed) == i32::from(on) {
            return Ok(());
        }
        let value = match (on, self.family) {
            (true, _) => IP_PMTUDISC_PROBE,
            (false, Family::V4) => IP_PMTUDISC_OMIT,
            (false, Family::V6) => IP_PMTUDISC_DONT,
        };
        match self.family {
            Family::V4 => set_option(self.fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value)?,
            Family::V6 => set_option(self.fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, value)?,
        }
        self.dont_fragment.store(i32::from(on), Relaxed);
        Ok(())
    }

    /// The loopback address may be missing where `lo` is down.  Free for the binding alone: later the kernel is to refuse
    /// source addresses that are not this host's.
    fn bind_even_if_down(&self, address: SocketAddr) -> io::Result<()> {
        let (level, option) = match self.family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_FREEBIND),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND),
        };
        set_option(self.fd(), level, option, 1)?;
        self.bind(address)?;
        set_option(self.fd(), level, option, 0)
    }

    fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let (address, len) = Address::new(address);
        // SAFETY: address and length belong together.
        check(unsafe { libc::bind(self.fd(), (&raw const address).cast(), len) }).map(drop)
    }
}

/// A UDP socket that has its port to itself.
pub fn udp(family: Family, port: u16) -> Result<Socket, Failure> {
    let socket = Socket::new(family, libc::SOCK_DGRAM, 0)?;
    socket.bind(family.wildcard(port)).map_err(|error| explain(error, port))?;
    Ok(socket)
}

/// A SO_REUSEPORT group: a receiver for each worker, then one socket that only sends (IKE, always without DF).
/// The steering program points to the receivers alone.
pub fn group(family: Family, port: u16, workers: usize) -> Result<(Vec<Socket>, Socket), Failure> {
    // Without SO_REUSEPORT first: it would join whatever group somebody else, or a stale self, has on the port.
    drop(udp(family, port)?);
    let mut sockets = Vec::new();
    for _ in 0..=workers {
        let socket = Socket::new(family, libc::SOCK_DGRAM, 0)?;
        set_option(socket.fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        // An old kernel without UDP_GRO gives every datagram by itself.
        let _ = set_option(socket.fd(), libc::SOL_UDP, UDP_GRO, 1);
        socket.bind(family.wildcard(port)).map_err(|error| explain(error, port))?;
        sockets.push(socket);
    }
    steer::group(sockets[0].fd(), workers)?;
    let sender = sockets.remove(workers);
    Ok((sockets, sender))
}

/// A raw socket of protocol 50 for each worker; the first half of them receives.
///
/// The kernel copies each packet's head for every socket that could have it, before the socket's filter decides.
pub fn raw(family: Family, workers: usize) -> io::Result<Vec<Socket>> {
    let receivers = workers.div_ceil(2);
    (0..workers)
        .map(|worker| {
            let socket = Socket::new(family, libc::SOCK_RAW, libc::IPPROTO_ESP)?;
            if worker < receivers {
                steer::raw(socket.fd(), family == Family::V6, worker, receivers)?;
            } else {
                // Where a packet is sent from, it says itself.
                steer::nothing(socket.fd())?;
                socket.bind_even_if_down(family.loopback())?;
            }
            Ok(socket)
        })
        .collect()
}

fn explain(error: io::Error, port: u16) -> Failure {
    let failure = Failure::from(error);
    let message = if failure.errno == libc::EADDRINUSE {
        format!("UDP port {port} is in use by another process (`ss -lunp 'sport = :{port}'` names it): stop it first")
    } else {
        format!("UDP port {port}: {}", failure.message)
    };
    Failure { message, ..failure }
}
