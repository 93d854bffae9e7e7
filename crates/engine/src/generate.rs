//! Answers: prefill, then one token at a time over a key/value cache. transformers `generate` (greedy and sampling).
//!
//! Several prompts run as one left-padded batch. Positions follow M-RoPE in prefill and in every decoding step
//! (LLaMA-Factory 0.9.5 loses them with recent transformers; ours never does).
//!
//! b rows · t prompt tokens, padded · s tokens so far · v vocabulary

use crate::model::{Ctx, KvCache, Pictures, Qwen2Vl, causal_mask};
use anyhow::{Result, bail};
pub use lightbox_core::chat::Finish;
use lightbox_core::generation::Generation;
use lightbox_core::text::{StopStrings, StreamDecoder, Tokenizer, collate_left};
use lightbox_core::vision::Grid;
use std::ops::ControlFlow;
use tch::{Kind, Tensor};

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
    generate_rows(model, tokenizer, &rows, &mut |said| on_token(said.row, said.id))
}

/// Answers `rows` as one batch. `hear` hears every new token and can stop the row it belongs to.
///
/// # Errors
/// Picture tokens that do not match the pictures; whatever libtorch throws (out of memory).
pub fn generate_rows(
    model: &Qwen2Vl,
    tokenizer: &Tokenizer,
    rows: &[Row],
    hear: &mut dyn FnMut(Said) -> ControlFlow<()>,
) -> Result<Vec<Answer>> {
    if rows.iter().any(|row| row.prompt.ids.is_empty()) {
        bail!("an empty prompt");
    }
    let _no_grad = tch::no_grad_guard();
    let device = model.device();
    let ctx = Ctx::default();
    let o = &rows[0].options;
    if o.generation.do_sample {
        tch::manual_seed(o.generation.seed as i64);
    }

    // ---- prefill
    let prompts: Vec<&Prompt> = rows.iter().map(|row| row.prompt).collect();
    let encoded: Vec<(&[i64], &[Grid])> = prompts.iter().map(|p| (&p.ids[..], &p.grids[..])).collect();
    let batch = collate_left(&encoded, tokenizer);
    let (b, t) = (batch.rows as i64, batch.len as i64);
    let ids = Tensor::from_slice(&batch.input_ids).view([b, t]).to_device(device);
    let attention_mask = Tensor::from_slice(&batch.attention_mask).view([b, t]).to_device(device);
    let positions = Tensor::from_slice(&batch.position_ids).view([3, b, t]).to_device(device);
    let pixels: Vec<f32> = prompts.iter().flat_map(|p| p.pixel_values.iter().copied()).collect();
    let pictures = (!pixels.is_empty()).then(|| Pictures {
        pixel_values: Tensor::from_slice(&pixels).view([-1, model.config.vision.patch_len()]).to_device(device),
        grids: prompts.iter().flat_map(|p| p.grids.iter().copied()).collect(),
    });
    let features = pictures.as_ref().map(|p| model.visual.forward(&p.pixel_values, &p.grids, &ctx));
    let embeds = model.merge(&ids, features.as_ref())?;
    let mut cache = KvCache::new(model.model.layers.len());
    let mask = causal_mask(&attention_mask);
    let padded = mask.is_some();
    let hidden = model.model.forward(&embeds, &model.model.rotary(&positions), mask.as_ref(), Some(&mut cache), &ctx);
    let mut logits = model.logits(&hidden.narrow(1, t - 1, 1), &ctx).squeeze_dim(1); // [b, v]: the last position's only

    // ---- one token a step
    let mut speakers: Vec<Speaker> = rows.iter().map(|row| Speaker::new(row.options, tokenizer)).collect();
    let mut seen = ids; // [b, s]
    let mut real = attention_mask; // [b, s], 1 = real token
    for step in 0.. {
        let next = choose(&logits.to_kind(Kind::Float), &seen, o); // [b]
        let mut chosen = Vec::<i64>::try_from(&next)?; // a device sync: the caller sees every token
        for (row, (id, speaker)) in chosen.iter_mut().zip(&mut speakers).enumerate() {
            if !speaker.open {
                *id = tokenizer.endoftext; // finished rows run along as padding
                continue;
            }
            let text = speaker.take(*id);
            if hear(Said { row, id: *id, text: &text }).is_break() {
                speaker.stop();
            }
        }
        if speakers.iter().all(|speaker| !speaker.open) {
            break;
        }
        let next = Tensor::from_slice(&chosen).view([b, 1]).to_device(device);
        seen = Tensor::cat(&[&seen, &next], 1);
        real = Tensor::cat(&[&real, &real.narrow(1, 0, 1).ones_like()], 1);
        let at: Vec<i64> =
            prompts.iter().zip(&batch.rope_deltas).map(|(p, delta)| (p.ids.len() + step) as i64 + delta).collect();
        let positions = Tensor::from_slice(&at).view([1, b, 1]).expand([3, b, 1], false).to_device(device);
        let mask = padded.then(|| real.to_kind(Kind::Bool).view([b, 1, 1, -1]));
        let hidden = model.model.forward(
            &model.model.embed(&next),
            &model.model.rotary(&positions),
            mask.as_ref(),
            Some(&mut cache),
            &ctx,
        );
        logits = model.logits(&hidden, &ctx).squeeze_dim(1);
    }
    Ok(speakers.into_iter().map(|speaker| speaker.answer).collect())
}

/// A row that is being answered: its tokens become text, and it knows when it has ended.
struct Speaker<'a> {
    options: &'a Options,
    answer: Answer,
    open: bool,
    /// Bytes to characters; `None` once the end has been said.
    stream: Option<StreamDecoder<'a>>,
    stops: StopStrings,
}

