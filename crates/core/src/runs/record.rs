//! What the lines of our own logs hold (schema version 1).
//!
//! Every line is an envelope ([`Line`]) around a record with a `type`. Readers ignore fields and types they do not know;
//! keys never change their meaning; units are part of the names (`_ms`, `_bytes`). Numbers are finite: a NaN or an
//! infinity is `null`, and `nonfinite` says which.
use super::state::{Reason, Status};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Version of the schema.
pub const VERSION: u32 = 1;

/// The envelope of every line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line<T> {
    pub v: u32,
    /// One counter over all logs of the run, from 1.
    pub seq: u64,
    /// Milliseconds since 1970, for display.
    pub t: u64,
    /// Milliseconds since the attempt began, for differences.
    pub mono: u64,
    /// Attempt, from 1; a resume begins the next one.
    pub att: u32,
    /// Process that wrote it, in a run of several.
    pub rank: u32,
    #[serde(flatten)]
    pub record: T,
}

/// First line of each log in each attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    pub schema: u32,
    /// Program and version.
    pub app: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub libtorch: Option<String>,
    pub pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub attempt: u32,
    /// Checkpoint folder that this attempt continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<String>,
}

impl Header {
    /// A header of this process.
    pub fn new(app: impl Into<String>) -> Self {
        Self { schema: VERSION, app: app.into(), pid: std::process::id(), ..Self::default() }
    }
}

/// What a worker is busy with while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    LoadingModel,
    PreparingData,
    /// Forward and backward of the largest micro-batch, before the first update.
    ProbingMemory,
    #[default]
    Training,
    Evaluating,
    Sampling,
    Checkpointing,
}

