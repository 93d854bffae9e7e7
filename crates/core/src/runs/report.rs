//! What a run writes down: LLaMA-Factory's files, our own logs, the lines for people. No mathematics in here.
//!
//! A log that cannot be written (full disk) never stops a run: it is said once, and the run goes on. In the order of a run:
//! `before.rs` the first step, each `update.rs`, here what comes between updates, what was `answered.rs`, the `end.rs`.

mod answered;
mod before;
mod end;
mod update;

use super::RunDir;
use super::checkpoints::{self, Checkpoint};
use super::drive::{Sampled, Trouble};
use super::log::RunLog;
use super::record::{Ack, Eval, Event, Metric, Phase, SaveReason};
use super::results::{EvalResults, save_metrics};
use super::say::say;
use super::state::{Reason, StateFile, Status};
use super::trainer_log::{self, TrainerLog};
use super::trainer_state::{LogEntry, TrainerState};
use crate::profile::{Profile, TokenCount};
use crate::safe_text::clean;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use end::kind;

/// What more than one thread writes: the loop, and the one that answers signals while a model loads.
#[derive(Debug)]
pub struct Records {
    pub log: RunLog,
    pub state: StateFile,
}

/// The records, whatever became of another thread that held them.
pub fn locked(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the HF Trainer's state does not hold, so that a resumed run reports what an undisturbed one would. In each
/// checkpoint as `progress.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Sum of the losses of all updates, and of those since the last log line.
    pub total_loss: f64,
    pub window_loss: f32,
    pub window_steps: u64,
    /// Input tokens: with padding, or as `include_num_input_tokens_seen` says.
    pub tokens: u64,
    /// Seconds of training in the attempts before.
    pub seconds: f64,
    /// Updates left out because their loss or gradient was not finite: in all, and at the end in a row.
    pub nonfinite: u64,
    pub nonfinite_in_a_row: u64,
    /// Samples left out because they could not be read any more.
    pub lost_samples: u64,
    /// The checkpoint with the lowest evaluation loss.
    pub best: Option<Best>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    pub loss: f64,
}

impl Progress {
    pub const FILE: &str = "progress.json";

    /// Of a checkpoint.
    pub fn read(checkpoint: &Path) -> Result<Self> {
        let path = checkpoint.join(Self::FILE);
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }
}

/// What is known of the model before the first update.
#[derive(Debug, Clone, Default)]
pub struct ModelFacts {
    /// Numbers that are trained.
    pub trainable: usize,
    /// Multiplied by the input tokens: transformers' estimate of floating-point operations.
    pub flos_per_token: f64,
    /// `cuda:0`, or the CPU with its threads; for people.
    pub device: String,
}

/// Everything that is open for writing while a run goes on.
pub struct Report<'a> {
    profile: &'a Profile,
    dir: &'a RunDir,
    records: Arc<Mutex<Records>>,
    trainer_log: Option<TrainerLog>,
    pub trainer_state: TrainerState,
    pub progress: Progress,
    /// Steps and tokens of the attempts before this one.
    first: trainer_log::Session,
    started: Instant,
    flos_per_token: f64,
    /// Samples that cannot be used, found before training.
    left_out: usize,
    /// When it was last told how far the check before training is.
    told: Instant,
    /// A log could not be written, and that was said.
    log_broken: bool,
    /// The closing lines of the logs are written.
    closed: bool,
}

impl<'a> Report<'a> {
    pub fn new(profile: &'a Profile, dir: &'a RunDir, records: Arc<Mutex<Records>>) -> Self {
        for note in profile.notes() {
            say(&format!("note: {}", clean(&note)));
        }
        Self {
            profile,
            dir,
            records,
            trainer_log: None,
            trainer_state: TrainerState::default(),
            progress: Progress::default(),
            first: trainer_log::Session::default(),
            started: Instant::now(),
            flos_per_token: 0.0,
            left_out: 0,
            told: Instant::now(),
            log_broken: false,
            closed: false,
        }
    }

    // ---- while it runs

    pub fn phase(&mut self, phase: Phase) {
        self.event(&Event::Phase { phase, done: None, total: None });
    }

    pub fn status(&mut self, to: Status, reason: Option<Reason>) {
        let mut records = locked(&self.records);
        let (from, step) = (records.state.state().state, records.state.state().step);
        let logged = records.log.event(&Event::State { from, to, reason: reason.clone(), step });
        let written = records.state.update(|s| (s.state, s.reason) = (to, reason));
        drop(records);
        self.quietly(logged);
        self.quietly(written);
    }

    /// `partial`: on some of the samples only, so no point of the curve.
    pub fn evaluated(&mut self, step: u64, r: &EvalResults, partial: bool) {
        let metrics = r.metrics();
        let answers = r.generated.as_ref().and_then(|generated| generated.answers(&metrics));
        let outcome = locked(&self.records).log.metric(&Metric::Eval(Eval {
            step,
            loss: r.eval_loss.is_finite().then_some(r.eval_loss),
            n: r.samples as u64,
            dt_ms: r.runtime.as_millis() as u64,
            answers,
        }));
        self.quietly(outcome);
        say(&format!(
            "evaluation at step {step}: loss {:.4} over {} samples, {:.1} s",
            r.eval_loss,
            r.samples,
            r.runtime.as_secs_f64()
        ));
        if let Some(generated) = &r.generated {
            self.answered(step, generated, answers, partial);
        }
        if partial {
            return;
        }
        let counted = self.counted_tokens();
        let mut other = metrics.clone();
        other.remove("eval_loss");
        other.remove("epoch");
        self.trainer_state.log_history.push(LogEntry {
            epoch: r.epoch,
            step,
            eval_loss: Some(r.eval_loss),
            num_input_tokens_seen: counted,
            other,
            ..LogEntry::default()
        });
        self.trainer_log(trainer_log::Report {
            step,
            eval_loss: Some(r.eval_loss),
            epoch: r.epoch,
            total_tokens: counted,
            ..Default::default()
        });
        let outcome = save_metrics(self.dir, "eval", &metrics);
        self.quietly(outcome);
    }

