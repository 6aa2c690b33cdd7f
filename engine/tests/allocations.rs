//! The packet path allocates nothing: two engines in this process, a flood between them over one interface and over
//! several in turn, and an allocator that counts.
//!
//! Needs root: without it there is no network namespace to do this in, and nothing is tested.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use _engine::engine::Engine;
use _engine::sadb::sa::Limits;
use pair::{New, add, engine, ip};

#[path = "common/netns.rs"]
mod netns;
#[path = "common/pair.rs"]
mod pair;

const TUNNELS: usize = 4;

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

fn delivered(engine: &Engine) -> u64 {
    (0..TUNNELS).map(|tunnel| pair::delivered(engine, 1, tunnel)).sum()
}

fn drive(socket: &UdpSocket, tunnels: usize, seconds: f64) {
    let payload = [0x55; 1200];
    let start = Instant::now();
    let mut size = 40;
    while start.elapsed().as_secs_f64() < seconds {
        for i in 0..32 {
            if i % 4 == 0 {
                size = if size > 1100 { 40 } else { size + 37 };
            }
            let to = SocketAddr::from(([10, 99, (i % tunnels) as u8, 2], 9));
            let _ = socket.send_to(&payload[..size], to);
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

#[test]
fn packets_pass_without_an_allocation() {
    if !netns::enter() {
        return;
    }
    ip("link set lo up");
    let (first, second) = (engine(0, TUNNELS), engine(1, TUNNELS));
    for tunnel in 0..TUNNELS {
        ip(&format!("address add 10.99.{tunnel}.1/24 dev {}", pair::name(0, tunnel)));
    }
    for (base, encryption, auth) in
        [(0x1000, "aes-256-gcm", ""), (0x2000, "chacha20-poly1305", ""), (0x3000, "aes-256", "hmac-sha2-256")]
    {
        for tunnel in 0..TUNNELS {
            let new = New { spi: base + tunnel as u32, encryption, auth, limits: Limits::default() };
            add(&second, 1, tunnel, false, &new);
            add(&first, 0, tunnel, true, &new);
        }
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for tunnels in [1, TUNNELS] {
            drive(&socket, tunnels, 0.2); // what is made once is made now
            let packets = delivered(&second);
            let before = ALLOCATIONS.load(Relaxed);
            drive(&socket, tunnels, 0.3);
            let after = ALLOCATIONS.load(Relaxed);
            let packets = delivered(&second) - packets;
            assert!(packets > 100, "{encryption}: only {packets} packets were delivered");
            assert_eq!(after - before, 0, "{encryption}, {tunnels} tunnels: allocated while {packets} packets passed");
        }
    }
}
