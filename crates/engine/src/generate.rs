//! Answers: prefill, then one token at a time over a key/value cache. transformers `generate` (greedy and sampling).
//!
//! Several prompts run as one left-padded batch. Positions follow M-RoPE in prefill and in every decoding step
//! (LLaMA-Factory 0.9.5 loses them with recent transformers; ours never does). Next: [`choose`], [`memory`].
//!
//! b rows · t prompt tokens, padded · s tokens so far · v vocabulary

mod choose;
mod memory;
mod speaker;

use crate::model::{Ctx, KvCache, Pictures, Qwen2Vl, Rotary, causal_mask};
use anyhow::{Result, bail};
use choose::{Chooser, choose};
pub use lightbox_core::chat::Finish;
use lightbox_core::generation::Generation;
use lightbox_core::text::{LeftBatch, Tokenizer, collate_left};
use lightbox_core::vision::Grid;
use memory::Known;
pub use memory::Memory;
use speaker::Speaker;
use std::ops::ControlFlow;
use tch::{Device, Kind, Tensor};

/// Steps whose rotary tables are computed at once.
const ROTARY_STEPS: i64 = 64;

/// One question, encoded.
pub struct Prompt {
    pub ids: Vec<i64>,
    pub grids: Vec<Grid>,
    /// `[n, 1176]` of all its pictures
    pub pixel_values: Vec<f32>,
}

/// How one answer is chosen, and what ends it.
#[derive(Debug, Clone)]
pub struct Options {
    pub generation: Generation,
    /// Any of these ends an answer, and is its last id.
    pub eos: Vec<i64>,
    /// Ids from here on are never chosen: the embedding has more rows than the tokenizer has tokens.
    pub vocab_limit: Option<i64>,
}

/// A question of a batch. Each has its own options: what a row answers does not depend on the rows beside it.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub prompt: &'a Prompt,
    pub options: &'a Options,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// New tokens; the end-of-sequence token, or those of a stop text, are among them.
    pub ids: Vec<i64>,
    /// Without special tokens; it ends before a stop text.
    pub text: String,
    pub finish: Finish,
    /// Prompt tokens that were known already and not read again.
    pub cached: usize,
}

/// One more token of a row.
pub struct Said<'a> {
    pub row: usize,
    pub id: i64,
    /// What may be shown now: whole characters, often none. All joined are the answer's text.
    pub text: &'a str,
}

/// Answers `prompts` as one batch, all under the same options. `on_token(row, id)` hears every new token and can stop its row.
///
/// # Errors
/// As [`generate_rows`].
pub fn generate(
    model: &Qwen2Vl,
    tokenizer: &Tokenizer,
    prompts: &[&Prompt],
    options: &Options,
    on_token: &mut dyn FnMut(usize, i64) -> ControlFlow<()>,
) -> Result<Vec<Answer>> {
    let rows: Vec<Row> = prompts.iter().map(|prompt| Row { prompt, options }).collect();
    generate_rows(model, tokenizer, &rows, None, &mut |said| on_token(said.row, said.id))
}

