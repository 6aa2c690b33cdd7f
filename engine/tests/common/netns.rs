//! A network namespace of its own for the calling thread, and for the threads that it starts.

/// False, and a line that says so, where that takes rights which this process has not.
pub fn enter() -> bool {
    // SAFETY: no pointer is passed.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 && std::path::Path::new("/dev/net/tun").exists() {
        return true;
    }
    eprintln!("not tested: a network namespace and /dev/net/tun need root");
    false
}