impl<'a> Speaker<'a> {
    fn new(options: &'a Options, tokenizer: &'a Tokenizer) -> Self {
        Self {
            options,
            answer: Answer { ids: Vec::new(), text: String::new(), finish: Finish::Length },
            open: true,
            stream: Some(tokenizer.stream()),
            stops: StopStrings::new(&options.generation.stop),
        }
    }

    /// The next token.
    ///
    /// Returns the text that can be shown now.
    fn take(&mut self, id: i64) -> String {
        self.answer.ids.push(id);
        let piece = self.stream.as_mut().map_or_else(String::new, |stream| stream.push(id));
        let (mut text, stopped) = self.stops.push(&piece);
        if stopped || self.options.eos.contains(&id) {
            (self.open, self.answer.finish) = (false, Finish::Stop);
        } else if self.answer.ids.len() >= self.options.generation.max_new_tokens {
            self.open = false;
        }
        if !self.open && !stopped {
            // What was held back: half a character, or what might have become a stop text.
            let half = self.stream.take().map_or_else(String::new, StreamDecoder::finish);
            let (more, stopped) = self.stops.push(&half);
            text += &more;
            if !stopped {
                text += &std::mem::take(&mut self.stops).finish();
            }
        }
        self.answer.text += &text;
        text
    }

    /// Nobody wants to hear more.
    fn stop(&mut self) {
        if std::mem::replace(&mut self.open, false) {
            self.answer.finish = Finish::Cancelled;
        }
    }
}

/// The next token of every row.
///
/// # Shape
/// scores [b, v] fp32, seen [b, s] i64 → [b] i64
fn choose(scores: &Tensor, seen: &Tensor, options: &Options) -> Tensor {
    let o = &options.generation;
    let mut scores = scores.shallow_clone();
    if let Some(limit) = options.vocab_limit.filter(|l| *l < scores.size()[1]) {
        scores = scores.narrow(1, 0, limit);
    }
    if o.repetition_penalty != 1.0 {
        scores = repetition_penalty(&scores, seen, o.repetition_penalty);
    }
    if !o.do_sample {
        return scores.argmax(-1, false);
    }
    if o.temperature != 1.0 {
        scores /= o.temperature;
    }
    if o.top_k > 0 {
        scores = top_k(&scores, o.top_k);
    }
    if o.top_p < 1.0 {
        scores = top_p(&scores, o.top_p);
    }
    if o.min_p > 0.0 {
        scores = min_p(&scores, o.min_p);
    }
    scores.softmax(-1, Kind::Float).multinomial(1, false).squeeze_dim(-1)
}

/// Every id seen so far, in prompt and answer, once: s < 0 ? s·p : s/p.
fn repetition_penalty(scores: &Tensor, seen: &Tensor, penalty: f64) -> Tensor {
    let seen = seen.clamp_max(scores.size()[1] - 1);
    let s = scores.gather(1, &seen, false);
    let s = (&s * penalty).where_self(&s.lt(0.0), &(&s / penalty));
    scores.scatter(1, &seen, &s)
}

/// Drops what is below the k-th score; ties stay.
fn top_k(scores: &Tensor, k: usize) -> Tensor {
    let k = (k as i64).min(scores.size()[1]);
    let (top, _) = scores.topk(k, -1, true, true);
    let threshold = top.narrow(-1, k - 1, 1);
    scores.masked_fill(&scores.less_tensor(&threshold), f64::NEG_INFINITY)
}

/// Keeps the smallest set of tokens whose probability exceeds p; at least one stays.
fn top_p(scores: &Tensor, p: f64) -> Tensor {
    let (sorted, order) = scores.sort(-1, false);
    let cumulative = sorted.softmax(-1, Kind::Float).cumsum(-1, Kind::Float);
    let drop = cumulative.le(1.0 - p);
    let last = drop.size()[1] - 1;
    let _ = drop.narrow(1, last, 1).fill_(0);
    scores.masked_fill(&drop.scatter(1, &order, &drop), f64::NEG_INFINITY)
}

/// Drops what is less likely than p times the most likely token, which stays.
fn min_p(scores: &Tensor, p: f64) -> Tensor {
    let probabilities = scores.softmax(-1, Kind::Float);
    let best = probabilities.amax(-1, true);
    scores.masked_fill(&probabilities.less_tensor(&(best * p)), f64::NEG_INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;

    /// tests/golden/tables/logits_processors.safetensors, made by transformers' own processors.
    #[test]
    fn penalties_and_limits_are_those_of_transformers() {
        let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden/tables/logits_processors.safetensors");
        let g = Weights::open_files(&[path]).unwrap();
        let get = |name: &str| g.get_any(name).unwrap();
        let (scores, seen) = (get("scores"), get("input_ids"));
        let same = |ours: &Tensor, name: &str| assert!(ours.equal(&get(name)), "{name}");

        let x = repetition_penalty(&scores, &seen, 1.3);
        same(&x, "rep1.3");
        let x = x / 0.7;
        same(&x, "rep1.3_temp0.7");
        let x = top_k(&x, 10);
        same(&x, "rep1.3_temp0.7_topk10");
        let x = top_p(&x, 0.8);
        same(&x, "rep1.3_temp0.7_topk10_topp0.8");
        same(&x.softmax(-1, Kind::Float), "probs");
        same(&top_p(&scores, 0.5), "topp0.5_only");
        same(&top_p(&scores, 0.001), "topp0.001_only");
        same(&top_k(&scores, 1), "topk1_only");
        same(&top_k(&get("ties"), 1), "ties_topk1");
        same(&top_p(&get("ties"), 0.3), "ties_topp0.3");
    }
}
