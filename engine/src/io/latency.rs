//! How long idle processors may take to wake up, as the kernel is asked by `/dev/cpu_dma_latency` (its PM QoS).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Whatever the kernel finds best: what a request says that has not asked for anything yet, in microseconds.
const ANY: i32 = 2_000_000_000;

/// One request.  It ends with its last descriptor: a process that dies leaves nothing behind.
pub struct Latency {
    fd: OwnedFd,
    awake: i32,
}

impl Latency {
    /// Use a duplicate of `fd`, which is open for writing.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        // A guest's halt is a way through the hypervisor and back, which only 0 spares it: the processor spins.  On metal
        // the first sleep is left within 2 us, and the deeper ones, which take 10 to 200, are all that is not wanted.
        Ok(Self { fd: fd.try_clone_to_owned()?, awake: if is_guest() { 0 } else { 2 } })
    }

    /// Ask for processors that wake at once, or for nothing.  A refusal costs speed alone.
    pub fn ask(&self, awake: bool) {
        let microseconds = if awake { self.awake } else { ANY };
        // SAFETY: four octets are read from `microseconds`.
        unsafe { libc::write(self.fd.as_raw_fd(), (&raw const microseconds).cast(), size_of::<i32>()) };
    }
}

/// Whether a hypervisor says that it is there.
fn is_guest() -> bool {
    // SAFETY: every processor of this architecture has the instruction (and the function is safe in newer Rust).
    #[cfg(target_arch = "x86_64")]
    #[allow(unused_unsafe)]
    return unsafe { std::arch::x86_64::__cpuid(1) }.ecx >> 31 == 1;
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}
