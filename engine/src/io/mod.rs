//! All that speaks to the kernel, and all that is `unsafe` for it: TUN queues, UDP and raw sockets, epoll, eventfd.

pub mod address;
pub mod epoll;
pub mod errors;
pub mod latency;
pub mod receive;
pub mod send;
pub mod socket;
pub mod steer;
pub mod tun;
pub mod wake;

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

/// A system call that failed, in words for a person.
#[derive(Debug)]
pub struct Failure {
    pub errno: i32,
    pub message: String,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or(libc::EIO), message: error.to_string() }
    }
}

/// A system call's result: -1 is `errno`.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Set one integer socket option.
fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set_raw_option(fd, level, name, &value)
}

fn set_raw_option<T>(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which the kernel only reads.
    let result =
        unsafe { libc::setsockopt(fd, level, name, (&raw const *value).cast(), size_of::<T>() as libc::socklen_t) };
    check(result).map(drop)
}

/// A descriptor that the caller of the engine holds while the call lasts.
pub fn borrow<'a>(fd: RawFd) -> io::Result<BorrowedFd<'a>> {
    // SAFETY: no pointer is passed.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: it is open, as just seen, and the caller keeps it so.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}
