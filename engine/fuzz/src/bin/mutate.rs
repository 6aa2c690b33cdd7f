//! Seeds, mutated over and over: no feedback, any toolchain.
//!
//!     mutate [--inputs N] [--seed N]
//!
//! A panic ends it with the input in hexadecimal and its seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// xorshift64*: quick, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }
}

const EDGES: [u8; 12] = [0, 1, 4, 6, 17, 20, 40, 0x45, 0x60, 0x7f, 0x80, 0xff];

fn mutate(random: &mut Random, data: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(5) {
        let at = random.below(data.len());
        match random.below(9) {
            0 if !data.is_empty() => data[at] ^= 1 << random.below(8),
            1 if !data.is_empty() => data[at] = EDGES[random.below(EDGES.len())],
            2 if !data.is_empty() => data[at] = random.next() as u8,
            3 if !data.is_empty() => data[at] = data[at].wrapping_add([1, 255, 2, 254][random.below(4)]),
            4 => data.truncate(at),
            5 if !data.is_empty() => drop(data.drain(at..(at + 1 + random.below(8)).min(data.len()))),
            6 => data.extend((0..random.below(64)).map(|i| i as u8)),
            7 if !other.is_empty() => {
                let from = random.below(other.len());
                let part = &other[from..(from + 1 + random.below(80)).min(other.len())];
                data.splice(at..at, part.iter().copied());
            }
            8 if !data.is_empty() => {
                let end = (at + 1 + random.below(64)).min(data.len());
                let part = data[at..end].to_vec();
                data.splice(at..at, part.iter().copied().cycle().take(part.len() * (1 + random.below(4))));
            }
            _ => {}
        }
    }
}

fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|each| each != name);
    arguments.nth(1).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 4
}

fn main() {
    let (inputs, seed) = (argument("--inputs", 1_000_000), argument("--seed", 1));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let seeds = secd_engine_fuzz::seeds();
    for (target, data) in &seeds {
        target(data);
    }
    let (began, before) = (Instant::now(), resident());
    let (mut corpus, mut through) = (seeds.clone(), 0);
    for number in 0..inputs {
        let index = random.below(corpus.len());
        let (target, mut data) = corpus[index].clone();
        let other = random.below(corpus.len());
        mutate(&mut random, &mut data, &corpus[other].1);
        let Ok(packets) = catch_unwind(AssertUnwindSafe(|| target(&data))) else {
            let hex: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
            eprintln!("input {number} of seed {seed}: {hex}");
            std::process::exit(1);
        };
        through += u64::from(packets > 0);
        // A walk away from the seeds among what still gets through, which begins again every now and then.
        if packets > 0 && data.len() < 4096 && random.below(8) == 0 {
            corpus[index].1 = data;
        }
        if random.below(64) == 0 {
            let index = random.below(corpus.len());
            corpus[index] = seeds[index].clone();
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{inputs} inputs in {seconds:.1} s ({:.0}/s), {} in a hundred got packets through, resident {before} -> {} KiB",
        inputs as f64 / seconds,
        through * 100 / inputs.max(1),
        resident()
    );
}
