//! What the engine tells Python, through a bounded queue and an eventfd.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};

use crate::io::wake::Wake;

/// IKE datagrams held at most, and their octets; and other events held at most.
const MAX_IKE: usize = 2048;
const MAX_IKE_OCTETS: usize = 8 << 20;
const MAX_OTHER: usize = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Soft,
    Hard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Bytes,
    Packets,
}

#[derive(Debug)]
pub enum Event {
    /// An IKE message, without the non-ESP marker.
    Ike { local: SocketAddr, remote: SocketAddr, data: Vec<u8> },
    /// A lifetime in bytes or packets was reached.
    Expire { spi: u32, outbound: bool, destination: IpAddr, kind: Kind, limit: Limit },
    /// An authenticated packet came from elsewhere; port 0 for plain ESP.
    Mapping { spi: u32, source: IpAddr, port: u16 },
    /// A worker cannot go on.
    Fatal(String),
}

#[derive(Default)]
struct Pending {
    events: VecDeque<Event>,
    ike: usize,
    ike_octets: usize,
}

pub struct Events {
    pending: Mutex<Pending>,
    wake: Wake,
}

impl Events {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { pending: Mutex::default(), wake: Wake::new()? })
    }

    pub fn fd(&self) -> RawFd {
        self.wake.fd()
    }

    /// Queue `event`; false when the queue is full.
    pub fn push(&self, event: Event) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        match &event {
            Event::Ike { data, .. } => {
                if pending.ike >= MAX_IKE || pending.ike_octets + data.len() > MAX_IKE_OCTETS {
                    return false;
                }
                pending.ike += 1;
                pending.ike_octets += data.len();
            }
            Event::Fatal(_) => (),
            _ if pending.events.len() - pending.ike >= MAX_OTHER => return false,
            _ => (),
        }
        pending.events.push_back(event);
        let first = pending.events.len() == 1;
        drop(pending);
        if first {
            self.wake.set();
        }
        true
    }

    /// Take everything that is pending.
    pub fn take(&self) -> VecDeque<Event> {
        self.wake.clear();
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner)).events
    }
}
