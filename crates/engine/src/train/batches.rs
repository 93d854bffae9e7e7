//! Micro-batches in training order, prepared by threads while the model computes.

use anyhow::{Context, Result, anyhow, bail};
use lightbox_core::data::{MediaError, OnBad, Prepared};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::Profile;
use lightbox_core::runs::steps::StepPlan;
use lightbox_core::seed;
use lightbox_core::text::{Batch, Tokenizer, collate};
use lightbox_core::vision::{Grid, ImageProcessor, PixelBudget};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

/// One micro-batch in host memory.
pub struct HostBatch {
    pub batch: Batch,
    /// `[n, 1176]`, row-major; the pictures of all rows, in order (or the invented white one).
    pub pixel_values: Vec<f32>,
    pub grids: Vec<Grid>,
    /// Pictures of each row; the invented one is row 0's.
    pub pictures: Vec<usize>,
    /// Positions in the prepared samples.
    pub rows: Vec<usize>,
    /// Left out: their pictures could not be read any more.
    pub lost: Vec<Lost>,
}

/// A sample that was fine when the data was checked.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Position in the prepared samples.
    pub row: usize,
    pub kind: String,
    pub reason: String,
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
    /// What to do with a sample that cannot be read any more.
    pub on_bad: OnBad,
}

impl Source<'_> {
    /// Reads and prepares the pictures of `rows` and puts them beside their tokens.
    ///
    /// # Errors
    /// With `on_bad: refuse`, a picture that has changed or vanished since the samples were checked.
    pub fn assemble(&self, rows: &[usize]) -> Result<HostBatch> {
        let (mut pixel_values, mut grids, mut pictures) = (Vec::new(), Vec::new(), Vec::new());
        let (mut kept, mut lost) = (Vec::with_capacity(rows.len()), Vec::new());
        for &row in rows {
            match self.pictures(row) {
                Ok((values, found)) => {
                    pixel_values.extend_from_slice(&values);
                    pictures.push(found.len());
                    grids.extend(found);
                    kept.push(row);
                }
                Err(gone) if self.on_bad == OnBad::Skip => lost.push(gone),
                Err(gone) => {
                    return Err(anyhow!(
                        "{}: {} ({}). It was fine when the data was checked: put it back, or leave such samples out with on_bad_sample: skip",
                        self.samples[row].origin,
                        gone.reason,
                        gone.kind
                    ))
                    .because(Exit::Data);
                }
            }
        }
        let encoded: Vec<_> = kept.iter().map(|r| &self.samples[*r].encoded).collect();
        // `stage: vision` has pictures and no text.
        let textless = encoded.iter().all(|e| e.input_ids.is_empty());
        let batch = if textless { no_text(kept.len()) } else { collate(&encoded, self.tokenizer, self.multiple) };
        if batch.fake_image {
            let white = self.processor.white();
            pixel_values = white.values;
            grids.push(white.grid);
            pictures[0] += 1;
        }
        Ok(HostBatch { batch, pixel_values, grids, pictures, rows: kept, lost })
    }

    /// Pixels and grids of a sample's pictures.
    fn pictures(&self, row: usize) -> Result<(Vec<f32>, Vec<Grid>), Lost> {
        let sample = &self.samples[row];
        let (mut values, mut grids) = (Vec::new(), Vec::new());
        for (i, image) in sample.images.iter().enumerate() {
            let gone = |kind: &str, reason: String| Lost {
                row,
                kind: kind.to_owned(),
                reason: format!("picture {}: {reason}", i + 1),
            };
            // A network disk that stumbles gets another chance; what is gone stays gone.
            let read = || image.load();
            let again = |e: MediaError| if matches!(e, MediaError::Io { .. }) { read() } else { Err(e) };
            let bytes = read().or_else(again).or_else(again).map_err(|e| gone(e.kind(), e.to_string()))?;
            let patches = self.processor.process(&bytes, Some(self.budget));
            let patches = patches.map_err(|e| gone(e.kind(), format!("{}: {e}", image.describe())))?;
            if Some(&patches.grid) != sample.encoded.grids.get(i) {
                let what = format!("{} has changed since the data was checked", image.describe());
                return Err(gone("image_changed", what));
            }
            values.extend_from_slice(&patches.values);
            grids.push(patches.grid);
        }
        Ok((values, grids))
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

/// Which samples a micro-batch takes: a pure function of its number, so nothing is laid out for the whole run.
pub struct Order {
    plan: StepPlan,
    /// `None`: file order.
    seed: Option<u64>,
    /// The permutations of the epochs asked for last; at an epoch's end threads are in two of them.
    epochs: Mutex<VecDeque<(u64, Arc<Vec<usize>>)>>,
}

impl Order {
    pub fn new(plan: StepPlan, profile: &Profile) -> Self {
        let seed = profile.data_seed.unwrap_or(profile.seed);
        Self { plan, seed: (!profile.disable_shuffling).then_some(seed), epochs: Mutex::default() }
    }

    /// File order, once through.
    pub fn in_file_order(samples: usize, batch_size: usize) -> Self {
        let plan = StepPlan {
            samples,
            batch_size: batch_size.max(1),
            accumulation: 1,
            total_steps: 0,
            warmup_steps: 0,
            epochs: 1,
        };
        Self { plan, seed: None, epochs: Mutex::default() }
    }

    /// Positions in the prepared samples of micro-batch number `i`, counted over all epochs.
    pub fn rows(&self, i: u64) -> Vec<usize> {
        let (epoch, range) = self.plan.micro_batch(i);
        let Some(seed) = self.seed else { return range.collect() };
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = epochs.iter().find(|(e, _)| *e == epoch) {
            return order[range].to_vec();
        }
        let order = Arc::new(seed::torch_randperm(self.plan.samples, seed.wrapping_add(epoch)));
        epochs.truncate(1);
        epochs.push_front((epoch, order.clone()));
        order[range].to_vec()
    }
}

/// Micro-batches ahead of the model, per thread. Two are enough to hide the pictures' decoding; more only hold memory.
const AHEAD: u64 = 2;

/// Threads of `scope` that prepare micro-batches one after the other, from any number on.
pub struct Feeder<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    source: Source<'env>,
    order: Arc<Order>,
    threads: u64,
    /// The next micro-batch that the channels hold, and the first that they held.
    next: u64,
    first: u64,
    channels: Vec<Receiver<Result<HostBatch>>>,
}

