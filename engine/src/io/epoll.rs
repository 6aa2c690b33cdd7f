//! Waiting for descriptors.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

pub const READ: u32 = libc::EPOLLIN as u32;
pub const ERROR: u32 = libc::EPOLLERR as u32;
/// A writer alone may be woken by errors only.
pub const ERRORS_ONLY: u32 = 0;

const BATCH: usize = 64;

pub struct Epoll(OwnedFd);

/// What `wait` found.
pub struct Ready {
    events: [libc::epoll_event; BATCH],
    len: usize,
}

impl Ready {
    pub fn new() -> Self {
        Self { events: [libc::epoll_event { events: 0, u64: 0 }; BATCH], len: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, index: usize) -> Option<(u64, u32)> {
        let event = self.events[..self.len].get(index)?;
        Some((event.u64, event.events))
    }
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed; the descriptor is new and ours.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn add(&self, fd: RawFd, interest: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: token };
        // SAFETY: `event` lives through the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(drop)
    }

    pub fn remove(&self, fd: RawFd) {
        // SAFETY: a null event is allowed for DEL.  A descriptor that is not there is what was wanted.
        unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Wait until something is ready, for `limit_ms` milliseconds at most, or for ever.
    pub fn wait(&self, ready: &mut Ready, limit_ms: Option<u64>) -> io::Result<()> {
        self.get(ready, limit_ms.map_or(-1, |limit| limit.try_into().unwrap_or(libc::c_int::MAX)))
    }

    /// Take what is ready, if anything is.
    pub fn look(&self, ready: &mut Ready) -> io::Result<()> {
        self.get(ready, 0)
    }

    fn get(&self, ready: &mut Ready, timeout_ms: libc::c_int) -> io::Result<()> {
        ready.len = 0;
        // SAFETY: the kernel writes at most BATCH events to `ready.events`.
        let got = check(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), ready.events.as_mut_ptr(), BATCH as libc::c_int, timeout_ms)
        });
        match got {
            Ok(len) => ready.len = len as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
