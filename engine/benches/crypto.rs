//! Crypto alone: what it costs to seal and to open a train of packets, by cipher and packet size.
//!
//! `cargo bench` shows the time of a whole train; its throughput is in packets (elements).

use std::time::Instant;

use _engine::esp::suite::Suite;
use _engine::esp::{Opening, Transform, frame};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SUITES: &[(&str, usize, &str, usize)] = &[
    ("aes-128-gcm", 20, "", 0),
    ("aes-256-gcm", 36, "", 0),
    ("chacha20-poly1305", 36, "", 0),
    ("aes-256", 32, "hmac-sha1", 20),
    ("aes-256", 32, "hmac-sha2-256", 32),
    ("aes-256", 32, "hmac-sha2-512", 64),
    ("aes-128", 16, "hmac-sha2-256", 32),
];
/// Octets of inner packet, and packets of a train.
const SIZES: &[(usize, usize)] = &[(92, 64), (576, 64), (1280, 48), (1420, 45)];

fn transform(encryption: &str, key: usize, auth: &str, auth_key: usize) -> Box<dyn Transform> {
    let octets = [7; 64];
    let suite = Suite { encryption, encryption_key: &octets[..key], auth, auth_key: &octets[..auth_key], esn: false };
    suite.build(&[9; 16]).unwrap_or_else(|error| panic!("{error}"))
}

fn train(transform: &dyn Transform, inner: usize, count: usize) -> (usize, Vec<u8>) {
    let shape = transform.shape();
    let stride = shape.sealed_len(inner);
    let mut packets = vec![0x45; stride * count];
    for (i, packet) in packets.chunks_mut(stride).enumerate() {
        frame::write(shape, 0x1000, 1 + i as u64, inner, packet);
    }
    (stride, packets)
}

fn crypto(criterion: &mut Criterion) {
    for &(encryption, key, auth, auth_key) in SUITES {
        let transform = transform(encryption, key, auth, auth_key);
        let name = [encryption, auth].join(if auth.is_empty() { "" } else { "+" });
        let mut group = criterion.benchmark_group(name);
        for &(inner, count) in SIZES {
            let (stride, plain) = train(&*transform, inner, count);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new("seal", inner), |bencher| {
                let mut packets = plain.clone();
                bencher.iter(|| transform.seal_run(1, stride, &mut packets));
            });
            let mut sealed = plain.clone();
            transform.seal_run(1, stride, &mut sealed);
            group.bench_function(BenchmarkId::new("open", inner), |bencher| {
                let mut packets = sealed.clone();
                let mut openings: Vec<Opening> = (0..count)
                    .map(|i| Opening { place: i * stride..(i + 1) * stride, sequence: Some(1 + i as u64) })
                    .collect();
                bencher.iter_custom(|times| {
                    let mut total = std::time::Duration::ZERO;
                    for _ in 0..times {
                        packets.copy_from_slice(&sealed);
                        let start = Instant::now();
                        transform.open_run(&mut packets, &mut openings);
                        total += start.elapsed();
                    }
                    total
                });
                assert!(openings.iter().all(|opening| opening.sequence.is_some()));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600)).without_plots();
    targets = crypto
}
criterion_main!(benches);
