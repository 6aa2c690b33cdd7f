//! Threads that carry packets, each with its own sockets and its own queue of every interface.

pub mod deliver;
pub mod inbound;
pub mod mailbox;
pub mod network;
pub mod outbound;
pub mod outbox;
pub mod pmtu;
pub mod vigil;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::counters::{Counter, Counters, Shard};
use crate::events::{Event, Events};
use crate::io::epoll::{self, Epoll, Ready};
use crate::io::latency::Latency;
use crate::sadb::table::Table;
use inbound::Inbound;
use mailbox::{Command, Mailbox, Queue};
use network::{Network, Port};
use outbound::Outbound;
use outbox::Exit;
use vigil::{Vigil, Watch};

/// What workers and the control side have in common.
pub struct Shared {
    pub table: Arc<Table>,
    pub events: Events,
    pub counters: Counters,
    pub workers: usize,
    pub vigil: Vigil,
    started: Instant,
    started_epoch: f64,
}

impl Shared {
    pub fn new(workers: usize, latency: Option<Latency>) -> io::Result<Self> {
        Ok(Self {
            table: Arc::default(),
            events: Events::new()?,
            counters: Counters::new(workers),
            workers,
            vigil: Vigil::new(latency),
            started: Instant::now(),
            started_epoch: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()),
        })
    }

    /// Milliseconds since the engine was made.
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Epoch seconds of what `now_ms` said; the same whenever it is asked.
    pub fn epoch(&self, ms: u64) -> f64 {
        self.started_epoch + ms as f64 / 1000.0
    }

    /// Queue an event that is not IKE's.
    pub fn tell(&self, counters: &Shard, event: Event) {
        if !self.events.push(event) {
            counters.add(Counter::Event, 1);
        }
    }
}

/// One worker's own things.  `queues` has its place for each interface by slot.
struct Worker {
    index: usize,
    shared: Arc<Shared>,
    network: Arc<Network>,
    mailbox: Arc<Mailbox>,
    epoll: Epoll,
    watch: Watch,
    queues: Vec<Option<Queue>>,
    outbound: Outbound,
    inbound: Inbound,
}

const TOKEN_MAILBOX: u64 = 0;
const TOKEN_PORT: u64 = 1 << 32;
const TOKEN_QUEUE: u64 = 2 << 32;

/// Start worker `index`.
pub fn start(
    index: usize,
    shared: Arc<Shared>,
    network: Arc<Network>,
    mailbox: Arc<Mailbox>,
) -> io::Result<JoinHandle<()>> {
    let epoll = Epoll::new()?;
    epoll.add(mailbox.fd(), epoll::READ, TOKEN_MAILBOX)?;
    for port in network.ports_of(index) {
        let interest = if port.receives() { epoll::READ } else { epoll::ERRORS_ONLY };
        if let Some(socket) = network.socket(port, index) {
            epoll.add(socket.fd(), interest, TOKEN_PORT | port as u64)?;
        }
    }
    let (outbound, inbound) = (Outbound::new(shared.workers), Inbound::new());
    let (queues, watch) = (Vec::new(), Watch::default());
    let mut worker = Worker { index, shared, network, mailbox, epoll, watch, queues, outbound, inbound };
    std::thread::Builder::new().name(format!("esp{index}")).spawn(move || {
        let shared = worker.shared.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| worker.run()));
        worker.watch.end(&shared.vigil);
        let ended = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic_text(&*panic).to_owned(),
        };
        shared.events.push(Event::Fatal(format!("ESP worker {index} ended: {ended}")));
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

fn exit<'a>(shared: &'a Shared, network: &'a Network, worker: usize) -> Exit<'a> {
    Exit { shared, counters: shared.counters.worker(worker), network, worker, now_ms: shared.now_ms() }
}

impl Worker {
    /// Until told to stop.
    fn run(&mut self) -> io::Result<()> {
        let mut ready = Ready::new();
        loop {
            let bulk = self.inbound.is_bulk() || self.outbound.is_bulk();
            let lone = ready.len() == 1 && self.inbound.is_lone() && self.outbound.is_lone();
            if !ready.is_empty() && !bulk {
                self.watch.note();
            }
            if ready.is_empty() || bulk || lone {
                let limit = self.watch.wait(&self.shared.vigil, self.shared.now_ms());
                self.epoll.wait(&mut ready, limit)?;
            } else {
                // With small packets most of the cost is in being put to sleep and woken, and in batches of one.  Whoever
                // else wants this processor has it first, and what comes meanwhile is one batch.
                std::thread::yield_now();
                self.epoll.look(&mut ready)?;
            }
            for i in 0.. {
                let Some((token, what)) = ready.get(i) else { break };
                match token & (u64::MAX << 32) {
                    TOKEN_PORT => {
                        self.send(); // what waits is not to wait for a whole batch of others
                        if let Some(port) = Port::from_token(token as u32) {
                            self.port_ready(port, what);
                        }
                    }
                    TOKEN_QUEUE => self.queue_ready(token as u32 as usize),
                    _ => {
                        self.send(); // an interface that goes, or all of them, has its packets sent before
                        if self.obey() {
                            return Ok(());
                        }
                    }
                }
            }
            self.send();
        }
    }

    fn port_ready(&mut self, port: Port, what: u32) {
        let Some(socket) = self.network.socket(port, self.index) else { return };
        if what & epoll::ERROR != 0 {
            let counters = self.shared.counters.worker(self.index);
            pmtu::take_errors(&self.shared, counters, socket);
        }
        if what & epoll::READ != 0 {
            self.inbound.drain(&self.shared, self.index, port, socket, self.network.number(port), &self.queues);
        }
    }

    /// Send what the interfaces' turns have left.
    fn send(&mut self) {
        self.outbound.flush(&exit(&self.shared, &self.network, self.index));
    }

    fn queue_ready(&mut self, slot: usize) {
        let Some(Some(queue)) = self.queues.get(slot) else { return };
        if !self.outbound.drain(&exit(&self.shared, &self.network, self.index), queue, outbound::TURN) {
            // The device is gone under us: an epoll that goes on reporting it would spin.
            self.epoll.remove(queue.tun.fd());
        }
    }

    /// Carry out what the control side asks; true when that is to stop.
    fn obey(&mut self) -> bool {
        for command in self.mailbox.take() {
            match command {
                Command::Attach { slot, queue } => {
                    if self.queues.len() <= slot {
                        self.queues.resize_with(slot + 1, || None);
                    }
                    if queue.reads {
                        if let Err(error) = self.epoll.add(queue.tun.fd(), epoll::READ, TOKEN_QUEUE | slot as u64) {
                            let text = format!("{}: cannot wait for packets: {error}", queue.iface.name);
                            self.shared.events.push(Event::Fatal(text));
                        }
                    }
                    self.queues[slot] = Some(queue);
                }
                Command::Detach { slot, done } => {
                    if let Some(queue) = self.queues.get_mut(slot).and_then(Option::take) {
                        self.epoll.remove(queue.tun.fd());
                    }
                    done.arrive();
                }
                Command::Stop => return true,
            }
        }
        false
    }
}
