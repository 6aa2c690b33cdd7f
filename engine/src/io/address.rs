//! Socket addresses as the kernel has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy)]
pub union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

pub const LEN: usize = size_of::<Address>();

impl Address {
    pub const fn unspecified() -> Self {
        // SAFETY: all zeros is a valid value of both.
        unsafe { std::mem::zeroed() }
    }

    pub fn new(address: SocketAddr) -> (Self, libc::socklen_t) {
        let mut raw = Self::unspecified();
        match address {
            SocketAddr::V4(a) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: a.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(a.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(a) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: a.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: a.ip().octets() },
                    sin6_scope_id: a.scope_id(),
                };
                (raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    /// None for another family.
    pub fn get(&self) -> Option<SocketAddr> {
        // SAFETY: the family lies at the same place in both, and every bit pattern is valid in either.
        unsafe {
            match i32::from(self.v4.sin_family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(self.v4.sin_port)))
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(self.v6.sin6_port)))
                }
                _ => None,
            }
        }
    }
}

pub fn v4(raw: libc::in_addr) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(raw.s_addr.to_ne_bytes()))
}

pub fn v6(raw: libc::in6_addr) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(raw.s6_addr))
}
