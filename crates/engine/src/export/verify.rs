//! Does the new folder answer as base and adapters do? Two questions (text; text with a drawn picture), in fp32 on the CPU,
//! four models one after the other, so that memory holds one:
//!
//! ```text
//! base + adapters ──► merged in fp32 ──► rounded to the written dtype      read back from the folder
//!              must agree          rounding: reported            must agree, tokens too
//! ```
//! So whatever lies between base + adapters and the folder is rounding, once, and nothing else. For an adapter of its own
//! "merged" is the one adapter that several were added up to, and the folder is read back onto the base.

use super::Source;
use super::adapter::AdapterPlan;
use crate::generate::{Options, Prompt, generate};
use crate::model::{Ctx, Pictures, Qwen2Vl, Tokens};
use crate::setup::{self, Ready};
use crate::{commands, lora};
use anyhow::{Context, Result, bail};
use lightbox_core::data::ImageRef;
use lightbox_core::demo::shapes::Scene;
use lightbox_core::generation::Generation;
use lightbox_core::text::{Conversation, Message, Role, collate_left};
use lightbox_core::vision::PixelBudget;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// What was compared, base + adapter against the new folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Largest difference between two logits …
    pub max_abs_diff: f64,
    /// … the part of it that one rounding to the written dtype makes …
    pub rounding: f64,
    /// … and the largest logit.
    pub max_logit: f64,
    /// All greedy tokens of all questions are the same.
    pub tokens_equal: bool,
    pub tokens: usize,
    pub questions: usize,
}

/// Share of the largest logit. The order of fp32 sums: 2e-6 was seen between merged and unmerged, on models of a few layers.
const ARITHMETIC: f64 = 1e-4;
/// The same weights and the same operations twice: equal, but for a libtorch whose kernels depend on where in memory a
/// matrix begins.
const SAME: f64 = 1e-5;
const NEW_TOKENS: usize = 16;

