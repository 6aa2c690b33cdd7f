//! ESP packets that wait to be sent with one call: of one size, but for a smaller last one, and all with the same
//! addresses outside.  Of whichever SAs: 48 packets for 48 interfaces with one peer are still one train.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{io, thread};

use super::network::Network;
use super::{Shared, pmtu};
use crate::counters::{Counter, Shard};
use crate::io::send::{self, MAX_OCTETS, MAX_SEGMENTS, Way};
use crate::io::socket::Socket;
use crate::io::steer;
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
    terms: Option<Terms>,
    /// Whose packets these are, in their order.
    spans: Vec<Span>,
    /// The last one was smaller: none may follow.
    closed: bool,
}

/// Neighbours of one SA.
struct Span {
    sa: Arc<Sa>,
    count: usize,
    octets: usize,
    inner_bytes: u64,
    /// How many of them went out.
    sent: usize,
}

/// What packets of one batch have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    way: Way,
    /// In UDP, or by themselves as protocol 50.
    udp: bool,
    dont_fragment: bool,
    /// A peer like us gives a train to the worker to whom the first SPI belongs.  Packets that would go to another one
    /// are not mixed in: they could overtake, or be overtaken by, others of their SA.
    lane: usize,
}

impl Terms {
    pub fn new(sa: &Sa, tos: u8, dont_fragment: bool, workers: usize) -> Self {
        let way = Way {
            source: (!sa.source.is_unspecified()).then_some(sa.source),
            destination: SocketAddr::new(sa.destination, sa.encap.map_or(0, |ports| ports.remote)),
            tos,
        };
        Self { way, udp: sa.encap.is_some(), dont_fragment, lane: steer::worker_of(sa.spi, workers) }
    }
}

/// Where everything goes out.
pub struct Exit<'a> {
    pub shared: &'a Shared,
    pub counters: &'a Shard,
    pub network: &'a Network,
    pub worker: usize,
    pub now_ms: u64,
}

impl<'a> Exit<'a> {
    /// The socket for packets of `sa`; None where the family or the right is missing.
    pub fn socket(&self, sa: &Sa) -> Option<&'a Socket> {
        self.network.esp(&sa.destination, sa.encap.is_some(), self.worker)
    }
}

impl Outbox {
    pub fn new() -> Self {
        Self {
            data: vec![0; MAX_OCTETS + 4096].into(),
            used: 0,
            stride: 0,
            count: 0,
            terms: None,
            spans: Vec::with_capacity(MAX_SEGMENTS),
            closed: false,
        }
    }

    /// How many packets of `len` octets may be added now.
    pub fn room(&self, terms: &Terms, len: usize) -> usize {
        if self.count == 0 {
            return (MAX_OCTETS / len.max(1)).clamp(1, MAX_SEGMENTS);
        }
        if self.closed || len > self.stride || self.terms.as_ref() != Some(terms) {
            return 0;
        }
        if len < self.stride {
            return usize::from(self.count < MAX_SEGMENTS && self.used + len <= MAX_OCTETS);
        }
        // One packet by itself may be longer than a train.
        (MAX_OCTETS.saturating_sub(self.used) / len).min(MAX_SEGMENTS - self.count)
    }

    /// Whether what waits is but the rest of a super-packet that was too long for one train: it goes with the next
    /// one's first packets, and the receiver joins what belongs together.
    pub fn is_rest(&self) -> bool {
        !self.closed && self.used < MAX_OCTETS / 2
    }

    /// Whether packets of another SA than `sa` wait.
    pub fn ends_with_another(&self, sa: &Arc<Sa>) -> bool {
        self.spans.last().is_some_and(|span| !Arc::ptr_eq(&span.sa, sa))
    }

