//! Which checkpoints stay: the newest few, the best, the pinned.

use super::super::RunDir;
use super::{Checkpoint, PINS, commit, list};
use crate::fs;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io;

/// Which checkpoints stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// `save_total_limit`; at least two stay, so that a damaged one costs no run. `None`: all.
    pub last: Option<usize>,
    /// Step of the best one.
    pub best: Option<u64>,
}

/// Never fewer, however small the limit.
const LEAST: usize = 2;

/// Deletes the oldest whole ones beyond what `keep` says; never the best, never a pinned one, and never the newest. Damaged
/// folders neither count nor go: they are evidence, and counting them could cost the last good one. Returns what was deleted.
pub fn retain(dir: &RunDir, keep: Keep) -> Result<Vec<Checkpoint>> {
    let Some(last) = keep.last else { return Ok(Vec::new()) };
    let pinned = pins(dir)?;
    let mut whole: Vec<Checkpoint> = list(dir)?.into_iter().filter(|c| c.check_quick().is_ok()).collect();
    whole.truncate(whole.len().saturating_sub(last.max(LEAST)));
    whole.retain(|c| keep.best != Some(c.step) && !pinned.contains_key(&c.step));
    for checkpoint in &whole {
        commit::delete(dir, checkpoint)?;
    }
    Ok(whole)
}

/// The pinned steps and their labels.
pub fn pins(dir: &RunDir) -> io::Result<BTreeMap<u64, Option<String>>> {
    let path = dir.join(PINS);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(e),
    }
}

/// Pins a checkpoint, so that it is never deleted, or lets it go.
pub fn pin(dir: &RunDir, step: u64, label: Option<&str>, pinned: bool) -> io::Result<()> {
    let mut pins = pins(dir)?;
    if pinned {
        pins.insert(step, label.map(str::to_owned));
    } else {
        pins.remove(&step);
    }
    fs::write_atomic(&dir.join(PINS), serde_json::to_string_pretty(&pins)?.as_bytes())
}