/// A line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    Header(Header),
    State {
        from: Status,
        to: Status,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        step: u64,
    },
    Phase {
        phase: Phase,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        done: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    CheckpointBegin {
        step: u64,
        #[serde(default)]
        reason: SaveReason,
    },
    CheckpointSaved {
        step: u64,
        path: String,
        bytes: u64,
        write_ms: u64,
        #[serde(default)]
        reason: SaveReason,
    },
    /// A complete checkpoint that no event spoke of: the worker died between writing it and saying so.
    CheckpointAdopted {
        step: u64,
        path: String,
    },
    /// A damaged checkpoint was moved aside; `reason` names file and damage.
    CheckpointQuarantined {
        step: u64,
        path: String,
        reason: String,
    },
    CheckpointFailed {
        step: u64,
        path: String,
        error: String,
    },
    CheckpointDeleted {
        step: u64,
        path: String,
    },
    /// Something the user should know; the run goes on.
    Warning {
        /// Stable short name.
        code: String,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// A sample that could not be used.
    DataIssue {
        /// File, with line or row.
        source: String,
        sample: u64,
        /// Stable short name, as in [`crate::data::Problem::kind`].
        kind: String,
        reason: String,
        /// What was done: `skipped` or `refused`.
        action: String,
    },
    /// After a resume: the repeated updates were compared with the old log.
    ResumeVerified {
        /// The checkpoint's.
        from_step: u64,
        /// Updates that both attempts made.
        steps: u64,
        /// Loss, gradient norm and samples of all of them are bit for bit the same.
        exact: bool,
        /// First update that is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_diff: Option<u64>,
        /// Largest relative difference of two losses.
        #[serde(default)]
        max_rel_diff: f64,
    },
    /// On a resume: something is not as it was when the checkpoint was written.
    Changed {
        /// `settings`, `data`, `model` or `program`.
        what: String,
        /// The profile's key, or a file.
        key: String,
        before: String,
        after: String,
    },
    /// A setting was changed while the run went on; it holds from `step` (updates done) on.
    Setting {
        key: String,
        value: String,
        step: u64,
        #[serde(default)]
        by: String,
    },
    /// `predict_with_generate`: evaluation samples were answered.
    Answered {
        step: u64,
        /// The answers ([`crate::evaluate::predictions`]), relative to the run's folder.
        path: String,
        answers: Answers,
        dt_ms: u64,
    },
    /// What the model wrote when asked during training.
    Sample {
        step: u64,
        prompt: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<String>,
        text: String,
        tokens: u64,
        dt_ms: u64,
    },
    /// Answer to a command of the drop-box ([`super::commands`]).
    CommandAck {
        id: String,
        cmd: String,
        status: Ack,
        /// Updates done when it took effect.
        effective_step: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Records that a slow disk made the worker leave out.
    Dropped {
        /// `metric` or `event`.
        class: String,
        count: u64,
    },
    /// By the supervisor: how the worker's process ended.
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
        /// The kernel's out-of-memory killer struck in this control group meanwhile.
        oom_kill: bool,
        max_rss_bytes: u64,
        runtime_ms: u64,
        /// It is started again from the newest checkpoint.
        #[serde(default)]
        restart: bool,
    },
    /// Written by a newer version; ignored.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// Why a checkpoint is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveReason {
    /// `save_steps` or `save_strategy`.
    #[default]
    Auto,
    /// A command.
    User,
    /// Before stopping on a signal or a command.
    Stop,
    /// After the last update.
    Final,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// Read; takes effect at the next safe point.
    Accepted,
    /// Done.
    Applied,
    /// Not done; `error` says why.
    Rejected,
}

impl Event {
    /// Must survive a power cut: the log's thread has it written to the disk itself, not only to its cache.
    pub fn is_durable(&self) -> bool {
        matches!(
            self,
            Self::State { .. }
                | Self::CheckpointSaved { .. }
                | Self::CheckpointFailed { .. }
                | Self::CheckpointDeleted { .. }
                | Self::Setting { .. }
                | Self::Exited { .. }
        )
    }
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Metric {
    Header(Header),
    Step(Step),
    Eval(Eval),
    /// Written by a newer version; ignored.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// One optimizer update.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Updates done, this one included.
    pub step: u64,
    pub epoch: f64,
    /// `null` if it is not finite.
    pub loss: Option<f64>,
    /// The loss's 32 bits in hexadecimal: equal runs have equal bits.
    pub loss_bits: String,
    /// Before clipping; `null` if it is not finite.
    pub grad_norm: Option<f64>,
    /// `nan`, `inf` or `-inf`: the loss, or if that is finite the gradient norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonfinite: Option<String>,
    /// Rate used in this update.
    pub lr: f64,
    /// Input tokens of this update, with padding.
    pub tokens: u64,
    pub images: u64,
    pub image_tokens: u64,
    /// [`samples_hash`] of this update's samples.
    pub samples_hash: String,
    pub dt_ms: StepTime,
    /// Memory held on the device (resident memory on a CPU).
    pub mem_bytes: u64,
    /// The update was left out because it was not finite.
    pub skipped: bool,
}

impl Step {
    /// A step with its numbers made safe for JSON; the rest is for the caller to fill in.
    pub fn new(step: u64, loss: f32, grad_norm: f64) -> Self {
        let finite = |x: f64| x.is_finite().then_some(x);
        Self {
            step,
            loss: finite(loss.into()),
            loss_bits: format!("{:08x}", loss.to_bits()),
            grad_norm: finite(grad_norm),
            nonfinite: [f64::from(loss), grad_norm]
                .into_iter()
                .find(|x| !x.is_finite())
                .map(|x| x.to_string().to_lowercase()),
            ..Self::default()
        }
    }
}

/// Where an update's time went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepTime {
    /// Waiting for samples.
    pub data: f64,
    pub fwd: f64,
    pub bwd: f64,
    pub opt: f64,
    pub total: f64,
}

/// One evaluation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Eval {
    pub step: u64,
    /// `null` if it is not finite.
    pub loss: Option<f64>,
    /// Samples.
    pub n: u64,
    pub dt_ms: u64,
    /// `predict_with_generate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
}

/// What the answers of an evaluation are worth: means over the samples that were answered, from 0 to 100. Keys as in
/// `eval_results.json`, there with `eval_` before them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Answers {
    /// Samples that were answered.
    pub n: u64,
    /// LLaMA-Factory's numbers; see [`crate::evaluate::similarity`].
    pub bleu_4: f64,
    pub rouge_1: f64,
    pub rouge_2: f64,
    pub rouge_l: f64,
    /// Percent.
    #[serde(rename = "exact_match")]
    pub exact_match: f64,
}

/// A line of `system.jsonl`. That file has a `seq` of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SystemRecord {
    Header(Header),
    System(System),
    /// Written by a newer version; ignored.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// The machine at one moment. What could not be measured is `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// All that the driver shows; empty without a GPU.
    pub gpus: Vec<Gpu>,
    /// The worker's resident memory.
    pub rss_bytes: Option<u64>,
    /// Of one core, so several busy threads give more than 100; since the line before.
    pub cpu_percent: Option<f64>,
    /// Where the run's folder lies.
    pub disk_free_bytes: Option<u64>,
    /// Processes that want to run, on average over a minute.
    pub load_1min: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// As NVML counts them (`CUDA_VISIBLE_DEVICES` has no say here).
    pub index: u32,
    pub name: String,
    /// Part of the time in which some kernel ran.
    pub util_percent: Option<u32>,
    pub mem_used_bytes: Option<u64>,
    pub mem_total_bytes: Option<u64>,
    /// The worker's part of the used memory; not known inside some containers.
    pub mem_worker_bytes: Option<u64>,
    pub temp_c: Option<u32>,
    pub power_w: Option<f64>,
    pub power_limit_w: Option<f64>,
    pub sm_clock_mhz: Option<u32>,
    pub mem_clock_mhz: Option<u32>,
    /// Of the first fan's full speed; cards in servers often have none.
    pub fan_percent: Option<u32>,
    /// NVML's names of the reasons why the clock is held down, e.g. `SW_POWER_CAP`.
    pub throttle: Vec<String>,
    /// Who uses it, by pid; the driver shows none to some containers.
    pub processes: Vec<GpuProcess>,
}

