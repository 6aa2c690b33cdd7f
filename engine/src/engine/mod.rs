//! The control side: what Python asks for, done.

mod associations;
mod ike;
mod interfaces;

pub use associations::NewSa;
pub use interfaces::Switches;

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::events::Event;
use crate::io::latency::Latency;
use crate::io::{self, Failure};
use crate::sadb::interface::{Interface, NO_SLOT};
use crate::sadb::registry::Registry;
use crate::workers::mailbox::{Command, Mailbox};
use crate::workers::network::Network;
use crate::workers::{self, Shared};

const MAX_WORKERS: usize = 16;

/// Why a request was not carried out.
#[derive(Debug)]
pub enum Error {
    /// The system said no.
    Os(Failure),
    /// The caller asked for what cannot be.
    Value(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Os(failure)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Os(error.into())
    }
}

pub type Result<T> = std::result::Result<T, Error>;

fn os<T>(errno: i32, message: impl Into<String>) -> Result<T> {
    Err(Error::Os(Failure { errno, message: message.into() }))
}

fn value<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Value(message.into()))
}

pub struct Engine {
    shared: Arc<Shared>,
    ike_port: u16,
    natt_port: u16,
    inner: Mutex<Inner>,
}

struct Inner {
    registry: Registry,
    running: Option<Running>,
    /// Who has which slot.
    slots: Vec<Option<Arc<Interface>>>,
}

struct Running {
    network: Arc<Network>,
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    pub fn new(workers: usize, ike_port: u16, natt_port: u16, latency: Option<RawFd>) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if workers == 0 { cores.min(MAX_WORKERS) } else { workers };
        if workers > MAX_WORKERS {
            return value(format!("workers must be 0 to {MAX_WORKERS}, not {workers}"));
        }
        if ike_port == 0 || natt_port == 0 || ike_port == natt_port {
            return value(format!("ike_port and natt_port must be two ports, not {ike_port} and {natt_port}"));
        }
        let latency = latency.map(|fd| Latency::new(io::borrow(fd)?)).transpose()?;
        let shared = Arc::new(Shared::new(workers, latency)?);
        let inner = Inner { registry: Registry::new(shared.table.clone()), running: None, slots: Vec::new() };
        Ok(Self { shared, ike_port, natt_port, inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn open(&self) -> Result<()> {
        let mut inner = self.inner();
        if inner.running.is_some() {
            return os(libc::EALREADY, "the engine is open already");
        }
        let network = Arc::new(Network::open(self.shared.workers, self.ike_port, self.natt_port)?);
        let mut running = Running { network, mailboxes: Vec::new(), threads: Vec::new() };
        for index in 0..self.shared.workers {
            let started = Mailbox::new().map(Arc::new).and_then(|mailbox| {
                running.mailboxes.push(mailbox.clone());
                workers::start(index, self.shared.clone(), running.network.clone(), mailbox)
            });
            match started {
                Ok(thread) => running.threads.push(thread),
                Err(error) => {
                    running.stop();
                    return Err(error.into());
                }
            }
        }
        inner.running = Some(running);
        Ok(())
    }

    pub fn close(&self) {
        let mut inner = self.inner();
        if let Some(running) = inner.running.take() {
            running.stop();
        }
        for interface in inner.slots.drain(..).flatten() {
            interface.slot.store(NO_SLOT, Relaxed);
        }
        let ids: Vec<_> = inner.registry.sas().map(|sa| sa.id()).collect();
        for id in ids {
            inner.registry.remove(&id);
        }
        inner.registry = Registry::new(self.shared.table.clone());
    }

    pub fn raw_esp(&self) -> bool {
        self.inner().running.as_ref().is_some_and(|running| running.network.raw_esp())
    }

    pub fn workers(&self) -> usize {
        self.shared.workers
    }

    pub fn event_fd(&self) -> RawFd {
        self.shared.events.fd()
    }

    pub fn take_events(&self) -> VecDeque<Event> {
        self.shared.events.take()
    }

    pub fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    pub fn epoch(&self, ms: u64) -> f64 {
        self.shared.epoch(ms)
    }

    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.counters.totals().collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl Running {
    fn stop(self) {
        for mailbox in &self.mailboxes {
            mailbox.send(Command::Stop);
        }
        for thread in self.threads {
            // A worker that panicked has told so by an event.
            let _ = thread.join();
        }
    }
}
