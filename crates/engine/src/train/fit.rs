//! What fits into the device's memory. A micro-batch that does not is split by rows, and the update is made again: each
//! piece's loss is its token sum over the token count of the whole micro-batch, and its rows stay padded as they were, so
//! the sum of the pieces is the micro-batch's own gradient up to rounding.

use super::batches::{HostBatch, Source};
use super::order::Order;
use crate::guard::guarded;
use anyhow::{Result, anyhow};
use lightbox_core::data::{Facts, patches};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::fault;
use lightbox_core::text::image_tokens;
use std::ops::Range;
use tch::{Device, Tensor};

/// Rows of a micro-batch that are computed together.
pub type Piece = Range<usize>;

/// Remembers for the rest of the run what was too large, so that it is not tried in vain again and again.
#[derive(Debug, Default)]
pub struct Fit {
    /// Rows × padded length of the smallest piece that was too large; single rows are tried all the same.
    too_large: Option<usize>,
}

/// Rows × padded length; `stage: vision` has rows without text.
fn size(rows: usize, len: usize) -> usize {
    rows * len.max(1)
}

impl Fit {
    /// A micro-batch in pieces that are not known to be too large: all of it, or halves, quarters, …
    pub fn pieces(&self, host: &HostBatch) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if !host.rows.is_empty() {
            self.halve(0..host.rows.len(), host.batch.len, &mut pieces);
        }
        pieces
    }

    fn halve(&self, rows: Piece, len: usize, pieces: &mut Vec<Piece>) {
        if rows.len() == 1 || self.too_large.is_none_or(|too_large| size(rows.len(), len) < too_large) {
            return pieces.push(rows);
        }
        let middle = rows.start + rows.len().div_ceil(2);
        self.halve(rows.start..middle, len, pieces);
        self.halve(middle..rows.end, len, pieces);
    }

    /// Does `work`; inside, an error is libtorch's text about memory that was not there.
    ///
    /// # Errors
    /// Everything else.
    pub fn attempt(&self, work: impl FnOnce() -> Result<Tensor>) -> Result<Result<Tensor, String>> {
        let outcome = guarded(|| {
            let loss = work()?;
            match fault::at("micro").as_deref() {
                Some("oom") => Err(anyhow!("{INJECTED}")),
                Some("device") => Err(anyhow!("CUDA error: the device was lost on purpose.")),
                _ => Ok(loss),
            }
        });
        match outcome {
            Ok(loss) => Ok(Ok(loss)),
            Err(e) if exit::code(&e) == Exit::OutOfMemory => Ok(Err(format!("{e:#}"))),
            Err(e) => Err(e),
        }
    }

    /// `piece` did not fit: from now on nothing as large is tried. To be called when its graph and its gradients are gone.
    ///
    /// # Errors
    /// [`Exit::OutOfMemory`]: it is a single row already.
    pub fn too_large(
        &mut self,
        host: &HostBatch,
        piece: &Piece,
        text: &str,
        source: &Source,
        device: Device,
    ) -> Result<()> {
        if matches!(device, Device::Cuda(_)) {
            torch_shim::cuda::empty_cache()?;
        }
        if piece.len() == 1 {
            let gpu = if matches!(device, Device::Cuda(_)) { "GPU memory" } else { "memory" };
            return Err(anyhow!(
                "Out of {gpu} on {} One sample alone does not fit, so nothing is left to split; checkpoints are as they were. To avoid it: {}",
                self.detail(host, piece, text, source),
                advice(&host.part(piece.clone()))
            ))
            .because(Exit::OutOfMemory);
        }
        let failed = size(piece.len(), host.batch.len);
        self.too_large = Some(self.too_large.map_or(failed, |known| known.min(failed)));
        Ok(())
    }

    /// What was too large: `samples 8412, 77 (3 images, 9216 image tokens). Needed 3.80 GiB, 1.60 GiB free of 79.10 GiB.`
    pub fn detail(&self, host: &HostBatch, piece: &Piece, text: &str, source: &Source) -> String {
        const SHOWN: usize = 8;
        let rows = &host.rows[piece.clone()];
        let names: Vec<String> = rows.iter().take(SHOWN).map(|row| source.samples.index(*row).to_string()).collect();
        let grids = host.part_grids(piece.clone());
        format!(
            "sample{} {}{} ({} images, {} image tokens).{}",
            if rows.len() == 1 { "" } else { "s" },
            names.join(", "),
            if rows.len() > SHOWN { ", …" } else { "" },
            grids.len(),
            grids.iter().filter_map(image_tokens).sum::<usize>(),
            numbers(text)
        )
    }

    /// The micro-batches to try before update `first` of `last`: the one with the most patches and the one with the
    /// longest rows, of the epoch of that update and of the next. Not the one that comes first anyway. None where nothing is
    /// known of the samples (`streaming`).
    pub fn largest(&self, order: &Order, source: &Source, first: u64, last: u64) -> Vec<u64> {
        let facts = source.samples.all_facts();
        if facts.is_empty() {
            return Vec::new();
        }
        let begin = order.of_update(first).start;
        // A run's end may lie before the second epoch's.
        let end = order.of_update(last.saturating_sub(1)).end.min(begin.saturating_add(2 * order.per_epoch()));
        let (mut most_patches, mut most_cells) = ((0, begin), (0, begin));
        for i in begin..end {
            let rows: Vec<&Facts> = order.rows(i).into_iter().map(|row| &facts[row]).collect();
            let longest = rows.iter().map(|row| row.tokens as usize).max().unwrap_or(0);
            let cells = size(rows.len(), longest.next_multiple_of(source.multiple.max(1)));
            let patches = rows.iter().map(|row| row.patches as usize).sum::<usize>();
            for (most, n) in [(&mut most_patches, patches), (&mut most_cells, cells)] {
                if n > most.0 {
                    *most = (n, i);
                }
            }
        }
        let mut found = vec![most_patches.1, most_cells.1];
        found.dedup();
        found.retain(|i| *i != begin);
        found
    }
}

