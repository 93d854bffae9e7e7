//! Learning-rate schedules as pure functions of the update's index, in f64, as in transformers' `optimization.py`.
//!
//! PyTorch's LambdaLR multiplies the base rate by a factor; so does [`LrSchedule::lr`], in the same order of
//! operations, so that the rates agree to the last bit of Python's floats (golden test: `tests/golden/schedules.json`).
//! The types that react to the loss (`reduce_lr_on_plateau`, `greedy`) are not functions of the step and not supported.
//! How many updates there are, and how many of them warm up, is in [`super::steps`].
use crate::profile::SchedulerType;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// `lr_scheduler_kwargs`: the parameters of the schedules. Which schedule knows which: [`LrSchedule::new`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulerKwargs {
    /// Waves of a cosine (0.5: one fall), or number of restarts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_cycles: Option<f64>,
    /// `polynomial`: the last rate, 1e-7 if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_end: Option<f64>,
    /// `polynomial`: exponent, 1 if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// `inverse_sqrt`: time scale, the warm-up steps (or 10,000 without) if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timescale: Option<u64>,
    /// `cosine_with_min_lr`, `cosine_warmup_with_min_lr`: the lowest rate …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,
    /// … or the same as a share of the base rate. One of the two is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr_rate: Option<f64>,
    /// `cosine_warmup_with_min_lr`: where the warm-up begins, as a share of the base rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_lr_rate: Option<f64>,
    /// `warmup_stable_decay`: updates at the full rate; a third of those after the warm-up if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_stable_steps: Option<u64>,
    /// `warmup_stable_decay`: updates in which the rate falls; the rest if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_decay_steps: Option<u64>,
    /// `warmup_stable_decay`: `linear` (if not set), `cosine` or `1-sqrt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_type: Option<Shape>,
    /// `warmup_stable_decay`: `cosine` (if not set), `linear` or `1-sqrt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_type: Option<Shape>,
    /// `warmup_stable_decay`: the lowest rate as a share of the base rate, 0 if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr_ratio: Option<f64>,
}

impl SchedulerKwargs {
    /// Names of the parameters that are set.
    fn names(&self) -> Vec<&'static str> {
        [
            ("num_cycles", self.num_cycles.is_some()),
            ("lr_end", self.lr_end.is_some()),
            ("power", self.power.is_some()),
            ("timescale", self.timescale.is_some()),
            ("min_lr", self.min_lr.is_some()),
            ("min_lr_rate", self.min_lr_rate.is_some()),
            ("warmup_lr_rate", self.warmup_lr_rate.is_some()),
            ("num_stable_steps", self.num_stable_steps.is_some()),
            ("num_decay_steps", self.num_decay_steps.is_some()),
            ("warmup_type", self.warmup_type.is_some()),
            ("decay_type", self.decay_type.is_some()),
            ("min_lr_ratio", self.min_lr_ratio.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect()
    }
}

/// Form of a rise or fall between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    #[serde(rename = "linear")]
    Linear,
    #[serde(rename = "cosine")]
    Cosine,
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

/// A schedule, ready to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct LrSchedule {
    kind: SchedulerType,
    base_lr: f64,
    total_steps: u64,
    warmup_steps: u64,
    kwargs: SchedulerKwargs,
}

impl LrSchedule {
    /// `total_steps` and `warmup_steps` are updates. An error says which parameter is wrong and what is allowed.
    pub fn new(
        kind: SchedulerType,
        base_lr: f64,
        total_steps: u64,
        warmup_steps: u64,
        kwargs: Option<&SchedulerKwargs>,
    ) -> Result<Self, String> {
        use SchedulerType::*;
        let kwargs = kwargs.cloned().unwrap_or_default();
        let known: &[&str] = match kind {
            Linear => &[],
            // transformers does not hand any parameter to these two.
            Constant | ConstantWithWarmup => &[],
            Cosine | CosineWithRestarts => &["num_cycles"],
            Polynomial => &["lr_end", "power"],
            InverseSqrt => &["timescale"],
            CosineWithMinLr => &["num_cycles", "min_lr", "min_lr_rate"],
            CosineWarmupWithMinLr => &["num_cycles", "min_lr", "min_lr_rate", "warmup_lr_rate"],
            WarmupStableDecay => {
                &["num_stable_steps", "num_decay_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"]
            }
        };
        if let Some(name) = kwargs.names().into_iter().find(|name| !known.contains(name)) {
            let takes = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
            return Err(format!("`{kind}` has no parameter `{name}`; it takes {takes}"));
        }
        let finite = [
            kwargs.num_cycles,
            kwargs.lr_end,
            kwargs.power,
            kwargs.min_lr,
            kwargs.min_lr_rate,
            kwargs.warmup_lr_rate,
            kwargs.min_lr_ratio,
        ];
        if finite.into_iter().flatten().any(|x| !x.is_finite() || x < 0.0) {
            return Err("parameters must be finite numbers, 0 or more".to_owned());
        }
        match kind {
            Polynomial if kwargs.lr_end.unwrap_or(1e-7) >= base_lr => {
                return Err(format!(
                    "`lr_end` ({:e}) must be below the learning rate ({base_lr:e})",
                    kwargs.lr_end.unwrap_or(1e-7)
                ));
            }
            InverseSqrt if kwargs.timescale == Some(0) => return Err("`timescale` must be 1 or more".to_owned()),
            CosineWithMinLr | CosineWarmupWithMinLr => match (kwargs.min_lr, kwargs.min_lr_rate) {
                (None, None) => {
                    return Err(format!("`{kind}` needs `min_lr` or `min_lr_rate`, e.g. {{min_lr_rate: 0.1}}"));
                }
                (Some(_), Some(_)) => return Err("only one of `min_lr` and `min_lr_rate` can be set".to_owned()),
                (Some(min), None) if base_lr <= 0.0 => {
                    return Err(format!("`min_lr` ({min:e}) needs a learning rate above 0"));
                }
                _ => {}
            },
            _ => {}
        }
        Ok(Self { kind, base_lr, total_steps, warmup_steps, kwargs })
    }

