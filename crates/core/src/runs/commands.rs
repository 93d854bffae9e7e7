//! The drop-box: `commands/*.json`, one file a command. Anyone who may write there (the run's owner) steers the run, over
//! network file systems and out of containers too, and before the worker is up. The worker looks at safe points
//! (between micro-batches), answers with `command_ack` events and removes the file.
use super::RunDir;
use super::edits::Edit;
use serde::{Deserialize, Serialize};
use std::io;

/// What a run can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", content = "args", rename_all = "snake_case")]
pub enum Command {
    /// Wait after this micro-batch, weights stay on the device.
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