    /// Room for `count` packets of `sa` that take `octets` together, of `len` each but for the last; not more than
    /// `room` says.  The caller writes them at once.
    pub fn add(
        &mut self,
        sa: &Arc<Sa>,
        terms: &Terms,
        len: usize,
        count: usize,
        octets: usize,
        inner_bytes: u64,
    ) -> &mut [u8] {
        if self.count == 0 {
            self.stride = len;
            self.terms = Some(*terms);
        }
        if self.spans.is_empty() || self.ends_with_another(sa) {
            self.spans.push(Span { sa: sa.clone(), count: 0, octets: 0, inner_bytes: 0, sent: 0 });
        }
        let start = self.used;
        self.used = (start + octets).min(self.data.len());
        self.count += count;
        self.closed = self.used != self.count * self.stride;
        if let Some(span) = self.spans.last_mut() {
            span.count += count;
            span.octets += octets;
            span.inner_bytes += inner_bytes;
        }
        &mut self.data[start..self.used]
    }

    /// Send what waits.
    pub fn flush(&mut self, exit: &Exit<'_>, patience: &mut Patience) {
        let Some(terms) = self.terms.take() else { return };
        self.send(exit, &terms, patience);
        for span in self.spans.drain(..) {
            let (sa, lost) = (&span.sa, (span.count - span.sent) as u64);
            sa.state.used((span.octets + span.count * sa.outer_headers()) as u64, exit.now_ms);
            sa.iface.counters.output(span.sent as u64, span.inner_bytes * span.sent as u64 / span.count as u64);
            if lost > 0 {
                exit.counters.add(Counter::Send, lost);
                sa.state.drops.fetch_add(lost, Relaxed);
                sa.iface.counters.output_errors.fetch_add(lost, Relaxed);
            }
        }
        self.used = 0;
        self.count = 0;
        self.closed = false;
    }

    /// Send, and note in each span how many of it went out.
    fn send(&mut self, exit: &Exit<'_>, terms: &Terms, patience: &mut Patience) {
        let (way, data) = (&terms.way, &self.data[..self.used]);
        let Some(socket) = exit.network.esp(&way.destination.ip(), terms.udp, exit.worker) else { return };
        if socket.set_dont_fragment(terms.dont_fragment).is_err() {
            return;
        }
        let may_segment = |span: &Span| span.sa.path.may_segment(self.stride, exit.now_ms);
        let train = self.count > 1 && terms.udp && self.spans.iter().all(may_segment);
        if train {
            match patience.send(|| send::send_train(socket, way, data, self.stride)) {
                Ok(()) => return self.spans.iter_mut().for_each(|span| span.sent = span.count),
                Err(error) if send::is_too_big(&error, true) => exit.counters.add(Counter::GsoRefused, 1),
                Err(_) => return,
            }
        }
        let mut at = 0;
        while at < self.count {
            match patience.send(|| send::send_each(socket, way, &data[at * self.stride..], self.stride)) {
                Ok(taken) => {
                    note_sent(&mut self.spans, at, taken);
                    at += taken.max(1);
                }
                Err(error) => {
                    if send::is_too_big(&error, false) && terms.dont_fragment {
                        if let Some(sa) = owner(&self.spans, at) {
                            pmtu::take_local_error(exit.shared, exit.counters, socket, sa);
                        }
                    }
                    at += 1;
                }
            }
        }
        if train {
            // It was for their size that they could not go together.
            for span in self.spans.iter().filter(|span| span.sent > 0) {
                span.sa.path.lower_segment(self.stride, exit.now_ms);
            }
        }
    }
}

/// Note that packets `first..first + count` of all went out.
fn note_sent(spans: &mut [Span], first: usize, count: usize) {
    let mut begins = 0;
    for span in spans {
        let ends = begins + span.count;
        span.sent += ends.min(first + count).saturating_sub(begins.max(first));
        begins = ends;
    }
}

/// Whose packet number `index` of all is.
fn owner(spans: &[Span], index: usize) -> Option<&Sa> {
    let mut ends = 0;
    let found = spans.iter().find(|span| {
        ends += span.count;
        index < ends
    });
    found.map(|span| &*span.sa)
}

/// Waits a little for a full socket buffer, this many times for all that leaves in one round: the packets behind it then
/// wait in their interfaces' queues, as they would before a slow link, and the other direction is not held up for long.
pub struct Patience(u32);

impl Default for Patience {
    fn default() -> Self {
        Self(FULL_TRIES)
    }
}

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
