//! The packet path allocates nothing: two engines in this process, a flood between them, and an allocator that counts.
//!
//!     sec0 -- first engine, 127.0.0.1:4500 ==== 127.0.0.1:4501, second engine -- sec1
//!
//! Needs root: without it there is no network namespace to do this in, and nothing is tested.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use _engine::engine::{Engine, NewSa};
use _engine::esp::suite::Suite;
use _engine::sadb::Id;
use _engine::sadb::sa::{Limits, Ports};

#[path = "common/netns.rs"]
mod netns;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PORTS: [u16; 2] = [4500, 4501];

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

fn engine(side: usize) -> Engine {
    let engine = Engine::new(2, 500 + side as u16, PORTS[side]).unwrap();
    engine.open().unwrap();
    let device = || File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    let files: Vec<_> = (0..engine.workers()).map(|_| device()).collect();
    let fds: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let name = format!("sec{side}");
    engine.attach(&name, &fds, -1, 1400, true).unwrap();
    ip(&format!("link set {name} mtu 1400 up"));
    engine
}

fn add(engine: &Engine, side: usize, spi: u32, outbound: bool, encryption: &str, auth: &str) {
    let key = [7; 64];
    let here: IpAddr = [127, 0, 0, 1].into();
    let octets = if auth.is_empty() { 36 } else { 32 };
    let suite = Suite {
        encryption,
        encryption_key: &key[..octets],
        auth,
        auth_key: &key[..if auth.is_empty() { 0 } else { 32 }],
        esn: true,
    };
    let id = Id { spi, outbound, destination: here };
    let encap = Some(Ports { local: PORTS[side], remote: PORTS[1 - side] });
    let iface = format!("sec{side}");
    let new =
        NewSa { id, iface: &iface, source: here, suite, replay: 4096, encap, limits: Limits::default(), sequence: 0 };
    engine.add_sa(&new).unwrap();
}

fn delivered(engine: &Engine) -> u64 {
    engine.interface("sec1").unwrap().counters.input_packets.load(Relaxed)
}

fn drive(socket: &UdpSocket, receiver: &Engine, seconds: f64) {
    let payload = [0x55; 1200];
    let start = Instant::now();
    let mut size = 40;
    while start.elapsed().as_secs_f64() < seconds {
        for _ in 0..32 {
            size = if size > 1100 { 40 } else { size + 37 };
            let _ = socket.send(&payload[..size]);
        }
        let _ = delivered(receiver);
        std::thread::sleep(Duration::from_micros(300));
    }
}

#[test]
fn packets_pass_without_an_allocation() {
    if !netns::enter() {
        return;
    }
    ip("link set lo up");
    let (first, second) = (engine(0), engine(1));
    ip("address add 10.99.0.1/24 dev sec0");
    for (spi, encryption, auth) in
        [(0x1000, "aes-256-gcm", ""), (0x1001, "chacha20-poly1305", ""), (0x1002, "aes-256", "hmac-sha2-256")]
    {
        add(&second, 1, spi, false, encryption, auth);
        add(&first, 0, spi, true, encryption, auth);
        let socket = UdpSocket::bind("10.99.0.1:0").unwrap();
        socket.connect("10.99.0.2:9").unwrap();
        drive(&socket, &second, 0.2); // what is made once is made now
        let (before, packets) = (ALLOCATIONS.load(Relaxed), delivered(&second));
        drive(&socket, &second, 0.5);
        let (after, packets) = (ALLOCATIONS.load(Relaxed), delivered(&second) - packets);
        assert!(packets > 100, "{encryption}: only {packets} packets were delivered");
        // `delivered` looks an interface up by its name, and asks for no memory.
        assert_eq!(after - before, 0, "{encryption}: allocations while {packets} packets passed");
    }
}