/// As libtorch's own, for tests.
const INJECTED: &str = "CUDA out of memory. Tried to allocate 3.80 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.60 GiB is free.";

/// ` Needed 3.80 GiB, 1.60 GiB free of 79.10 GiB.`, as far as libtorch's text says so.
fn numbers(text: &str) -> String {
    let after = |marker: &str| {
        let (_, rest) = text.split_once(marker)?;
        let mut words = rest.split_whitespace();
        let (number, unit) = (words.next()?, words.next()?.trim_end_matches(['.', ',']));
        number.parse::<f64>().ok().map(|_| format!("{number} {unit}"))
    };
    match (after("ried to allocate "), after("of which "), after("total capacity of ")) {
        (Some(needed), Some(free), Some(total)) => format!(" Needed {needed}, {free} free of {total}."),
        (Some(needed), ..) => format!(" Needed {needed}."),
        _ => String::new(),
    }
}

/// Settings under which half of a sample, the only one of `host`, would be left.
fn advice(host: &HostBatch) -> String {
    /// A side of a patch, in pixels, squared; and of a merged one.
    const PATCH: usize = 14 * 14;
    const TOKEN: usize = 4 * PATCH;
    let grids = host.part_grids(0..1);
    let mut ways = Vec::new();
    if let Some(largest) = grids.chunks(1).map(|grid| patches(grid) * PATCH).max() {
        ways.push(format!("image_max_pixels ≤ {}", (largest / 2 / TOKEN * TOKEN).max(TOKEN)));
    }
    let tokens = host.batch.attention_mask.iter().sum::<i64>() as usize;
    let in_pictures: usize = grids.iter().filter_map(image_tokens).sum();
    if tokens / 2 > in_pictures {
        ways.push(format!("cutoff_len ≤ {}", tokens / 2));
    }
    ways.push("gradient checkpointing on, or whatever else uses the memory closed".to_owned());
    ways.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_numbers_are_found_where_libtorch_tells_them() {
        assert_eq!(numbers(INJECTED), " Needed 3.80 GiB, 1.60 GiB free of 79.10 GiB.");
        let cpu = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 3800000000 bytes. Error code 12";
        assert_eq!(numbers(cpu), " Needed 3800000000 bytes.");
        assert_eq!(numbers("out of memory"), "");
        assert_eq!(numbers("Tried to allocate"), "");
    }

    #[test]
    fn what_was_too_large_is_halved_until_it_is_smaller_and_single_rows_stay() {
        let pieces = |too_large: Option<usize>, rows: usize| {
            let mut pieces = Vec::new();
            Fit { too_large }.halve(0..rows, 10, &mut pieces);
            pieces
        };
        assert_eq!(pieces(None, 5), vec![(0..5)]);
        assert_eq!(pieces(Some(51), 5), vec![(0..5)]);
        assert_eq!(pieces(Some(50), 5), [0..3, 3..5]);
        assert_eq!(pieces(Some(30), 5), [0..2, 2..3, 3..5]);
        assert_eq!(pieces(Some(1), 3), [0..1, 1..2, 2..3]);
    }
}
