//! How a run ends: with its results, or with an error.

use super::super::progress::short_time;
use super::super::results::{TrainResults, save_metrics};
use super::super::say::say;
use super::super::state::{Reason, Status};
use super::super::steps::StepPlan;
use super::super::trainer_log;
use super::super::trainer_state::LogEntry;
use super::super::{RunDir, crash, model_card, plot};
use super::Report;
use crate::exit::{self, Exit};
use anyhow::Result;
use std::time::Duration;

impl Report<'_> {
    /// All steps are made: the last lines of the logs, the results, the picture of the losses, the model card.
    ///
    /// # Errors
    /// A file that cannot be written; the same call may be tried again.
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
            short_time(runtime.as_secs_f64()),
            self.dir.path().display()
        ));
        Ok(())
    }

    /// The run ends with an error: state, event, and what a developer would ask for.
    pub fn failed(&mut self, error: &anyhow::Error) {
        let code = exit::code(error);
        let text = format!("{error:#}");
        if matches!(code, Exit::Internal | Exit::Device) {
            let outcome = crash::write(self.dir, &text);
            self.quietly(outcome);
        }
        self.status(Status::Failed, Some(Reason { kind: kind(code).into(), text, hint: None }));
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
