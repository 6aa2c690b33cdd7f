//! What the network says about sizes: path MTUs learnt, and relayed into the tunnel.

use std::io::IoSlice;
use std::sync::atomic::Ordering::Relaxed;

use super::Shared;
use crate::counters::{Counter, Shard};
use crate::esp::icmp;
use crate::esp::inner::Ip;
use crate::esp::vnet;
use crate::io::errors::{self, TooBig};
use crate::io::socket::Socket;
use crate::io::tun::Tun;
use crate::sadb::sa::Sa;

/// Sizes below these are not believed (RFC 8200 §5; for IPv4 what every host must take, RFC 791).
const FLOOR_V4: u32 = 576;
const FLOOR_V6: u32 = 1280;

/// Answers into tunnels: this many at once, and this many a second.
const BURST: u64 = 50;
const RATE: u64 = 100;

/// Empty a socket's error queue.  Only who quotes an SPI of an outbound SA with `tunneldf` is believed.
pub fn take_errors(shared: &Shared, counters: &Shard, socket: &Socket) {
    errors::drain(socket, |error| take_error(shared, counters, &error));
}

fn take_error(shared: &Shared, counters: &Shard, error: &TooBig) {
    let quoted = error.spi.and_then(|spi| shared.table.outbound().find(spi, error.destination));
    match quoted {
        Some(Ok(sa)) => learn(shared, counters, &sa, error),
        _ if error.local => (), // told to the sender itself
        _ => counters.add(Counter::PmtuIgnored, 1),
    }
}

/// A packet of `sa` was too big for this host's own interface: ask its socket for the size.
pub fn take_local_error(shared: &Shared, counters: &Shard, socket: &Socket, sa: &Sa) {
    errors::drain(socket, |error| match error {
        TooBig { local: true, destination, .. } if destination == sa.destination => learn(shared, counters, sa, &error),
        _ => take_error(shared, counters, &error),
    });
}

fn learn(shared: &Shared, counters: &Shard, sa: &Sa, error: &TooBig) {
    let floor = if sa.destination.is_ipv4() { FLOOR_V4 } else { FLOOR_V6 };
    if error.mtu < floor || !sa.iface.tunneldf.load(Relaxed) {
        counters.add(Counter::PmtuIgnored, 1);
    } else if sa.path.lower_pmtu(error.mtu, shared.now_ms()) {
        counters.add(Counter::PmtuLowered, 1);
    }
}

/// Answers `too big` into tunnels, no more than a host may.
#[derive(Default)]
pub struct Relay {
    tokens: u64,
    refilled_ms: u64,
}

impl Relay {
    /// Tell the sender of `packet`, by the interface that it came from, that `mtu` is all that passes.
    pub fn answer(&mut self, counters: &Shard, tun: &Tun, packet: &[u8], ip: &Ip, mtu: usize, now_ms: u64) {
        let earned = (now_ms - self.refilled_ms.min(now_ms)) * RATE / 1000;
        if earned > 0 {
            self.tokens = (self.tokens + earned).min(BURST);
            self.refilled_ms = now_ms;
        }
        if self.tokens == 0 {
            return;
        }
        let mut answer = [0; icmp::MAX];
        let mtu = if ip.version == 6 { mtu.max(FLOOR_V6 as usize) } else { mtu };
        let Some(len) = icmp::too_big(packet, ip, mtu, &mut answer) else { return };
        let header = vnet::Header::default().octets();
        if tun.write(&[IoSlice::new(&header), IoSlice::new(&answer[..len])]).is_ok() {
            self.tokens -= 1;
            counters.add(Counter::PmtuRelayed, 1);
        }
    }
}

/// Whether an inner packet that exceeds the path MTU may leave in fragments all the same.
pub fn may_fragment(ip: &Ip, largest: usize) -> bool {
    !ip.df || ip.version == 6 && largest <= FLOOR_V6 as usize
}
