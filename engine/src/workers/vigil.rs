//! While packets come thick and fast, processors are kept from falling asleep between two of them.

use std::sync::{Mutex, PoisonError};

use crate::io::latency::Latency;

/// Milliseconds.  What a worker saw in one says how it spends the next.
const SPAN: u64 = 20;
/// Waits for packets in a span from which on it pays: 250 a second.  A call, a BFD session, a ping by hand are less.
const MANY: u32 = 5;

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
    waits: u32,
    keeps: bool,
}

impl Watch {
    /// Before a wait at `now_ms`: how many milliseconds it may take, for ever if None.
    pub fn wait(&mut self, vigil: &Vigil, now_ms: u64) -> Option<u64> {
        vigil.latency.as_ref()?;
        self.waits += 1;
        let took = now_ms.saturating_sub(self.began_ms);
        if took >= SPAN {
            self.keep(vigil, self.waits >= MANY && took < 2 * SPAN);
            (self.began_ms, self.waits) = (now_ms, 0);
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
