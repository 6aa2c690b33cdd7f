//! Two TUN interfaces in two namespaces, and all that one of them sends given to the other: the practical limit.

use std::error::Error;
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::Arc;

use _engine::esp::vnet;
use _engine::io::epoll::{self, Epoll, Ready};
use _engine::io::tun::Tun;

const NAME: &str = "fwd0";

/// Each end: the namespace's path and the address with its prefix length; the other's is its peer.
pub fn run(ends: [(&str, &str); 2], mtu: &str) -> Result<(), Box<dyn Error>> {
    let mut tuns = Vec::new();
    for (namespace, address) in ends {
        enter(namespace)?;
        let device = File::options().read(true).write(true).open("/dev/net/tun")?;
        tuns.push(Arc::new(Tun::attach(device.as_fd(), NAME)?));
        for words in [vec!["address", "add", address, "dev", NAME], vec!["link", "set", NAME, "mtu", mtu, "up"]] {
            if !Command::new("ip").args(words).status()?.success() {
                return Err(format!("{NAME} could not be set up in {namespace}").into());
            }
        }
    }
    let there = (tuns[0].clone(), tuns[1].clone());
    std::thread::spawn(move || carry(&there.0, &there.1));
    println!("ready");
    Ok(carry(&tuns[1], &tuns[0])?)
}

fn enter(namespace: &str) -> std::io::Result<()> {
    let file = File::open(namespace)?;
    // SAFETY: no pointer is passed.
    match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn carry(from: &Tun, to: &Tun) -> std::io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(from.fd(), epoll::READ, 0)?;
    let mut ready = Ready::new();
    let mut buffer = vec![0; vnet::LEN + 65_536];
    loop {
        epoll.wait(&mut ready, None)?;
        while let Ok(len) = from.read(&mut buffer) {
            let _ = to.write(&[IoSlice::new(&buffer[..len])]);
        }
    }
}
