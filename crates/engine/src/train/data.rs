//! The samples of a profile: read, checked, encoded, split.

use anyhow::{Result, bail};
use lightbox_core::data::{Dataset, DatasetOptions, OnBad, Prepared, Problem, prepare};
use lightbox_core::profile::{Profile, Stage};
use lightbox_core::safe_text::clean;
use lightbox_core::seed;
use lightbox_core::text::{EncodeOptions, Tokenizer};
use lightbox_core::vision::{ImageProcessor, PixelBudget};

/// The data keys of a profile, for the data sets `names`.
pub fn dataset_options(p: &Profile, names: &[String]) -> DatasetOptions {
    DatasetOptions::of(p, names)
}

/// The text keys of a profile.
pub fn encode_options(p: &Profile) -> EncodeOptions {
    EncodeOptions {
        cutoff_len: p.cutoff_len,
        train_on_prompt: p.train_on_prompt,
        mask_history: p.mask_history,
        default_system: p.default_system.clone(),
    }
}

/// The picture keys of a profile.
pub fn pixel_budget(p: &Profile) -> PixelBudget {
    PixelBudget { min: p.image_min_pixels, max: p.image_max_pixels }
}

/// Training and evaluation samples, and what was left out.
pub struct Samples {
    pub train: Vec<Prepared>,
    pub eval: Vec<Prepared>,
    /// Where `eval` comes from.
    pub eval_from: Dataset,
    pub problems: Vec<Problem>,
}

/// Reads and checks everything before the first step: a bad sample shows now, not in hour 30.
///
/// # Errors
/// A data set that does not open; bad samples where `on_bad_sample: refuse`; nothing left to train on.
pub fn load(
    p: &Profile,
    tokenizer: &Tokenizer,
    processor: &ImageProcessor,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Samples> {
    let mut read = |names: &[String]| -> Result<(Dataset, Vec<Prepared>, Vec<Problem>)> {
        let dataset = Dataset::open(&dataset_options(p, names))?;
        let (samples, problems) =
            prepare(&dataset, tokenizer, processor, pixel_budget(p), &encode_options(p), progress);
        Ok((dataset, samples, problems))
    };
    let (mut eval_from, mut train, mut problems) = read(&p.dataset)?;
    let mut eval = Vec::new();
    if !p.eval_dataset.is_empty() {
        let (dataset, samples, more) = read(&p.eval_dataset)?;
        (eval_from, eval) = (dataset, samples);
        problems.extend(more);
    }
    // A sample without one token to learn from would make its micro-batch's mean 0/0.
    train.retain(|s| {
        let learns = p.stage == Stage::Vision || s.encoded.labels.iter().skip(1).any(|l| *l != -100);
        if !learns {
            problems.push(Problem {
                index: s.index,
                origin: s.origin.clone(),
                kind: "no_labels",
                reason: "no token is left to learn from after the cut at cutoff_len".into(),
            });
        }
        learns
    });
    if p.on_bad_sample == OnBad::Refuse
        && let Some(first) = problems.first()
    {
        bail!(
            "{} bad samples, and on_bad_sample is refuse; nothing was trained. The first: {}: {}. `lightbox data check` lists them all",
            problems.len(),
            first.origin,
            first.reason
        );
    }
    if p.val_size > 0.0 && eval.is_empty() {
        (train, eval) = split(train, p.val_size, p.seed)?;
    }
    if train.is_empty() {
        bail!(
            "no usable sample in {}; {} are bad. `lightbox data check` says what is wrong with each",
            p.dataset.join(","),
            problems.len()
        );
    }
    Ok(Samples { train, eval, eval_from, problems })
}

/// Names what cannot be used, on stderr.
pub fn tell_left_out(problems: &[Problem]) {
    for p in problems {
        eprintln!("left out: {}: {} ({})", clean(&p.origin), clean(&p.reason), p.kind);
    }
}

/// datasets' `train_test_split`: both parts keep the permuted order.
fn split(samples: Vec<Prepared>, val_size: f64, seed: u64) -> Result<(Vec<Prepared>, Vec<Prepared>)> {
    let n = samples.len();
    let Ok((train, test)) = seed::train_test_split(n, val_size, seed) else {
        bail!("val_size {val_size} leaves nothing to train or evaluate on: there are {n} usable samples");
    };
    let mut slots: Vec<Option<Prepared>> = samples.into_iter().map(Some).collect();
    let mut take = |order: Vec<usize>| -> Vec<Prepared> { order.into_iter().filter_map(|i| slots[i].take()).collect() };
    Ok((take(train), take(test)))
}
