//! What holds at an update: the profile and the plan, with the changes that were made on the way. A pure function of the
//! update's index and the list of changes, so a resumed run makes the same updates.

use super::super::edits::Edits;
use super::super::schedule::LrSchedule;
use super::super::steps::{Due, StepPlan};
use crate::profile::Profile;
use std::collections::BTreeSet;

/// The course from one update to the next change.
#[derive(Debug, Clone)]
pub struct Course {
    /// Index of the update it was made for.
    from: u64,
    pub profile: Profile,
    pub plan: StepPlan,
    pub skip: BTreeSet<u64>,
    schedule: LrSchedule,
    lr_scale: f64,
}

impl Course {
    /// What holds at update `k`.
    ///
    /// # Errors
    /// A schedule that cannot be; the profile was checked, so only a changed number of steps can cause it.
    pub fn at(k: u64, profile: &Profile, plan: &StepPlan, edits: &Edits) -> Result<Self, String> {
        let mut profile = profile.clone();
        let mut plan = *plan;
        if let Some(steps) = edits.save_steps_at(k) {
            profile.save_steps = steps as f64;
        }
        if let Some(steps) = edits.eval_steps_at(k) {
            profile.eval_steps = Some(steps as f64);
        }
        if let Some(steps) = edits.logging_steps_at(k) {
            profile.logging_steps = steps as f64;
        }
        if let Some(steps) = edits.max_steps_at(k) {
            plan.total_steps = steps;
            plan.epochs = steps.div_ceil(plan.updates_per_epoch());
        }
        let schedule = LrSchedule::new(
            profile.lr_scheduler_type,
            profile.learning_rate,
            plan.total_steps,
            plan.warmup_steps,
            profile.lr_scheduler_kwargs.as_ref(),
        )?;
        Ok(Self { from: k, skip: edits.skip_at(k), lr_scale: edits.lr_scale_at(k), profile, plan, schedule })
    }

    /// Another change begins to hold at update `k`: one of an earlier attempt, whose part of the run is repeated.
    pub fn ends_at(&self, k: u64, edits: &Edits) -> bool {
        self.from != k && edits.list.iter().any(|at| at.step == k)
    }

    pub fn lr(&self, k: u64) -> f64 {
        self.schedule.lr(k) * self.lr_scale
    }

    /// What is due after `step` updates.
    pub fn due(&self, step: u64) -> Due {
        self.plan.due(&self.profile, step)
    }
}
