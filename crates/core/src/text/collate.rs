//! Rows → one micro-batch: padding, masks, positions (LLaMA-Factory, `SFTDataCollatorWith4DAttentionMask`).
use super::{Encoded, IGNORE_INDEX, Tokenizer, rope_index};
use crate::vision::Grid;

/// One micro-batch for training, row-major, padded on the right.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub rows: usize,
    pub len: usize,
    /// `[rows, len]`; `<|endoftext|>` at padding.
    pub input_ids: Vec<i64>,
    /// `[rows, len]`; -100 at padding.
    pub labels: Vec<i64>,
    /// `[rows, len]`; 1 for a token, 0 at padding and for the invented picture.
    pub attention_mask: Vec<i64>,
    /// `[3, rows, len]` (t, h, w), 0 wherever the mask is 0.
    pub position_ids: Vec<i64>,
    /// `true`: no row has a picture; the caller adds `ImageProcessor::white()`, whose 6 tokens close row 0, masked.
    pub fake_image: bool,
}

/// Merged patches of LLaMA-Factory's invented white picture of 64x64 pixels: the grid 1x4x4.
const FAKE_IMAGE_TOKENS: usize = 4;

/// LLaMA-Factory's collator: right padding to a multiple of `multiple` (8 when training, 1 otherwise).
///
/// A batch without any picture gets an invented one, so that the vision tower always runs (its gradients and, with
/// several GPUs, its collectives would be missing): 6 tokens behind row 0, with mask 0 and no label.
pub fn collate(rows: &[&Encoded], t: &Tokenizer, multiple: usize) -> Batch {
    let fake_image = !rows.is_empty() && rows.iter().all(|r| r.grids.is_empty());
    let fake: Vec<i64> = match fake_image {
        true => std::iter::once(t.vision_start).chain([t.image_pad; FAKE_IMAGE_TOKENS]).chain([t.vision_end]).collect(),
        false => Vec::new(),
    };
    let extra = |row: usize| if row == 0 { fake.as_slice() } else { &[] };
    let longest = rows.iter().enumerate().map(|(i, r)| r.input_ids.len() + extra(i).len()).max().unwrap_or(0);
    let len = longest.next_multiple_of(multiple.max(1));
    let cells = rows.len() * len;
    let mut batch = Batch {
        rows: rows.len(),
        len,
        input_ids: vec![t.endoftext; cells],
        labels: vec![IGNORE_INDEX; cells],
        attention_mask: vec![0; cells],
        position_ids: vec![0; 3 * cells],
        fake_image,
    };
    for (i, row) in rows.iter().enumerate() {
        let (start, n) = (i * len, row.input_ids.len());
        batch.input_ids[start..start + n].copy_from_slice(&row.input_ids);
        batch.input_ids[start + n..][..extra(i).len()].copy_from_slice(extra(i));
        batch.labels[start..start + n].copy_from_slice(&row.labels);
        batch.attention_mask[start..start + n].fill(1);
        let (positions, _) = rope_index(&row.input_ids, &row.grids, t.image_pad);
        for (axis, p) in positions.iter().enumerate() {
            batch.position_ids[axis * cells + start..][..n].copy_from_slice(p);
        }
    }
    batch
}

/// Prompts for generation, row-major, padded on the left, so that every row continues at the same column.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftBatch {
    pub rows: usize,
    pub len: usize,
    /// `[rows, len]`; `<|endoftext|>` at padding.
    pub input_ids: Vec<i64>,
    /// `[rows, len]`; 0 at padding.
    pub attention_mask: Vec<i64>,
    /// `[3, rows, len]` (t, h, w), 0 at padding.
    pub position_ids: Vec<i64>,
    /// `[rows]`: generated token number `n` of a row (counted without padding) has position `n + delta`.
    pub rope_deltas: Vec<i64>,
}

/// Left padding to the longest of `rows` (ids and grids of each prompt).
pub fn collate_left(rows: &[(&[i64], &[Grid])], t: &Tokenizer) -> LeftBatch {
    let len = rows.iter().map(|(ids, _)| ids.len()).max().unwrap_or(0);
    let cells = rows.len() * len;
    let mut batch = LeftBatch {
        rows: rows.len(),
        len,
        input_ids: vec![t.endoftext; cells],
        attention_mask: vec![0; cells],
        position_ids: vec![0; 3 * cells],
        rope_deltas: Vec::with_capacity(rows.len()),
    };
    for (i, (ids, grids)) in rows.iter().enumerate() {
        let (start, end) = ((i + 1) * len - ids.len(), (i + 1) * len);
        batch.input_ids[start..end].copy_from_slice(ids);
        batch.attention_mask[start..end].fill(1);
        let (positions, delta) = rope_index(ids, grids, t.image_pad);
        for (axis, p) in positions.iter().enumerate() {
            batch.position_ids[axis * cells + start..axis * cells + end].copy_from_slice(p);
        }
        batch.rope_deltas.push(delta);
    }
    batch
}
