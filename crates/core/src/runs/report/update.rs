//! One update of the weights: a line of metrics, the HF Trainer's logs every `logging_steps`, the line for people.

use super::super::drive::Computed;
use super::super::progress::{self, progress_line};
use super::super::record::{Metric, Step, samples_hash};
use super::super::say::{on_terminal, say_progress};
use super::super::trainer_log;
use super::super::trainer_state::LogEntry;
use super::{Report, locked};
use crate::profile::TokenCount;

impl Report<'_> {
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
}