/// Answers `rows` as one batch. `hear` hears every new token and can stop the row it belongs to. `memory` serves a single
/// row: what it knows of the prompt is not read again, and it keeps what is said now.
///
/// # Errors
/// Picture tokens that do not match the pictures; whatever libtorch throws (out of memory).
pub fn generate_rows(
    model: &Qwen2Vl,
    tokenizer: &Tokenizer,
    rows: &[Row],
    memory: Option<&mut Memory>,
    hear: &mut dyn FnMut(Said) -> ControlFlow<()>,
) -> Result<Vec<Answer>> {
    if rows.iter().any(|row| row.prompt.ids.is_empty()) {
        bail!("an empty prompt");
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let _no_grad = tch::no_grad_guard();
    let mut memory = memory.filter(|_| rows.len() == 1);
    let recalled = memory.as_mut().and_then(|memory| memory.recall(rows[0].prompt, tokenizer.image_pad));
    let (cache, known) = recalled.unwrap_or_else(|| (KvCache::new(model.model.layers.len()), Known::default()));
    let (mut batch, mut logits) = Running::prefill(model, tokenizer, rows, cache, known)?;

    // ---- one token a step
    let (vocabulary, device) = (logits.size()[1], model.device());
    let mut choosers: Vec<Chooser> =
        rows.iter().map(|row| Chooser::new(row.options, &row.prompt.ids, vocabulary, device)).collect();
    let mut speakers: Vec<Speaker> =
        rows.iter().map(|row| Speaker::new(row.options, tokenizer, known.tokens)).collect();
    for step in 0.. {
        let alive: Vec<&Chooser> = batch.rows.iter().map(|row| &choosers[*row]).collect();
        let next = choose(&logits, &alive, step); // [b]
        let chosen = Vec::<i64>::try_from(&next)?; // a device sync: the caller sees every token
        for (row, id) in batch.rows.iter().copied().zip(chosen) {
            if speakers[row].open {
                choosers[row].said(id);
                let text = speakers[row].take(id);
                if hear(Said { row, id, text: &text }).is_break() {
                    speakers[row].stop();
                }
            }
        }
        let Some(next) = batch.keep_open(next, |row| speakers[row].open) else { break };
        logits = batch.step(model, &next, step as i64);
    }
    let answers: Vec<Answer> = speakers.into_iter().map(|speaker| speaker.answer).collect();
    if let Some(memory) = memory {
        memory.keep(batch.cache, rows[0].prompt, &answers[0].ids);
    }
    Ok(answers)
}

/// A batch between two tokens.
struct Running {
    cache: KvCache,
    /// Which of the caller's rows the batch's are: those that have ended leave when there are many.
    rows: Vec<usize>,
    /// Position of each of the caller's rows' first new token, the same on all three axes.
    first: Vec<i64>,
    /// `[b, 1, 1, room]` bool, for all tokens to come: may it be looked at? `None`: nothing is padded.
    mask: Option<Tensor>,
    /// Of the steps from `.0` on.
    rotary: Option<(i64, Rotary)>,
}

impl Running {
    /// Reads the prompts, of which `cache` holds the `known` beginning.
    ///
    /// Returns the logits of their last positions, `[b, v]`.
    fn prefill(
        model: &Qwen2Vl,
        tokenizer: &Tokenizer,
        rows: &[Row],
        mut cache: KvCache,
        known: Known,
    ) -> Result<(Self, Tensor)> {
        let (device, ctx) = (model.device(), Ctx::default());
        let encoded: Vec<(&[i64], &[Grid])> = rows.iter().map(|r| (&r.prompt.ids[..], &r.prompt.grids[..])).collect();
        let batch = collate_left(&encoded, tokenizer);
        let (b, t, start) = (batch.rows as i64, batch.len as i64, known.tokens as i64);
        let new = |x: Tensor, axis| x.narrow(axis, start, t - start).to_device(device);
        let ids = new(Tensor::from_slice(&batch.input_ids).view([b, t]), 1);
        let positions = new(Tensor::from_slice(&batch.position_ids).view([3, b, t]), 2);
        let attention_mask = Tensor::from_slice(&batch.attention_mask).view([b, t]).to_device(device);
        let mask = match start {
            0 => causal_mask(&attention_mask),
            // One token looks at everything.
            _ if start + 1 == t => None,
            _ => Some(continued_mask(start, t, device)),
        };
        let features =
            new_pictures(model, rows, known.pictures).map(|p| model.visual.forward(&p.pixel_values, &p.grids, &ctx));
        let embeds = model.merge(&ids, features.as_ref())?;
        let rotary = model.model.rotary(&positions);
        let hidden = model.model.forward(&embeds, &rotary, mask.as_ref(), Some(&mut cache), &ctx);
        // Only the last position's logits are wanted.
        let logits = model.logits(&hidden.narrow(1, t - start - 1, 1), &ctx).squeeze_dim(1); // [b, v]

        let longest = rows.iter().map(|row| row.options.generation.max_new_tokens).max().unwrap_or(0);
        let padded = batch.attention_mask.contains(&0);
        let mask = padded.then(|| decoding_mask(&attention_mask, longest as i64));
        let first = first_positions(rows, &batch);
        Ok((Self { cache, rows: (0..rows.len()).collect(), first, mask, rotary: None }, logits))
    }

    /// The logits after one more token of each row; `step`: how many it has said before.
    ///
    /// # Shape
    /// next [b] i64 → [b, v]
    fn step(&mut self, model: &Qwen2Vl, next: &Tensor, step: i64) -> Tensor {
        let b = self.rows.len() as i64;
        let (from, rotary) = match self.rotary.take() {
            Some((from, rotary)) if step < from + ROTARY_STEPS => (from, rotary),
            _ => (step, self.rotary_ahead(model, step)),
        };
        let mask = self.mask.as_ref().map(|mask| mask.narrow(3, 0, self.cache.len() + 1));
        let embeds = model.model.embed(&next.view([b, 1])); // [b, 1, c]
        let ctx = Ctx::default();
        let now = rotary.narrow(step - from, 1);
        let hidden = model.model.forward(&embeds, &now, mask.as_ref(), Some(&mut self.cache), &ctx);
        self.rotary = Some((from, rotary));
        model.logits(&hidden, &ctx).squeeze_dim(1)
    }

    /// Tables of the next steps: `[b, 1, ROTARY_STEPS, k]`.
    fn rotary_ahead(&self, model: &Qwen2Vl, step: i64) -> Rotary {
        let first: Vec<i64> = self.rows.iter().map(|row| self.first[*row] + step).collect();
        let ahead = Tensor::arange(ROTARY_STEPS, (Kind::Int64, Device::Cpu)).view([1, 1, -1]);
        let positions = Tensor::from_slice(&first).view([1, -1, 1]) + ahead; // [1, b, steps]
        model.model.rotary(&positions.expand([3, -1, -1], false).to_device(model.device()))
    }

    /// Lets the rows that have ended go, when at least half have: a smaller batch is faster, but making it copies the cache.
    ///
    /// Returns `next` for the rows that are left; `None` when all have ended.
    fn keep_open(&mut self, next: Tensor, open: impl Fn(usize) -> bool) -> Option<Tensor> {
        let left: Vec<i64> = (0..self.rows.len()).filter(|i| open(self.rows[*i])).map(|i| i as i64).collect();
        if left.is_empty() {
            return None;
        }
        if 2 * left.len() > self.rows.len() {
            return Some(next);
        }
        self.rows = left.iter().map(|i| self.rows[*i as usize]).collect();
        let left = Tensor::from_slice(&left).to_device(next.device());
        self.cache.keep_rows(&left);
        self.mask = self.mask.as_ref().map(|mask| mask.index_select(0, &left));
        self.rotary = None;
        Some(next.index_select(0, &left))
    }
}

/// The pictures of all rows; of the first row those behind the first `known`, which lie in the cache.
fn new_pictures(model: &Qwen2Vl, rows: &[Row], known: usize) -> Option<Pictures> {
    let patch_len = model.config.vision.patch_len();
    let skipped = rows[0].prompt.grids.iter().take(known).map(|g| g.iter().product::<i64>() * patch_len).sum::<i64>();
    let pixels: Vec<f32> =
        rows.iter().flat_map(|r| r.prompt.pixel_values.iter().copied()).skip(skipped as usize).collect();
    (!pixels.is_empty()).then(|| Pictures {
        pixel_values: Tensor::from_slice(&pixels).view([-1, patch_len]).to_device(model.device()),
        grids: rows.iter().flat_map(|r| r.prompt.grids.iter().copied()).skip(known).collect(),
    })
}

/// Tokens start … t-1 look at all before them, those of the cache too: [1, 1, t - start, t] bool.
fn continued_mask(start: i64, t: i64, device: Device) -> Tensor {
    let at = Tensor::arange(t, (Kind::Int64, device));
    at.unsqueeze(0).le_tensor(&at.narrow(0, start, t - start).unsqueeze(1)).view([1, 1, t - start, t])
}

/// [b, t] → [b, 1, 1, t + new] bool: what the tokens to come may look at.
fn decoding_mask(attention_mask: &Tensor, new: i64) -> Tensor {
    let b = attention_mask.size()[0];
    let prompt = attention_mask.to_kind(Kind::Bool);
    Tensor::cat(&[prompt, Tensor::ones([b, new], (Kind::Bool, attention_mask.device()))], 1).view([b, 1, 1, -1])
}

/// Where each row goes on: the number of its tokens and what its pictures take off.
fn first_positions(rows: &[Row], batch: &LeftBatch) -> Vec<i64> {
    rows.iter().zip(&batch.rope_deltas).map(|(row, delta)| row.prompt.ids.len() as i64 + delta).collect()
}
