//! The engine by itself, with static keys and no daemon: to compare two builds of it, and to profile one.
//!
//!     static 0|1 LOCAL REMOTE ENCRYPTION AUTH udp|esp [WORKERS]
//!
//! One end of a tunnel `sec0` in this network namespace; the other end is the other number.  Ends with its input, and
//! then prints its counters.  The keys are no secret.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use _engine::engine::{Engine, NewSa};
use _engine::esp::suite::Suite;
use _engine::sadb::Id;
use _engine::sadb::sa::{Limits, Ports};

const KEY: [u8; 64] = *b"static keys are for measuring alone; they protect nothing at all";

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [side, local, remote, encryption, auth, way, workers @ ..] = &words[..] else {
        return Err("usage: static 0|1 LOCAL REMOTE ENCRYPTION AUTH udp|esp [WORKERS]".into());
    };
    let (side, local, remote): (u32, IpAddr, IpAddr) = (side.parse()?, local.parse()?, remote.parse()?);
    let workers = workers.first().map_or(Ok(0), |n| n.parse())?;
    let latency = File::options().write(true).open("/dev/cpu_dma_latency").ok();
    let engine = Engine::new(workers, 500, 4500, latency.as_ref().map(AsRawFd::as_raw_fd)).map_err(text)?;
    engine.open().map_err(text)?;
    let device = || File::options().read(true).write(true).open("/dev/net/tun");
    let files: Vec<_> = (0..engine.workers()).map(|_| device()).collect::<Result<_, _>>()?;
    let fds: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
    engine.attach("sec0", &fds, -1, 1420, true).map_err(text)?;

    let octets = |table: &[(&str, usize)], name: &str| table.iter().find(|row| row.0 == name).map_or(0, |row| row.1);
    let key = octets(
        &[("aes-128-gcm", 20), ("aes-256-gcm", 36), ("chacha20-poly1305", 36), ("aes-128", 16), ("aes-256", 32)],
        encryption,
    );
    let auth_key = octets(&[("hmac-sha1", 20), ("hmac-sha2-256", 32), ("hmac-sha2-512", 64)], auth);
    for (outbound, spi) in [(true, 0x1000 + side), (false, 0x1001 - side)] {
        let (source, destination) = if outbound { (local, remote) } else { (remote, local) };
        let new = NewSa {
            id: Id { spi, outbound, destination },
            iface: "sec0",
            source,
            suite: Suite { encryption, encryption_key: &KEY[..key], auth, auth_key: &KEY[..auth_key], esn: false },
            replay: 1024,
            encap: (way == "udp").then_some(Ports { local: 4500, remote: 4500 }),
            limits: Limits::default(),
            sequence: 0,
        };
        engine.add_sa(&new).map_err(text)?;
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for (name, count) in engine.counters().into_iter().filter(|row| row.1 > 0) {
        println!("{name} {count}");
    }
    Ok(())
}

fn text(error: _engine::engine::Error) -> String {
    format!("{error:?}")
}
