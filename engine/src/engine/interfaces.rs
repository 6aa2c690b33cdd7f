//! Interfaces: taken up, told what to do, let go.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Engine, Error, Result, os, value};
use crate::io::tun::{self, Tun};
use crate::io::{self, Failure};
use crate::sadb::interface::{Interface, NO_SLOT};
use crate::sadb::registry::Registry;
use crate::workers::mailbox::{Command, Countdown, Queue};

/// How long a worker may take to let go of an interface.
const DETACH: Duration = Duration::from_secs(5);

/// What an interface is told.
#[derive(Clone, Copy, Debug)]
pub struct Switches {
    pub running: bool,
    pub mtu: u32,
    pub tunneldf: bool,
    pub mss_clamp: bool,
}

impl Engine {
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
            queues.push(Tun::attach(io::borrow(*fd)?, name).map_err(explain)?);
        }
        if detached >= 0 {
            Tun::attach_detached(io::borrow(detached)?, name).map_err(explain)?;
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
}

fn attached<'a>(registry: &'a Registry, name: &str) -> Result<&'a Arc<Interface>> {
    match registry.interface(name) {
        Some(interface) if interface.slot.load(Relaxed) != NO_SLOT => Ok(interface),
        _ => os(libc::ENXIO, format!("{name} is not attached")),
    }
}
