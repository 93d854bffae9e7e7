//! Micro-batches: which samples each one has ([`Order`]), their tokens and pictures ([`Source`]), and threads that prepare
//! them while the model computes ([`prefetch`]).

use anyhow::{Result, bail};
use lightbox_core::data::{Fault, ImageRef, MediaError, Prepared, Problem, kind};
use lightbox_core::profile::Profile;
use lightbox_core::runs::steps::StepPlan;
use lightbox_core::seed;
use lightbox_core::text::{Batch, Tokenizer, collate};
use lightbox_core::vision::{Grid, ImageProcessor, PixelBudget};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

/// Which samples micro-batch i has, counted over all epochs without an end: a pure function of i, so that a run can begin
/// and go on anywhere. [`StepPlan::position`] in another unit.
pub struct Order {
    samples: usize,
    batch_size: usize,
    per_epoch: u64,
    updates_per_epoch: u64,
    accumulation: u64,
    seed: u64,
    shuffled: bool,
    /// The permutations of the last epochs that were asked for.
    epochs: Mutex<VecDeque<(u64, Arc<Vec<usize>>)>>,
}

impl Order {
    /// Around the end of an epoch some threads are in the next one already.
    const KEPT: usize = 2;

    pub fn new(profile: &Profile, plan: &StepPlan) -> Self {
        Self {
            samples: plan.samples,
            batch_size: plan.batch_size,
            per_epoch: plan.batches_per_epoch(),
            updates_per_epoch: plan.updates_per_epoch(),
            accumulation: plan.accumulation as u64,
            seed: profile.data_seed.unwrap_or(profile.seed),
            shuffled: !profile.disable_shuffling,
            epochs: Mutex::default(),
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
        let start = (i % self.per_epoch) as usize * self.batch_size;
        let range = start..(start + self.batch_size).min(self.samples);
        if !self.shuffled {
            return range.collect();
        }
        self.permutation(i / self.per_epoch)[range].to_vec()
    }

    fn permutation(&self, epoch: u64) -> Arc<Vec<usize>> {
        // Held while it is computed: the other threads want the same one.
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = epochs.iter().find(|(e, _)| *e == epoch) {
            return order.clone();
        }
        let order = Arc::new(seed::torch_randperm(self.samples, self.seed.wrapping_add(epoch)));
        if epochs.len() == Self::KEPT {
            epochs.pop_front();
        }
        epochs.push_back((epoch, order.clone()));
        order
    }
}

/// One micro-batch in host memory.
pub struct HostBatch {
    pub batch: Batch,
    /// `[n, 1176]`, row-major; the pictures of all rows, in order (or the invented white one).
    pub pixel_values: Vec<f32>,
    pub grids: Vec<Grid>,
    /// How many of `grids` each row has; the invented picture is the first row's.
    pub pictures: Vec<usize>,
    /// Positions in the prepared samples.
    pub rows: Vec<usize>,
    /// Samples that were left out because a picture could not be read.
    pub lost: Vec<Problem>,
}

impl HostBatch {
    /// Some of its rows, padded as all of them are.
    pub fn part(&self, rows: Range<usize>) -> Self {
        let b = &self.batch;
        let cells = |v: &[i64]| v[rows.start * b.len..rows.end * b.len].to_vec();
        let batch = Batch {
            rows: rows.len(),
            len: b.len,
            input_ids: cells(&b.input_ids),
            labels: cells(&b.labels),
            attention_mask: cells(&b.attention_mask),
            position_ids: b.position_ids.chunks(b.rows.max(1) * b.len.max(1)).flat_map(cells).collect(),
            fake_image: b.fake_image && rows.start == 0,
        };
        let pictures = |rows: Range<usize>| self.pictures[rows].iter().sum::<usize>();
        let grids = pictures(0..rows.start)..pictures(0..rows.end);
        let values = self.pixel_values.len() / patches(&self.grids).max(1); // of one patch
        let pixels = patches(&self.grids[..grids.start]) * values..patches(&self.grids[..grids.end]) * values;
        Self {
            batch,
            pixel_values: self.pixel_values[pixels].to_vec(),
            grids: self.grids[grids].to_vec(),
            pictures: self.pictures[rows.clone()].to_vec(),
            rows: self.rows[rows].to_vec(),
            lost: Vec::new(),
        }
    }
}

/// Patches of pictures; a grid counts them in time, height and width.
pub fn patches(grids: &[Grid]) -> usize {
    grids.iter().map(|grid| grid.iter().product::<i64>() as usize).sum()
}

/// What preparing a micro-batch needs.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub samples: &'a [Prepared],
    pub tokenizer: &'a Tokenizer,
    pub processor: &'a ImageProcessor,
    pub budget: PixelBudget,
    /// Rows are padded to a multiple of this: 8 when training, as LLaMA-Factory pads.
    pub multiple: usize,
}

