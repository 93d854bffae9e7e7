//! The arithmetic of a run: samples → micro-batches → updates → epochs, and what is due after which update.
//!
//! As in transformers' Trainer (`set_initial_training_values`, `DefaultFlowCallback`) with one device. An epoch has
//! ceil(n / B) micro-batches, the last one smaller; G of them make an update, and the last group of an epoch is shorter
//! where they do not divide: a group never reaches into the next epoch.
use crate::profile::{IntervalStrategy, Profile};
use std::ops::Range;

/// The course of a run, known before its first step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepPlan {
    /// Training samples n.
    pub samples: usize,
    /// Samples in a micro-batch B.
    pub batch_size: usize,
    /// Micro-batches in an update G.
    pub accumulation: usize,
    /// Updates in the whole run.
    pub total_steps: u64,
    /// Updates in the warm-up.
    pub warmup_steps: u64,
    /// Epochs begun: the ceiling of the wanted ones, or what `max_steps` needs.
    pub epochs: u64,
}

/// Where an update lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// From 0; the sample order of epoch e is `torch_randperm(n, seed + e)`.
    pub epoch: u64,
    /// Places in that order that each micro-batch takes; all but an epoch's last one have B.
    pub micro_batches: Vec<Range<usize>>,
    /// The update is the epoch's last one.
    pub ends_epoch: bool,
}

/// What to do after an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub log: bool,
    pub evaluate: bool,
    pub save: bool,
}

impl StepPlan {
    /// The plan of a profile for `samples` training samples.
    ///
    /// # Errors
    /// No samples, or more updates than can be counted.
    pub fn new(p: &Profile, samples: usize) -> Result<Self, String> {
        if samples == 0 {
            return Err("there are no training samples".to_owned());
        }
        let mut plan = Self {
            samples,
            batch_size: p.per_device_train_batch_size.max(1),
            accumulation: p.gradient_accumulation_steps.max(1),
            total_steps: 0,
            warmup_steps: 0,
            epochs: 0,
        };
        let per_epoch = plan.updates_per_epoch();
        (plan.total_steps, plan.epochs) = match p.max_steps_set() {
            Some(steps) => (steps, steps.div_ceil(per_epoch)),
            None => {
                let steps = (p.num_train_epochs * per_epoch as f64).ceil();
                // 2^53, where floats stop counting one by one.
                if !(1.0..9e15).contains(&steps) {
                    return Err(format!("`num_train_epochs: {}` gives {steps} updates", p.num_train_epochs));
                }
                (steps as u64, p.num_train_epochs.ceil() as u64)
            }
        };
        plan.warmup_steps = warmup_steps(p.warmup_ratio.unwrap_or(p.warmup_steps), plan.total_steps);
        Ok(plan)
    }

    /// Micro-batches in an epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.samples.div_ceil(self.batch_size) as u64
    }

    /// Updates in an epoch.
    pub fn updates_per_epoch(&self) -> u64 {
        self.batches_per_epoch().div_ceil(self.accumulation as u64)
    }

    /// Where the update with index `k` (0, 1, …) takes its samples from: a pure function, so a resumed run needs no replay.
    pub fn position(&self, k: u64) -> Position {
        let per_epoch = self.updates_per_epoch();
        let batches = self.batches_per_epoch();
        let group = self.accumulation as u64;
        let first = k % per_epoch * group;
        let micro_batches = (first..(first + group).min(batches))
            .map(|batch| {
                let start = batch as usize * self.batch_size;
                start..(start + self.batch_size).min(self.samples)
            })
            .collect();
        Position { epoch: k / per_epoch, micro_batches, ends_epoch: k % per_epoch == per_epoch - 1 }
    }

    /// `epoch` in the logs after `step` updates (1, 2, …): whole epochs plus the share of micro-batches done.
    pub fn epoch_after(&self, step: u64) -> f64 {
        if step == 0 {
            return 0.0;
        }
        let k = step - 1;
        let batches = self.batches_per_epoch();
        let done = ((k % self.updates_per_epoch() + 1) * self.accumulation as u64).min(batches);
        (k / self.updates_per_epoch()) as f64 + done as f64 / batches as f64
    }

    /// What is due after `step` updates (1, 2, …).
    pub fn due(&self, p: &Profile, step: u64) -> Due {
        let every = |setting: f64| step.is_multiple_of(interval(setting, self.total_steps));
        let last = step >= self.total_steps;
        let ends_epoch = last || (step > 0 && self.position(step - 1).ends_epoch);
        Due {
            log: every(p.logging_steps) || (step == 1 && p.logging_first_step),
            evaluate: match p.eval_strategy {
                IntervalStrategy::No => false,
                IntervalStrategy::Steps => last || every(p.eval_steps.unwrap_or(p.logging_steps)),
                IntervalStrategy::Epoch => ends_epoch,
            },
            save: match p.save_strategy {
                IntervalStrategy::No => false,
                IntervalStrategy::Steps => last || every(p.save_steps),
                IntervalStrategy::Epoch => ends_epoch,
            },
        }
    }

    /// Samples that count for `train_samples_per_second`: n · epochs, or with `max_steps` full updates.
    pub fn samples_for_speed(&self, p: &Profile) -> f64 {
        match p.max_steps_set() {
            Some(steps) => steps as f64 * p.samples_per_update() as f64,
            None => self.samples as f64 * p.num_train_epochs,
        }
    }
}

/// Updates in the warm-up: 1 and more is a number, less is a share of all, rounded up.
pub fn warmup_steps(setting: f64, total_steps: u64) -> u64 {
    // `as` saturates: a setting beyond all steps means a warm-up that never ends, as in transformers.
    if setting >= 1.0 { setting as u64 } else { (total_steps as f64 * setting).ceil() as u64 }
}

