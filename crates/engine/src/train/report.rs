//! What a run writes down: LLaMA-Factory's files, our own logs, the progress line. No mathematics in here.
//!
//! A log that cannot be written (full disk) never stops a run: it is said once, and the run goes on.

use super::batches::HostBatch;
use super::checkpoint::Progress;
use super::data::{Samples, tell_left_out};
use crate::model::Qwen2Vl;
use anyhow::{Result, anyhow};
use lightbox_core::exit;
use lightbox_core::profile::{Profile, TokenCount};
use lightbox_core::runs::log::RunLog;
use lightbox_core::runs::progress::{self, progress_line};
use lightbox_core::runs::record::{Eval, Event, Header, Metric, Phase, Step, StepTime, samples_hash};
use lightbox_core::runs::results::{EvalResults, TrainResults, save_metrics};
use lightbox_core::runs::state::{Reason, StateFile, Status};
use lightbox_core::runs::steps::{StepPlan, interval};
use lightbox_core::runs::trainer_log::{self, Session, TrainerLog};
use lightbox_core::runs::trainer_state::{LogEntry, TrainerState};
use lightbox_core::runs::{RunDir, checkpoints, model_card, plot};
use lightbox_core::safe_text::clean;
use lightbox_core::text::image_tokens;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};
use tch::Device;

/// Everything that is open for writing while a run goes on.
pub struct Report<'a> {
    profile: &'a Profile,
    dir: &'a RunDir,
    log: RunLog,
    state: StateFile,
    trainer_log: Option<TrainerLog>,
    pub trainer_state: TrainerState,
    progress: Progress,
    /// Steps and tokens of the attempts before this one.
    first: Session,
    started: Instant,
    device: Device,
    /// Multiplied by the input tokens: transformers' estimate of floating-point operations.
    flos_per_token: f64,
    terminal: bool,
    /// A log could not be written, and that was said.
    log_broken: bool,
}

/// One update, as the loop hands it over.
pub struct Update<'h> {
    pub step: u64,
    pub epoch: f64,
    pub loss: f32,
    pub grad_norm: f32,
    pub lr: f64,
    pub time: StepTime,
    pub hosts: &'h [HostBatch],
    /// Indices in the data set of the samples it saw.
    pub indices: Vec<usize>,
    /// A log line is due.
    pub log: bool,
}

impl<'a> Report<'a> {
    pub fn open(profile: &'a Profile, dir: &'a RunDir, resume_from: Option<&Path>) -> Result<Self> {
        let mut header = Header::new(concat!("lightbox-engine ", env!("CARGO_PKG_VERSION")));
        header.resumed_from = resume_from.map(|p| p.display().to_string());
        let mut log = RunLog::open(dir, header)?;
        let state = StateFile::create(dir, Status::Preparing, 0)?;
        log.event(&Event::State { from: Status::Created, to: Status::Preparing, reason: None, step: 0 })?;
        for note in profile.notes() {
            eprintln!("note: {note}");
        }
        Ok(Self {
            profile,
            dir,
            log,
            state,
            trainer_log: None,
            trainer_state: TrainerState::default(),
            progress: Progress::default(),
            first: Session::default(),
            started: Instant::now(),
            device: Device::Cpu,
            flos_per_token: 0.0,
            terminal: std::io::stderr().is_terminal(),
            log_broken: false,
        })
    }

    // ---- before the first step

    pub fn preparing(&mut self, done: usize, total: usize) {
        if self.terminal {
            eprint!("\rchecking samples {done}/{total}\x1b[K");
            if done == total {
                eprintln!();
            }
        }
    }

    pub fn data(&mut self, samples: &Samples) {
        for p in &samples.problems {
            self.event(&Event::DataIssue {
                source: p.origin.clone(),
                sample: p.index as u64,
                kind: p.kind.into(),
                reason: p.reason.clone(),
                action: "skipped".into(),
            });
        }
        tell_left_out(&samples.problems);
        let truncated = samples.train.iter().filter(|s| s.encoded.truncated > 0).count();
        if truncated > 0 {
            let text = format!(
                "{truncated} of {} samples are longer than cutoff_len {} and lose text",
                samples.train.len(),
                self.profile.cutoff_len
            );
            eprintln!("warning: {text}");
            self.event(&Event::Warning {
                code: "truncated".into(),
                text,
                hint: Some("raise cutoff_len; `lightbox data stats` shows the lengths".into()),
            });
        }
        let eval =
            if samples.eval.is_empty() { String::new() } else { format!(", {} to evaluate on", samples.eval.len()) };
        eprintln!("{} samples to train on{eval}, {} left out", samples.train.len(), samples.problems.len());
    }

