//! The `checkpoint-N` folders of a run: how they come to be whole or not at all ([`commit`]), how damage is found
//! ([`Checkpoint::check`]), which is the newest that can be used, which may go ([`retain`]).
//!
//! The HF Trainer takes the folder with the highest number, whatever is in it; a run killed while saving then cannot be
//! resumed. Here the truth is what lies in the folder and fits its `manifest.json`; `LATEST` and the event log only tell.
//! Folders without a manifest are other programs' (the HF Trainer, LLaMA-Factory): they count if their
//! `trainer_state.json` belongs to step N and their weights have the length that their header promises.

mod about;
mod commit;
mod manifest;
mod retention;
mod weights;

pub use about::{About, Difference, differences, settings_of};
pub use commit::{commit, quarantine, sweep};
pub use manifest::{FileRecord, Manifest, manifest};
pub use retention::{Keep, pin, pins, retain};
pub use weights::check_file as check_safetensors;

use super::RunDir;
use super::trainer_state::TrainerState;
use manifest::Unfit;
use std::io;
use std::path::PathBuf;

/// Folder names are this and the step.
pub const PREFIX: &str = "checkpoint-";
/// Name of the newest committed checkpoint and the hash of its manifest: a hint for people and scripts.
pub const LATEST: &str = "LATEST";
/// Pinned steps with their labels.
pub const PINS: &str = "pins.json";
/// Where damaged checkpoints go.
pub const QUARANTINE: &str = "quarantine";

/// A checkpoint folder; complete or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint {
    /// Updates done when it was written.
    pub step: u64,
    pub path: PathBuf,
}

impl Checkpoint {
    /// The folder's name.
    pub fn name(&self) -> String {
        format!("{PREFIX}{}", self.step)
    }

    /// Why this checkpoint cannot be resumed from, naming file and damage; `Ok` if it can. Reads and hashes every file.
    pub fn check(&self) -> Result<(), String> {
        self.look(true).map_err(|unfit| unfit.why)
    }

    /// As [`Checkpoint::check`], but files are only measured, not read: for lists.
    pub fn check_quick(&self) -> Result<(), String> {
        self.look(false).map_err(|unfit| unfit.why)
    }

    /// It has a manifest of ours that its files do not fit, and never will.
    pub fn is_damaged(&self) -> bool {
        self.path.join(Manifest::FILE).exists() && self.look(true).is_err_and(|unfit| unfit.damaged)
    }

    fn look(&self, hashes: bool) -> Result<(), Unfit> {
        let Some(manifest) = manifest::read(&self.path)? else {
            return self.look_at_foreign().map_err(|why| Unfit { damaged: false, why });
        };
        if manifest.about.step != self.step {
            let why = format!("{}: its manifest.json says step {}", self.path.display(), manifest.about.step);
            return Err(Unfit { damaged: true, why });
        }
        manifest.fits(&self.path, hashes)
    }

    /// A folder without a manifest.
    fn look_at_foreign(&self) -> Result<(), String> {
        let state = TrainerState::read(&self.path.join(RunDir::TRAINER_STATE)).map_err(|e| e.to_string())?;
        if state.global_step != self.step {
            return Err(format!("{}: its trainer_state.json says step {}", self.path.display(), state.global_step));
        }
        weights::check(&self.path)?;
        // An older Lightbox, or a manifest that got lost: there is an optimizer to look at, too.
        match self.path.join(super::report::Progress::FILE).exists() {
            true => weights::check_file(&self.path.join("optimizer.safetensors")),
            false => Ok(()),
        }
    }
}

/// All checkpoint folders of a run, the oldest first. Links and files are left out; a missing folder has none.
pub fn list(dir: &RunDir) -> io::Result<Vec<Checkpoint>> {
    let entries = match std::fs::read_dir(dir.path()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let step = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        let checkpoint = step.map(|step| Checkpoint { step, path: entry.path() });
        // `checkpoint-007` is not what anybody writes for step 7.
        let named = checkpoint.filter(|c| entry.file_name() == c.name().as_str());
        found.extend(named.filter(|_| entry.file_type().is_ok_and(|t| t.is_dir())));
    }
    found.sort();
    Ok(found)
}

/// The newest checkpoint that can be used, and why newer ones cannot (a sentence each, for a warning).
pub fn newest_complete(dir: &RunDir) -> io::Result<(Option<Checkpoint>, Vec<String>)> {
    let mut skipped = Vec::new();
    for checkpoint in list(dir)?.into_iter().rev() {
        match checkpoint.check() {
            Ok(()) => return Ok((Some(checkpoint), skipped)),
            Err(reason) => skipped.push(format!("{} is ignored: {reason}", checkpoint.name())),
        }
    }
    Ok((None, skipped))
}

#[cfg(test)]
mod tests;