    /// The checkpoint of `step` will be the best one so far. With `load_best_model_at_end` the HF Trainer's state says so.
    pub fn best(&mut self, step: u64, loss: f64) {
        self.progress.best = Some(Best { step, loss });
        if self.profile.load_best_model_at_end {
            self.trainer_state.best_metric = Some(loss);
            self.trainer_state.best_global_step = Some(step);
            self.trainer_state.best_model_checkpoint = Some(self.dir.checkpoint(step).display().to_string());
        }
    }

    /// What the model wrote: an event each, and all together in `samples/step-N/`.
    pub fn sampled(&mut self, step: u64, answers: &[Sampled]) {
        let mut lines = String::new();
        for a in answers {
            self.event(&Event::Sample {
                step,
                prompt: a.prompt.clone(),
                images: a.images.clone(),
                text: a.text.clone(),
                tokens: a.tokens,
                dt_ms: a.dt_ms,
            });
            let line = serde_json::json!({"prompt": a.prompt, "images": a.images, "text": a.text, "tokens": a.tokens});
            lines.push_str(&format!("{line}\n"));
        }
        let folder = self.dir.join(RunDir::SAMPLES).join(format!("step-{step:08}"));
        let write = || {
            crate::fs::create_dir_all(&folder)?;
            crate::fs::write_atomic(&folder.join("samples.jsonl"), lines.as_bytes())
        };
        self.quietly(write());
    }

    /// Something went wrong with an update and was dealt with.
    pub fn trouble(&mut self, step: u64, trouble: Trouble) {
        match trouble {
            Trouble::Split { micro, parts, detail } => self.warning(
                "oom_split",
                &format!(
                    "out of memory at step {step}, micro-batch {micro}: {detail} It was split in {parts} and the update \
                     made again; the mathematics is the same"
                ),
                Some("to avoid it, lower image_max_pixels or cutoff_len, or halve per_device_train_batch_size and double gradient_accumulation_steps"),
            ),
            Trouble::Sample { index, origin, kind, reason } => {
                self.progress.lost_samples += 1;
                say(&format!(
                    "warning: step {step}: sample {index} ({}) was left out: {} ({kind})",
                    clean(&origin),
                    clean(&reason)
                ));
                self.event(&Event::DataIssue { source: origin, sample: index as u64, kind, reason, action: "skipped".into() });
            }
        }
    }

    pub fn warning(&mut self, code: &str, text: &str, hint: Option<&str>) {
        let tail = hint.map_or(String::new(), |h| format!("; {h}"));
        say(&format!("warning: {}{tail}", clean(text)));
        self.event(&Event::Warning { code: code.into(), text: text.into(), hint: hint.map(str::to_owned) });
    }

    pub fn ack(&mut self, id: &str, cmd: &str, status: Ack, error: Option<String>) {
        let effective_step = locked(&self.records).state.state().step;
        self.event(&Event::CommandAck { id: id.into(), cmd: cmd.into(), status, effective_step, error });
    }

    // ---- checkpoints

    /// Writes what the reports know into a checkpoint's folder.
    pub fn save(&mut self, to: &Path, finished: bool) -> Result<()> {
        self.trainer_state.set_control(finished);
        self.trainer_state.write(&to.join(RunDir::TRAINER_STATE))?;
        let seconds = self.progress.seconds + self.started.elapsed().as_secs_f64();
        let progress = Progress { seconds, ..self.progress.clone() };
        Ok(crate::fs::write_atomic(&to.join(Progress::FILE), &serde_json::to_vec_pretty(&progress)?)?)
    }

    pub fn saved(&mut self, step: u64, bytes: u64, started: Instant, reason: SaveReason) {
        let path = format!("{}{step}", checkpoints::PREFIX);
        self.event(&Event::CheckpointSaved {
            step,
            path: path.clone(),
            bytes,
            write_ms: started.elapsed().as_millis() as u64,
            reason,
        });
        self.state(|s| s.checkpoint = Some(path));
    }

    pub fn deleted(&mut self, gone: Vec<Checkpoint>) {
        for c in gone {
            self.event(&Event::CheckpointDeleted { step: c.step, path: format!("{}{}", checkpoints::PREFIX, c.step) });
        }
    }

    /// `checkpoint-N`, as last written or resumed from.
    pub fn newest_checkpoint(&self) -> Option<String> {
        locked(&self.records).state.state().checkpoint.clone()
    }

    // ---- helpers

    pub fn event(&mut self, event: &Event) {
        let outcome = locked(&self.records).log.event(event);
        self.quietly(outcome);
    }

    fn counted_tokens(&self) -> Option<u64> {
        (self.profile.include_num_input_tokens_seen != TokenCount::No).then_some(self.progress.tokens)
    }

    fn trainer_log(&mut self, report: trainer_log::Report) {
        if let Some(log) = &mut self.trainer_log {
            let outcome = log.write(&report).map(|_| ());
            self.quietly(outcome);
        }
    }

    fn state(&mut self, change: impl FnOnce(&mut super::state::RunState)) {
        let outcome = locked(&self.records).state.update(change);
        self.quietly(outcome);
    }

    fn quietly(&mut self, outcome: std::io::Result<()>) {
        if let Err(e) = outcome
            && !std::mem::replace(&mut self.log_broken, true)
        {
            say(&format!("warning: {e}. Training goes on without that record"));
        }
    }
}
