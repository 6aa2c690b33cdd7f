//! Decrypted packets, joined to runs, into their interfaces.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use super::mailbox::Queue;
use crate::counters::{Counter, Shard};
use crate::esp::coalesce::{Coalescer, MAX_PACKETS, Run};
use crate::esp::inner::Ip;
use crate::esp::vnet;
use crate::io::receive::HEADROOM;

/// Packets held at most: more than one train brings.
const PACKETS: usize = 2048;

// The header written before each packet: not all ciphers leave room for it behind the ESP header.
const _: () = assert!(HEADROOM >= vnet::LEN);

pub struct Delivery {
    coalescer: Coalescer,
}

impl Delivery {
    pub fn new() -> Self {
        Self { coalescer: Coalescer::new(PACKETS) }
    }

    pub fn is_full(&self) -> bool {
        self.coalescer.is_full()
    }

    /// Whether the last packet looks as if more of its flow were to come.
    pub fn ends_amid_run(&self) -> bool {
        self.coalescer.runs().last().is_some_and(Run::is_open_tcp)
    }

    /// Take a packet for the interface of `slot`.
    pub fn push(&mut self, arena: &mut [u8], place: Range<usize>, ip: &Ip, slot: u32, queues: &[Option<Queue>]) {
        let udp = queues.get(slot as usize).and_then(Option::as_ref).is_some_and(|queue| queue.tun.udp_offload);
        self.coalescer.push(arena, place, ip, slot, udp);
    }

    /// Write everything.
    pub fn flush(&mut self, counters: &Shard, arena: &mut [u8], queues: &[Option<Queue>]) {
        for run in self.coalescer.runs() {
            self.write(run, counters, arena, queues);
        }
        self.coalescer.clear();
    }

    fn write(&self, run: &Run, counters: &Shard, arena: &mut [u8], queues: &[Option<Queue>]) {
        let Some(Some(queue)) = queues.get(run.owner as usize) else {
            return counters.add(Counter::NotRunning, u64::from(run.packets));
        };
        let header = self.coalescer.finish(run, arena).octets();
        // In front of the packet, where its ESP header was: a packet that is alone is then written in one piece.
        let start = run.start() - header.len();
        arena[start..run.start()].copy_from_slice(&header);
        let mut slices = [IoSlice::new(&[]); MAX_PACKETS];
        let mut used = 0;
        for mut place in self.coalescer.pieces(run) {
            if used == 0 {
                place.start = start;
            }
            slices[used] = IoSlice::new(&arena[place]);
            used += 1;
        }
        let interface = &queue.iface.counters;
        match queue.tun.write(&slices[..used]) {
            Ok(()) => interface.input(u64::from(run.packets), run.octets()),
            Err(_) => {
                counters.add(Counter::TunWrite, u64::from(run.packets));
                interface.input_errors.fetch_add(u64::from(run.packets), Relaxed);
            }
        }
    }
}
