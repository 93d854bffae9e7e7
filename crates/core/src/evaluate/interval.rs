//! How sure a mean over samples is: the percentile bootstrap (Efron 1979). Samples are drawn again, with replacement, as
//! many as there are; the middle 95 % of the means so found is the interval. Every measure and every model sees the same
//! draws, so the interval of a difference is that of *paired* samples.

use crate::seed::{self, Mt19937};
use serde::Serialize;

/// Draws of a bootstrap. With 2,000 the ends of a 95 % interval move by about a tenth of its width between seeds.
const DRAWS: usize = 2000;
/// Bytes that draws may take; very large sets are drawn less often, and their intervals are narrow anyway.
const BYTES: usize = 64 << 20;
const LEVEL: f64 = 0.95;

/// Σ numerator / Σ denominator over samples: a mean has 1 below, a loss per token the tokens, an accuracy 0 where a sample
/// does not count.
#[derive(Debug, Clone, Default)]
pub struct Ratio {
    pub numerator: Vec<f64>,
    pub denominator: Vec<f64>,
}

impl Ratio {
    pub fn mean(values: Vec<f64>) -> Self {
        Self { denominator: vec![1.0; values.len()], numerator: values }
    }

    /// `None`: no sample counts.
    pub fn value(&self) -> Option<f64> {
        let of: f64 = self.denominator.iter().sum();
        (of > 0.0).then(|| self.numerator.iter().sum::<f64>() / of)
    }

    fn of_draw(&self, draw: &[u8]) -> f64 {
        let (mut above, mut below) = (0.0, 0.0);
        for (i, &times) in draw.iter().enumerate() {
            above += f64::from(times) * self.numerator[i];
            below += f64::from(times) * self.denominator[i];
        }
        above / below // NaN where no counted sample was drawn
    }
}

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// Of a difference: 0 is outside, so it is not chance alone (at 5 %, and for this one comparison).
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// How often each sample is in each draw; one for all measures over the same samples.
pub struct Bootstrap {
    draws: Vec<Vec<u8>>,
}

impl Bootstrap {
    pub fn new(samples: usize, seed: u64) -> Self {
        let draw = |d: usize| {
            let mut random = Mt19937::new(seed::at(seed, "bootstrap", &[d as u64]) as u32);
            let mut times = vec![0u8; samples];
            for _ in 0..samples {
                let time = &mut times[(random.next_u64() % samples as u64) as usize];
                *time = time.saturating_add(1); // one sample 256 times in a draw: never, in practice
            }
            times
        };
        let draws = (BYTES / samples.max(1)).clamp(200, DRAWS);
        Self { draws: (0..draws).map(draw).collect() }
    }

    /// How many draws.
    pub fn draws(&self) -> usize {
        self.draws.len()
    }

    /// `None`: no sample counts. `map` turns the ratio into what is shown (a perplexity is the exponential of a loss).
    pub fn estimate(&self, ratio: &Ratio, map: fn(f64) -> f64) -> Option<Estimate> {
        let value = map(ratio.value()?);
        Some(self.interval(value, |draw| map(ratio.of_draw(draw))))
    }

    /// Of `b` − `a`, whose samples are the same.
    pub fn difference(&self, a: &Ratio, b: &Ratio, map: fn(f64) -> f64) -> Option<Estimate> {
        let value = map(b.value()?) - map(a.value()?);
        Some(self.interval(value, |draw| map(b.of_draw(draw)) - map(a.of_draw(draw))))
    }

    fn interval(&self, value: f64, of_draw: impl Fn(&[u8]) -> f64) -> Estimate {
        let mut drawn: Vec<f64> = self.draws.iter().map(|draw| of_draw(draw)).filter(|x| x.is_finite()).collect();
        if drawn.is_empty() {
            return Estimate { value, low: value, high: value };
        }
        drawn.sort_by(f64::total_cmp);
        let at = |share: f64| drawn[((drawn.len() - 1) as f64 * share).round() as usize];
        Estimate { value, low: at((1.0 - LEVEL) / 2.0), high: at((1.0 + LEVEL) / 2.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: fn(f64) -> f64 = |x| x;

    #[test]
    fn the_interval_of_a_mean_is_about_two_standard_errors_wide_on_each_side() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let e = Bootstrap::new(400, 1).estimate(&Ratio::mean(values), SAME).unwrap();
        let error = 1.96 * 0.5 / 20.0;
        assert_eq!(e.value, 0.5);
        assert!((e.high - 0.5 - error).abs() < 0.005 && (0.5 - e.low - error).abs() < 0.005, "{e:?}");
    }

    #[test]
    fn a_paired_difference_is_surer_than_its_parts() {
        let a: Vec<f64> = (0..100).map(f64::from).collect();
        let b: Vec<f64> = a.iter().map(|x| x + 1.0).collect();
        let bootstrap = Bootstrap::new(100, 1);
        let d = bootstrap.difference(&Ratio::mean(a.clone()), &Ratio::mean(b), SAME).unwrap();
        assert!((d.low - 1.0).abs() < 1e-9 && (d.high - 1.0).abs() < 1e-9 && d.excludes_zero(), "{d:?}");
        let none = bootstrap.difference(&Ratio::mean(a.clone()), &Ratio::mean(a), SAME).unwrap();
        assert!(!none.excludes_zero());
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_and_weights_count() {
        let ratio = Ratio { numerator: vec![1.0, 9.0, 2.0], denominator: vec![1.0, 3.0, 0.0] };
        assert_eq!(ratio.value(), Some(3.0));
        let one = Bootstrap::new(3, 7).estimate(&ratio, SAME);
        assert_eq!(one, Bootstrap::new(3, 7).estimate(&ratio, SAME));
        assert_eq!(Bootstrap::new(0, 7).estimate(&Ratio::default(), SAME), None);
        let uncounted = Ratio { numerator: vec![1.0], denominator: vec![0.0] };
        assert_eq!(Bootstrap::new(1, 7).estimate(&uncounted, SAME), None);
    }
}
