//! Several data sets as one: which sample comes when (`mix_strategy` and `interleave_probs` of a profile). LLaMA-Factory
//! leaves it to `datasets.interleave_datasets`; the orders here are those of datasets 5.2 (`arrow_dataset.py`,
//! `_interleave_map_style_datasets`), draw by draw (`tests/golden/mix`).
//!
//! An order takes 4 bytes a sample.

use crate::profile::MixStrategy;
use crate::seed::numpy_choices;
use anyhow::{Result, bail, ensure};

/// Longer orders are refused: a set that is seldom drawn makes them as long as one likes. This one takes 1.6 GB.
const MOST: f64 = 4e8;

/// How several data sets are mixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    pub strategy: MixStrategy,
    /// How often each set is drawn, as a share of all draws; empty: in turns. They add up to 1.
    pub probs: Vec<f64>,
}

/// One after the other.
impl Default for Mix {
    fn default() -> Self {
        Self { strategy: MixStrategy::Concat, probs: Vec::new() }
    }
}

impl Mix {
    /// Positions in the sets laid one behind the other, of the given names and lengths. `None`: as they lie.
    ///
    /// # Errors
    /// Shares that do not fit the sets, or that never come to an end.
    pub(super) fn order(&self, sets: &[(&str, usize)], seed: u64) -> Result<Option<Vec<u32>>> {
        if self.strategy == MixStrategy::Concat || sets.len() < 2 {
            return Ok(None);
        }
        let total: usize = sets.iter().map(|(_, length)| length).sum();
        ensure!(u32::try_from(total).is_ok(), "mixing works up to 2^32 samples; these data sets have {total}");
        let order = if self.probs.is_empty() { self.in_turns(sets) } else { self.drawn(sets, seed) }?;
        Ok(Some(order))
    }

    fn in_turns(&self, sets: &[(&str, usize)]) -> Result<Vec<u32>> {
        let over = self.strategy == MixStrategy::InterleaveOver;
        if let Some((name, _)) = sets.iter().find(|(_, length)| over && *length == 0) {
            bail!("data set \"{name}\" is empty, so it cannot be repeated (mix_strategy: interleave_over)");
        }
        let lengths = || sets.iter().map(|(_, length)| *length);
        let rounds = match self.strategy {
            MixStrategy::InterleaveUnder => lengths().min(),
            _ => lengths().max(),
        };
        let mut order = Vec::new();
        for round in 0..rounds.unwrap_or_default() {
            let mut first = 0;
            for length in lengths() {
                if over || round < length {
                    order.push((first + if over { round % length } else { round }) as u32);
                }
                first += length;
            }
        }
        Ok(order)
    }

    fn drawn(&self, sets: &[(&str, usize)], seed: u64) -> Result<Vec<u32>> {
        self.check(sets)?;
        let once = self.strategy == MixStrategy::InterleaveOnce;
        let firsts: Vec<usize> = sets
            .iter()
            .scan(0, |next, (_, length)| {
                let first = *next;
                *next += length;
                Some(first)
            })
            .collect();
        let mut taken = vec![0; sets.len()];
        let mut order = Vec::new();
        for set in numpy_choices(&self.probs, seed) {
            let length = sets[set].1;
            if !once || taken[set] < length {
                order.push((firsts[set] + taken[set] % length) as u32);
                taken[set] += 1;
            }
            let exhausted = |(taken, (_, length)): (&usize, &(&str, usize))| taken >= length;
            let mut all = taken.iter().zip(sets);
            let ends = match self.strategy {
                MixStrategy::InterleaveUnder => taken[set] >= length,
                _ => all.all(exhausted),
            };
            if ends {
                break;
            }
        }
        Ok(order)
    }