impl<'scope, 'env> Feeder<'scope, 'env> {
    pub fn new(scope: &'scope Scope<'scope, 'env>, source: Source<'env>, order: Arc<Order>, threads: usize) -> Self {
        let threads = threads.max(1) as u64;
        Self { scope, source, order, threads, next: 0, first: 0, channels: Vec::new() }
    }

    /// Micro-batch number `i`. Asking for another than the next one starts the threads anew.
    pub fn get(&mut self, i: u64) -> Result<HostBatch> {
        if self.channels.is_empty() || i != self.next {
            self.start(i);
        }
        // Thread k prepares first + k, first + k + threads, …; reading the channels in turn keeps the order.
        let turn = ((i - self.first) % self.threads) as usize;
        self.next = i + 1;
        self.channels[turn].recv().context("a thread that prepares pictures has died").and_then(|batch| batch)
    }

    fn start(&mut self, first: u64) {
        (self.first, self.next) = (first, first);
        // Threads whose receiver is gone end at their next batch.
        self.channels = (0..self.threads)
            .map(|k| {
                let (send, receive) = sync_channel(AHEAD as usize);
                let (source, order, threads) = (self.source, self.order.clone(), self.threads);
                self.scope.spawn(move || {
                    for i in (first + k..).step_by(threads as usize) {
                        let rows = order.rows(i);
                        // A fault in our own code ends the run with its exit code and log lines, not in the middle of them.
                        let assembled = catch_unwind(AssertUnwindSafe(|| source.assemble(&rows)));
                        let assembled =
                            assembled.unwrap_or_else(|_| bail!("preparing samples {rows:?} failed inside (see above)"));
                        if send.send(assembled).is_err() {
                            return;
                        }
                    }
                });
                receive
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_a_micro_batch_does_not_depend_on_what_was_asked_before() {
        let profile = Profile { per_device_train_batch_size: 3, num_train_epochs: 4.0, ..Profile::default() };
        let plan = StepPlan::new(&profile, 10).unwrap();
        let straight: Vec<_> = (0..16).map(|i| Order::new(plan, &profile).rows(i)).collect();
        let order = Order::new(plan, &profile);
        for i in [15, 0, 7, 3, 4, 8, 1, 15, 2] {
            assert_eq!(order.rows(i), straight[i as usize]);
        }
        let mut epoch: Vec<usize> = straight[4..8].concat();
        epoch.sort_unstable();
        assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        assert_ne!(straight[0..4], straight[4..8]);
    }
}