    pub fn resume(&mut self, state: TrainerState, progress: Progress) {
        eprintln!("resumed at step {}", state.global_step);
        self.first = Session { total_steps: 0, first_step: state.global_step, first_tokens: progress.tokens };
        self.trainer_state = state;
        self.progress = progress;
    }

    pub fn begin(&mut self, plan: &StepPlan, model: &Qwen2Vl, trainable: usize, device: Device) -> Result<()> {
        let p = self.profile;
        self.first.total_steps = plan.total_steps;
        self.trainer_log = Some(TrainerLog::open(self.dir, self.first)?);
        self.device = device;
        let base: usize = model
            .named_weights()
            .iter()
            .filter(|(n, _)| n != "model.embed_tokens.weight")
            .map(|(_, t)| t.numel())
            .sum();
        let adapter: usize = crate::lora::named_parameters(model).iter().map(|(_, t)| t.numel()).sum();
        self.flos_per_token = 6.0 * (base + adapter) as f64;
        let s = &mut self.trainer_state;
        s.max_steps = plan.total_steps;
        s.num_train_epochs = plan.epochs;
        s.logging_steps = interval(p.logging_steps, plan.total_steps);
        s.save_steps = interval(p.save_steps, plan.total_steps);
        s.eval_steps = p.eval_steps.map_or(s.eval_steps, |e| interval(e, plan.total_steps));
        s.train_batch_size = Some(p.per_device_train_batch_size as u64);
        eprintln!("{trainable} numbers are trained, {} steps, on {}", plan.total_steps, device_name(device));
        self.status(Status::Running);
        self.started = Instant::now();
        let total = plan.total_steps;
        let step = self.first.first_step;
        let outcome = self.state.update(|s| (s.total_steps, s.step) = (total, step));
        self.quietly(outcome);
        Ok(())
    }

    // ---- while it runs

    pub fn phase(&mut self, phase: Phase) {
        self.event(&Event::Phase { phase, done: None, total: None });
    }

    pub fn status(&mut self, to: Status) {
        let (from, step) = (self.state.state().state, self.state.state().step);
        self.event(&Event::State { from, to, reason: None, step });
        let outcome = self.state.update(|s| s.state = to);
        self.quietly(outcome);
    }

