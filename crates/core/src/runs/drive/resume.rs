//! Where a run goes on: the newest checkpoint that is whole, what has changed since it was written, and what the log says
//! of the updates that will be made again.

use super::super::checkpoints::{self, About, Checkpoint, Difference};
use super::super::record::Event;
use super::super::report::{Progress, Report};
use super::super::say::say;
use super::super::trainer_state::TrainerState;
use super::super::{RunDir, log};
use super::verify::Verify;
use crate::exit::{Because, Exit};
use crate::profile::Profile;
use crate::safe_text::clean;
use anyhow::{Context, Result, anyhow, bail};
use std::path::PathBuf;

/// In the environment of a worker: go on although data or base model are not those of the checkpoint.
pub const ACCEPT_CHANGES: &str = "LIGHTBOX_ACCEPT_CHANGES";

/// Files of which one is at the top of a finished run.
const FINISHED: [&str; 3] = ["adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];

/// A checkpoint to go on from.
pub struct Resume {
    pub path: PathBuf,
    state: TrainerState,
    progress: Progress,
    /// As it was then; `None` for a checkpoint of the HF Trainer.
    about: Option<About>,
    pub(super) verify: Verify,
    /// No event speaks of it: the worker died right after writing it.
    adopted: bool,
    /// Damaged newer ones, and where they were moved to.
    quarantined: Vec<(Checkpoint, String)>,
}

impl Resume {
    /// Updates done.
    pub fn step(&self) -> u64 {
        self.state.global_step
    }
}

/// The checkpoint named in the profile, else the newest valid one in `output_dir` unless that is to be overwritten.
/// Damaged newer ones are moved aside. Only for the run's worker.
///
/// # Errors
/// A named checkpoint that is not there or cannot be gone on from; a finished run without checkpoints.
pub fn find(profile: &Profile, dir: &RunDir) -> Result<Option<Resume>> {
    checkpoints::sweep(dir)?;
    if let Some(path) = &profile.resume_from_checkpoint {
        if !path.is_dir() {
            bail!("resume_from_checkpoint: {} is no folder", path.display());
        }
        return open(dir, path.clone(), Vec::new()).map(Some);
    }
    if profile.overwrite_output_dir && !has_begun(dir)? {
        remove_old_checkpoints(dir)?;
        return Ok(None);
    }
    let (newest, damaged) = checkpoints::newest_complete(dir)?;
    let mut quarantined = Vec::new();
    for text in &damaged {
        say(&format!("warning: {}", clean(text)));
    }
    let newest_step = newest.as_ref().map_or(0, |c| c.step);
    for checkpoint in checkpoints::list(dir)?.into_iter().filter(|c| c.step > newest_step) {
        // Those without a manifest are another program's: left where they are.
        if let Err(why) = checkpoint.check()
            && checkpoint.is_damaged()
        {
            checkpoints::quarantine(dir, &checkpoint)?;
            quarantined.push((checkpoint, why));
        }
    }
    if newest.is_none() && FINISHED.iter().any(|f| dir.join(f).exists()) {
        bail!(
            "{}: holds a finished run but no checkpoint to go on from; choose another output_dir, or set overwrite_output_dir: true to replace it",
            dir.path().display()
        );
    }
    newest.map(|c| open(dir, c.path, quarantined)).transpose()
}

fn open(dir: &RunDir, path: PathBuf, quarantined: Vec<(Checkpoint, String)>) -> Result<Resume> {
    if !path.join("optimizer.safetensors").exists() {
        bail!(
            "{}: saved with save_only_model, so there is no optimizer to go on with; give it as adapter_name_or_path to start a new run from it",
            path.display()
        );
    }
    let state = TrainerState::read(&path.join(RunDir::TRAINER_STATE))?;
    let progress = Progress::read(&path)?;
    let about = checkpoints::manifest(&path)?.map(|m| m.about);
    let verify = Verify::read(dir, state.global_step)?;
    let adopted = about.is_some() && !told(dir, state.global_step);
    Ok(Resume { path, state, progress, about, verify, adopted, quarantined })
}

/// An event speaks of this checkpoint. A log that cannot be read speaks of none.
fn told(dir: &RunDir, at: u64) -> bool {
    let lines = log::read::<Event>(&dir.join(RunDir::EVENTS)).map(|r| r.lines).unwrap_or_default();
    lines.iter().any(|line| matches!(&line.record, Event::CheckpointSaved { step, .. } | Event::CheckpointAdopted { step, .. } if *step == at))
}

/// There are checkpoints that are younger than the run's profile: this run wrote them, and is started again by hand or by
/// a scheduler after a preemption. What it has done is not what `overwrite_output_dir` was to replace.
fn has_begun(dir: &RunDir) -> Result<bool> {
    let changed = |path: &std::path::Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let Some(profile) = changed(&dir.join(RunDir::PROFILE)) else { return Ok(false) };
    Ok(checkpoints::list(dir)?.iter().any(|c| changed(&c.path).is_some_and(|at| at > profile)))
}

/// `overwrite_output_dir`: LLaMA-Factory leaves old checkpoints, which a later run resumes from and which
/// `save_total_limit` would keep instead of the new ones.
fn remove_old_checkpoints(dir: &RunDir) -> Result<()> {
    let old = checkpoints::list(dir)?;
    for checkpoint in &old {
        crate::fs::remove_dir_all(&checkpoint.path).with_context(|| checkpoint.path.display().to_string())?;
    }
    for leftover in [RunDir::EDITS, checkpoints::PINS, checkpoints::LATEST] {
        crate::fs::remove_file(&dir.join(leftover))?;
    }
    if !old.is_empty() {
        say(&format!("overwrite_output_dir: {} checkpoints of an older run were removed", old.len()));
    }
    Ok(())
}

impl Resume {
    /// Tells what is gone on from and what has changed. Another base model, or other data that no changed setting
    /// explains, is refused: the run would silently become another one.
    ///
    /// # Errors
    /// [`Exit::Model`], [`Exit::Data`]: with what differs; `LIGHTBOX_ACCEPT_CHANGES=1` goes on all the same.
    pub(super) fn begin(&mut self, now: &About, report: &mut Report) -> Result<()> {
        for (checkpoint, why) in self.quarantined.drain(..) {
            let path = checkpoint.path.display().to_string();
            report.event(&Event::CheckpointQuarantined { step: checkpoint.step, path, reason: why });
        }
        let newest = self.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if self.adopted {
            report.event(&Event::CheckpointAdopted { step: self.step(), path: newest });
        }
        report.resume(&self.path, std::mem::take(&mut self.state), std::mem::take(&mut self.progress));
        let Some(before) = &self.about else { return Ok(()) };
        let changes = checkpoints::differences(before, now);
        for Difference { what, key, before, after } in &changes {
            say(&format!("changed since the checkpoint: {what} {}: {} → {}", clean(key), clean(before), clean(after)));
            let (what, key) = ((*what).to_owned(), key.clone());
            report.event(&Event::Changed { what, key, before: before.clone(), after: after.clone() });
        }
        if changes.iter().any(|d| d.what != "program") {
            self.verify = Verify::default(); // what was computed before cannot come out again
        }
        if std::env::var_os(ACCEPT_CHANGES).is_some_and(|v| v == "1") {
            return Ok(());
        }
        let refuse = |what: &str, exit: Exit| {
            let keys: Vec<&str> = changes.iter().filter(|d| d.what == what).map(|d| d.key.as_str()).collect();
            Err(anyhow!(
                "the {what} is not what the checkpoint {} was trained with ({}). Nothing was trained: put it back, or go on with --accept-changes",
                self.path.display(),
                keys.join(", ")
            ))
            .because(exit)
        };
        let named = |key: &str| changes.iter().any(|d| d.what == "settings" && d.key == key);
        let data_keys = [
            "dataset",
            "dataset_dir",
            "media_dir",
            "max_samples",
            "val_size",
            "cutoff_len",
            "image_max_pixels",
            "image_min_pixels",
            "train_on_prompt",
            "mask_history",
            "default_system",
            "template",
            "seed",
        ];
        if changes.iter().any(|d| d.what == "model") && !named("model_name_or_path") {
            return refuse("model", Exit::Model);
        }
        if changes.iter().any(|d| d.what == "data") && !data_keys.iter().any(|key| named(key)) {
            return refuse("data", Exit::Data);
        }
        Ok(())
    }
}
