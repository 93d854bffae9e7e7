//! What is told before the first step: what there is to learn from, where the run goes on from, and its course.

use super::super::record::{Event, Phase};
use super::super::say::{on_terminal, say, say_progress};
use super::super::state::Status;
use super::super::steps::{StepPlan, interval};
use super::super::trainer_log::{self, TrainerLog};
use super::super::trainer_state::TrainerState;
use super::{ModelFacts, Progress, Report};
use crate::data::{self, Samples};
use crate::profile::Profile;
use crate::safe_text::clean;
use anyhow::Result;
use std::path::Path;
use std::time::{Duration, Instant};

/// So many samples that cannot be used are named. With a wrong `media_dir` that is every one of perhaps millions.
const NAMED: usize = 10_000;
/// How far the check of the samples is, for those who watch: an hour of it is 1,200 lines.
const TELL_EVERY: Duration = Duration::from_secs(3);

impl Report<'_> {
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

    /// The first step is next.
    ///
    /// # Errors
    /// The log that people and tools follow cannot be opened.
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
}
