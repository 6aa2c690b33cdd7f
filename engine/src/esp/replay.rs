//! The replay window (RFC 6479's ring of bit blocks) and extended sequence numbers (RFC 4303 §2.2.1, appendix A).

const BITS: u64 = 64;

/// The largest window, in packets.
pub const MAX_WINDOW: u32 = 4096;

/// Sequence numbers received.  A window of 0 packets accepts everything but still follows ESN's upper half.
pub struct Window {
    /// Highest number authenticated.
    top: u64,
    /// Packets below `top` that are still accepted; a multiple of a block.
    size: u64,
    esn: bool,
    /// A ring whose length is a power of two and which has one block more than the window.
    blocks: Box<[u64]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed;

impl Window {
    /// `size` is rounded up to whole blocks of 64; `top` is 0 except in tests.
    pub fn new(size: u32, esn: bool, top: u64) -> Self {
        let size = u64::from(size.min(MAX_WINDOW)).next_multiple_of(BITS);
        let blocks = (size / BITS + 1).next_power_of_two() as usize;
        Self { top, size, esn, blocks: vec![0; blocks].into() }
    }

    pub fn top(&self) -> u64 {
        self.top
    }

    /// The whole number of which `low` came with the packet, if a packet with it may still be accepted.
    /// Its integrity has yet to be checked with the upper half guessed here.
    pub fn check(&self, low: u32) -> Result<u64, Replayed> {
        let sequence = if self.esn { self.extend(low).ok_or(Replayed)? } else { u64::from(low) };
        if sequence == 0 {
            return Err(Replayed); // the first number is 1
        }
        if self.size == 0 || sequence > self.top {
            return Ok(sequence);
        }
        if self.top - sequence >= self.size || self.seen(sequence) {
            return Err(Replayed);
        }
        Ok(sequence)
    }

    /// Note an authenticated `sequence`; true when it is the highest so far.  Another thread may have noted the
    /// same number since `check`.
    pub fn commit(&mut self, sequence: u64) -> Result<bool, Replayed> {
        let newest = sequence > self.top;
        if self.size == 0 {
            self.top = self.top.max(sequence);
            return Ok(newest);
        }
        if newest {
            let passed = (sequence / BITS - self.top / BITS).min(self.blocks.len() as u64);
            for block in 1..=passed {
                let index = self.index(self.top / BITS + block);
                self.blocks[index] = 0;
            }
            self.top = sequence;
        } else if self.top - sequence >= self.size || self.seen(sequence) {
            return Err(Replayed);
        }
        let index = self.index(sequence / BITS);
        self.blocks[index] |= 1 << (sequence % BITS);
        Ok(newest)
    }

    fn index(&self, block: u64) -> usize {
        block as usize & (self.blocks.len() - 1)
    }

    fn seen(&self, sequence: u64) -> bool {
        self.blocks[self.index(sequence / BITS)] & (1 << (sequence % BITS)) != 0
    }

    /// RFC 4303 appendix A2.1: the upper half that puts `low` into the window or ahead of it.
    fn extend(&self, low: u32) -> Option<u64> {
        let (top_low, high) = (self.top as u32, self.top >> 32);
        let reach = (self.size.max(BITS) - 1) as u32;
        let bottom = top_low.wrapping_sub(reach);
        let high = if top_low >= reach {
            if low >= bottom { high } else { high.checked_add(1).filter(|high| *high <= u64::from(u32::MAX))? }
        } else if low >= bottom {
            high.checked_sub(1)?
        } else {
            high
        };
        Some(high << 32 | u64::from(low))
    }
}
