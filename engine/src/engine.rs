//! The control side: what Python asks for, done.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::counters::Counter;
use crate::esp::classify::MARKER;
use crate::esp::suite::Suite;
use crate::events::Event;
use crate::io::send::{self, Way};
use crate::io::tun::{self, Tun};
use crate::io::{self, Failure};
use crate::sadb::Id;
use crate::sadb::interface::{Interface, NO_SLOT};
use crate::sadb::registry::Registry;
use crate::sadb::sa::{Limits, Path, Ports, Sa, State};
use crate::workers::mailbox::{Command, Countdown, Mailbox, Queue};
use crate::workers::network::Network;
use crate::workers::{self, Shared};

const MAX_WORKERS: usize = 16;
const MAX_IKE: usize = 65_507;
/// How long a worker may take to let go of an interface.
const DETACH: Duration = Duration::from_secs(5);

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

/// What an interface is told.
#[derive(Clone, Copy, Debug)]
pub struct Switches {
    pub running: bool,
    pub mtu: u32,
    pub tunneldf: bool,
    pub mss_clamp: bool,
}

/// An SA to install.
pub struct NewSa<'a> {
    pub id: Id,
    pub iface: &'a str,
    pub source: IpAddr,
    pub suite: Suite<'a>,
    pub replay: u32,
    pub encap: Option<Ports>,
    pub limits: Limits,
    pub sequence: u64,
}

pub struct Engine {
    shared: Arc<Shared>,
    ike_port: u16,
    natt_port: u16,
    inner: Mutex<Inner>,
}