    pub fn update(&mut self, u: Update) {
        let tokens: usize = u.hosts.iter().map(|h| h.batch.rows * h.batch.len).sum();
        let real: i64 = u.hosts.iter().map(|h| h.batch.attention_mask.iter().sum::<i64>()).sum();
        self.progress.tokens += match self.profile.include_num_input_tokens_seen {
            TokenCount::NonPadding => real as u64,
            _ => tokens as u64,
        };
        self.progress.total_loss += f64::from(u.loss);
        self.progress.window_loss += u.loss;
        self.progress.window_steps += 1;
        self.trainer_state.total_flos += self.flos_per_token * tokens as f64;
        self.trainer_state.global_step = u.step;
        self.trainer_state.epoch = u.epoch;
        let counted = self.counted_tokens();
        self.trainer_state.num_input_tokens_seen = counted.unwrap_or(0);

        let memory = memory(self.device);
        let images = u.hosts.iter().map(|h| if h.batch.fake_image { 0 } else { h.grids.len() }).sum::<usize>();
        let grids = u.hosts.iter().filter(|h| !h.batch.fake_image).flat_map(|h| &h.grids);
        let image_tokens: usize = grids.filter_map(image_tokens).sum();
        let step = Step {
            epoch: u.epoch,
            lr: u.lr,
            tokens: tokens as u64,
            images: images as u64,
            image_tokens: image_tokens as u64,
            samples_hash: samples_hash(u.indices),
            dt_ms: u.time,
            mem_bytes: memory,
            ..Step::new(u.step, u.loss, f64::from(u.grad_norm))
        };
        let outcome = self.log.metric(&Metric::Step(step));
        self.quietly(outcome);
        let outcome = self.state.update(|s| (s.step, s.epoch, s.loss) = (u.step, u.epoch, Some(f64::from(u.loss))));
        self.quietly(outcome);

        if u.log {
            let loss = f64::from(self.progress.window_loss) / self.progress.window_steps as f64;
            (self.progress.window_loss, self.progress.window_steps) = (0.0, 0);
            let mut entry = LogEntry {
                epoch: Some(u.epoch),
                step: u.step,
                grad_norm: Some(f64::from(u.grad_norm)),
                learning_rate: Some(u.lr),
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
                step: u.step,
                loss: Some(loss),
                lr: Some(u.lr),
                epoch: Some(u.epoch),
                total_tokens: counted,
                eval_loss: None,
            });
        }
        self.show(u.step, u.loss, u.grad_norm, u.lr, memory, u.log);
    }

    /// On a terminal one line that is overwritten; elsewhere a line whenever a log entry is due.
    fn show(&mut self, step: u64, loss: f32, grad_norm: f32, lr: f64, memory: u64, due: bool) {
        if !self.terminal && !due {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let done = (step - self.first.first_step).max(1) as f64;
        let line = progress_line(&progress::Progress {
            step,
            total_steps: self.first.total_steps,
            loss: Some(f64::from(loss)),
            lr,
            grad_norm: Some(f64::from(grad_norm)),
            tokens_per_second: Some((self.progress.tokens - self.first.first_tokens) as f64 / seconds.max(1e-9)),
            mem_bytes: Some(memory),
            seconds_left: Some(seconds / done * (self.first.total_steps - step) as f64),
        });
        if self.terminal {
            eprint!("\r{line}\x1b[K");
        } else {
            eprintln!("{line}");
        }
    }

    pub fn evaluated(&mut self, step: u64, r: &EvalResults) {
        let outcome = self.log.metric(&Metric::Eval(Eval {
            step,
            loss: r.eval_loss.is_finite().then_some(r.eval_loss),
            n: r.samples as u64,
            dt_ms: r.runtime.as_millis() as u64,
        }));
        self.quietly(outcome);
        let counted = self.counted_tokens();
        let mut other = r.metrics();
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
        let outcome = save_metrics(self.dir, "eval", &r.metrics());
        self.quietly(outcome);
        self.line(&format!(
            "evaluation at step {step}: loss {:.4} over {} samples, {:.1} s",
            r.eval_loss,
            r.samples,
            r.runtime.as_secs_f64()
        ));
    }

    /// Brings `trainer_state` to what the HF Trainer saves.
    pub fn log_state(&mut self, finished: bool) {
        self.trainer_state.set_control(finished);
    }

    /// For a checkpoint: this attempt's time included.
    pub fn progress(&self) -> Progress {
        Progress { seconds: self.progress.seconds + self.started.elapsed().as_secs_f64(), ..self.progress.clone() }
    }

    pub fn saved(&mut self, step: u64, path: &Path, started: Instant) {
        // The size is only told; a folder that cannot be listed just now is no reason to end a run.
        let entries = std::fs::read_dir(path).into_iter().flatten();
        let bytes = entries.filter_map(|e| e.ok()?.metadata().ok()).map(|m| m.len()).sum();
        let relative = format!("{}{step}", checkpoints::PREFIX);
        self.event(&Event::CheckpointSaved {
            step,
            path: relative.clone(),
            bytes,
            write_ms: started.elapsed().as_millis() as u64,
            reason: Default::default(),
        });
        let outcome = self.state.update(|s| s.checkpoint = Some(relative));
        self.quietly(outcome);
        if let Some(limit) = self.profile.save_total_limit {
            match checkpoints::rotate(self.dir, limit) {
                Ok(deleted) => deleted.into_iter().for_each(|c| {
                    self.event(&Event::CheckpointDeleted {
                        step: c.step,
                        path: format!("{}{}", checkpoints::PREFIX, c.step),
                    })
                }),
                Err(e) => self.quietly(Err(e)),
            }
        }
    }

    pub fn not_saved(&mut self, step: u64, error: &anyhow::Error) {
        let text = format!("{error:#}");
        self.line(&format!(
            "warning: checkpoint at step {step}: {}. Training goes on; free some space before the next one",
            clean(&text)
        ));
        self.event(&Event::CheckpointFailed { step, path: format!("{}{step}", checkpoints::PREFIX), error: text });
    }

    // ---- the end

    /// The error for a loss or gradient that is not finite; the weights have not been touched.
    pub fn nonfinite(&mut self, k: u64, loss: f32, grad_norm: f32, indices: &[usize]) -> anyhow::Error {
        let outcome = self.log.metric(&Metric::Step(Step {
            skipped: true,
            samples_hash: samples_hash(indices.iter().copied()),
            ..Step::new(k + 1, loss, f64::from(grad_norm))
        }));
        self.quietly(outcome);
        let what = if loss.is_finite() {
            format!("the gradient norm became {grad_norm}")
        } else {
            format!("the loss became {loss}")
        };
        let samples = indices.iter().take(16).map(usize::to_string).collect::<Vec<_>>().join(", ");
        let kept = match self.state.state().checkpoint.as_deref() {
            Some(c) => format!("the newest checkpoint is {c}"),
            None => "there is no checkpoint yet".to_owned(),
        };
        anyhow!(
            "{what} at step {} (samples {samples}{}). The update was not made, so the weights are as after step {k}; {kept}. Lower learning_rate or max_grad_norm, look at these samples with `lightbox data show`, and start again",
            k + 1,
            if indices.len() > 16 { ", …" } else { "" }
        )
    }

    pub fn stopped(&mut self) {
        let checkpoint = self.state.state().checkpoint.clone().unwrap_or_default();
        self.line(&format!("stopped on request; {checkpoint} is saved. The same command goes on from there"));
        self.status(Status::Stopped);
    }

    pub fn finished(&mut self, plan: &StepPlan) -> Result<()> {
        let p = self.profile;
        let runtime = Duration::from_secs_f64(self.progress.seconds + self.started.elapsed().as_secs_f64());
        let results = TrainResults {
            epoch: self.trainer_state.epoch,
            num_input_tokens_seen: self.counted_tokens(),
            total_flos: self.trainer_state.total_flos,
            train_loss: self.progress.total_loss / plan.total_steps as f64,
            runtime,
            samples: plan.samples_for_speed(p),
            steps: plan.total_steps,
        };
        let mut other = results.metrics();
        for key in ["epoch", "num_input_tokens_seen"] {
            other.remove(key);
        }
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
        save_metrics(self.dir, "train", &results.metrics())?;
        self.log_state(true);
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
        self.line(&format!(
            "done: mean loss {:.4}, {}, in {}",
            results.train_loss,
            progress::short_time(runtime.as_secs_f64()),
            self.dir.path().display()
        ));
        self.status(Status::Finished);
        Ok(())
    }

    pub fn failed(&mut self, error: &anyhow::Error) {
        if self.terminal {
            eprintln!();
        }
        let text = format!("{error:#}");
        let reason = Reason { kind: format!("{:?}", exit::code(error)).to_lowercase(), text, hint: None };
        let (from, step) = (self.state.state().state, self.state.state().step);
        self.event(&Event::State { from, to: Status::Failed, reason: Some(reason.clone()), step });
        let outcome = self.state.update(|s| (s.state, s.reason) = (Status::Failed, Some(reason)));
        self.quietly(outcome);
    }

    // ---- helpers

    fn counted_tokens(&self) -> Option<u64> {
        (self.profile.include_num_input_tokens_seen != TokenCount::No).then_some(self.progress.tokens)
    }

    fn trainer_log(&mut self, report: trainer_log::Report) {
        if let Some(log) = &mut self.trainer_log {
            let outcome = log.write(&report).map(|_| ());
            self.quietly(outcome);
        }
    }

    fn event(&mut self, event: &Event) {
        let outcome = self.log.event(event);
        self.quietly(outcome);
    }

    /// A whole line on stderr, over the progress line.
    fn line(&self, text: &str) {
        eprintln!("{}{text}", if self.terminal { "\r\x1b[K" } else { "" });
    }

    fn quietly(&mut self, outcome: std::io::Result<()>) {
        if let Err(e) = outcome
            && !std::mem::replace(&mut self.log_broken, true)
        {
            self.line(&format!("warning: {e}. Training goes on without that record"));
        }
    }
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(i) => format!("cuda:{i}"),
        _ => format!("the CPU, {} threads", tch::get_num_threads()),
    }
}

/// Bytes held: tensors on a GPU; resident memory of the process on a CPU.
fn memory(device: Device) -> u64 {
    match device {
        Device::Cuda(i) => torch_shim::cuda::memory_stats(i).map_or(0, |m| m.allocated_peak),
        _ => {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
            let pages: u64 = statm.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
            pages * 4096
        }
    }
}