/// `logging_steps`, `save_steps`, `eval_steps` as a number of updates: below 1 it is a share of all, rounded up.
pub fn interval(setting: f64, total_steps: u64) -> u64 {
    let steps = if setting < 1.0 { (total_steps as f64 * setting).ceil() } else { setting };
    (steps as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(samples: usize, batch: usize, accumulation: usize, epochs: f64) -> (Profile, StepPlan) {
        let p = Profile {
            per_device_train_batch_size: batch,
            gradient_accumulation_steps: accumulation,
            num_train_epochs: epochs,
            ..Profile::default()
        };
        let plan = StepPlan::new(&p, samples).unwrap();
        (p, plan)
    }

    /// A LLaMA-Factory run over 13 samples, batch 2, accumulation 3, 3 epochs: 7 micro-batches and 3 updates an epoch.
    #[test]
    fn the_last_group_of_an_epoch_is_short_and_no_group_spans_epochs() {
        let (_, plan) = plan(13, 2, 3, 3.0);
        assert_eq!((plan.batches_per_epoch(), plan.updates_per_epoch(), plan.total_steps, plan.epochs), (7, 3, 9, 3));
        assert_eq!(plan.position(0), Position { epoch: 0, micro_batches: vec![0..2, 2..4, 4..6], ends_epoch: false });
        let last = plan.position(2);
        assert_eq!(
            (last.epoch, last.micro_batches.as_slice(), last.ends_epoch),
            (0, &[Range { start: 12, end: 13 }][..], true)
        );
        assert_eq!(plan.position(3), Position { epoch: 1, micro_batches: vec![0..2, 2..4, 4..6], ends_epoch: false });
        // As logged by LLaMA-Factory.
        let epochs = [
            0.42857142857142855,
            0.8571428571428571,
            1.0,
            1.4285714285714286,
            1.8571428571428572,
            2.0,
            2.4285714285714284,
        ];
        for (i, epoch) in epochs.into_iter().enumerate() {
            assert_eq!(plan.epoch_after(i as u64 + 1), epoch);
        }
        assert_eq!(plan.epoch_after(9), 3.0);
        assert_eq!(plan.epoch_after(0), 0.0);
    }

    #[test]
    fn every_epoch_takes_every_sample_once_in_order() {
        for (samples, batch, accumulation) in [(1, 1, 1), (1, 8, 8), (7, 2, 2), (16, 2, 8), (17, 4, 3), (100, 1, 7)] {
            let (_, plan) = plan(samples, batch, accumulation, 2.0);
            for epoch in 0..2 {
                let updates = plan.updates_per_epoch();
                let taken: Vec<usize> = (0..updates)
                    .map(|k| plan.position(epoch * updates + k))
                    .inspect(|position| assert_eq!(position.epoch, epoch))
                    .flat_map(|position| position.micro_batches.into_iter().flatten())
                    .collect();
                assert_eq!(taken, (0..samples).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn fractional_epochs_round_updates_up_and_max_steps_wins() {
        let (mut p, half) = plan(13, 2, 3, 0.5);
        assert_eq!((half.total_steps, half.epochs), (2, 1));
        p.max_steps = 7;
        let seven = StepPlan::new(&p, 13).unwrap();
        assert_eq!((seven.total_steps, seven.epochs), (7, 3));
        assert_eq!(seven.samples_for_speed(&p), 42.0);
        assert!(StepPlan::new(&p, 0).is_err());
    }

    #[test]
    fn warmup_below_one_is_a_share_rounded_up() {
        assert_eq!(warmup_steps(0.0, 100), 0);
        assert_eq!(warmup_steps(0.1, 9), 1);
        assert_eq!(warmup_steps(0.03, 1250), 38);
        assert_eq!(warmup_steps(1.0, 100), 1);
        assert_eq!(warmup_steps(20.0, 9), 20);
        let p = Profile { warmup_steps: 5.0, warmup_ratio: Some(0.5), ..Profile::default() };
        assert_eq!(StepPlan::new(&p, 80).unwrap().warmup_steps, 15);
    }

    #[test]
    fn the_last_step_always_saves_and_evaluates_when_steps_rule() {
        let (mut p, plan) = plan(13, 2, 3, 3.0);
        (p.logging_steps, p.save_steps, p.eval_strategy) = (2.0, 4.0, IntervalStrategy::Steps);
        let due: Vec<Due> = (1..=9).map(|step| plan.due(&p, step)).collect();
        assert_eq!(
            due.iter().map(|d| d.log).collect::<Vec<_>>(),
            [false, true, false, true, false, true, false, true, false]
        );
        assert_eq!(
            due.iter().map(|d| d.save).collect::<Vec<_>>(),
            [false, false, false, true, false, false, false, true, true]
        );
        // eval_steps is logging_steps where it is not set.
        assert_eq!(
            due.iter().map(|d| d.evaluate).collect::<Vec<_>>(),
            [false, true, false, true, false, true, false, true, true]
        );
        p.logging_first_step = true;
        assert!(plan.due(&p, 1).log);
        p.save_strategy = IntervalStrategy::No;
        assert!(!plan.due(&p, 9).save);
        p.save_strategy = IntervalStrategy::Epoch;
        assert_eq!((1..=9).filter(|&step| plan.due(&p, step).save).collect::<Vec<_>>(), [3, 6, 9]);
    }

    #[test]
    fn intervals_below_one_are_shares_of_all_steps() {
        assert_eq!(interval(0.1, 1234), 124);
        assert_eq!(interval(0.001, 10), 1);
        assert_eq!(interval(5.0, 3), 5);
    }
}
