//! What a training run computes beside the model, and what it leaves on disk.
//!
//! The run directory is the profile's `output_dir`. At its top lie the files that LLaMA-Factory and the HF Trainer
//! would leave, with the same names, keys and number formats, so that other tools find what they expect
//! ([`trainer_log`], [`trainer_state`], [`results`], [`model_card`], [`plot`], [`checkpoints`]); beside them our own:
//! `events.jsonl` and `metrics.jsonl` ([`log`], [`record`]) and `state.json` ([`state`]). Whatever is replaced is
//! replaced atomically ([`crate::fs`]); logs are only appended to.
//!
//! How a run is known and steered from outside; nothing here needs the worker's help, and no secret lies in any of it:
//!
//! | file           | mode | written by                             | how                                                    |
//! |----------------|------|----------------------------------------|--------------------------------------------------------|
//! | `run.lock`     | 0644 | the worker ([`lock`])                  | never; held while the process lives                    |
//! | `worker.json`  | 0644 | the worker, once an attempt ([`lock`]) | replaced                                               |
//! | `heartbeat`    | 0644 | the worker, each second ([`heartbeat`])| 128 bytes in place, not synced                         |
//! | `run.json`     | 0644 | anyone who may ([`info`])              | replaced, under a lock on `.run.json.lock`             |
//! | `commands/`    | 0700 | the run's owner ([`commands`])         | a file a command, renamed in; removed by the worker    |
//! | `edits.json`   | 0644 | the worker ([`edits`])                 | replaced                                               |
//! | all others     | 0644 | the worker                             | replaced, or lines appended                            |
//!
//! Modes are before the umask, which may take more away; only `commands/` is closed on purpose, since whoever may write
//! there steers the run.
//!
//! [`schedule`] and [`steps`] are the arithmetic of a run: how many updates, when, with which learning rate.
//! Read [`steps`] first, then [`log`].

pub mod checkpoints;
pub mod commands;
pub mod crash;
pub mod drive;
pub mod edits;
pub mod env;
pub mod export_card;
pub mod heartbeat;
pub mod identity;
pub mod info;
pub mod lock;
pub mod log;
pub mod model_card;
pub mod plot;
pub mod progress;
pub mod queue;
pub mod record;
pub mod registry;
pub mod report;
pub mod results;
pub mod rings;
pub mod say;
pub mod schedule;
pub mod series;
pub mod state;
pub mod steps;
pub mod system;
pub mod tail;
pub mod trainer_log;
pub mod trainer_state;
pub mod view;

use std::io;
use std::path::{Path, PathBuf};

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    pub const STATE: &str = "state.json";
    pub const EVENTS: &str = "events.jsonl";
    pub const METRICS: &str = "metrics.jsonl";
    pub const TRAINER_LOG: &str = "trainer_log.jsonl";
    pub const TRAINER_STATE: &str = "trainer_state.json";
    pub const PROFILE: &str = "profile.yaml";
    /// The profile as its user wrote it.
    pub const PROFILE_SOURCE: &str = "profile.src.yaml";
    /// Identity: name, tags, notes, where it came from ([`info`]).
    pub const INFO: &str = "run.json";
    /// Versions, devices and the command of the newest attempt; no secrets.
    pub const ENV: &str = "env.json";
    pub const HEARTBEAT: &str = "heartbeat";
    pub const LOCK: &str = "run.lock";
    /// Who holds the lock ([`lock::WorkerInfo`]).
    pub const WORKER: &str = "worker.json";
    /// GPU, memory and disk, once a second; the older ones are `.1` to `.3` ([`rings`]).
    pub const SYSTEM: &str = "system.jsonl";
    /// What the worker's process printed, libtorch's own lines included; the older ones are `.1` to `.3`.
    pub const WORKER_LOG: &str = "worker.log";
    /// Drop-box ([`commands`]).
    pub const COMMANDS: &str = "commands";
    /// Settings changed while running ([`edits`]).
    pub const EDITS: &str = "edits.json";
    /// One file for each internal fault ([`crash`]).
    pub const CRASH: &str = "crash";
    /// What is known of every sample, so that a run that goes on need not check them all again ([`crate::data::Journal`]) …
    pub const CHECKED: &str = "checked.rows";
    /// … and of those it is evaluated on.
    pub const CHECKED_EVAL: &str = "checked-eval.rows";
    /// What the model wrote when asked during training, a folder for each step.
    pub const SAMPLES: &str = "samples";

    /// Makes the folder and its parents where they are missing. Like LLaMA-Factory's it gets the usual mode (0755 under
    /// the usual umask): what lies in it is meant to be shared, and secrets never do.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        crate::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// An existing run folder.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if std::fs::metadata(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("run folder {}: {e}", path.display())))?
            .is_dir()
        {
            return Ok(Self { path });
        }
        Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a folder", path.display())))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the run.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The last part of the path, which titles the loss curve and the model card.
    pub fn name(&self) -> String {
        let name = self.path.file_name().map(|n| n.to_string_lossy().into_owned());
        name.unwrap_or_else(|| self.path.display().to_string())
    }

    /// `checkpoint-N`, where the state after `step` updates lies.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.path.join(format!("{}{step}", checkpoints::PREFIX))
    }
}

/// `x` rounded to `digits` decimals, as Python's `round` does it (the decimal nearest to the exact binary value).
pub(crate) fn round(x: f64, digits: usize) -> f64 {
    format!("{x:.digits$}").parse().unwrap_or(x)
}

/// A small JSON file of the run.
///
/// # Errors
/// Names the file. `InvalidData`: it is damaged.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    let naming = |kind, e: String| io::Error::new(kind, format!("reading {}: {e}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| naming(e.kind(), e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        naming(io::ErrorKind::InvalidData, crate::safe_text::clean_line(&format!("it is damaged: {e}"), 300))
    })
}

/// Replaces a small JSON file of the run.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    crate::fs::write_atomic(path, &bytes)
}

/// Milliseconds since 1970, for display and logs only; durations are measured with `Instant`.
pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
