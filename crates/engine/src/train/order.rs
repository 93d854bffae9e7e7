//! Which samples each micro-batch has.

use super::data::order_seed;
use lightbox_core::profile::Profile;
use lightbox_core::runs::steps::StepPlan;
use lightbox_core::seed::{self, BufferShuffle};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Which samples micro-batch i has, counted over all epochs without an end: a pure function of i, so that a run can begin
/// and go on anywhere. [`StepPlan::position`] in another unit.
pub struct Order {
    samples: u32,
    batch_size: usize,
    per_epoch: u64,
    updates_per_epoch: u64,
    accumulation: u64,
    seed: u64,
    shuffle: Shuffle,
}

enum Shuffle {
    /// As the data lies.
    None,
    /// All samples of an epoch, 4 bytes each; the last epochs that were asked for.
    Whole(Mutex<VecDeque<Permutation>>),
    /// `streaming`: neighbours come from places of the data that a buffer apart at most; the last epochs that were asked for.
    Buffer { size: usize, epochs: Mutex<VecDeque<Window>> },
}

/// An epoch and its samples in their order.
type Permutation = (u64, Arc<Vec<u32>>);

/// Around the end of an epoch some threads are in the next one already.
const KEPT: usize = 2;

impl Order {
    pub fn new(profile: &Profile, plan: &StepPlan) -> Self {
        Self {
            samples: u32::try_from(plan.samples).expect("`Samples` has no more"),
            batch_size: plan.batch_size,
            per_epoch: plan.batches_per_epoch(),
            updates_per_epoch: plan.updates_per_epoch(),
            accumulation: plan.accumulation as u64,
            seed: order_seed(profile),
            shuffle: match (profile.disable_shuffling, profile.streaming) {
                (true, _) => Shuffle::None,
                (false, true) => Shuffle::Buffer { size: profile.buffer_size, epochs: Mutex::default() },
                (false, false) => Shuffle::Whole(Mutex::default()),
            },
        }
    }

    /// Micro-batches in an epoch.
    pub fn per_epoch(&self) -> u64 {
        self.per_epoch
    }

    /// The micro-batches of update `k`.
    pub fn of_update(&self, k: u64) -> Range<u64> {
        let (epoch, within) = (k / self.updates_per_epoch, k % self.updates_per_epoch * self.accumulation);
        let end = (within + self.accumulation).min(self.per_epoch);
        epoch * self.per_epoch + within..epoch * self.per_epoch + end
    }

    /// The samples of micro-batch `i`, as positions in the training samples.
    pub fn rows(&self, i: u64) -> Vec<usize> {
        let (epoch, start) = (i / self.per_epoch, (i % self.per_epoch) as usize * self.batch_size);
        let range = start..(start + self.batch_size).min(self.samples as usize);
        match &self.shuffle {
            Shuffle::None => range.collect(),
            Shuffle::Whole(epochs) => {
                let order = self.permutation(epochs, epoch);
                order[range].iter().map(|&row| row as usize).collect()
            }
            Shuffle::Buffer { size, epochs } => {
                let mut epochs = epochs.lock().unwrap_or_else(PoisonError::into_inner);
                let begin = || Window::new(BufferShuffle::new(self.samples, *size, self.seed, epoch), epoch);
                let window = find(&mut epochs, |window| window.epoch == epoch, begin);
                if range.start < window.first {
                    *window = begin(); // far back: from the epoch's beginning on
                }
                window.rows(range)
            }
        }
    }

    fn permutation(&self, epochs: &Mutex<VecDeque<Permutation>>, epoch: u64) -> Arc<Vec<u32>> {
        // Held while it is computed: the other threads want the same one.
        let mut epochs = epochs.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || (epoch, Arc::new(seed::torch_randperm(self.samples, self.seed.wrapping_add(epoch))));
        find(&mut epochs, |(e, _)| *e == epoch, make).1.clone()
    }
}