/// A process on a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuProcess {
    /// Inside a container it may be the host's number.
    pub pid: u32,
    /// The program, without its folder; may be empty.
    pub name: String,
    pub mem_bytes: Option<u64>,
    pub kind: GpuProcessKind,
}

/// What a process does on a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuProcessKind {
    #[default]
    Compute,
    Graphics,
    Both,
}

/// Names the samples of an update (their indices, in order) in 16 hexadecimal digits, so that two runs can be compared.
pub fn samples_hash(indices: impl IntoIterator<Item = usize>) -> String {
    let mut hash = Sha256::new();
    for index in indices {
        hash.update((index as u64).to_le_bytes());
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_its_documented_keys() {
        let line = Line {
            v: 1,
            seq: 90,
            t: 1_772_375_545_123,
            mono: 9912,
            att: 1,
            rank: 0,
            record: Metric::Step(Step::new(42, 1.8342, 0.91)),
        };
        let json = serde_json::to_string(&line).unwrap();
        assert!(
            json.starts_with(
                r#"{"v":1,"seq":90,"t":1772375545123,"mono":9912,"att":1,"rank":0,"type":"step","step":42,"epoch":0.0,"loss":1.83420"#
            ),
            "{json}"
        );
        assert!(json.contains(r#""loss_bits":"3feac711""#), "{json}");
        assert_eq!(serde_json::from_str::<Line<Metric>>(&json).unwrap(), line);
    }

    #[test]
    fn non_finite_numbers_are_null_and_named() {
        for (loss, grad_norm, name) in
            [(f32::NAN, 1.0, "nan"), (f32::INFINITY, f64::NAN, "inf"), (1.0, f64::NEG_INFINITY, "-inf")]
        {
            let step = Step::new(1, loss, grad_norm);
            assert_eq!(step.nonfinite.as_deref(), Some(name));
            let json = serde_json::to_string(&step).unwrap();
            assert_eq!(serde_json::from_str::<Step>(&json).unwrap(), step);
        }
        assert_eq!(Step::new(1, 1.0, 1.0).nonfinite, None);
    }

    #[test]
    fn a_gpu_of_an_older_log_is_still_read() {
        let gpu: Gpu = serde_json::from_str(r#"{"index":1,"name":"A100","util_percent":null,"throttle":[]}"#).unwrap();
        assert_eq!(gpu, Gpu { index: 1, name: "A100".into(), ..Gpu::default() });
    }

    #[test]
    fn the_hash_of_samples_depends_on_their_order() {
        assert_eq!(samples_hash([1, 2]).len(), 16);
        assert_eq!(samples_hash([1, 2]), samples_hash([1, 2]));
        assert_ne!(samples_hash([1, 2]), samples_hash([2, 1]));
    }

    proptest::proptest! {
        #[test]
        fn events_read_back_as_they_were_written(source in ".*", reason in ".*", sample: u64, step: u64) {
            for event in [
                Event::DataIssue { source: source.clone(), sample, kind: "bad_json".into(), reason: reason.clone(), action: "skipped".into() },
                Event::CheckpointSaved { step, path: source.clone(), bytes: sample, write_ms: 1, reason: SaveReason::Final },
                Event::CommandAck { id: source.clone(), cmd: "stop".into(), status: Ack::Rejected, effective_step: step, error: Some(reason.clone()) },
                Event::Warning { code: "slow".into(), text: reason.clone(), hint: None },
            ] {
                let line = Line { v: VERSION, seq: 1, t: 2, mono: 3, att: 4, rank: 0, record: event };
                let json = serde_json::to_string(&line).unwrap();
                proptest::prop_assert!(!json.contains('\n'));
                proptest::prop_assert_eq!(serde_json::from_str::<Line<Event>>(&json).unwrap(), line);
            }
        }
    }
}