    /// The learning rate of the update with index `k` = 0, 1, … With a warm-up the first update has rate 0 (but for
    /// `cosine_warmup_with_min_lr`).
    pub fn lr(&self, k: u64) -> f64 {
        self.base_lr * self.factor(k)
    }

    fn factor(&self, k: u64) -> f64 {
        use SchedulerType::*;
        match self.kind {
            Constant => return 1.0,
            CosineWarmupWithMinLr => return self.cosine_warmup_with_min_lr(k),
            WarmupStableDecay => return self.warmup_stable_decay(k),
            _ if k < self.warmup_steps => return k as f64 / self.warmup_steps as f64,
            _ => {}
        }
        let (step, total, warmup) = (k as f64, self.total_steps as f64, self.warmup_steps as f64);
        // Share of the way from the end of the warm-up to the end of the training.
        let progress = (step - warmup) / (total - warmup).max(1.0);
        let cycles = self.kwargs.num_cycles.unwrap_or(0.5);
        match self.kind {
            Linear => ((total - step) / (total - warmup).max(1.0)).max(0.0),
            Cosine => (0.5 * (1.0 + (PI * cycles * 2.0 * progress).cos())).max(0.0),
            CosineWithRestarts if progress >= 1.0 => 0.0,
            CosineWithRestarts => {
                (0.5 * (1.0 + (PI * ((self.kwargs.num_cycles.unwrap_or(1.0) * progress) % 1.0)).cos())).max(0.0)
            }
            CosineWithMinLr => {
                let min = self.min_lr_rate();
                let factor = 0.5 * (1.0 + (PI * cycles * 2.0 * progress).cos());
                (factor * (1.0 - min) + min).max(0.0)
            }
            Polynomial => {
                let end = self.kwargs.lr_end.unwrap_or(1e-7);
                // `>=` where transformers has `>`: at the end both give lr_end, but its formula divides 0 by 0 where
                // the warm-up fills the whole training.
                if k >= self.total_steps {
                    return end / self.base_lr;
                }
                let remaining = 1.0 - (step - warmup) / (total - warmup);
                ((self.base_lr - end) * remaining.powf(self.kwargs.power.unwrap_or(1.0)) + end) / self.base_lr
            }
            InverseSqrt => {
                let default = if self.warmup_steps > 0 { self.warmup_steps } else { 10_000 };
                let timescale = self.kwargs.timescale.unwrap_or(default) as f64;
                1.0 / ((step + (timescale - warmup)) / timescale).sqrt()
            }
            ConstantWithWarmup | Constant | CosineWarmupWithMinLr | WarmupStableDecay => 1.0,
        }
    }

    fn min_lr_rate(&self) -> f64 {
        self.kwargs.min_lr.map_or_else(|| self.kwargs.min_lr_rate.unwrap_or(0.0), |min| min / self.base_lr)
    }

    fn cosine_warmup_with_min_lr(&self, k: u64) -> f64 {
        let (step, total, warmup) = (k as f64, self.total_steps as f64, self.warmup_steps as f64);
        if k < self.warmup_steps {
            return match self.kwargs.warmup_lr_rate {
                None => (step + 1.0) / warmup.max(1.0),
                Some(rate) => rate + (1.0 - rate) * step / (warmup - 1.0).max(1.0),
            };
        }
        let progress = (step - warmup + 1.0) / (total - warmup).max(1.0);
        let min = self.min_lr_rate();
        let factor = 0.5 * (1.0 + (PI * self.kwargs.num_cycles.unwrap_or(0.5) * 2.0 * progress).cos());
        (factor * (1.0 - min) + min).max(0.0)
    }