/// Of a model folder. `kind`: what it was written in. `go_on` is asked at every token and says by an error that it is
/// enough.
///
/// # Errors
/// The folder does not load, or differs by more than rounding.
pub fn verify(
    base: &Path,
    adapters: &[Source],
    dir: &Path,
    kind: Kind,
    go_on: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Report> {
    let _no_grad = tch::no_grad_guard();
    go_on(TUNED)?;
    let (mut ready, questions, tuned) = ask_tuned(base, adapters, go_on)?;
    lora::merge(&mut ready.model);
    let merged = ask(&ready, &questions, "verify: merged", go_on)?;
    round(&ready.model, kind);
    let rounded = ask(&ready, &questions, ROUNDED, go_on)?;
    drop(ready);

    let ready = setup::load(dir, &[], Some(Kind::Float), Device::Cpu).context("the new folder")?;
    let own = self::questions(&ready)?;
    if own.iter().zip(&questions).any(|(a, b)| a.ids != b.ids || a.pixel_values != b.pixel_values) {
        bail!("the new folder's tokenizer or picture processor gives other tokens or pixels than the base's");
    }
    let written = ask(&ready, &own, WRITTEN, go_on)?;
    compare(&Asked { tuned, merged, rounded, written }, "the merged weights are not base + adapter")
}

/// Of an adapter folder, which goes onto the same base.
///
/// # Errors
/// As [`verify`].
pub fn verify_adapter(
    base: &Path,
    adapters: &[Source],
    dir: &Path,
    plan: &AdapterPlan,
    go_on: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Report> {
    let _no_grad = tch::no_grad_guard();
    go_on(TUNED)?;
    let (ready, questions, tuned) = ask_tuned(base, adapters, go_on)?;
    drop(ready);
    let mut ready = setup::load(base, &[], Some(Kind::Float), Device::Cpu)?;
    plan.put_on(&mut ready.model);
    let rounded = ask(&ready, &questions, ROUNDED, go_on)?;
    // What is planned has the written dtype already; unrounded it is made again.
    let exact = AdapterPlan::new(base, adapters, Some(Kind::Float), plan.key_names())?;
    exact.put_on(&mut ready.model);
    let merged = ask(&ready, &questions, "verify: added up", go_on)?;
    lora::detach(&mut ready.model);
    lora::attach_saved(&mut ready.model, dir).context("the new folder")?;
    let written = ask(&ready, &questions, WRITTEN, go_on)?;
    compare(&Asked { tuned, merged, rounded, written }, "the adapter is not the sum of the given ones")
}

const TUNED: &str = "verify: base and adapter";
const ROUNDED: &str = "verify: rounded";
const WRITTEN: &str = "verify: read back";

/// Base with all adapters, and its answers.
fn ask_tuned(
    base: &Path,
    adapters: &[Source],
    go_on: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<(Ready, Vec<Prompt>, Answers)> {
    let mut ready = setup::load(base, &[], Some(Kind::Float), Device::Cpu)?;
    for (i, adapter) in adapters.iter().enumerate() {
        adapter.put_on(&mut ready.model)?;
        if i + 1 < adapters.len() {
            lora::merge(&mut ready.model);
        }
    }
    let questions = questions(&ready)?;
    let answers = ask(&ready, &questions, TUNED, go_on)?;
    Ok((ready, questions, answers))
}

struct Asked {
    tuned: Answers,
    merged: Answers,
    rounded: Answers,
    written: Answers,
}

fn compare(asked: &Asked, other_than_tuned: &str) -> Result<Report> {
    let Asked { tuned, merged, rounded, written } = asked;
    let max_logit = tuned.logits.iter().map(|t| t.abs().max().double_value(&[])).fold(0.0, f64::max);
    let agree = |what: &str, a: &Answers, b: &Answers, share: f64| -> Result<()> {
        let (d, allowed) = (distance(a, b), share * max_logit);
        // A NaN is no agreement.
        if d.is_nan() || d > allowed {
            bail!(
                "{what}: logits differ by {d:.3e}, and {allowed:.3e} is what arithmetic explains (largest logit {max_logit:.3})"
            );
        }
        Ok(())
    };
    agree(other_than_tuned, tuned, merged, ARITHMETIC)?;
    agree("the files do not hold the merged weights", rounded, written, SAME)?;
    if rounded.tokens != written.tokens {
        bail!("the files give other answers than the merged weights: {:?}, not {:?}", written.tokens, rounded.tokens);
    }
    Ok(Report {
        max_abs_diff: distance(tuned, written),
        rounding: distance(merged, rounded),
        max_logit,
        tokens_equal: tuned.tokens == written.tokens,
        tokens: tuned.tokens.iter().map(Vec::len).sum(),
        questions: tuned.tokens.len(),
    })
}

/// To `kind` and back, in place: what a reader of the folder gets.
fn round(model: &Qwen2Vl, kind: Kind) {
    for (_, mut weight) in model.named_weights() {
        let rounded = weight.to_kind(kind);
        weight.copy_(&rounded);
    }
}

/// A text, and a picture that is drawn here.
fn questions(ready: &Ready) -> Result<Vec<Prompt>> {
    let (seed, set) = (42, "export");
    let png = Scene::at(seed, set, 0).draw(seed, set, 0).png().context("drawing a picture")?;
    let picture = ImageRef::Bytes(png.into());
    let ask = |content: &str, images: &[ImageRef]| {
        let messages = vec![Message { role: Role::User, content: content.to_owned() }];
        let conversation = Conversation { messages, ..Conversation::default() };
        commands::encode(&ready.tokenizer, &ready.processor, &conversation, images, PixelBudget::default(), None)
    };
    Ok(vec![ask("What is the capital of France?", &[])?, ask("<image>Describe the image.", &[picture])?])
}

/// By question: the logits of every position of the prompt, and greedy tokens.
struct Answers {
    logits: Vec<Tensor>,
    tokens: Vec<Vec<i64>>,
}

fn ask(ready: &Ready, questions: &[Prompt], what: &str, go_on: &mut dyn FnMut(&str) -> Result<()>) -> Result<Answers> {
    let options = Options {
        generation: Generation::greedy(NEW_TOKENS),
        // Nothing ends an answer early: more tokens are compared.
        eos: Vec::new(),
        vocab_limit: Some(ready.tokenizer.vocab_size() as i64),
    };
    let mut answers = Answers { logits: Vec::new(), tokens: Vec::new() };
    for question in questions {
        go_on(what)?;
        answers.logits.push(logits(ready, question)?);
        let mut enough = Ok(());
        let answer = generate(&ready.model, &ready.tokenizer, &[question], &options, &mut |_, _| {
            enough = go_on(what);
            if enough.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        enough?;
        answers.tokens.extend(answer.into_iter().map(|a| a.ids));
    }
    Ok(answers)
}

fn logits(ready: &Ready, question: &Prompt) -> Result<Tensor> {
    let batch = collate_left(&[(&question.ids, &question.grids)], &ready.tokenizer);
    let len = batch.len as i64;
    let tokens = Tokens {
        input_ids: Tensor::from_slice(&batch.input_ids).view([1, len]),
        position_ids: Tensor::from_slice(&batch.position_ids).view([3, 1, len]),
        attention_mask: None,
    };
    let pictures = (!question.grids.is_empty()).then(|| Pictures {
        pixel_values: Tensor::from_slice(&question.pixel_values).view([-1, ready.model.config.vision.patch_len()]),
        grids: question.grids.clone(),
    });
    ready.model.forward(&tokens, pictures.as_ref(), &Ctx::default())
}

/// The largest difference between two logits; NaN if there is one.
fn distance(a: &Answers, b: &Answers) -> f64 {
    let pairs = a.logits.iter().zip(&b.logits);
    let each = pairs.map(|(a, b)| (a - b).abs().max().double_value(&[]));
    each.fold(0.0, |max, d| if d.is_nan() || max.is_nan() { f64::NAN } else { max.max(d) })
}