#[derive(Default)]
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
    pub fn new(workers: usize, ike_port: u16, natt_port: u16) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if workers == 0 { cores.min(MAX_WORKERS) } else { workers };
        if workers > MAX_WORKERS {
            return value(format!("workers must be 0 to {MAX_WORKERS}, not {workers}"));
        }
        if ike_port == 0 || natt_port == 0 || ike_port == natt_port {
            return value(format!("ike_port and natt_port must be two ports, not {ike_port} and {natt_port}"));
        }
        Ok(Self { shared: Arc::new(Shared::new(workers)?), ike_port, natt_port, inner: Mutex::default() })
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
        inner.registry = Registry::default();
        self.shared.snapshot.store(Arc::default());
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

    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.counters.totals().collect()
    }

    /// Make `name` an interface with queues on `fds`, and `detached` one more that only keeps it.
    pub fn attach(&self, name: &str, fds: &[RawFd], detached: RawFd, mtu: u32, running: bool) -> Result<u32> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let Some(threads) = &inner.running else { return os(libc::ENOTCONN, "the engine is not open") };
        if fds.is_empty() || fds.len() > self.shared.workers {
            let workers = self.shared.workers;
            return value(format!("{name}: {} descriptors for {workers} workers: give one to {workers}", fds.len()));
        }
        if inner.registry.interface(name).is_some_and(|interface| interface.slot.load(Relaxed) != NO_SLOT) {
            return os(libc::EEXIST, format!("{name} is attached already"));
        }
        let explain = |error: std::io::Error| {
            let failure = Failure::from(error);
            Error::Os(Failure { message: format!("{name}: {}", failure.message), ..failure })
        };
        let mut queues = Vec::new();
        for fd in fds {
            queues.push(Tun::attach(borrow(*fd)?, name).map_err(explain)?);
        }
        if detached >= 0 {
            Tun::attach_detached(borrow(detached)?, name).map_err(explain)?;
        }
        let index = tun::index(name).map_err(explain)?;

        let slot = inner.slots.iter().position(Option::is_none).unwrap_or(inner.slots.len());
        let mut commands = Vec::new();
        let interface = inner.registry.interface_or_new(name);
        for worker in 0..self.shared.workers {
            // With as many queues as workers each has its own.  Otherwise they are dealt out, another first one for
            // each interface, and the rest share them for writing.
            let turn = (worker + self.shared.workers - slot % self.shared.workers) % self.shared.workers;
            let reads = turn < queues.len();
            let tun = queues[turn % queues.len()].share().map_err(explain)?;
            commands.push(Command::Attach { slot, queue: Queue { tun, iface: interface.clone(), reads } });
        }
        interface.mtu.store(mtu, Relaxed);
        interface.running.store(running, Relaxed);
        for (mailbox, command) in threads.mailboxes.iter().zip(commands) {
            mailbox.send(command);
        }
        interface.slot.store(slot as u32, Relaxed);
        if slot == inner.slots.len() {
            inner.slots.push(None);
        }
        inner.slots[slot] = Some(interface);
        Ok(index)
    }

    pub fn detach(&self, name: &str) -> Result<()> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let interface = attached(&inner.registry, name)?.clone();
        let slot = interface.slot.swap(NO_SLOT, Relaxed) as usize;
        interface.running.store(false, Relaxed);
        if let Some(running) = &inner.running {
            let done = Arc::new(Countdown::new(running.mailboxes.len()));
            for mailbox in &running.mailboxes {
                mailbox.send(Command::Detach { slot, done: done.clone() });
            }
            if !done.wait(DETACH) {
                return os(libc::ETIMEDOUT, format!("{name}: a worker did not let go of it: has one ended?"));
            }
        }
        inner.slots[slot] = None;
        inner.registry.release(name);
        Ok(())
    }

    pub fn set_interface(&self, name: &str, to: Switches) -> Result<()> {
        let inner = self.inner();
        let interface = attached(&inner.registry, name)?;
        interface.mtu.store(to.mtu, Relaxed);
        interface.tunneldf.store(to.tunneldf, Relaxed);
        interface.mss_clamp.store(to.mss_clamp, Relaxed);
        interface.running.store(to.running, Relaxed);
        Ok(())
    }

    pub fn interface(&self, name: &str) -> Result<Arc<Interface>> {
        attached(&self.inner().registry, name).cloned()
    }

    pub fn add_sa(&self, new: &NewSa<'_>) -> Result<()> {
        let id = new.id;
        self.check_addresses(new.source, id.destination, new.encap)?;
        if id.spi < 0x100 {
            return value(format!("SPI {:#x} is reserved (RFC 4303 §2.1): use 0x100 or more", id.spi));
        }
        let mut iv_key = Zeroizing::new([0; 16]);
        if SystemRandom::new().fill(&mut *iv_key).is_err() {
            return os(libc::EIO, "no random numbers from the system");
        }
        let transform = new.suite.build(&iv_key).map_err(Error::Value)?;
        let state = State::new(transform, new.suite.esn, new.replay, new.sequence, new.limits);
        let mut inner = self.inner();
        let iface = inner.registry.interface_or_new(new.iface);
        let sa = Sa {
            spi: id.spi,
            outbound: id.outbound,
            iface,
            source: new.source,
            destination: id.destination,
            encap: new.encap,
            state: Arc::new(state),
            path: Path::default(),
        };
        if !inner.registry.insert(Arc::new(sa)) {
            inner.registry.release(new.iface);
            return os(libc::EEXIST, format!("SA {:#010x} to {} exists already", id.spi, id.destination));
        }
        self.publish(&inner.registry);
        Ok(())
    }

    /// Move an SA to other addresses or ports.  Its counters, numbers and age go on.
    pub fn update_sa(&self, id: &Id, source: IpAddr, destination: IpAddr, encap: Option<Ports>) -> Result<()> {
        self.check_addresses(source, destination, encap)?;
        let mut inner = self.inner();
        let old = known(&inner.registry, id)?.clone();
        let sa = Sa {
            spi: old.spi,
            outbound: old.outbound,
            iface: old.iface.clone(),
            source,
            destination,
            encap,
            state: old.state.clone(),
            path: Path::default(),
        };
        if !inner.registry.replace(id, Arc::new(sa)) {
            return os(libc::EEXIST, format!("SA {:#010x} to {destination} exists already", id.spi));
        }
        old.state.forget_mapping();
        self.publish(&inner.registry);
        Ok(())
    }

    pub fn delete_sa(&self, id: &Id) -> Result<()> {
        let mut inner = self.inner();
        known(&inner.registry, id)?;
        inner.registry.remove(id);
        self.publish(&inner.registry);
        Ok(())
    }

    pub fn sa(&self, id: &Id) -> Result<Arc<Sa>> {
        known(&self.inner().registry, id).cloned()
    }

    pub fn sas(&self) -> Vec<Arc<Sa>> {
        self.inner().registry.sas().cloned().collect()
    }

    pub fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    pub fn epoch(&self, ms: u64) -> f64 {
        self.shared.epoch(ms)
    }

    fn publish(&self, registry: &Registry) {
        self.shared.snapshot.store(Arc::new(registry.snapshot()));
    }

    fn check_addresses(&self, source: IpAddr, destination: IpAddr, encap: Option<Ports>) -> Result<()> {
        if source.is_ipv4() != destination.is_ipv4() {
            return value(format!("source {source} and destination {destination} are of two address families"));
        }
        match encap {
            Some(ports) if ports.local != self.natt_port => {
                value(format!("udpencap: our port must be {}, not {}", self.natt_port, ports.local))
            }
            Some(ports) if ports.remote == 0 => value("udpencap: the peer's port must not be 0"),
            _ => Ok(()),
        }
    }

    /// Send an IKE message.
    pub fn send_ike(&self, local: Option<IpAddr>, local_port: u16, remote: SocketAddr, data: &[u8]) -> Result<()> {
        if local_port != self.ike_port && local_port != self.natt_port {
            return value(format!("IKE leaves from port {} or {}, not {local_port}", self.ike_port, self.natt_port));
        }
        if local.is_some_and(|local| local.is_ipv4() != remote.is_ipv4()) {
            return value("local and remote are of two address families");
        }
        let marked = local_port == self.natt_port && data != [0xff];
        let message = if marked { [&MARKER, data].concat() } else { data.to_vec() };
        if message.len() > MAX_IKE {
            return os(libc::EMSGSIZE, format!("an IKE message of {} octets is too long for UDP", data.len()));
        }
        let network = match &self.inner().running {
            Some(running) => running.network.clone(),
            None => return os(libc::ENOTCONN, "the engine is not open"),
        };
        let Some(socket) = network.ike(&remote.ip(), local_port) else {
            return os(libc::EAFNOSUPPORT, format!("no IPv6 on this host: cannot send to {remote}"));
        };
        let way = Way { source: local, destination: remote, tos: 0 };
        send::send(socket, &way, &message, None).map_err(|error| {
            let failure = Failure::from(error);
            let from = local.map_or_else(|| "any address".into(), |local| local.to_string());
            Failure { message: format!("IKE from {from} to {remote}: {}", failure.message), ..failure }
        })?;
        self.shared.counters.control().add(Counter::IkeSent, 1);
        Ok(())
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

fn attached<'a>(registry: &'a Registry, name: &str) -> Result<&'a Arc<Interface>> {
    match registry.interface(name) {
        Some(interface) if interface.slot.load(Relaxed) != NO_SLOT => Ok(interface),
        _ => os(libc::ENXIO, format!("{name} is not attached")),
    }
}

fn known<'a>(registry: &'a Registry, id: &Id) -> Result<&'a Arc<Sa>> {
    let direction = if id.outbound { "outbound" } else { "inbound" };
    match registry.get(id) {
        Some(sa) => Ok(sa),
        None => os(libc::ESRCH, format!("no {direction} SA {:#010x} to {}", id.spi, id.destination)),
    }
}

fn borrow<'a>(fd: RawFd) -> Result<BorrowedFd<'a>> {
    io::borrow(fd).map_err(Error::from)
}
