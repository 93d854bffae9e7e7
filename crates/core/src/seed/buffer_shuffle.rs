//! A random order for data that is read from its beginning to its end: neighbours in the order lie no further apart in the
//! data than a buffer is long.

use super::pcg64::Pcg64;

/// `0..n` in the order of `datasets.IterableDataset.shuffle(seed, buffer_size)` in the given epoch (datasets 5.2,
/// `iterable_dataset.py`, `BufferShuffledExamplesIterable`; examples that come one by one).
///
/// When the buffer is full it is shuffled, and its first half is given away. Takes 8 bytes for each place in the buffer.
#[derive(Debug)]
pub struct BufferShuffle {
    random: Pcg64,
    n: u32,
    /// The next of `0..n` to go into the buffer.
    next: u32,
    size: usize,
    buffer: Vec<u32>,
    /// So many at the buffer's beginning are shuffled, and given away from `given` on.
    ready: usize,
    given: usize,
}

impl BufferShuffle {
    pub fn new(n: u32, size: usize, seed: u64, epoch: u64) -> Self {
        let seed = match epoch {
            0 => seed,
            // `shift_rngs`: `default_rng(seed).integers(0, 1 << 63) - epoch`
            _ => (Pcg64::new(seed).next_u64() >> 1).wrapping_sub(epoch),
        };
        Self { random: Pcg64::new(seed), n, next: 0, size: size.max(1), buffer: Vec::new(), ready: 0, given: 0 }
    }

    fn refill(&mut self) {
        self.buffer.drain(..self.given);
        let room = self.size.saturating_sub(self.buffer.len()).min((self.n - self.next) as usize) as u32;
        self.buffer.extend(self.next..self.next + room);
        self.next += room;
        self.random.shuffle(&mut self.buffer);
        let kept = if self.buffer.len() < self.size { 0 } else { self.size / 2 };
        (self.ready, self.given) = (self.buffer.len() - kept, 0);
    }
}

impl Iterator for BufferShuffle {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.given == self.ready {
            self.refill();
        }
        let found = self.buffer.get(self.given).copied()?;
        self.given += 1;
        Some(found)
    }
}
