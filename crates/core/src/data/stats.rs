//! `data stats`: how long the samples are, how large their pictures, how many turns they have.

use super::parallel::in_order;
use super::picture;
use super::prepare::Encoder;
use super::{Dataset, Problem, Sample};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

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
    /// Counts of equally wide ranges from `min` to `max`.
    pub histogram: Vec<usize>,
}

/// Ranges of a histogram: fits a narrow terminal.
const RANGES: u64 = 12;

impl Summary {
    /// `None` if there are no values.
    pub fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        let (&min, &max) = (values.first()?, values.last()?);
        let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        let ranges = RANGES.min(max - min + 1);
        let width = (max - min + 1).div_ceil(ranges);
        let mut histogram = vec![0; ranges as usize];
        for value in &values {
            histogram[((value - min) / width) as usize] += 1;
        }
        let mean = values.iter().map(|&v| v as f64).sum::<f64>() / values.len() as f64;
        Some(Self { count: values.len(), min, median: rank(50), p90: rank(90), p99: rank(99), max, mean, histogram })
    }

    /// First and last value of histogram range `i`.
    pub fn range(&self, i: usize) -> (u64, u64) {
        let width = (self.max - self.min + 1).div_ceil(self.histogram.len().max(1) as u64);
        let first = self.min + width * i as u64;
        (first, (first + width - 1).min(self.max))
    }
}

/// What a data set looks like.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Stats {
    pub samples: usize,
    /// Samples that could be read.
    pub good: usize,
    pub problems: BTreeMap<&'static str, usize>,
    pub text_only: usize,
    pub turns: Option<Summary>,
    pub images_per_sample: Option<Summary>,
    pub image_width: Option<Summary>,
    pub image_height: Option<Summary>,
    pub answer_characters: Option<Summary>,
    /// With a model: tokens a sample would have without `cutoff_len`.
    pub tokens: Option<Summary>,
    /// With a model: tokens that loss is taken of, after `cutoff_len`.
    pub label_tokens: Option<Summary>,
    /// With a model: samples with text cut away by `cutoff_len`. Those whose pictures do not fit are problems
    /// (`too_long`).
    pub truncated: Option<usize>,
}

struct One {
    turns: u64,
    answer_characters: u64,
    sizes: Vec<(u32, u32)>,
    /// Tokens before the cut, label tokens, and whether there was a cut.
    tokens: Option<(u64, u64, bool)>,
}

/// Looks at samples `range`; picture headers only.
pub fn stats(
    d: &Dataset,
    range: Range<usize>,
    encoder: Option<&Encoder<'_>>,
    progress: &mut dyn FnMut(usize, usize),
) -> Stats {
    let range = range.start.min(d.len())..range.end.min(d.len());
    let mut problems = BTreeMap::new();
    let mut all = Vec::with_capacity(range.len());
    let work = |i: usize| d.get(range.start + i).and_then(|s| one(range.start + i, s, encoder));
    in_order(range.len(), work, |i, result| {
        match result {
            Ok(one) => all.push(one),
            Err(problem) => *problems.entry(problem.kind).or_default() += 1,
        }
        progress(i + 1, range.len());
        ControlFlow::Continue(())
    });
    let of = |f: &dyn Fn(&One) -> u64| Summary::of(all.iter().map(f).collect());
    let tokens: Vec<_> = all.iter().filter_map(|one| one.tokens).collect();
    let sizes: Vec<_> = all.iter().flat_map(|one| &one.sizes).collect();
    Stats {
        samples: range.len(),
        good: all.len(),
        problems,
        text_only: all.iter().filter(|one| one.sizes.is_empty()).count(),
        turns: of(&|one| one.turns),
        images_per_sample: of(&|one| one.sizes.len() as u64),
        image_width: Summary::of(sizes.iter().map(|size| size.0.into()).collect()),
        image_height: Summary::of(sizes.iter().map(|size| size.1.into()).collect()),
        answer_characters: of(&|one| one.answer_characters),
        tokens: Summary::of(tokens.iter().map(|t| t.0).collect()),
        label_tokens: Summary::of(tokens.iter().map(|t| t.1).collect()),
        truncated: encoder.map(|_| tokens.iter().filter(|t| t.2).count()),
    }
}

fn one(index: usize, sample: Sample, encoder: Option<&Encoder<'_>>) -> Result<One, Problem> {
    let size = |image: &super::ImageRef| {
        let header = picture::look(&image.load()?)?;
        Ok((header.width, header.height))
    };
    let sizes = sample
        .images
        .iter()
        .map(size)
        .collect::<Result<_, _>>()
        .map_err(|fault: super::problem::Fault| fault.at(index, sample.origin.clone()))?;
    let messages = &sample.conversation.messages;
    let answers = messages.iter().skip(1).step_by(2);
    let (turns, answer_characters) =
        (messages.len() as u64 / 2, answers.map(|m| m.content.chars().count() as u64).sum());
    let tokens = encoder.map(|encoder| encoder.encode(index, sample)).transpose()?.map(|prepared| {
        let encoded = prepared.encoded;
        let labels = encoded.labels.iter().filter(|&&label| label != -100).count();
        ((encoded.input_ids.len() + encoded.truncated) as u64, labels as u64, encoded.truncated > 0)
    });
    Ok(One { turns, answer_characters, sizes, tokens })
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
}