/// The one that is there, or a new one in the place of the oldest.
fn find<T>(kept: &mut VecDeque<T>, wanted: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &mut T {
    if let Some(at) = kept.iter().position(wanted) {
        return &mut kept[at];
    }
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(make());
    kept.back_mut().expect("just pushed")
}

/// An order that comes from its beginning to its end, and the last places of it that were asked for.
struct Window {
    epoch: u64,
    order: BufferShuffle,
    /// Place of the first of `rows`.
    first: usize,
    rows: VecDeque<u32>,
}

impl Window {
    /// The threads that prepare micro-batches are no further apart than this.
    const PLACES: usize = 1 << 16;

    fn new(order: BufferShuffle, epoch: u64) -> Self {
        Self { epoch, order, first: 0, rows: VecDeque::new() }
    }

    /// `places`, the first of which is not before `self.first`.
    fn rows(&mut self, places: Range<usize>) -> Vec<usize> {
        while self.first + self.rows.len() < places.end {
            let Some(row) = self.order.next() else { break };
            self.rows.push_back(row);
        }
        while self.rows.len() > Self::PLACES.max(places.len()) && self.first < places.start {
            self.rows.pop_front();
            self.first += 1;
        }
        let range = places.start - self.first..(places.end - self.first).min(self.rows.len());
        self.rows.range(range).map(|&row| row as usize).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a profile can say about the order.
    fn profiles(batch: usize, accumulation: usize) -> impl Iterator<Item = Profile> {
        [(false, false), (true, false), (false, true), (true, true)].into_iter().map(
            move |(disable_shuffling, streaming)| Profile {
                per_device_train_batch_size: batch,
                gradient_accumulation_steps: accumulation,
                num_train_epochs: 4.0,
                disable_shuffling,
                streaming,
                buffer_size: 5,
                ..Profile::default()
            },
        )
    }

    #[test]
    fn micro_batches_are_those_of_the_step_plan_in_any_order_over_several_epochs() {
        for (samples, batch, accumulation) in [(1, 1, 1), (13, 2, 3), (16, 2, 8), (17, 4, 3), (7, 8, 2), (30, 1, 7)] {
            for p in profiles(batch, accumulation) {
                let plan = StepPlan::new(&p, samples as usize).unwrap();
                let order = Order::new(&p, &plan);
                // Backwards, too: permutations are forgotten and made again.
                for k in (0..plan.total_steps).chain((0..plan.total_steps).rev()) {
                    let position = plan.position(k);
                    let all: Vec<u32> = match (p.disable_shuffling, p.streaming) {
                        (true, _) => (0..samples).collect(),
                        (_, false) => seed::torch_randperm(samples, p.seed + position.epoch),
                        (_, true) => BufferShuffle::new(samples, 5, p.seed, position.epoch).collect(),
                    };
                    let all: Vec<usize> = all.into_iter().map(|row| row as usize).collect();
                    let wanted: Vec<_> = position.micro_batches.into_iter().map(|r| all[r].to_vec()).collect();
                    let ours: Vec<_> = order.of_update(k).map(|i| order.rows(i)).collect();
                    assert_eq!(ours, wanted, "{samples} samples, {batch} x {accumulation}, update {k}");
                }
            }
        }
    }

    #[test]
    fn a_long_order_goes_on_where_it_is_asked_and_forgets_what_lies_far_behind() {
        let samples = 3 * Window::PLACES as u32;
        let all: Vec<u32> = BufferShuffle::new(samples, 1000, 42, 0).collect();
        let mut window = Window::new(BufferShuffle::new(samples, 1000, 42, 0), 0);
        for start in (0..all.len()).step_by(8) {
            let wanted: Vec<usize> = all[start..start + 8].iter().map(|&row| row as usize).collect();
            assert_eq!(window.rows(start..start + 8), wanted, "at {start}");
            assert!(window.rows.len() <= Window::PLACES + 8);
        }
    }
}
