//! The sockets of all workers.

use std::net::IpAddr;

use crate::io::Failure;
use crate::io::socket::{self, Family, Socket};

/// What a socket is for.  The NAT-T and the raw ones are each worker's own, the others the first worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Port {
    Natt4,
    Natt6,
    Raw4,
    Raw6,
    Ike4,
    Ike6,
    /// Sends IKE from the NAT-T port, always without DF.
    NattIke4,
    NattIke6,
}

const ALL: [Port; 8] =
    [Port::Natt4, Port::Natt6, Port::Raw4, Port::Raw6, Port::Ike4, Port::Ike6, Port::NattIke4, Port::NattIke6];

impl Port {
    pub fn from_token(token: u32) -> Option<Self> {
        ALL.get(token as usize).copied()
    }

    pub fn receives(self) -> bool {
        !matches!(self, Self::NattIke4 | Self::NattIke6)
    }
}

pub struct Network {
    pub ike_port: u16,
    pub natt_port: u16,
    ike: [Option<Socket>; 2],
    natt_ike: [Option<Socket>; 2],
    /// By family, then by worker; empty where the family or the right is missing.
    natt: [Vec<Socket>; 2],
    raw: [Vec<Socket>; 2],
}

impl Network {
    /// Bind everything.  IPv6 is left out where the host has none, protocol 50 without CAP_NET_RAW.
    pub fn open(workers: usize, ike_port: u16, natt_port: u16) -> Result<Self, Failure> {
        let (natt4, natt_ike4) = socket::group(Family::V4, natt_port, workers)?;
        let ike4 = socket::udp(Family::V4, ike_port)?;
        let (mut ike6, mut natt6, mut natt_ike6) = (None, Vec::new(), None);
        match socket::udp(Family::V6, ike_port) {
            Ok(ike) => {
                let (receivers, sender) = socket::group(Family::V6, natt_port, workers)?;
                (ike6, natt6, natt_ike6) = (Some(ike), receivers, Some(sender));
            }
            Err(failure) if matches!(failure.errno, libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => (),
            Err(failure) => return Err(failure),
        }
        let raw4 = without_right(socket::raw(Family::V4, workers))?;
        let raw6 = if ike6.is_some() { without_right(socket::raw(Family::V6, workers))? } else { Vec::new() };
        Ok(Self {
            ike_port,
            natt_port,
            ike: [Some(ike4), ike6],
            natt_ike: [Some(natt_ike4), natt_ike6],
            natt: [natt4, natt6],
            raw: [raw4, raw6],
        })
    }

    pub fn raw_esp(&self) -> bool {
        !self.raw[0].is_empty()
    }

    /// The sockets that worker `index` waits for.
    pub fn ports_of(&self, index: usize) -> impl Iterator<Item = Port> {
        let own = if index == 0 { ALL.len() } else { 4 };
        ALL.into_iter().take(own)
    }

    pub fn socket(&self, port: Port, worker: usize) -> Option<&Socket> {
        match port {
            Port::Natt4 => self.natt[0].get(worker),
            Port::Natt6 => self.natt[1].get(worker),
            Port::Raw4 => self.raw[0].get(worker),
            Port::Raw6 => self.raw[1].get(worker),
            Port::Ike4 => self.ike[0].as_ref(),
            Port::Ike6 => self.ike[1].as_ref(),
            Port::NattIke4 => self.natt_ike[0].as_ref(),
            Port::NattIke6 => self.natt_ike[1].as_ref(),
        }
    }

    /// The socket by which worker `worker` sends ESP to `destination`.
    pub fn esp(&self, destination: &IpAddr, encap: bool, worker: usize) -> Option<&Socket> {
        let family = usize::from(destination.is_ipv6());
        if encap { &self.natt[family] } else { &self.raw[family] }.get(worker)
    }

    /// The socket by which IKE leaves from `port` to `destination`.
    pub fn ike(&self, destination: &IpAddr, port: u16) -> Option<&Socket> {
        let family = usize::from(destination.is_ipv6());
        if port == self.natt_port { &self.natt_ike[family] } else { &self.ike[family] }.as_ref()
    }

    /// The UDP port number of a socket.
    pub fn number(&self, port: Port) -> u16 {
        if matches!(port, Port::Ike4 | Port::Ike6) { self.ike_port } else { self.natt_port }
    }
}

/// Without CAP_NET_RAW there are no raw sockets, and everything else goes on.
fn without_right(sockets: std::io::Result<Vec<Socket>>) -> Result<Vec<Socket>, Failure> {
    match sockets {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::EPROTONOSUPPORT)) => {
            Ok(Vec::new())
        }
        result => result.map_err(|error| {
            let failure = Failure::from(error);
            Failure { message: format!("ESP (IP protocol 50): {}", failure.message), ..failure }
        }),
    }
}
