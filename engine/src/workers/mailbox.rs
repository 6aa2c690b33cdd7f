//! What the control side asks of a worker.

use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::io::tun::Tun;
use crate::io::wake::Wake;
use crate::sadb::interface::Interface;

/// A worker's queue of an interface.  With fewer queues than workers some share one, and one of those reads it.
pub struct Queue {
    pub tun: Tun,
    pub iface: Arc<Interface>,
    pub reads: bool,
}

pub enum Command {
    Attach { slot: usize, queue: Queue },
    Detach { slot: usize, done: Arc<Countdown> },
    Stop,
}

pub struct Mailbox {
    commands: Mutex<Vec<Command>>,
    wake: Wake,
}

impl Mailbox {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { commands: Mutex::default(), wake: Wake::new()? })
    }

    pub fn fd(&self) -> RawFd {
        self.wake.fd()
    }

    pub fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.wake.set();
    }

    pub fn take(&self) -> Vec<Command> {
        self.wake.clear();
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits for several to arrive.
pub struct Countdown {
    missing: Mutex<usize>,
    changed: Condvar,
}

impl Countdown {
    pub fn new(missing: usize) -> Self {
        Self { missing: Mutex::new(missing), changed: Condvar::new() }
    }

    pub fn arrive(&self) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = missing.saturating_sub(1);
        self.changed.notify_all();
    }

    /// False when not all came in time: a worker has ended.
    pub fn wait(&self, limit: Duration) -> bool {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.changed.wait_timeout_while(missing, limit, |missing| *missing > 0);
        result.map_or_else(|poison| *poison.into_inner().0 == 0, |(missing, _)| *missing == 0)
    }
}
