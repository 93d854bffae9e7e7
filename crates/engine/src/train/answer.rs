//! `predict_with_generate`: at each evaluation the model answers some of its samples, with the weights as they are.
//!
//! Training goes on as if nothing had been: no gradient is taken, nothing is drawn from a generator (dropout and draws are
//! functions of their place), and what the answers needed is given back to the device before the next update.

use super::batches::Source;
use super::trainer::Trainer;
use crate::answers::{self, Made, Work};
use crate::commands::options;
use crate::generate::Options;
use crate::guard::guarded_bare;
use crate::model::Qwen2Vl;
use anyhow::{Result, anyhow};
use lightbox_core::data::Problem;
use lightbox_core::evaluate::predictions::Prediction;
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::fault;
use lightbox_core::generation::{ModelDefaults, at_evaluation};
use lightbox_core::profile::Profile;
use lightbox_core::runs::drive::{Beat, Flow};
use lightbox_core::runs::results::Generated;
use lightbox_core::text::Tokenizer;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;
use tch::Device;

/// What stays the same from one evaluation to the next.
pub struct Answering {
    options: Options,
}

impl Answering {
    /// # Errors
    /// The model's own generation_config.json cannot be read; keys of the profile that are out of range.
    pub fn new(profile: &Profile, dir: &Path, model: &Qwen2Vl, tokenizer: &Tokenizer) -> Result<Self> {
        let defaults = ModelDefaults::of(dir).because(Exit::Model)?;
        let generation = at_evaluation(profile, &defaults).because(Exit::Config)?;
        Ok(Self { options: options(generation, &model.config, tokenizer) })
    }
}

/// Answers the profile's choice of the first `n` samples of `source`. `micro`: safe points of this evaluation so far.
/// `None`: abandoned.
///
/// # Errors
/// The device is lost. Whatever else goes wrong with a sample leaves it without an answer.
pub fn answer(
    trainer: &Trainer,
    source: &Source,
    answering: &Answering,
    n: usize,
    mut micro: u64,
    beat: &mut dyn Beat,
) -> Result<Option<Generated>> {
    let started = Instant::now();
    let work = Work {
        model: &trainer.model,
        samples: source.samples,
        encoder: source.encoder,
        profile: trainer.profile,
        options: &answering.options,
        number_pictures: false,
        batch_size: trainer.profile.per_device_eval_batch_size,
        loss: false, // the evaluation has its own, of all samples
    };
    let rows = trainer.profile.rows_to_answer(n);
    let total = rows.len();
    let mut generated = Generated::default();
    for batch in answers::batches(work.samples, rows, work.batch_size) {
        let mut go_on = || {
            micro += 1;
            match beat.micro(micro) {
                Flow::Continue => ControlFlow::Continue(()),
                Flow::Abandon => ControlFlow::Break(()),
            }
        };
        let answered = as_many_as_can_be(&work, &batch, &mut go_on, &mut generated.unanswered)?;
        let Some(rows) = answered else {
            give_back(work.model.device());
            return Ok(None);
        };
        generated.rows.extend(rows);
        beat.answered(generated.rows.len() + generated.unanswered.len(), total);
    }
    give_back(work.model.device());
    generated.rows.sort_by_key(|row| row.index);
    generated.runtime = started.elapsed();
    Ok(Some(generated))
}

/// A batch; one that fails, for lack of memory or because a sample is bad, is taken sample by sample. `None`: abandoned.
fn as_many_as_can_be(
    work: &Work,
    batch: &[usize],
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
    unanswered: &mut Vec<Problem>,
) -> Result<Option<Vec<Prediction>>> {
    let mut made = Made::default();
    let outcome = guarded_bare(|| match fault::at("answer") {
        Some(word) => Err(anyhow!("{word} on purpose: out of memory")),
        None => answers::answer(work, batch, go_on, &mut made),
    });
    let error = match outcome {
        Ok(rows) => {
            unanswered.extend(made.problems);
            return Ok(rows);
        }
        // Nothing can be computed any more.
        Err(error) if exit::code(&error) == Exit::Device => return Err(error),
        Err(error) => error,
    };
    give_back(work.model.device());
    if let [row] = batch {
        let index = work.samples.index(*row);
        let origin = work.samples.dataset().origin(index);
        unanswered.push(Problem { index, origin, kind: "unanswered", reason: format!("{error:#}") });
        return Ok(Some(Vec::new()));
    }
    let mut rows = Vec::with_capacity(batch.len());
    for row in batch {
        let Some(row) = as_many_as_can_be(work, &[*row], go_on, unanswered)? else { return Ok(None) };
        rows.extend(row);
    }
    Ok(Some(rows))
}

/// Keys and values grow in steps of their own; kept by the allocator they would be in training's way.
fn give_back(device: Device) {
    if matches!(device, Device::Cuda(_)) {
        let _ = torch_shim::cuda::empty_cache();
    }
}
