//! What a conversion needs to know to go on after an interruption: one small file, replaced a few times a second.

use crate::data::questions::Asked;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Numbers that go on counting in a continued conversion.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows written as samples.
    pub written: usize,
    /// Rows left out, by kind of problem.
    pub problems: BTreeMap<String, usize>,
    /// Bytes of pictures in the folder.
    pub image_bytes: u64,
    /// Questions of the samples. Journals of earlier versions do not have it.
    #[serde(default)]
    pub asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    version: u32,
    /// The sources (path, size, time of change) and all options that shape the result.
    pub fingerprint: Value,
    boot_id: String,
    /// Rows before this one are done.
    pub next_row: usize,
    /// Length of the partial files at that row; what lies behind is cut off.
    pub json_bytes: u64,
    pub problem_bytes: u64,
    pub counts: Counts,
    pub finished: bool,
}

impl Journal {
    pub fn new(fingerprint: Value) -> Self {
        Self {
            version: 1,
            fingerprint,
            boot_id: boot_id(),
            next_row: 0,
            json_bytes: 0,
            problem_bytes: 0,
            counts: Counts::default(),
            finished: false,
        }
    }

    /// The journal of an earlier run, if there is one.
    pub fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("reading {}", path.display()))?,
        };
        let journal: Self = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged; run again with --overwrite to start over", path.display()))?;
        if journal.version != 1 {
            bail!("{} was written by a newer version; use that one, or --overwrite to start over", path.display());
        }
        Ok(Some(journal))
    }

    /// Is the last state of the partial files certainly on the disk? After a restart of the machine it may not be:
    /// nothing is synced to the disk before the end, which would take longer than the conversion.
    pub fn same_boot(&self) -> bool {
        !self.boot_id.is_empty() && self.boot_id == boot_id()
    }

    /// Replaces the journal in one step, so that a killed process leaves the old one or the new one. Not synced: see
    /// [`Self::same_boot`].
    pub fn store(&self, path: &Path) -> anyhow::Result<()> {
        let next: PathBuf = path.with_extension("tmp");
        let write = || -> std::io::Result<()> {
            File::create(&next)?.write_all(&serde_json::to_vec(self)?)?;
            std::fs::rename(&next, path)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

/// Differs after every start of the machine; empty where the system does not tell.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
