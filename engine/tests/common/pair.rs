//! Two engines in this process, and tunnels between them over the loopback interface.
//!
//!     sec0, sec2, .. -- first engine, 127.0.0.1:4500 ==== 127.0.0.1:4501, second engine -- sec1, sec3, ..

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use _engine::engine::{Engine, NewSa};
use _engine::esp::suite::Suite;
use _engine::sadb::Id;
use _engine::sadb::sa::{Limits, Ports};

pub const PORTS: [u16; 2] = [4500, 4501];
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

/// The name of the interface of tunnel number `tunnel` at `side`.
pub fn name(side: usize, tunnel: usize) -> String {
    format!("sec{}", 2 * tunnel + side)
}

/// One end of so many tunnels.
pub fn engine(side: usize, tunnels: usize) -> Engine {
    let engine = Engine::new(2, 500 + side as u16, PORTS[side], None).unwrap();
    engine.open().unwrap();
    let device = || File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    for tunnel in 0..tunnels {
        let files: Vec<_> = (0..engine.workers()).map(|_| device()).collect();
        let fds: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let name = name(side, tunnel);
        engine.attach(&name, &fds, -1, 1400, true).unwrap();
        ip(&format!("link set {name} mtu 1400 up"));
    }
    engine
}

/// What an SA of `add` is and is not.
pub struct New<'a> {
    pub spi: u32,
    pub encryption: &'a str,
    pub auth: &'a str,
    pub limits: Limits,
}

/// Install an SA for tunnel number `tunnel` at `side`.
pub fn add(engine: &Engine, side: usize, tunnel: usize, outbound: bool, new: &New<'_>) {
    let key = [7; 64];
    let octets = if new.auth.is_empty() { 36 } else { 32 };
    let suite = Suite {
        encryption: new.encryption,
        encryption_key: &key[..octets],
        auth: new.auth,
        auth_key: &key[..if new.auth.is_empty() { 0 } else { 32 }],
        esn: true,
    };
    let sa = NewSa {
        id: Id { spi: new.spi, outbound, destination: HERE },
        iface: &name(side, tunnel),
        source: HERE,
        suite,
        replay: 4096,
        encap: Some(Ports { local: PORTS[side], remote: PORTS[1 - side] }),
        limits: new.limits,
        sequence: 0,
    };
    engine.add_sa(&sa).unwrap();
}

/// Packets that have come out of tunnel number `tunnel` at `side`.
pub fn delivered(engine: &Engine, side: usize, tunnel: usize) -> u64 {
    engine.interface(&name(side, tunnel)).unwrap().counters.input_packets.load(Relaxed)
}
