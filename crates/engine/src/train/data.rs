//! The samples of a profile: read, checked, split.

use anyhow::{Result, bail};
use lightbox_core::data::{Dataset, DatasetOptions, Encoder, Journal, OnBad, Problem, Samples, Step};
use lightbox_core::fs::remove_file;
use lightbox_core::profile::{Profile, Stage};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::say::say;
use lightbox_core::safe_text::clean;
use lightbox_core::text::EncodeOptions;
use lightbox_core::vision::PixelBudget;
use std::path::Path;
use std::sync::Arc;

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

/// Training and evaluation samples; nothing to evaluate on is `None`.
pub struct Split {
    pub train: Samples,
    pub eval: Option<Samples>,
}

/// Opens and checks everything before the first step: a bad sample shows now, not in hour 30. With `streaming`, only what
/// is evaluated on. What was found is kept in the run's folder, so that a run that goes on need not do it all again. `watch`
/// hears of every sample, and of those that are left out.
///
/// # Errors
/// A data set that does not open; bad samples where `on_bad_sample: refuse`; nothing left to train on.
pub fn load(p: &Profile, encoder: &Encoder<'_>, watch: &mut dyn FnMut(Step<'_>)) -> Result<Split> {
    let open = |names: &[String]| Dataset::open(&dataset_options(p, names)).map(Arc::new);
    let (mut bad, mut first) = (0, None);
    let mut watch = |step: Step<'_>| {
        bad += step.problems.len();
        first = first.take().or_else(|| step.problems.first().cloned());
        watch(step);
    };
    let dataset = open(&p.dataset)?;
    let (mut train, mut eval) = if p.streaming {
        let shuffle = (!p.disable_shuffling).then(|| (p.buffer_size, order_seed(p)));
        let (train, held_out) = Samples::unchecked(dataset.clone(), p.val_size as usize, shuffle)?;
        let eval = (!held_out.is_empty()).then(|| Samples::check(dataset, Some(&held_out), encoder, None, &mut watch));
        (train, eval.transpose()?)
    } else {
        (checked(p, RunDir::CHECKED, dataset, encoder, &mut watch)?, None)
    };
    if !p.eval_dataset.is_empty() {
        eval = Some(checked(p, RunDir::CHECKED_EVAL, open(&p.eval_dataset)?, encoder, &mut watch)?);
    }
    if p.stage == Stage::Sft {
        let total = train.len();
        train.retain_learning(&mut |problem| watch(Step { done: total, total, problems: &[problem] }));
    }
    if p.on_bad_sample == OnBad::Refuse
        && let Some(first) = first
    {
        bail!(
            "{bad} bad samples, and on_bad_sample is refuse; nothing was trained. The first: {}: {}. `lightbox data check` lists them all",
            first.origin,
            first.reason
        );
    }
    if p.val_size > 0.0 && eval.is_none() {
        let (learn, test) = train.split(p.val_size, p.seed)?;
        (train, eval) = (learn, Some(test));
    }
    if train.is_empty() {
        bail!(
            "no usable sample in {}; {bad} are bad. `lightbox data check` says what is wrong with each",
            p.dataset.join(",")
        );
    }
    Ok(Split { train, eval })
}

/// [`Samples::check`], which goes on behind what an earlier attempt of this run has checked.
fn checked(
    p: &Profile,
    file: &str,
    dataset: Arc<Dataset>,
    encoder: &Encoder<'_>,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Samples> {
    let path = p.output_dir.join(file);
    if is_older(&path, &p.output_dir.join(RunDir::PROFILE)) {
        remove_file(&path)?;
    }
    let key = Journal::key("train", &dataset, Some(encoder), "");
    let mut journal = Journal::open(&path, &key)?;
    if journal.kept() > 0 {
        say(&format!("{} samples were checked before this run was stopped", journal.kept()));
    }
    let samples = Samples::check(dataset, None, encoder, Some(&mut journal), watch)?;
    if let Some(fault) = journal.fault() {
        say(&format!(
            "warning: what was found out about the samples could not be kept ({fault}); if the run is stopped, they are checked again"
        ));
    }
    Ok(samples)
}

/// Written for an earlier run in the same folder, whose pictures may have changed since.
fn is_older(path: &Path, profile: &Path) -> bool {
    let written = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    written(path).zip(written(profile)).is_some_and(|(at, profile)| at < profile)
}

/// The run is through: nobody goes on with it.
pub fn forget_checked(dir: &RunDir) -> Result<()> {
    [RunDir::CHECKED, RunDir::CHECKED_EVAL].iter().try_for_each(|file| Ok(remove_file(&dir.join(file))?))
}

/// Seed of the order of the training samples.
pub fn order_seed(p: &Profile) -> u64 {
    p.data_seed.unwrap_or(p.seed)
}

/// Names what cannot be used, on stderr.
pub fn tell_left_out(problems: &[Problem]) {
    for p in problems {
        eprintln!("left out: {}: {} ({})", clean(&p.origin), clean(&p.reason), p.kind);
    }
}

/// All samples of the data sets of a command that answers or scores them; those that cannot be used are named on stderr.
/// The second: how many those are.
///
/// # Errors
/// A data set that does not open, or in which nothing can be used.
pub fn usable(p: &Profile, encoder: &Encoder<'_>) -> Result<(Samples, usize)> {
    let dataset = Arc::new(Dataset::open(&dataset_options(p, &p.dataset))?);
    let mut bad = 0;
    let samples = Samples::check(dataset, None, encoder, None, &mut |step| {
        bad += step.problems.len();
        tell_left_out(step.problems);
    })?;
    if samples.is_empty() {
        let names = p.dataset.join(",");
        bail!("no sample of {names} can be used; {bad} are bad (`lightbox data check` lists them)");
    }
    Ok((samples, bad))
}