    /// What `datasets` refuses, what it would never end with, and what numpy says of shares.
    fn check(&self, sets: &[(&str, usize)]) -> Result<()> {
        let (shares, names) = (self.probs.len(), sets.len());
        ensure!(shares == names, "interleave_probs has {shares} shares for {names} data sets; give one for each");
        let sum: f64 = self.probs.iter().sum();
        let fine = self.probs.iter().all(|share| (0.0..=1.0).contains(share)) && (sum - 1.0).abs() <= 1e-8;
        if !fine {
            let scaled: Vec<String> = self.probs.iter().map(|share| format!("{:.4}", share / sum)).collect();
            bail!(
                "interleave_probs has to be shares from 0 to 1 that add up to 1, not to {sum}; scaled: {}",
                scaled.join(",")
            );
        }
        let by_share = || self.probs.iter().zip(sets);
        if let Some((_, (name, _))) = by_share().find(|(share, (_, length))| **share > 0.0 && *length == 0) {
            bail!("data set \"{name}\" is empty, so nothing can be drawn from it; leave it out");
        }
        let under = self.strategy == MixStrategy::InterleaveUnder;
        let draws = by_share().filter(|(share, _)| **share > 0.0).map(|(share, (_, length))| *length as f64 / share);
        let draws = if under { draws.reduce(f64::min) } else { draws.reduce(f64::max) };
        let draws = draws.unwrap_or_default();
        ensure!(
            draws <= MOST,
            "mixed so, the data sets have about {draws:.0} samples, because one of a small share is gone through to its end: \
             give it a larger one, or take mix_strategy: interleave_under"
        );
        if let Some((_, (name, _))) = by_share().find(|(share, _)| !under && **share == 0.0) {
            bail!(
                "data set \"{name}\" has the share 0 in interleave_probs, so its end is never reached (mix_strategy: {}); leave it out",
                self.strategy
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use sha2::{Digest, Sha256};

    fn mix(strategy: &str, probs: &[f64]) -> Mix {
        Mix { strategy: strategy.parse().unwrap(), probs: probs.to_vec() }
    }

    #[test]
    fn orders_are_those_of_datasets() {
        let golden: Value = serde_json::from_str(include_str!("../../../../tests/golden/mix/orders.json")).unwrap();
        let rows = golden["orders"].as_array().unwrap();
        assert!(rows.len() > 40);
        for row in rows {
            let probs: Vec<f64> = serde_json::from_value(row["probs"].clone()).unwrap();
            let lengths: Vec<usize> = serde_json::from_value(row["lengths"].clone()).unwrap();
            let sets: Vec<(&str, usize)> = lengths.iter().map(|&length| ("set", length)).collect();
            let mix = mix(row["strategy"].as_str().unwrap(), &probs);
            let order = mix.order(&sets, row["seed"].as_u64().unwrap()).unwrap();
            let order = order.unwrap_or_else(|| (0..lengths[0] as u32).collect());
            assert_eq!(order.len() as u64, row["n"], "{row}");
            match row["order"].as_array() {
                Some(expected) => {
                    assert_eq!(expected, &order.iter().map(|&i| Value::from(i)).collect::<Vec<_>>(), "{row}")
                }
                None => {
                    let bytes: Vec<u8> = order.iter().flat_map(|&i| u64::from(i).to_le_bytes()).collect();
                    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                    assert_eq!(row["sha256"], hash, "{row}");
                }
            }
        }
    }

    #[test]
    fn shares_that_cannot_work_are_refused_in_words() {
        let sets = [("scans", 10), ("chat", 5), ("none", 0)];
        let why = |strategy: &str, probs: &[f64], sets: &[(&str, usize)]| {
            mix(strategy, probs).order(sets, 1).unwrap_err().to_string()
        };
        assert!(why("interleave_over", &[], &sets).contains("\"none\" is empty"));
        assert!(why("interleave_over", &[1.0], &sets[..2]).contains("1 shares for 2 data sets"));
        assert!(why("interleave_once", &[0.9, 0.3], &sets[..2]).contains("scaled: 0.7500,0.2500"));
        assert!(why("interleave_over", &[1.0, 0.0], &sets[..2]).contains("\"chat\" has the share 0"));
        assert!(why("interleave_under", &[0.5, 0.25, 0.25], &sets).contains("\"none\" is empty"));
        assert!(
            why("interleave_over", &[1.0 - 1e-9, 1e-9], &[("scans", 10), ("chat", 5)]).contains("give it a larger one")
        );
        let fits = mix("interleave_under", &[1.0, 0.0]).order(&sets[..2], 1).unwrap().unwrap();
        assert_eq!(fits, (0..10).collect::<Vec<u32>>());
    }
}
