//! `data stats`: how long the samples are, how large their pictures, how many turns they have; as numbers, and as a picture
//! of histograms ([`picture`](picture::picture)).

use super::check::is_true;
use super::journal::{Journal, in_order_kept};
use super::prepare::Encoder;
use super::summary::Counts;
use super::{Dataset, Problem, Sample, Step, Watch, picture as header};
use crate::text::image_tokens;

pub mod picture;

pub use super::summary::Summary;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a data set looks like.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Stats {
    /// Samples looked at.
    pub samples: usize,
    /// False where it was stopped: this covers only the first `samples` of what was asked for.
    #[serde(skip_serializing_if = "is_true")]
    pub complete: bool,
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
    /// With a model: tokens of each picture.
    pub picture_tokens: Option<Summary>,
    /// With a model: tokens that loss is taken of, after `cutoff_len`.
    pub label_tokens: Option<Summary>,
    /// With a model: samples with text cut away by `cutoff_len`. Those whose pictures do not fit are problems
    /// (`too_long`).
    pub truncated: Option<usize>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct One {
    turns: u64,
    answer_characters: u64,
    sizes: Vec<(u32, u32)>,
    tokens: Option<Tokens>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Tokens {
    /// Before the cut.
    all: u64,
    labels: u64,
    pictures: Vec<u64>,
    is_cut: bool,
}

/// Looks at samples `range`; picture headers only. `journal` keeps what was found of each.
pub fn stats(
    d: &Dataset,
    range: Range<usize>,
    encoder: Option<&Encoder<'_>>,
    journal: Option<&mut Journal>,
    watch: &mut Watch<'_>,
) -> Stats {
    let range = range.start.min(d.len())..range.end.min(d.len());
    stats_of(d, range.len(), &|i| range.start + i, encoder, journal, watch)
}

/// Looks at no more than `most` samples, spread evenly over the whole set; a set is often sorted, so its beginning says
/// little about the rest.
pub fn stats_spread(d: &Dataset, most: usize, encoder: Option<&Encoder<'_>>, watch: &mut Watch<'_>) -> Stats {
    let n = most.min(d.len());
    stats_of(d, n, &|i| spread(i, n, d.len()), encoder, None, watch)
}

/// The `i`-th of `n` places among `len`: stretches of neighbours, which share what parquet decodes.
fn spread(i: usize, n: usize, len: usize) -> usize {
    const STRETCH: usize = 32;
    let stretches = n.div_ceil(STRETCH) as u128;
    let start = (i / STRETCH) as u128 * (len - n) as u128 / stretches.max(1);
    start as usize + i
}

fn stats_of(
    d: &Dataset,
    n: usize,
    place: &(dyn Fn(usize) -> usize + Sync),
    encoder: Option<&Encoder<'_>>,
    journal: Option<&mut Journal>,
    watch: &mut Watch<'_>,
) -> Stats {
    let mut sums = Sums::default();
    let work = |i: usize| d.get(place(i)).and_then(|s| one(place(i), s, encoder));
    in_order_kept(journal, n, work, |i, result| {
        let problem = sums.add(result).err();
        watch(Step { done: i + 1, total: n, problems: problem.as_slice() })
    });
    sums.stats(n, encoder.is_some())
}

/// What is kept while samples go by: how often each value occurs, never the samples.
#[derive(Default)]
struct Sums {
    samples: usize,
    good: usize,
    problems: BTreeMap<&'static str, usize>,
    text_only: usize,
    turns: Counts,
    images: Counts,
    width: Counts,
    height: Counts,
    answer_characters: Counts,
    tokens: Counts,
    picture_tokens: Counts,
    label_tokens: Counts,
    truncated: usize,
}

impl Sums {
    fn add(&mut self, result: Result<One, Problem>) -> Result<(), Problem> {
        self.samples += 1;
        let one = result.inspect_err(|problem| *self.problems.entry(problem.kind).or_default() += 1)?;
        self.good += 1;
        self.text_only += usize::from(one.sizes.is_empty());
        self.turns.add(one.turns);
        self.images.add(one.sizes.len() as u64);
        for (width, height) in one.sizes {
            self.width.add(width.into());
            self.height.add(height.into());
        }
        self.answer_characters.add(one.answer_characters);
        if let Some(tokens) = one.tokens {
            self.tokens.add(tokens.all);
            self.label_tokens.add(tokens.labels);
            tokens.pictures.into_iter().for_each(|n| self.picture_tokens.add(n));
            self.truncated += usize::from(tokens.is_cut);
        }
        Ok(())
    }

    fn stats(self, asked: usize, with_tokens: bool) -> Stats {
        Stats {
            samples: self.samples,
            complete: self.samples == asked,
            good: self.good,
            problems: self.problems,
            text_only: self.text_only,
            turns: self.turns.summary(),
            images_per_sample: self.images.summary(),
            image_width: self.width.summary(),
            image_height: self.height.summary(),
            answer_characters: self.answer_characters.summary(),
            tokens: self.tokens.summary(),
            picture_tokens: self.picture_tokens.summary(),
            label_tokens: self.label_tokens.summary(),
            truncated: with_tokens.then_some(self.truncated),
        }
    }
}

fn one(index: usize, sample: Sample, encoder: Option<&Encoder<'_>>) -> Result<One, Problem> {
    let size = |image: &super::ImageRef| {
        let header = header::look(&image.load()?)?;
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
        Tokens {
            all: (encoded.input_ids.len() + encoded.truncated) as u64,
            labels: encoded.labels.iter().filter(|&&label| label != -100).count() as u64,
            pictures: encoded.grids.iter().filter_map(image_tokens).map(|n| n as u64).collect(),
            is_cut: encoded.truncated > 0,
        }
    });
    Ok(One { turns, answer_characters, sizes, tokens })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::test_data::{captions, open};
    use std::ops::ControlFlow;

    #[test]
    fn spread_samples_are_different_ones_from_all_over_the_set() {
        for (n, len) in [(0, 0), (7, 7), (100, 1_000), (1_000, 1_001), (20_000, 25_000_000)] {
            let places: Vec<usize> = (0..n).map(|i| spread(i, n, len)).collect();
            assert!(places.windows(2).all(|w| w[0] < w[1]), "{n} of {len}");
            assert!(places.last().is_none_or(|last| *last < len));
        }
        let last = spread(19_999, 20_000, 25_000_000);
        assert!(last > 24_900_000, "{last}");
    }

    #[test]
    fn stopped_stats_say_that_they_cover_a_part() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.parquet");
        captions(&path, 200, 50);
        let d = open(&path);
        let mut bad = 0;
        let part = stats(&d, 0..d.len(), None, None, &mut |step| {
            bad += step.problems.len();
            if step.done == 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((part.samples, part.complete, part.good, bad), (100, false, 88, 12));
        let whole = stats(&d, 0..d.len(), None, None, &mut |_| ControlFlow::Continue(()));
        assert!(whole.complete && serde_json::to_value(&whole).unwrap().get("complete").is_none());
        let width = whole.image_width.unwrap();
        assert_eq!((width.min, width.max, width.count), (8, 12, whole.good));
        assert_eq!(width.histogram(5).iter().map(|bar| bar.count).sum::<usize>(), whole.good);
    }
}
