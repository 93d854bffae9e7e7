//! Micro-batches that do not fit into memory: split by rows, with the same mathematics.

use super::batches::HostBatch;
use lightbox_core::data::Prepared;
use std::ops::Range;

/// What has been found not to fit. What is at least as large is split from the start and not tried in vain again.
#[derive(Debug, Default)]
pub struct Limits {
    /// Cost of the smallest part of a micro-batch that did not fit.
    too_large: Option<u64>,
}

impl Limits {
    /// The parts in which to compute a micro-batch: powers of two in number, down to single rows.
    pub fn parts(&self, host: &HostBatch) -> Vec<Range<usize>> {
        let mut count = 1;
        loop {
            let parts = split(host.batch.rows, count);
            let fits = |part: &Range<usize>| self.too_large.is_none_or(|limit| cost(host, part) < limit);
            if parts.len() == host.batch.rows || parts.iter().all(fits) {
                return parts;
            }
            count *= 2;
        }
    }

    /// A part did not fit. `false`: it was a single row, so nothing can be done.
    pub fn lower(&mut self, host: &HostBatch, part: &Range<usize>) -> bool {
        let cost = cost(host, part);
        self.too_large = Some(self.too_large.map_or(cost, |limit| limit.min(cost)));
        part.len() > 1
    }
}

/// `rows` in at most `count` parts of equal size; the last may be smaller.
fn split(rows: usize, count: usize) -> Vec<Range<usize>> {
    let size = rows.div_ceil(count).max(1);
    (0..rows).step_by(size).map(|start| start..(start + size).min(rows)).collect()
}

/// What a part needs, in tokens: memory grows with the padded text and with the patches of the pictures (4 a token).
fn cost(host: &HostBatch, part: &Range<usize>) -> u64 {
    let before: usize = host.pictures[..part.start].iter().sum();
    let pictures: usize = host.pictures[part.clone()].iter().sum();
    let patches: i64 = host.grids[before..before + pictures].iter().map(|g| g.iter().product::<i64>()).sum();
    (part.len() * host.batch.len) as u64 + patches as u64 / 4
}

/// Estimates for choosing the largest micro-batch beforehand: padded tokens, and patches.
pub fn size(samples: &[Prepared], rows: &[usize]) -> (u64, u64) {
    let longest = rows.iter().map(|r| samples[*r].encoded.input_ids.len()).max().unwrap_or(0);
    let patches: i64 = rows.iter().flat_map(|r| &samples[*r].encoded.grids).map(|g| g.iter().product::<i64>()).sum();
    ((rows.len() * longest) as u64, patches as u64)
}

/// What is in a part, for a message: `samples 12 and 40 (3 pictures, 9216 picture tokens)`.
pub fn describe(host: &HostBatch, part: &Range<usize>, samples: &[Prepared]) -> String {
    let indices: Vec<String> = host.rows[part.clone()].iter().map(|r| samples[*r].index.to_string()).collect();
    let before: usize = host.pictures[..part.start].iter().sum();
    let pictures: usize = host.pictures[part.clone()].iter().sum();
    let patches: i64 = host.grids[before..before + pictures].iter().map(|g| g.iter().product::<i64>()).sum();
    let what = if indices.len() == 1 { "sample" } else { "samples" };
    format!("{what} {} ({pictures} pictures, {} picture tokens)", indices.join(", "), patches / 4)
}
