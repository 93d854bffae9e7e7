//! Whole numbers, summed up: order statistics and histograms. What is kept is how often each value occurs: a few thousand
//! entries for 25 million samples, from which a histogram of any width can be drawn.

use std::collections::BTreeMap;

/// How often each value occurs.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    counts: BTreeMap<u64, usize>,
}

impl Counts {
    pub fn add(&mut self, value: u64) {
        *self.counts.entry(value).or_default() += 1;
    }

    /// `None` if there are no values.
    pub fn summary(&self) -> Option<Summary> {
        let (&min, &max) = (self.counts.keys().next()?, self.counts.keys().next_back()?);
        let count: usize = self.counts.values().sum();
        let rank = |percent: usize| {
            let wanted = (count * percent).div_ceil(100).max(1);
            let mut before = 0;
            let at = self.counts.iter().find(|&(_, n)| {
                before += n;
                before >= wanted
            });
            at.map_or(max, |(&value, _)| value)
        };
        let sum: f64 = self.counts.iter().map(|(&value, &n)| value as f64 * n as f64).sum();
        let mut summary = Summary {
            count,
            min,
            median: rank(50),
            p90: rank(90),
            p99: rank(99),
            max,
            mean: sum / count as f64,
            histogram: Vec::new(),
            counts: self.counts.iter().map(|(&value, &n)| (value, n)).collect(),
        };
        summary.histogram = summary.histogram(RANGES).iter().map(|bar| bar.count).collect();
        // Empty ranges at the end, where the width does not divide the span, belong to the printed form.
        summary.histogram.resize((max - min).saturating_add(1).min(RANGES as u64) as usize, 0);
        Some(summary)
    }
}

/// Order statistics of whole numbers. Percentiles are nearest-rank: a value that occurs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    pub count: usize,
    pub min: u64,
    pub median: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
    pub mean: f64,
    /// Counts of equally wide ranges from `min` to `max`, as the command line prints them.
    pub histogram: Vec<usize>,
    /// Every value that occurs, in order, and how often.
    #[serde(skip)]
    counts: Vec<(u64, usize)>,
}

/// One bar of a histogram: how many values lie between `first` and `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    pub first: u64,
    pub last: u64,
    pub count: usize,
}

/// Ranges of a histogram: fits a narrow terminal.
const RANGES: usize = 12;

impl Summary {
    /// `None` if there are no values.
    pub fn of(values: Vec<u64>) -> Option<Self> {
        let mut counts = Counts::default();
        values.into_iter().for_each(|value| counts.add(value));
        counts.summary()
    }

    /// At most `ranges` bars of equal width from `min` to `max`; fewer where there are fewer whole numbers between them.
    pub fn histogram(&self, ranges: usize) -> Vec<Bar> {
        let span = (self.max - self.min).saturating_add(1);
        let width = span.div_ceil(span.min(ranges.max(1) as u64));
        let bars = span.div_ceil(width);
        let mut out: Vec<Bar> = (0..bars).map(|i| self.bar(i, width)).collect();
        for &(value, n) in &self.counts {
            let at = ((value - self.min) / width) as usize;
            // The whole span of u64 does not fit into one: its last value would fall behind the last bar.
            let at = at.min(out.len() - 1);
            out[at].count += n;
        }
        out
    }

    fn bar(&self, i: u64, width: u64) -> Bar {
        let first = self.min + width * i;
        Bar { first, last: first.saturating_add(width - 1).min(self.max), count: 0 }
    }

    /// Bars of `width` values each from `first` on, the last of them holding `last`; what lies outside is in none.
    pub fn bars(&self, first: u64, last: u64, width: u64) -> Vec<Bar> {
        let bars = (last.max(first) - first) / width.max(1) + 1;
        let bar = |i| Bar { first: first + width * i, last: first + width * i + (width.max(1) - 1), count: 0 };
        let mut out: Vec<Bar> = (0..bars).map(bar).collect();
        for &(value, n) in &self.counts {
            let at = value.checked_sub(first).and_then(|offset| out.get_mut((offset / width.max(1)) as usize));
            if let Some(bar) = at {
                bar.count += n;
            }
        }
        out
    }

    /// First and last value of range `i` of the field `histogram`.
    pub fn range(&self, i: usize) -> (u64, u64) {
        let width = (self.max - self.min).saturating_add(1).div_ceil(self.histogram.len().max(1) as u64);
        let bar = self.bar(i as u64, width);
        (bar.first, bar.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur_and_the_histogram_counts_all() {
        let s = Summary::of((1..=1000).rev().collect()).unwrap();
        assert_eq!((s.min, s.median, s.p90, s.p99, s.max, s.mean), (1, 500, 900, 990, 1000, 500.5));
        assert_eq!(s.histogram.iter().sum::<usize>(), 1000);
        assert_eq!((s.range(0), s.range(11)), ((1, 84), (925, 1000)));
        let one = Summary::of(vec![7]).unwrap();
        assert_eq!((one.min, one.p99, one.histogram.as_slice(), one.range(0)), (7, 7, &[1][..], (7, 7)));
        assert_eq!(Summary::of(vec![]), None);
    }

    #[test]
    fn a_histogram_of_any_width_counts_all_and_covers_the_span() {
        let s = Summary::of((0..100).chain([1000]).collect()).unwrap();
        for ranges in [0, 1, 2, 7, 12, 80, 500, 5000] {
            let bars = s.histogram(ranges);
            assert!(bars.len() <= ranges.max(1), "{ranges}");
            assert_eq!(bars.iter().map(|bar| bar.count).sum::<usize>(), 101);
            assert_eq!((bars[0].first, bars[bars.len() - 1].last), (0, 1000));
            assert!(bars.windows(2).all(|pair| pair[0].last + 1 == pair[1].first), "{ranges}");
        }
        assert_eq!(s.histogram(5000).len(), 1001);
        assert_eq!(s.histogram(12)[0], Bar { first: 0, last: 83, count: 84 });
        let huge = Summary::of(vec![0, u64::MAX]).unwrap();
        assert_eq!(huge.histogram(3).iter().map(|bar| bar.count).collect::<Vec<_>>(), [1, 0, 1]);
    }

    #[test]
    fn the_printed_histogram_keeps_its_twelve_ranges() {
        let s = Summary::of((0..13).collect()).unwrap();
        assert_eq!(s.histogram, [2, 2, 2, 2, 2, 2, 1, 0, 0, 0, 0, 0]);
        let json = serde_json::to_value(&s).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 8, "{json}");
    }
}
