//! Models and adapters of this machine as plain data; [`crate::link::models`] finds them. All texts in here are clean.
use lightbox_core::hub::Cached;
use lightbox_core::runs::state::Status;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub kind: Kind,
    pub name: String,
    pub path: PathBuf,
    /// On disk.
    pub bytes: u64,
    pub origin: Origin,
    /// Of most of the weights, as their headers say: `bf16`.
    pub dtype: String,
    /// `None`: it is whole.
    pub lack: Option<Lack>,
    /// Counted from the headers.
    pub parameters: u64,
    /// With their sizes; those of a run that belong to its adapter.
    pub files: Vec<(String, u64)>,
    pub licence: String,
    pub readme: bool,
    pub facts: Facts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Base,
    /// Written by this workbench.
    Export,
    Adapter,
    /// An adapter as it was at a step of its run.
    Checkpoint,
}

impl Kind {
    pub fn is_adapter(self) -> bool {
        matches!(self, Self::Adapter | Self::Checkpoint)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// A snapshot in the Hub's cache.
    Hub(Box<Cached>),
    Run {
        name: String,
        dir: PathBuf,
    },
    Folder,
}

/// What keeps it from being used.
#[derive(Debug, Clone, PartialEq)]
pub enum Lack {
    /// These are missing or damaged, and why.
    Files(Vec<String>),
    /// Its download has not come to its end: so many bytes are here, of so many.
    Half { here: u64, of: Option<u64> },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Facts {
    Base(BaseFacts),
    Adapter(AdapterFacts),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct BaseFacts {
    pub architecture: String,
    /// Lightbox can load this one.
    pub known: bool,
    pub hidden: Option<u64>,
    pub layers: Option<u64>,
    pub vocabulary: Option<u64>,
    pub tokenizer: bool,
    pub processor: bool,
    pub chat_template: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct AdapterFacts {
    /// As its adapter_config.json names it.
    pub base: String,
    /// Where that is on this machine.
    pub base_path: Option<PathBuf>,
    /// `LoRA`, `rsLoRA`, `DoRA`
    pub method: String,
    pub rank: Option<u64>,
    pub alpha: Option<f64>,
    pub targets: Vec<String>,
    /// Updates done, and in all.
    pub step: u64,
    pub total: u64,
    pub epoch: f64,
    pub loss: Option<f64>,
    /// Of its run.
    pub state: Option<Status>,
}

/// How the disk stands on which downloads lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    pub dir: PathBuf,
    /// By everything in the list; what two share is counted once.
    pub used: u64,
    pub free: u64,
    pub total: u64,
}

impl Entry {
    pub fn is_whole(&self) -> bool {
        self.lack.is_none()
    }

    pub fn adapter(&self) -> Option<&AdapterFacts> {
        match &self.facts {
            Facts::Adapter(facts) => Some(facts),
            Facts::Base(_) => None,
        }
    }

    /// The repository and revision that it was loaded from.
    pub fn hub(&self) -> Option<(&str, &str)> {
        match &self.origin {
            Origin::Hub(cached) => Some((&cached.id, &cached.revision)),
            _ => None,
        }
    }

    /// Where something made of it goes by default: beside it, never into the cache or a run.
    pub fn beside<'a>(&'a self, here: &'a Path) -> &'a Path {
        match &self.origin {
            Origin::Hub(_) => here,
            Origin::Run { dir, .. } => dir.parent().unwrap_or(here),
            Origin::Folder => self.path.parent().unwrap_or(here),
        }
    }
}
