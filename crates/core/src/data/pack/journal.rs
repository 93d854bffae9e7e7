//! What a run needs to know to go on: written after every shard, when the shard is on the disk.

use crate::fs::write_atomic;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Between two members of the archives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub archive: usize,
    /// Members before it, of all kinds.
    pub member: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub rows: usize,
    pub image_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    version: u32,
    /// Sources and options that shape the result.
    fingerprint: Value,
    pub shards: Vec<Made>,
    /// Where the next shard begins.
    pub next: Place,
    pub unnamed: u64,
    pub repeated: u64,
    pub problems: BTreeMap<String, usize>,
    /// Length of problems.jsonl; what lies behind it is found again.
    pub problem_bytes: u64,
    pub finished: bool,
}

impl Journal {
    /// That of an earlier run with the same sources and options, or a new one.
    ///
    /// # Errors
    /// One of another run, unless it may be overwritten.
    pub fn open(path: &Path, fingerprint: Value, overwrite: bool) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new(".")).display();
        if !overwrite && let Some(bytes) = read(path)? {
            let journal: Self = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; --overwrite begins anew", path.display()))?;
            if journal.fingerprint != fingerprint {
                bail!(
                    "{folder} holds what was packed from other files or with other options; nothing was changed: name another folder, or replace it with --overwrite"
                );
            }
            return Ok(journal);
        }
        let (shards, next, problems) = (Vec::new(), Place::default(), BTreeMap::new());
        let journal = Self {
            version: 1,
            fingerprint,
            shards,
            next,
            unnamed: 0,
            repeated: 0,
            problems,
            problem_bytes: 0,
            finished: false,
        };
        journal.store(path)?;
        Ok(journal)
    }

    pub fn store(&self, path: &Path) -> Result<()> {
        write_atomic(path, &serde_json::to_vec(self)?).with_context(|| format!("writing {}", path.display()))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).with_context(|| format!("reading {}", path.display())),
    }
}
