//! `run.json`: which run this is. Renaming, tagging and notes change only this file; the folder keeps its name.
use super::RunDir;
use serde::{Deserialize, Serialize};
use std::io;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunInfo {
    pub v: u32,
    /// `2026-03-01-1432-receipts-k3f9`: date, slug of the name, 4 random characters. Never changes.
    pub id: String,
    /// What people call it: the profile's `run_name`, or the folder's name; may be changed.
    pub name: String,
    pub created_ms: u64,
    pub tags: Vec<String>,
    pub notes: String,
    pub group: Option<String>,
    pub parent: Option<Parent>,
    pub archived: bool,
    /// Program and version that made it.
    pub app: String,
}

/// Where a fork came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parent {
    pub run: String,
    pub dir: String,
    pub checkpoint: String,
}

impl RunInfo {
    pub fn read(dir: &RunDir) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(dir.join(RunDir::INFO))?)?)
    }

    /// The file's, or a new one, which is written.
    pub fn ensure(_dir: &RunDir, _name: Option<&str>) -> io::Result<Self> {
        todo!()
    }

    /// Reads, changes and replaces the file, under a lock.
    pub fn change(_dir: &RunDir, _change: impl FnOnce(&mut Self)) -> io::Result<Self> {
        todo!()
    }
}
