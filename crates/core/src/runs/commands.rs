//! The drop-box: `commands/*.json`, one file a command. Anyone who may write there (the run's owner) steers the run, over
//! network file systems and out of containers too, and before the worker is up. The worker looks at safe points
//! (between micro-batches), answers with `command_ack` events and removes the file.
//!
//! This file says what can be asked; [`send`] puts it into the box and [`Inbox`] takes it out.
mod inbox;

pub use inbox::{Inbox, Received, waiting};

use super::edits::Edit;
use super::{RunDir, info, lock};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::time::{SystemTime, UNIX_EPOCH};

const VERSION: u32 = 1;
/// Bytes of a command's file; that bounds a prompt, too.
const MAX_BYTES: usize = 64 << 10;

/// What a run can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", content = "args", rename_all = "snake_case")]
pub enum Command {
    /// Wait after the update that is being made. Weights stay on the device, and a paused run can still be saved, evaluated
    /// and asked.
    Pause,
    Resume,
    Stop(Stop),
    /// End at once, without a checkpoint.
    Kill,
    CheckpointNow(CheckpointNow),
    EvaluateNow(EvaluateNow),
    SampleNow(SampleNow),
    /// Change a setting; a small list is allowed ([`Edit`]).
    Set(Edit),
    /// Nothing but an answer.
    Ping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    pub when: StopWhen,
    /// Write a checkpoint first.
    pub checkpoint: bool,
}

impl Default for Stop {
    fn default() -> Self {
        Self { when: StopWhen::default(), checkpoint: true }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopWhen {
    /// After this micro-batch; the half-made update is given up.
    #[default]
    Now,
    AfterStep,
    /// After the next evaluation.
    AfterEval,
    AfterEpoch,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointNow {
    /// Never deleted by `save_total_limit`.
    pub pin: bool,
    pub label: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluateNow {
    /// Only so many samples.
    pub limit: Option<usize>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleNow {
    /// Asked instead of the data's own questions; `<image>` marks where the pictures go.
    pub prompt: Option<String>,
    pub images: Vec<String>,
    /// Without a prompt: so many samples of the evaluation data (or the training data if there is none).
    pub n: usize,
    pub max_new_tokens: Option<usize>,
}

/// A command as it lies in the drop-box.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub v: u32,
    /// Sorts by time of sending; sending the same id twice acts once.
    pub id: String,
    /// `user@host`.
    #[serde(default)]
    pub by: String,
    #[serde(flatten)]
    pub command: Command,
}

impl Command {
    /// As in the file and in `command_ack` events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop(_) => "stop",
            Self::Kill => "kill",
            Self::CheckpointNow(_) => "checkpoint_now",
            Self::EvaluateNow(_) => "evaluate_now",
            Self::SampleNow(_) => "sample_now",
            Self::Set(_) => "set",
            Self::Ping => "ping",
        }
    }

    /// The one place where values are looked at: before a command is sent, and after it is received.
    ///
    /// # Errors
    /// In words: no run could do this.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Set(edit) => edit.check(),
            Self::EvaluateNow(EvaluateNow { limit: Some(0) }) => Err("limit is 0; it must be 1 or more".into()),
            Self::CheckpointNow(CheckpointNow { label: Some(label), .. }) if label.chars().count() > 120 => {
                Err("the label is longer than 120 characters".into())
            }
            Self::SampleNow(sample) => sample.check(),
            _ => Ok(()),
        }
    }
}

impl SampleNow {
    const MAX_SAMPLES: usize = 64;
    const MAX_IMAGES: usize = 64;
    const MAX_NEW_TOKENS: usize = 8192;

    fn check(&self) -> Result<(), String> {
        let bound = |what: &str, n: usize, max: usize| match n <= max {
            true => Ok(()),
            false => Err(format!("{what} is {n}; at most {max} at once")),
        };
        bound("n", self.n, Self::MAX_SAMPLES)?;
        bound("the number of images", self.images.len(), Self::MAX_IMAGES)?;
        match self.max_new_tokens {
            Some(0) => Err("max_new_tokens is 0; it must be 1 or more".into()),
            Some(n) => bound("max_new_tokens", n, Self::MAX_NEW_TOKENS),
            None => Ok(()),
        }
    }
}

/// Puts a command into the run's drop-box, whole or not at all; its id. There need not be a worker yet.
///
/// # Errors
/// The values cannot be, the command is longer than 64 KiB, or the box cannot be written.
pub fn send(dir: &RunDir, command: Command, by: &str) -> io::Result<String> {
    let refused = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    command.check().map_err(refused)?;
    let id = new_id()?;
    let envelope = Envelope { v: VERSION, id: id.clone(), by: by.to_owned(), command };
    let bytes = serde_json::to_vec(&envelope)?;
    if bytes.len() > MAX_BYTES {
        return Err(refused(format!("the command has {} bytes; at most {MAX_BYTES} fit", bytes.len())));
    }
    make_box(dir)?;
    crate::fs::write_atomic(&dir.join(RunDir::COMMANDS).join(format!("{id}.json")), &bytes)?;
    Ok(id)
}

/// Microseconds since 1970, so that ids sort by time, and something that no other sender has.
fn new_id() -> io::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{:016}-{:08x}", now.as_micros(), u32::from_le_bytes(info::random_bytes()?)))
}

/// `user@host` of this process.
pub fn by() -> String {
    let named =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    // SAFETY: getuid only returns a number.
    let user = named.unwrap_or_else(|| format!("uid {}", unsafe { libc::getuid() }));
    format!("{user}@{}", lock::host())
}

/// Only the owner may look into the box or write there: who does steers the run.
fn make_box(dir: &RunDir) -> io::Result<()> {
    let path = dir.join(RunDir::COMMANDS);
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(io::Error::new(e.kind(), format!("making {}: {e}", path.display())))
        }
        _ => Ok(()),
    }
}
