//! Answers: prefill, then one token at a time over a key/value cache. transformers `generate` (greedy and sampling).
//!
//! Several prompts run as one left-padded batch. Positions follow M-RoPE in prefill and in every decoding step
//! (LLaMA-Factory 0.9.5 loses them with recent transformers; ours never does).
//!
//! b rows · t prompt tokens, padded · s tokens so far · v vocabulary

use crate::model::{Ctx, KvCache, Pictures, Qwen2Vl, causal_mask};
use anyhow::{Result, bail};
pub use lightbox_core::chat::Finish;
use lightbox_core::text::{Tokenizer, collate_left};
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

/// How tokens are chosen. The order of the steps is transformers': repetition penalty, temperature, top-k, top-p.
#[derive(Debug, Clone)]
pub struct Options {
    pub max_new_tokens: usize,
    /// Draw at random; else the most likely token.
    pub do_sample: bool,
    pub temperature: f64,
    pub top_p: f64,
    /// 0: no limit
    pub top_k: usize,
    pub repetition_penalty: f64,
    pub seed: u64,
    /// Any of these ends an answer, and is its last id.
    pub eos: Vec<i64>,
    /// Ids from here on are never chosen: the embedding has more rows than the tokenizer has tokens.
    pub vocab_limit: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// New tokens; the end-of-sequence token is among them.
    pub ids: Vec<i64>,
    pub finish: Finish,
}

/// Answers `prompts` as one batch. `on_token(row, id)` hears every new token and can stop everything.
///
/// # Errors
/// Picture tokens that do not match the pictures; whatever libtorch throws (out of memory).
pub fn generate(
    model: &Qwen2Vl,
    tokenizer: &Tokenizer,
    prompts: &[&Prompt],
    o: &Options,
    on_token: &mut dyn FnMut(usize, i64) -> ControlFlow<()>,
) -> Result<Vec<Answer>> {
    if prompts.iter().any(|p| p.ids.is_empty()) {
        bail!("an empty prompt");
    }
    let _no_grad = tch::no_grad_guard();
    let device = model.device();
    let ctx = Ctx::default();
    if o.do_sample {
        tch::manual_seed(o.seed as i64);
    }

    // ---- prefill
    let rows: Vec<(&[i64], &[Grid])> = prompts.iter().map(|p| (&p.ids[..], &p.grids[..])).collect();
    let batch = collate_left(&rows, tokenizer);
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
    let mut answers: Vec<Answer> = prompts.iter().map(|_| Answer { ids: vec![], finish: Finish::Length }).collect();
    let mut open: Vec<bool> = vec![true; prompts.len()];
    let mut seen = ids; // [b, s]
    let mut real = attention_mask; // [b, s], 1 = real token
    for step in 0..o.max_new_tokens {
        let next = choose(&logits.to_kind(Kind::Float), &seen, o); // [b]
        let mut chosen = Vec::<i64>::try_from(&next)?; // a device sync: the caller sees every token
        for (row, id) in chosen.iter_mut().enumerate() {
            if !open[row] {
                *id = tokenizer.endoftext; // finished rows run along as padding
                continue;
            }
            answers[row].ids.push(*id);
            if o.eos.contains(id) {
                answers[row].finish = Finish::Stop;
                open[row] = false;
            }
            if on_token(row, *id).is_break() {
                for (answer, open) in answers.iter_mut().zip(&open) {
                    if *open {
                        answer.finish = Finish::Cancelled;
                    }
                }
                return Ok(answers);
            }
        }
        if step + 1 == o.max_new_tokens || !open.contains(&true) {
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
    Ok(answers)
}

/// The next token of every row.
///
/// # Shape
/// scores [b, v] fp32, seen [b, s] i64 → [b] i64
fn choose(scores: &Tensor, seen: &Tensor, o: &Options) -> Tensor {
    let mut scores = scores.shallow_clone();
    if let Some(limit) = o.vocab_limit.filter(|l| *l < scores.size()[1]) {
        scores = scores.narrow(1, 0, limit);
    }
    if o.repetition_penalty != 1.0 {
        scores = repetition_penalty(&scores, seen, o.repetition_penalty);
    }
    if !o.do_sample || o.temperature == 0.0 {
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
