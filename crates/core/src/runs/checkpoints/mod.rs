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

use super::RunDir;
use super::trainer_state::TrainerState;
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
        self.look(true)
    }

    /// As [`Checkpoint::check`], but files are only measured, not read: for lists.
    pub fn check_quick(&self) -> Result<(), String> {
        self.look(false)
    }

    /// It has a manifest of ours that its files do not fit.
    pub fn is_damaged(&self) -> bool {
        match manifest(&self.path) {
            Ok(None) => false,
            Ok(Some(manifest)) => manifest.is_of_this_version() && self.check().is_err(),
            Err(_) => true,
        }
    }

    fn look(&self, hashes: bool) -> Result<(), String> {
        let at = |e: &dyn std::fmt::Display| format!("{}: {e}", self.path.display());
        let Some(manifest) = manifest(&self.path).map_err(|e| at(&e))? else {
            let state = TrainerState::read(&self.path.join(RunDir::TRAINER_STATE)).map_err(|e| e.to_string())?;
            if state.global_step != self.step {
                return Err(at(&format!("its trainer_state.json says step {}", state.global_step)));
            }
            return weights::check(&self.path);
        };
        if !manifest.is_of_this_version() {
            return Err(at(&"written by a newer version of Lightbox; update to use it"));
        }
        if manifest.about.step != self.step {
            return Err(at(&format!("its manifest.json says step {}", manifest.about.step)));
        }
        manifest.fits(&self.path, hashes)
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
        if let Some(step) = step.filter(|_| entry.file_type().is_ok_and(|t| t.is_dir())) {
            found.push(Checkpoint { step, path: entry.path() });
        }
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