impl Source<'_> {
    /// Reads and prepares the pictures of `rows` and puts them beside their tokens.
    ///
    /// # Errors
    /// A picture that has changed or vanished since the samples were checked, with the sample's place.
    pub fn assemble(&self, rows: &[usize]) -> Result<HostBatch> {
        let host = self.readable(rows);
        match host.lost.first() {
            None => Ok(host),
            Some(lost) => bail!("{}: {}", lost.origin, lost.reason),
        }
    }

    /// As [`Self::assemble`], without the samples that cannot be read any more; perhaps none is left.
    pub fn readable(&self, rows: &[usize]) -> HostBatch {
        let (mut pixel_values, mut grids, mut pictures) = (Vec::new(), Vec::new(), Vec::new());
        let (mut kept, mut lost) = (Vec::with_capacity(rows.len()), Vec::new());
        for &row in rows {
            let sample = &self.samples[row];
            let before = pixel_values.len();
            match sample.images.iter().zip(&sample.encoded.grids).try_for_each(|(image, grid)| {
                pixel_values.extend_from_slice(&self.picture(image, grid)?);
                Ok(())
            }) {
                Ok(()) => {
                    grids.extend_from_slice(&sample.encoded.grids);
                    pictures.push(sample.encoded.grids.len());
                    kept.push(row);
                }
                Err(fault) => {
                    pixel_values.truncate(before);
                    lost.push(Fault::at(fault, sample.index, &sample.origin));
                }
            }
        }
        let encoded: Vec<_> = kept.iter().map(|row| &self.samples[*row].encoded).collect();
        // `stage: vision` has pictures and no text.
        let textless = encoded.iter().all(|e| e.input_ids.is_empty());
        let batch = if textless { no_text(kept.len()) } else { collate(&encoded, self.tokenizer, self.multiple) };
        if batch.fake_image {
            let white = self.processor.white();
            pixel_values = white.values;
            grids.push(white.grid);
            pictures[0] = 1;
        }
        HostBatch { batch, pixel_values, grids, pictures, rows: kept, lost }
    }

    fn picture(&self, image: &ImageRef, grid: &Grid) -> Result<Vec<f32>, Fault> {
        let bytes = read(image)?;
        let name = |kind, reason: String| Fault::new(kind, format!("picture {}: {reason}", image.describe()));
        let patches = self.processor.process(&bytes, Some(self.budget)).map_err(|e| name(e.kind(), e.to_string()))?;
        if patches.grid != *grid {
            let reason = format!("it has changed since the data was checked (now {:?} patches)", patches.grid);
            return Err(name(kind::UNREADABLE, reason));
        }
        Ok(patches.values)
    }
}

/// A network file system may fail once and then be well again: such an error counts from its third time on.
fn read(image: &ImageRef) -> Result<Cow<'_, [u8]>, MediaError> {
    const EIO: i32 = 5;
    let mut again = 2;
    loop {
        match image.load() {
            Err(MediaError::Io { source, .. }) if source.raw_os_error() == Some(EIO) && again > 0 => again -= 1,
            outcome => return outcome,
        }
    }
}

fn no_text(rows: usize) -> Batch {
    Batch {
        rows,
        len: 0,
        input_ids: vec![],
        labels: vec![],
        attention_mask: vec![],
        position_ids: vec![],
        fake_image: false,
    }
}

/// Micro-batches ahead of the model, per thread. Two are enough to hide the pictures' decoding; more only hold memory.
const AHEAD: usize = 2;

