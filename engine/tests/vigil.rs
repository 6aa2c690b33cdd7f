//! When processors are kept awake: `/dev/cpu_dma_latency` is a socket here, and time a number.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use _engine::io::latency::Latency;
use _engine::workers::vigil::{Vigil, Watch};

const ANY: i32 = 2_000_000_000;

struct Kernel(UnixStream);

impl Kernel {
    fn with_vigil() -> (Self, Vigil) {
        let (kernel, device) = UnixStream::pair().unwrap();
        kernel.set_nonblocking(true).unwrap();
        (Self(kernel), Vigil::new(Some(Latency::new(device.as_fd()).unwrap())))
    }

    /// What has been asked for since this was called last: true is "awake".
    fn asked(&mut self) -> Vec<bool> {
        let mut octets = Vec::new();
        let _ = self.0.read_to_end(&mut octets);
        octets.chunks(4).map(|each| i32::from_ne_bytes(each.try_into().unwrap())).map(awake).collect()
    }
}

fn awake(microseconds: i32) -> bool {
    assert!(matches!(microseconds, 0 | 2 | ANY), "{microseconds}");
    microseconds != ANY
}

/// A round of small packets and a wait every `each` milliseconds, from `begin` to `end`; the limit of the last.
fn rounds(watch: &mut Watch, vigil: &Vigil, begin: u64, end: u64, each: usize) -> Option<u64> {
    (begin..end).step_by(each).fold(None, |_, now| {
        watch.note();
        watch.wait(vigil, now)
    })
}

#[test]
fn packets_that_come_thick_and_fast_keep_processors_awake_until_they_end() {
    let ((mut kernel, vigil), mut watch) = (Kernel::with_vigil(), Watch::default());
    let limit = rounds(&mut watch, &vigil, 1_000, 2_000, 4);
    assert_eq!(kernel.asked(), [true]);
    let limit = limit.unwrap(); // the worker wakes by itself, to see that nothing has come
    assert_eq!(watch.wait(&vigil, 2_000 + limit), None);
    assert_eq!(kernel.asked(), [false]);
    assert_eq!(watch.wait(&vigil, 60_000), None);
    assert!(kernel.asked().is_empty());
}

#[test]
fn a_call_a_bfd_session_and_a_ping_by_hand_let_them_sleep() {
    for each in [10, 20, 50, 1_000] {
        let ((mut kernel, vigil), mut watch) = (Kernel::with_vigil(), Watch::default());
        assert_eq!(rounds(&mut watch, &vigil, 0, 20_000, each), None);
        assert!(kernel.asked().is_empty(), "a packet in {each} ms");
    }
}

#[test]
fn a_burst_long_ago_does_not_count() {
    let ((mut kernel, vigil), mut watch) = (Kernel::with_vigil(), Watch::default());
    rounds(&mut watch, &vigil, 1_000, 1_020, 1);
    assert_eq!(watch.wait(&vigil, 10_000), None);
    assert!(kernel.asked().is_empty());
}

#[test]
fn a_busy_worker_that_hardly_ever_waits_does_not_let_go() {
    let ((mut kernel, vigil), mut watch) = (Kernel::with_vigil(), Watch::default());
    for now in [1_000, 1_020, 1_100, 1_300] {
        (0..1_000).for_each(|_| watch.note());
        watch.wait(&vigil, now);
    }
    assert_eq!(kernel.asked(), [true]);
}

#[test]
fn a_bulk_transfer_asks_for_nothing() {
    let ((mut kernel, vigil), mut watch) = (Kernel::with_vigil(), Watch::default());
    for now in 1_000..2_000 {
        assert_eq!(watch.wait(&vigil, now), None);
    }
    assert!(kernel.asked().is_empty());
}

#[test]
fn what_comes_about_as_often_as_it_takes_asks_once() {
    let ((mut kernel, vigil), mut watch) = (Kernel::with_vigil(), Watch::default());
    for span in 0..100 {
        rounds(&mut watch, &vigil, 1_000 + 20 * span, 1_020 + 20 * span, if span % 2 == 0 { 3 } else { 6 });
    }
    assert_eq!(kernel.asked(), [true]);
}

#[test]
fn workers_ask_once_and_let_go_when_the_last_of_them_does() {
    let ((mut kernel, vigil), mut watches) = (Kernel::with_vigil(), [Watch::default(), Watch::default()]);
    for watch in &mut watches {
        rounds(watch, &vigil, 1_000, 1_200, 1);
    }
    assert_eq!(kernel.asked(), [true]);
    watches[0].wait(&vigil, 1_400);
    assert!(kernel.asked().is_empty());
    watches[1].end(&vigil); // as when the engine is closed under load
    assert_eq!(kernel.asked(), [false]);
}

#[test]
fn without_the_device_workers_wait_for_ever() {
    assert_eq!(rounds(&mut Watch::default(), &Vigil::new(None), 1_000, 2_000, 1), None);
}
