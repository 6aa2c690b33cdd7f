//! An eventfd: something happened, look.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

pub struct Wake(OwnedFd);

impl Wake {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed; the descriptor is new and ours.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn set(&self) {
        let one = 1_u64;
        // SAFETY: eight octets are read from `one`.  It fails only when already set 2^64 - 2 times: set it is.
        unsafe { libc::write(self.fd(), (&raw const one).cast(), 8) };
    }

    pub fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: eight octets are written to `count`.  It fails when not set: clear it is.
        unsafe { libc::read(self.fd(), (&raw mut count).cast(), 8) };
    }
}
