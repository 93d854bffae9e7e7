//! What a run writes down: LLaMA-Factory's files, our own logs, the lines for people. No mathematics in here.
//!
//! A log that cannot be written (full disk) never stops a run: it is said once, and the run goes on.

mod answered;

use super::checkpoints::{self, Checkpoint};
use super::drive::{Computed, Sampled, Trouble};
use super::log::RunLog;
use super::progress::{self, progress_line};
use super::record::{Ack, Eval, Event, Metric, Phase, SaveReason, Step, samples_hash};
use super::results::{EvalResults, TrainResults, save_metrics};
use super::say::{on_terminal, say, say_progress};
use super::state::{Reason, StateFile, Status};
use super::steps::{StepPlan, interval};
use super::trainer_log::{self, TrainerLog};
use super::trainer_state::{LogEntry, TrainerState};
use super::{RunDir, model_card, plot};
use crate::data::{self, Samples};
use crate::exit::{self, Exit};
use crate::profile::{Profile, TokenCount};
use crate::safe_text::clean;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// So many samples that cannot be used are named. With a wrong `media_dir` that is every one of perhaps millions.
const NAMED: usize = 10_000;
/// How far the check of the samples is, for those who watch: an hour of it is 1,200 lines.
const TELL_EVERY: Duration = Duration::from_secs(3);

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

    // ---- before the first step

    /// A sample was checked before training; what is left out is named.
    pub fn preparing(&mut self, step: data::Step<'_>) {
        for problem in step.problems {
            self.left_out += 1;
            if self.left_out <= NAMED {
                self.event(&Event::DataIssue {
                    source: problem.origin.clone(),
                    sample: problem.index as u64,
                    kind: problem.kind.into(),
                    reason: problem.reason.clone(),
                    action: "skipped".into(),
                });
                say(&format!("left out: {}: {} ({})", clean(&problem.origin), clean(&problem.reason), problem.kind));
            }
        }
        if self.told.elapsed() >= TELL_EVERY && step.done < step.total {
            self.told = Instant::now();
            let (done, total) = (Some(step.done as u64), Some(step.total as u64));
            self.event(&Event::Phase { phase: Phase::PreparingData, done, total });
        }
        // Millions of lines would take longer on a slow line than the samples.
        if on_terminal() && (step.done.is_multiple_of(256) || step.done == step.total) {
            say_progress(&format!("checking samples {}/{}", step.done, step.total));
        }
    }

    /// What there is to learn from, and so many samples to evaluate on.
    pub fn data(&mut self, train: &Samples, eval: usize) {
        let truncated = train.all_facts().iter().filter(|facts| facts.truncated).count();
        let (n, left_out) = (train.len(), self.left_out);
        if left_out > NAMED {
            let text = format!("{left_out} samples are left out; only the first {NAMED} of them are named");
            self.warning("left_out", &text, Some("`lightbox data check` counts them by what is wrong"));
        }
        if truncated > 0 {
            let text = format!(
                "{truncated} of {n} samples are longer than cutoff_len {} and lose text",
                self.profile.cutoff_len
            );
            self.warning("truncated", &text, Some("raise cutoff_len; `lightbox data stats` shows the lengths"));
        }
        let eval = if eval == 0 { String::new() } else { format!(", {eval} to evaluate on") };
        match self.profile.streaming {
            true => say(&format!("{n} samples to train on, checked when their turn comes{eval}")),
            false => say(&format!("{n} samples to train on{eval}, {left_out} left out")),
        }
    }

    /// The attempt goes on from a checkpoint.
    pub fn resume(&mut self, from: &Path, state: TrainerState, progress: Progress) {
        say(&format!("resumed at step {} ({})", state.global_step, clean(&from.display().to_string())));
        self.first =
            trainer_log::Session { total_steps: 0, first_step: state.global_step, first_tokens: progress.tokens };
        self.trainer_state = state;
        self.progress = progress;
    }

    pub fn begin(&mut self, plan: &StepPlan, facts: &ModelFacts) -> Result<()> {
        let p = self.profile;
        self.first.total_steps = plan.total_steps;
        self.trainer_log = Some(TrainerLog::open(self.dir, self.first)?);
        self.flos_per_token = facts.flos_per_token;
        let s = &mut self.trainer_state;
        s.num_train_epochs = plan.epochs;
        s.train_batch_size = Some(p.per_device_train_batch_size as u64);
        self.course(p, plan);
        say(&format!("{} numbers are trained, {} steps, on {}", facts.trainable, plan.total_steps, facts.device));
        let step = self.first.first_step;
        self.state(|s| s.step = step);
        self.status(Status::Running, None);
        self.started = Instant::now();
        Ok(())
    }

    /// The plan's numbers, at the start and when they were changed on the way.
    pub fn course(&mut self, p: &Profile, plan: &StepPlan) {
        let s = &mut self.trainer_state;
        s.max_steps = plan.total_steps;
        s.logging_steps = interval(p.logging_steps, plan.total_steps);
        s.save_steps = interval(p.save_steps, plan.total_steps);
        s.eval_steps = p.eval_steps.map_or(s.eval_steps, |e| interval(e, plan.total_steps));
        self.first.total_steps = plan.total_steps;
        let total = plan.total_steps;
        self.state(|s| s.total_steps = total);
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

    /// One update. `skipped`: its gradients were thrown away.
    #[allow(clippy::too_many_arguments)] // one call; a struct for it would only rename the arguments
    pub fn update(
        &mut self,
        step: u64,
        epoch: f64,
        lr: f64,
        memory: u64,
        c: &Computed,
        skipped: bool,
        log: bool,
    ) -> Step {
        self.progress.tokens += match self.profile.include_num_input_tokens_seen {
            TokenCount::NonPadding => c.real_tokens,
            _ => c.tokens,
        };
        // A loss that is not finite would spoil every mean from here on; the log line of its own step shows it.
        if !skipped {
            self.progress.total_loss += f64::from(c.loss);
            self.progress.window_loss += c.loss;
            self.progress.window_steps += 1;
        }
        self.trainer_state.total_flos += self.flos_per_token * c.tokens as f64;
        self.trainer_state.global_step = step;
        self.trainer_state.epoch = epoch;
        let counted = self.counted_tokens();
        self.trainer_state.num_input_tokens_seen = counted.unwrap_or(0);

        let record = Step {
            epoch,
            lr,
            tokens: c.tokens,
            images: c.images,
            image_tokens: c.image_tokens,
            samples_hash: samples_hash(c.samples.iter().copied()),
            dt_ms: c.time,
            mem_bytes: memory,
            skipped,
            ..Step::new(step, c.loss, f64::from(c.grad_norm))
        };
        let outcome = locked(&self.records).log.metric(&Metric::Step(record.clone()));
        self.quietly(outcome);
        self.state(|s| (s.step, s.epoch, s.loss) = (step, epoch, Some(f64::from(c.loss))));

        if log {
            let loss = match self.progress.window_steps {
                0 => f64::from(c.loss), // nothing but updates that were left out
                n => f64::from(self.progress.window_loss) / n as f64,
            };
            (self.progress.window_loss, self.progress.window_steps) = (0.0, 0);
            let mut entry = LogEntry {
                epoch: Some(epoch),
                step,
                grad_norm: Some(f64::from(c.grad_norm)),
                learning_rate: Some(lr),
                loss: Some(loss),
                num_input_tokens_seen: counted,
                ..LogEntry::default()
            };
            if let Some(tokens) = counted {
                let seconds = self.started.elapsed().as_secs_f64();
                entry.other.insert("train_runtime".into(), ((seconds * 1e4).round() / 1e4).into());
                entry.other.insert(
                    "train_tokens_per_second".into(),
                    (((tokens - self.first.first_tokens) as f64 / seconds * 1e3).round() / 1e3).into(),
                );
            }
            self.trainer_state.log_history.push(entry);
            self.trainer_log(trainer_log::Report {
                step,
                loss: Some(loss),
                lr: Some(lr),
                epoch: Some(epoch),
                total_tokens: counted,
                eval_loss: None,
            });
        }
        if on_terminal() || log {
            self.show(step, c, lr, memory);
        }
        record
    }

    fn show(&mut self, step: u64, c: &Computed, lr: f64, memory: u64) {
        let seconds = self.started.elapsed().as_secs_f64();
        let done = step.saturating_sub(self.first.first_step).max(1) as f64;
        say_progress(&progress_line(&progress::Progress {
            step,
            total_steps: self.first.total_steps,
            loss: Some(f64::from(c.loss)),
            lr,
            grad_norm: Some(f64::from(c.grad_norm)),
            tokens_per_second: Some((self.progress.tokens - self.first.first_tokens) as f64 / seconds.max(1e-9)),
            mem_bytes: Some(memory),
            seconds_left: Some(seconds / done * self.first.total_steps.saturating_sub(step) as f64),
        }));
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

    // ---- the end

    pub fn finished(&mut self, plan: &StepPlan, made: u64) -> Result<()> {
        let p = self.profile;
        let runtime = Duration::from_secs_f64(self.progress.seconds + self.started.elapsed().as_secs_f64());
        let results = TrainResults {
            epoch: self.trainer_state.epoch,
            num_input_tokens_seen: self.counted_tokens(),
            total_flos: self.trainer_state.total_flos,
            train_loss: self.progress.total_loss / made.saturating_sub(self.progress.nonfinite).max(1) as f64,
            runtime,
            samples: plan.samples_for_speed(p),
            steps: plan.total_steps,
        };
        let mut other = results.metrics();
        for key in ["epoch", "num_input_tokens_seen"] {
            other.remove(key);
        }
        // Only once, however often a full disk lets the files below be tried.
        if !std::mem::replace(&mut self.closed, true) {
            self.trainer_state.log_history.push(LogEntry {
                epoch: Some(results.epoch),
                step: plan.total_steps,
                num_input_tokens_seen: results.num_input_tokens_seen,
                other,
                ..LogEntry::default()
            });
            self.trainer_log(trainer_log::Report {
                step: plan.total_steps,
                epoch: Some(results.epoch),
                total_tokens: results.num_input_tokens_seen,
                ..Default::default()
            });
        }
        save_metrics(self.dir, "train", &results.metrics())?;
        self.trainer_state.set_control(true);
        self.trainer_state.write(&self.dir.join(RunDir::TRAINER_STATE))?;
        if p.plot_loss {
            plot::plot_losses(self.dir, &self.trainer_state.log_history)?;
        }
        let versions = [concat!("Lightbox ", env!("CARGO_PKG_VERSION")).to_owned()];
        model_card::write(
            self.dir.path(),
            self.dir,
            p,
            model_card::Facts {
                log_history: &self.trainer_state.log_history,
                warmup_steps: plan.warmup_steps,
                versions: &versions,
            },
        )?;
        say(&format!(
            "done: mean loss {:.4}, {}, in {}",
            results.train_loss,
            progress::short_time(runtime.as_secs_f64()),
            self.dir.path().display()
        ));
        Ok(())
    }

    /// The run ends with an error: state, event, and what a developer would ask for.
    pub fn failed(&mut self, error: &anyhow::Error) {
        let code = exit::code(error);
        let text = format!("{error:#}");
        if matches!(code, Exit::Internal | Exit::Device) {
            let outcome = super::crash::write(self.dir, &text);
            self.quietly(outcome);
        }
        self.status(Status::Failed, Some(Reason { kind: kind(code).into(), text, hint: None }));
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

/// [`Reason::kind`] of an exit code.
pub fn kind(code: Exit) -> &'static str {
    match code {
        Exit::Config | Exit::Usage => "config",
        Exit::Data => "data",
        Exit::Model => "model",
        Exit::OutOfMemory => "oom",
        Exit::NonFinite => "nonfinite",
        Exit::Disk => "disk",
        Exit::Device => "device",
        Exit::CannotStart => "cannot_start",
        Exit::Stopped => "user",
        _ => "internal",
    }
}
