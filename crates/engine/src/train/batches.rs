//! Micro-batches in training order, prepared by threads while the model computes.

use anyhow::{Context, Result, bail};
use lightbox_core::data::Prepared;
use lightbox_core::text::{Batch, Tokenizer, collate};
use lightbox_core::vision::{Grid, ImageProcessor, PixelBudget};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// One micro-batch in host memory.
pub struct HostBatch {
    pub batch: Batch,
    /// `[n, 1176]`, row-major; the pictures of all rows, in order (or the invented white one).
    pub pixel_values: Vec<f32>,
    pub grids: Vec<Grid>,
    /// Positions in the prepared samples.
    pub rows: Vec<usize>,
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
        let encoded: Vec<_> = rows.iter().map(|r| &self.samples[*r].encoded).collect();
        // `stage: vision` has pictures and no text.
        let textless = encoded.iter().all(|e| e.input_ids.is_empty());
        let batch = if textless { no_text(rows.len()) } else { collate(&encoded, self.tokenizer, self.multiple) };
        let (mut pixel_values, mut grids) = (Vec::new(), Vec::new());
        for row in rows {
            let sample = &self.samples[*row];
            for (i, image) in sample.images.iter().enumerate() {
                let at = || format!("picture {} of {}", i + 1, sample.origin);
                let bytes = image.read().map_err(anyhow::Error::msg).with_context(at)?;
                let patches = self.processor.process(&bytes, Some(self.budget)).with_context(at)?;
                if Some(&patches.grid) != sample.encoded.grids.get(i) {
                    bail!(
                        "{}: it has changed since the data was checked (now {:?} patches); start again",
                        at(),
                        patches.grid
                    );
                }
                pixel_values.extend_from_slice(&patches.values);
                grids.push(patches.grid);
            }
        }
        if batch.fake_image {
            let white = self.processor.white();
            pixel_values = white.values;
            grids.push(white.grid);
        }
        Ok(HostBatch { batch, pixel_values, grids, rows: rows.to_vec() })
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

/// An iterator over the micro-batches of `plan`, in its order, prepared by `threads` threads of `scope`.
pub fn prefetch<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    source: Source<'env>,
    plan: Vec<Vec<usize>>,
    threads: usize,
) -> impl Iterator<Item = Result<HostBatch>> + use<> {
    let threads = threads.clamp(1, plan.len().max(1));
    let count = plan.len();
    let plan = std::sync::Arc::new(plan);
    // Thread k prepares micro-batches k, k + threads, …; reading the channels in turn restores the order.
    let channels: Vec<Receiver<Result<HostBatch>>> = (0..threads)
        .map(|k| {
            let (send, receive) = sync_channel(AHEAD);
            let plan = plan.clone();
            scope.spawn(move || {
                for rows in plan.iter().skip(k).step_by(threads) {
                    // A fault in our own code ends the run with its exit code and log lines, not in the middle of them.
                    let assembled = catch_unwind(AssertUnwindSafe(|| source.assemble(rows)));
                    let assembled =
                        assembled.unwrap_or_else(|_| bail!("preparing samples {rows:?} failed inside (see above)"));
                    // The receiver is dropped when training stops early.
                    if send.send(assembled).is_err() {
                        return;
                    }
                }
            });
            receive
        })
        .collect();
    (0..count)
        .map(move |i| channels[i % threads].recv().context("a thread that prepares pictures has died").and_then(|b| b))
}