/// The micro-batches `first`, `first` + 1, … of `rows`, until it has no more, prepared by `threads` threads of `scope`.
pub fn prefetch<'scope, 'env, F>(
    scope: &'scope Scope<'scope, 'env>,
    source: Source<'env>,
    rows: F,
    first: u64,
    threads: usize,
) -> impl Iterator<Item = Result<HostBatch>> + use<F>
where
    F: Fn(u64) -> Option<Vec<usize>> + Clone + Send + 'scope,
{
    let threads = threads.max(1);
    // Thread t prepares micro-batches t, t + threads, …; reading the channels in turn restores the order.
    let channels: Vec<Receiver<Result<HostBatch>>> = (0..threads)
        .map(|t| {
            let (send, receive) = sync_channel(AHEAD);
            let rows = rows.clone();
            scope.spawn(move || {
                for rows in (first + t as u64..).step_by(threads).map_while(rows) {
                    // A fault in our own code ends the run with its exit code and log lines, not in the middle of them.
                    let host = catch_unwind(AssertUnwindSafe(|| Ok(source.readable(&rows))));
                    let host = host.unwrap_or_else(|_| bail!("preparing samples {rows:?} failed inside (see above)"));
                    // The receiver is dropped when nobody wants more.
                    if send.send(host).is_err() {
                        return;
                    }
                }
            });
            receive
        })
        .collect();
    (0..).map_while(move |i: usize| channels[i % threads].recv().ok())
}

/// Micro-batches in their order.
type Ahead<'scope> = Box<dyn Iterator<Item = Result<HostBatch>> + 'scope>;

/// Training's micro-batches in order, prepared ahead; any other one may be asked for, too.
pub struct Feed<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    pub source: Source<'env>,
    pub order: Arc<Order>,
    threads: usize,
    /// The number of the next one, and it and all that follow it.
    ahead: Option<(u64, Ahead<'scope>)>,
}

impl<'scope, 'env: 'scope> Feed<'scope, 'env> {
    pub fn new(scope: &'scope Scope<'scope, 'env>, source: Source<'env>, order: Order, threads: usize) -> Self {
        Self { scope, source, order: Arc::new(order), threads, ahead: None }
    }

    /// Micro-batch `i`. Another one than the next costs what was prepared ahead.
    ///
    /// # Errors
    /// A fault inside.
    pub fn get(&mut self, i: u64) -> Result<HostBatch> {
        let ahead = match self.ahead.take() {
            Some((next, ahead)) if next == i => ahead,
            _ => {
                let order = self.order.clone();
                Box::new(prefetch(self.scope, self.source, move |i| Some(order.rows(i)), i, self.threads))
            }
        };
        let (_, ahead) = self.ahead.insert((i + 1, ahead));
        ahead.next().unwrap_or_else(|| bail!("a thread that prepares pictures has died"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_are_those_of_the_step_plan_in_any_order_over_several_epochs() {
        for (samples, batch, accumulation) in [(1, 1, 1), (13, 2, 3), (16, 2, 8), (17, 4, 3), (7, 8, 2), (30, 1, 7)] {
            for disable_shuffling in [false, true] {
                let p = Profile {
                    per_device_train_batch_size: batch,
                    gradient_accumulation_steps: accumulation,
                    num_train_epochs: 4.0,
                    disable_shuffling,
                    ..Profile::default()
                };
                let plan = StepPlan::new(&p, samples).unwrap();
                let order = Order::new(&p, &plan);
                // Backwards, too: permutations are forgotten and made again.
                for k in (0..plan.total_steps).chain((0..plan.total_steps).rev()) {
                    let position = plan.position(k);
                    let all: Vec<usize> = match disable_shuffling {
                        true => (0..samples).collect(),
                        false => seed::torch_randperm(samples, p.seed + position.epoch),
                    };
                    let wanted: Vec<_> = position.micro_batches.into_iter().map(|r| all[r].to_vec()).collect();
                    let ours: Vec<_> = order.of_update(k).map(|i| order.rows(i)).collect();
                    assert_eq!(ours, wanted, "{samples} samples, {batch} x {accumulation}, update {k}");
                }
            }
        }
    }
}
