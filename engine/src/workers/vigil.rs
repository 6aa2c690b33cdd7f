//! While packets come thick and fast, processors are kept from falling asleep between two of them.

use std::sync::{Mutex, PoisonError};

use crate::io::latency::Latency;

/// Milliseconds.  What a worker saw in one says how it spends the next.
const SPAN: u64 = 20;
/// Rounds of small packets in a span from which on it pays: 250 a second.  A call, a BFD session, a ping by hand are less.
const MANY: u64 = 5;
/// And below which it ends: what comes about so often does not change the kernel's mind all the time.
const FEW: u64 = 3;

/// What all workers hold together.
pub struct Vigil {
    latency: Option<Latency>,
    keepers: Mutex<usize>,
}

impl Vigil {
    /// Without `latency` nothing is ever asked for.
    pub fn new(latency: Option<Latency>) -> Self {
        Self { latency, keepers: Mutex::default() }
    }

    fn change(&self, keep: bool) {
        let Some(latency) = &self.latency else { return };
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *keepers;
        *keepers = if keep { before + 1 } else { before.saturating_sub(1) };
        if (before == 0) != (*keepers == 0) {
            latency.ask(keep);
        }
    }
}

/// One worker's part in it.
#[derive(Default)]
pub struct Watch {
    began_ms: u64,
    rounds: u64,
    keeps: bool,
}

impl Watch {
    /// A round has brought small packets.  Those of a bulk transfer are many at once, and gain nothing.
    pub fn note(&mut self) {
        self.rounds += 1;
    }

    /// Before a wait at `now_ms`: how many milliseconds it may take, for ever if None.
    pub fn wait(&mut self, vigil: &Vigil, now_ms: u64) -> Option<u64> {
        vigil.latency.as_ref()?;
        let took = now_ms.saturating_sub(self.began_ms);
        if took >= SPAN {
            let enough = if self.keeps { FEW } else { MANY };
            self.keep(vigil, self.rounds * SPAN >= enough * took);
            (self.began_ms, self.rounds) = (now_ms, 0);
        }
        self.keeps.then_some(SPAN)
    }

    /// The worker ends.
    pub fn end(&mut self, vigil: &Vigil) {
        self.keep(vigil, false);
    }

    fn keep(&mut self, vigil: &Vigil, keep: bool) {
        if self.keeps != keep {
            self.keeps = keep;
            vigil.change(keep);
        }
    }
}
