//! The replay window against a model that remembers everything.

use std::collections::HashSet;

use _engine::esp::replay::{MAX_WINDOW, Replayed, Window};
use proptest::prelude::*;

fn accept(window: &mut Window, sequence: u64) -> bool {
    match window.check(sequence as u32) {
        Ok(whole) if whole == sequence => window.commit(whole).is_ok(),
        _ => false,
    }
}

proptest! {
    /// Numbers wander about a rising centre, as a network reorders them.
    #[test]
    fn agrees_with_a_model(size in prop::sample::select(vec![64_u32, 128, 256, 1024, 4096]), esn: bool,
                           start in 0..(1_u64 << 33), steps in prop::collection::vec(-5000..3000_i64, 1..400)) {
        let start = if esn { start } else { start & 0x7fff_ffff };
        let mut window = Window::new(size, esn, start);
        let (mut top, mut seen) = (start, HashSet::new());
        for step in steps {
            let Some(sequence) = top.checked_add_signed(step).filter(|s| *s > 0) else { continue };
            // Further back than 2^32 less the window, a number looks like one of the next round.
            let expected = if sequence > top { true } else {
                top - sequence < u64::from(size) && !seen.contains(&sequence)
            };
            let got = accept(&mut window, sequence);
            prop_assert_eq!(got, expected, "sequence {} top {}", sequence, top);
            if got {
                seen.insert(sequence);
                top = top.max(sequence);
            }
            prop_assert_eq!(window.top(), top);
        }
    }

    #[test]
    fn nothing_is_accepted_twice(size in 64..=MAX_WINDOW, numbers in prop::collection::vec(1..6000_u64, 1..600)) {
        let mut window = Window::new(size, false, 0);
        let mut seen = HashSet::new();
        for number in numbers {
            if accept(&mut window, number) {
                prop_assert!(seen.insert(number));
            }
        }
    }

    #[test]
    fn any_number_is_judged_without_panic(size in 0..=MAX_WINDOW, esn: bool, top: u64, low: u32) {
        let mut window = Window::new(size, esn, top);
        if let Ok(sequence) = window.check(low) {
            let _ = window.commit(sequence);
        }
    }
}

#[test]
fn zero_is_never_a_sequence_number() {
    assert_eq!(Window::new(64, false, 0).check(0), Err(Replayed));
    assert_eq!(Window::new(64, true, 0).check(0), Err(Replayed));
}

#[test]
fn esn_crosses_into_the_next_round_and_back() {
    let mut window = Window::new(64, true, 0xffff_fff0);
    assert_eq!(window.check(5), Ok(0x1_0000_0005));
    assert_eq!(window.commit(0x1_0000_0005), Ok(true));
    assert_eq!(window.check(0xffff_fffe), Ok(0xffff_fffe));
    assert_eq!(window.commit(0xffff_fffe), Ok(false));
    assert_eq!(window.check(0xffff_fffe), Err(Replayed));
    assert_eq!(window.check(0), Ok(0x1_0000_0000));
}

#[test]
fn a_window_of_nothing_accepts_all_but_follows_esn() {
    let mut window = Window::new(0, true, 0xffff_ffff);
    assert_eq!(window.check(1), Ok(0x1_0000_0001));
    assert_eq!(window.commit(0x1_0000_0001), Ok(true));
    assert_eq!(window.commit(0x1_0000_0001), Ok(false));
    assert_eq!(window.top(), 0x1_0000_0001);
}