    fn warmup_stable_decay(&self, k: u64) -> f64 {
        let min = self.kwargs.min_lr_ratio.unwrap_or(0.0);
        let scaled = |factor: f64| (factor * (1.0 - min) + min).max(0.0);
        // LLaMA-Factory's defaults (train/trainer_utils.py, create_custom_scheduler): a third stable, the rest decay.
        let remaining = self.total_steps.saturating_sub(self.warmup_steps);
        let third = remaining / 3;
        let stable = self.kwargs.num_stable_steps.unwrap_or(third);
        let decay = self.kwargs.num_decay_steps.unwrap_or(remaining - third);
        if k < self.warmup_steps {
            let progress = k as f64 / self.warmup_steps as f64;
            return scaled(match self.kwargs.warmup_type.unwrap_or(Shape::Linear) {
                Shape::Linear => progress,
                Shape::Cosine => 0.5 * (1.0 - (PI * progress).cos()),
                Shape::OneMinusSqrt => 1.0 - (1.0 - progress).sqrt(),
            });
        }
        let since_stable = k - self.warmup_steps;
        if since_stable < stable {
            return 1.0;
        }
        let since_decay = since_stable - stable;
        if since_decay >= decay {
            return min;
        }
        let progress = since_decay as f64 / decay as f64;
        scaled(match self.kwargs.decay_type.unwrap_or(Shape::Cosine) {
            Shape::Linear => 1.0 - progress,
            Shape::Cosine => 0.5 * (1.0 + (PI * self.kwargs.num_cycles.unwrap_or(0.5) * 2.0 * progress).cos()),
            Shape::OneMinusSqrt => 1.0 - progress.sqrt(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Case {
        r#type: String,
        total: u64,
        warmup: u64,
        kwargs: SchedulerKwargs,
        lr: Vec<f64>,
    }

    #[test]
    fn every_schedule_gives_the_rates_of_transformers() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../../../tests/golden/schedules.json")).unwrap();
        assert_eq!(cases.len(), 19 * 4);
        for case in cases {
            let schedule =
                LrSchedule::new(case.r#type.parse().unwrap(), 5e-5, case.total, case.warmup, Some(&case.kwargs))
                    .unwrap();
            for (k, golden) in case.lr.iter().enumerate() {
                let lr = schedule.lr(k as u64);
                // A few units in the last place: libm's cosine and power are not the same everywhere.
                assert!(
                    (lr - golden).abs() <= 1e-15 * 5e-5,
                    "{} {:?} step {k} of {}: {lr} instead of {golden}",
                    case.r#type,
                    case.kwargs,
                    case.total
                );
            }
        }
    }

    #[test]
    fn rates_after_the_end_stay_at_the_end() {
        for (kind, kwargs, end) in [
            (SchedulerType::Linear, None, 0.0),
            (SchedulerType::CosineWithRestarts, None, 0.0),
            (SchedulerType::Polynomial, Some(SchedulerKwargs { lr_end: Some(1e-6), ..Default::default() }), 1e-6),
            (
                SchedulerType::WarmupStableDecay,
                Some(SchedulerKwargs { min_lr_ratio: Some(0.5), ..Default::default() }),
                5e-5,
            ),
        ] {
            let schedule = LrSchedule::new(kind, 1e-4, 10, 2, kwargs.as_ref()).unwrap();
            assert!((schedule.lr(11) - end).abs() < 1e-18, "{kind}");
        }
    }

    #[test]
    fn a_warmup_longer_than_the_run_stays_finite() {
        let min = SchedulerKwargs { min_lr: Some(1e-6), ..Default::default() };
        for kind in [
            SchedulerType::Linear,
            SchedulerType::Cosine,
            SchedulerType::Polynomial,
            SchedulerType::InverseSqrt,
            SchedulerType::WarmupStableDecay,
        ] {
            let schedule = LrSchedule::new(kind, 1e-4, 3, 10, None).unwrap();
            assert!((0..20).all(|k| schedule.lr(k).is_finite()), "{kind}");
        }
        let schedule = LrSchedule::new(SchedulerType::CosineWarmupWithMinLr, 1e-4, 3, 10, Some(&min)).unwrap();
        assert!((0..20).all(|k| schedule.lr(k).is_finite()));
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        let new = |kind, kwargs: &SchedulerKwargs| LrSchedule::new(kind, 1e-4, 10, 0, Some(kwargs)).unwrap_err();
        let power = SchedulerKwargs { power: Some(2.0), ..Default::default() };
        assert_eq!(new(SchedulerType::Cosine, &power), "`cosine` has no parameter `power`; it takes num_cycles");
        assert_eq!(new(SchedulerType::Linear, &power), "`linear` has no parameter `power`; it takes no parameters");
        assert!(
            new(SchedulerType::CosineWithMinLr, &SchedulerKwargs::default())
                .contains("needs `min_lr` or `min_lr_rate`")
        );
        let both = SchedulerKwargs { min_lr: Some(1e-6), min_lr_rate: Some(0.1), ..Default::default() };
        assert!(new(SchedulerType::CosineWithMinLr, &both).contains("only one"));
        let high = SchedulerKwargs { lr_end: Some(1.0), ..Default::default() };
        assert!(new(SchedulerType::Polynomial, &high).contains("must be below the learning rate"));
        let nan = SchedulerKwargs { num_cycles: Some(f64::NAN), ..Default::default() };
        assert!(new(SchedulerType::Cosine, &nan).contains("finite"));
    }
}
