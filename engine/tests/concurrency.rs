//! Lifetimes, sequence numbers and the replay window are exact however many workers share an SA.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use _engine::esp::replay::Replayed;
use _engine::esp::suite::Suite;
use _engine::events::{Kind, Limit};
use _engine::sadb::sa::{Limits, Refusal, State};

const THREADS: u64 = 4;

fn state(esn: bool, replay: u32, sequence: u64, limits: Limits) -> Arc<State> {
    let suite = Suite { encryption: "null", encryption_key: &[], auth: "hmac-sha1", auth_key: &[7; 20], esn };
    Arc::new(State::new(suite.build(&[0; 16]).unwrap(), esn, replay, sequence, limits))
}

/// Run `work` on every thread at once.
fn together(work: impl Fn(u64) + Sync) {
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(thread);
            });
        }
    });
}

#[test]
fn a_lifetime_in_packets_admits_exactly_so_many() {
    for limit in [1, 100, 4_001, 50_000] {
        let state = state(false, 64, 0, Limits { hard_packets: limit, soft_packets: limit / 2, ..Limits::default() });
        let (admitted, soft, hard) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let numbers = Mutex::new(Vec::new());
        together(|thread| {
            let mut own = Vec::new();
            for turn in 0..2_000 {
                let admission = state.admit(1 + (turn + thread) % 46, 1_400);
                admitted.fetch_add(admission.packets, Relaxed);
                own.extend(admission.first_sequence..admission.first_sequence + admission.packets);
                match admission.reached {
                    Some((Kind::Soft, Limit::Packets)) => soft.fetch_add(1, Relaxed),
                    Some((Kind::Hard, Limit::Packets)) => hard.fetch_add(1, Relaxed),
                    _ => 0,
                };
            }
            numbers.lock().unwrap().extend(own);
        });
        assert_eq!(admitted.load(Relaxed), limit);
        assert!(state.is_dead());
        assert_eq!(hard.load(Relaxed), 1, "told once");
        assert!(soft.load(Relaxed) <= 1);
        let mut numbers = numbers.into_inner().unwrap();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=limit), "each number once, none left out");
    }
}

#[test]
fn the_last_sequence_number_is_given_once_and_nothing_after_it() {
    let last = u64::from(u32::MAX);
    let state = state(false, 64, last - 10_000, Limits::default());
    let numbers = Mutex::new(Vec::new());
    let exhausted = AtomicBool::new(false);
    together(|_| {
        for _ in 0..200 {
            let admission = state.admit(17, 17);
            exhausted.fetch_or(admission.refused == Some(Refusal::SequenceExhausted), Relaxed);
            let given = admission.first_sequence..admission.first_sequence + admission.packets;
            numbers.lock().unwrap().extend(given);
        }
    });
    let mut numbers = numbers.into_inner().unwrap();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(last - 9_999..=last));
    assert!(exhausted.load(Relaxed) && state.is_dead());
}

#[test]
fn a_sequence_number_is_accepted_once_whoever_comes_first() {
    const PACKETS: u64 = 200_000;
    for (esn, start) in [(false, 0), (true, (1 << 32) - PACKETS / 2)] {
        let state = state(esn, 4096, start, Limits::default());
        let (accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let next = AtomicU64::new(start + 1);
        together(|_| {
            loop {
                // Each number comes twice, from two threads perhaps, and close enough for the window.
                let turn = next.fetch_add(1, Relaxed) - start - 1;
                if turn >= 2 * PACKETS {
                    return;
                }
                let number = start + 1 + turn / 2;
                let checked = state.window().check(number as u32);
                // A wrong guess at the upper half, which only who is late by a window gets, fails authentication.
                let authentic = checked.and_then(|guess| if guess == number { Ok(guess) } else { Err(Replayed) });
                match authentic.and_then(|sequence| state.window().commit(sequence)) {
                    Ok(_) => accepted.fetch_add(1, Relaxed),
                    Err(_) => refused.fetch_add(1, Relaxed),
                };
            }
        });
        let (accepted, refused) = (accepted.load(Relaxed), refused.load(Relaxed));
        assert_eq!(accepted + refused, 2 * PACKETS);
        // A thread that is held up for a whole window may come too late with both.
        assert!(accepted <= PACKETS && accepted > PACKETS * 9 / 10, "{accepted} of {PACKETS}");
        assert_eq!(state.rpl(false), start + PACKETS);
    }
}
