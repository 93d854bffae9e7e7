//! Micro-batches: their tokens and pictures ([`Source`]), and threads that prepare them while the model computes
//! ([`prefetch`]). Which samples each one has: [`super::order`].

use super::order::Order;
use anyhow::{Result, bail};
use lightbox_core::data::{Encoder, Prepared, Problem, Samples, no_labels, patches};
use lightbox_core::text::{Batch, Encoded, collate};
use lightbox_core::vision::Grid;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// One micro-batch in host memory.
pub struct HostBatch {
    pub batch: Batch,
    /// `[n, 1176]`, row-major; the pictures of all rows, in order (or the invented white one).
    pub pixel_values: Vec<f32>,
    pub grids: Vec<Grid>,
    /// How many of `grids` each row has; the invented picture is the first row's.
    pub pictures: Vec<usize>,
    /// Positions in the samples.
    pub rows: Vec<usize>,
    /// Samples that were left out because a picture could not be read.
    pub lost: Vec<Problem>,
}

impl HostBatch {
    /// Which of `grids` are those of some rows.
    fn grids_of(&self, rows: &Range<usize>) -> Range<usize> {
        let pictures = |rows: Range<usize>| self.pictures[rows].iter().sum::<usize>();
        pictures(0..rows.start)..pictures(0..rows.end)
    }

    /// The pictures that some rows really have.
    pub fn part_grids(&self, rows: Range<usize>) -> &[Grid] {
        if self.batch.fake_image { &[] } else { &self.grids[self.grids_of(&rows)] }
    }

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
        let grids = self.grids_of(&rows);
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

/// What preparing a micro-batch needs.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub samples: &'a Samples,
    pub encoder: Encoder<'a>,
    /// Rows are padded to a multiple of this: 8 when training, as LLaMA-Factory pads.
    pub multiple: usize,
}

impl Source<'_> {
    /// Reads and encodes `rows` with their pictures.
    ///
    /// # Errors
    /// A sample that has changed or vanished since the samples were checked, with its place.
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
        let (mut kept, mut encoded, mut lost) = (Vec::with_capacity(rows.len()), Vec::new(), Vec::new());
        for &row in rows {
            match self.load(row) {
                Ok((sample, pixels)) => {
                    if pixel_values.is_empty() {
                        pixel_values = pixels
                    } else {
                        pixel_values.extend_from_slice(&pixels)
                    }
                    grids.extend_from_slice(&sample.encoded.grids);
                    pictures.push(sample.encoded.grids.len());
                    encoded.push(sample.encoded);
                    kept.push(row);
                }
                Err(problem) => lost.push(problem),
            }
        }
        let encoded: Vec<&Encoded> = encoded.iter().collect();
        // `stage: vision` has pictures and no text.
        let textless = encoded.iter().all(|e| e.input_ids.is_empty());
        let batch =
            if textless { no_text(kept.len()) } else { collate(&encoded, self.encoder.tokenizer, self.multiple) };
        if batch.fake_image {
            let white = self.encoder.processor.white();
            pixel_values = white.values;
            grids.push(white.grid);
            pictures[0] = 1;
        }
        HostBatch { batch, pixel_values, grids, pictures, rows: kept, lost }
    }

    fn load(&self, row: usize) -> Result<(Prepared, Vec<f32>), Problem> {
        let (sample, pixels) = self.samples.load(row, &self.encoder)?;
        // Of a sample that was checked before it is known that it learns, or that nobody wants it to.
        if self.samples.facts(row).is_none() && !sample.learns() {
            return Err(no_labels().at(sample.index, &sample.origin));
        }
        Ok((sample, pixels))
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
