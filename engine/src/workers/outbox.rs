//! ESP packets of one SA that wait to be sent with one call: of one size, but for a smaller last one.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{io, thread};

use super::{Shared, pmtu};
use crate::counters::{Counter, Shard};
use crate::io::send::{self, MAX_OCTETS, MAX_SEGMENTS, Way};
use crate::io::socket::Socket;
use crate::sadb::sa::Sa;

/// How long a full socket buffer is waited for before packets are dropped.
const FULL: Duration = Duration::from_millis(1);
const FULL_TRIES: u32 = 10;

pub struct Outbox {
    data: Box<[u8]>,
    used: usize,
    /// Octets of each packet but the last.
    stride: usize,
    count: usize,
    inner_bytes: u64,
    tos: u8,
    dont_fragment: bool,
    /// The last one was smaller: none may follow.
    closed: bool,
}

/// What packets of one batch have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub tos: u8,
    pub dont_fragment: bool,
}

/// Where a batch goes out.
pub struct Exit<'a> {
    pub shared: &'a Shared,
    pub counters: &'a Shard,
    pub sa: &'a Sa,
    pub socket: &'a Socket,
    pub now_ms: u64,
}

impl Outbox {
    pub fn new() -> Self {
        Self {
            data: vec![0; MAX_OCTETS + 4096].into(),
            used: 0,
            stride: 0,
            count: 0,
            inner_bytes: 0,
            tos: 0,
            dont_fragment: false,
            closed: false,
        }
    }

    /// How many packets of `len` octets may be added now.
    pub fn room(&self, terms: Terms, len: usize) -> usize {
        if self.count == 0 {
            return (MAX_OCTETS / len.max(1)).clamp(1, MAX_SEGMENTS);
        }
        if self.closed || (Terms { tos: self.tos, dont_fragment: self.dont_fragment }) != terms || len > self.stride {
            return 0;
        }
        if len < self.stride {
            return usize::from(self.count < MAX_SEGMENTS && self.used + len <= MAX_OCTETS);
        }
        ((MAX_OCTETS - self.used) / len).min(MAX_SEGMENTS - self.count)
    }

    /// Whether what waits is but the rest of a super-packet that was too long for one train: it goes with the next
    /// one's first packets, and the receiver joins what belongs together.
    pub fn is_rest(&self) -> bool {
        !self.closed && self.used < MAX_OCTETS / 2
    }

    /// Room for `count` packets that take `octets` together, of `len` each but for the last; not more than `room` says.
    /// The caller writes them at once.
    pub fn add(&mut self, terms: Terms, len: usize, count: usize, octets: usize, inner_bytes: u64) -> &mut [u8] {
        if self.count == 0 {
            self.stride = len;
            self.tos = terms.tos;
            self.dont_fragment = terms.dont_fragment;
        }
        let start = self.used;
        self.used = (start + octets).min(self.data.len());
        self.count += count;
        self.inner_bytes += inner_bytes;
        self.closed = self.used != self.count * self.stride;
        &mut self.data[start..self.used]
    }

    /// Send what waits.
    pub fn flush(&mut self, exit: &Exit<'_>) {
        if self.count == 0 {
            return;
        }
        let sent = self.send(exit);
        let (sa, lost) = (exit.sa, (self.count - sent) as u64);
        sa.state.used((self.used + self.count * sa.outer_headers()) as u64, exit.now_ms);
        sa.iface.counters.output(sent as u64, self.inner_bytes * sent as u64 / self.count as u64);
        if lost > 0 {
            exit.counters.add(Counter::Send, lost);
            sa.state.drops.fetch_add(lost, Relaxed);
            sa.iface.counters.output_errors.fetch_add(lost, Relaxed);
        }
        self.used = 0;
        self.count = 0;
        self.inner_bytes = 0;
        self.closed = false;
    }

    /// How many packets went out.
    fn send(&self, exit: &Exit<'_>) -> usize {
        let sa = exit.sa;
        let way = Way {
            source: (!sa.source.is_unspecified()).then_some(sa.source),
            destination: SocketAddr::new(sa.destination, sa.encap.map_or(0, |ports| ports.remote)),
            tos: self.tos,
        };
        if exit.socket.set_dont_fragment(self.dont_fragment).is_err() {
            return 0;
        }
        let mut patience = Patience(FULL_TRIES);
        let data = &self.data[..self.used];
        let train = self.count > 1 && sa.encap.is_some() && sa.path.may_segment(self.stride, exit.now_ms);
        if train {
            match patience.send(|| send::send_train(exit.socket, &way, data, self.stride)) {
                Ok(()) => return self.count,
                Err(error) if send::is_too_big(&error, true) => exit.counters.add(Counter::GsoRefused, 1),
                Err(_) => return 0,
            }
        }
        let (mut at, mut sent) = (0, 0);
        while at < self.count {
            match patience.send(|| send::send_each(exit.socket, &way, &data[at * self.stride..], self.stride)) {
                Ok(taken) => {
                    at += taken.max(1);
                    sent += taken;
                }
                Err(error) => {
                    at += 1;
                    if send::is_too_big(&error, false) && self.dont_fragment {
                        pmtu::take_local_error(exit.shared, exit.counters, exit.socket, sa);
                    }
                }
            }
        }
        if train && sent > 0 {
            sa.path.lower_segment(self.stride, exit.now_ms); // it was for their size that they could not go together
        }
        sent
    }
}

/// Waits a little for a full socket buffer, this many times for one batch: the packets behind it then wait in the
/// interface's queue, as they would before a slow link.
struct Patience(u32);

impl Patience {
    fn send<T>(&mut self, mut send: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match send() {
                Err(error) if self.0 > 0 && matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS)) => {
                    self.0 -= 1;
                    thread::sleep(FULL);
                }
                result => return result,
            }
        }
    }
}
