//! Looking through a data set: a few rows at a time on the caller's thread, so that whoever calls can stop between two
//! batches and show what was found. What can be asked for is in `query.rs`, when a sample fits in
//! `matcher.rs`.
//!
//! Matches are kept as four bytes each: at most 100 MB, if all of 25 million samples match. The bytes of pictures are
//! not read, so a picture that is missing or damaged is no problem here: [`super::check`](super::check()) finds those.

use super::Dataset;
use super::matcher::{Matcher, Texts};
use super::query::Query;
use anyhow::bail;
use std::ops::{ControlFlow, Deref};

/// Rows between two looks at whether the search is still wanted: a few milliseconds.
const BATCH: usize = 256;

/// A search at work. `D`: `&Dataset` or `Arc<Dataset>`.
pub struct Search<D> {
    dataset: D,
    matcher: Matcher,
    next: usize,
    matches: Vec<u32>,
    unreadable: usize,
    texts: Texts,
}

/// How far a search is.
#[derive(Debug, Clone, Copy)]
pub struct SearchStep<'a> {
    pub done: usize,
    pub total: usize,
    /// Indices found since the last step.
    pub found: &'a [u32],
}

impl<D: Deref<Target = Dataset>> Search<D> {
    /// # Errors
    /// A data set of more than 2³² samples; a column that parquet files do not have.
    pub fn new(dataset: D, query: Query) -> anyhow::Result<Self> {
        if u32::try_from(dataset.len()).is_err() {
            bail!("{} samples are too many to search; open a part of them (max_samples)", dataset.len());
        }
        let matcher = Matcher::new(&dataset, query)?;
        Ok(Self { dataset, matcher, next: 0, matches: Vec::new(), unreadable: 0, texts: Texts::default() })
    }

    /// Looks at the next `rows` samples; the indices found in them, in order.
    pub fn step(&mut self, rows: usize) -> &[u32] {
        let known = self.matches.len();
        let end = self.dataset.len().min(self.next.saturating_add(rows));
        for index in self.next..end {
            if self.fits(index) {
                // `new` refused larger sets.
                self.matches.push(index as u32);
            }
        }
        self.next = end;
        &self.matches[known..]
    }

    /// Searches until the end or until `watch` breaks, which is asked every few milliseconds. Whether it came to the end.
    pub fn run(&mut self, watch: &mut dyn FnMut(SearchStep<'_>) -> ControlFlow<()>) -> bool {
        while !self.is_finished() {
            let known = self.matches.len();
            self.step(BATCH);
            let step = SearchStep { done: self.next, total: self.dataset.len(), found: &self.matches[known..] };
            if watch(step).is_break() {
                break;
            }
        }
        self.is_finished()
    }

    pub fn is_finished(&self) -> bool {
        self.next >= self.dataset.len()
    }

    /// Samples looked at.
    pub fn done(&self) -> usize {
        self.next
    }

    /// All indices found so far, in order.
    pub fn matches(&self) -> &[u32] {
        &self.matches
    }

    pub fn into_matches(self) -> Vec<u32> {
        self.matches
    }

    /// Samples so far that could not be read; only `problem:` finds them.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    fn fits(&mut self, index: usize) -> bool {
        let glanced = self.dataset.glance(index);
        self.unreadable += usize::from(glanced.is_err());
        self.matcher.fits(&self.dataset, index, &glanced, &mut self.texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::test_data::{captions, chat, jsonl, open};
    use serde_json::json;
    use std::sync::Arc;

    fn found(d: &Dataset, line: &str) -> Vec<u32> {
        let mut search = Search::new(d, line.parse().unwrap()).unwrap();
        assert!(search.run(&mut |_| ControlFlow::Continue(())));
        search.into_matches()
    }

    fn sample() -> (tempfile::TempDir, Dataset) {
        let dir = tempfile::tempdir().unwrap();
        let path = jsonl(
            dir.path(),
            &[
                chat("What is this?", "A TUMOUR in the left lung"),
                chat("Tumour or not?", "No."),
                json!({"messages": [{"role": "system", "content": "Be BRIEF"}, {"role": "user", "content": "<image>Где?"}, {"role": "assistant", "content": "ΟΔΟΣ, 肺部肿瘤"}], "images": ["x.png"]}),
                json!({"messages": [{"role": "user", "content": "no answer"}]}),
                json!(7),
            ],
        );
        let d = open(&path);
        (dir, d)
    }

    #[test]
    fn words_are_found_whatever_their_case_where_they_are_asked_for() {
        let (_dir, d) = sample();
        for (line, expected) in [
            ("tumour", &[0, 1][..]),
            ("TUMOUR role:answer", &[0]),
            ("question:tumour", &[1]),
            ("\"left lung\"", &[0]),
            ("left tumour", &[0]),
            ("tumour -left", &[1]),
            ("где", &[2]),
            ("肿瘤", &[2]),
            ("οδοσ", &[2]),
            ("brief", &[2]),
            ("brief role:question", &[]),
            ("origin:d.jsonl:2", &[1]),
        ] {
            assert_eq!(found(&d, line), expected, "{line}");
        }
    }

    #[test]
    fn pictures_length_and_problems_are_conditions() {
        let (_dir, d) = sample();
        for (line, expected) in [
            ("pictures:>0", &[2][..]),
            ("pictures:0", &[0, 1]),
            ("len:<4", &[1]),
            ("len:10..100", &[0, 2]),
            ("len:11..100", &[0]),
            ("problem:", &[3, 4]),
            ("problem:odd_turns", &[3]),
            ("problem: tumour", &[]),
            ("problem: origin:jsonl:5", &[4]),
        ] {
            assert_eq!(found(&d, line), expected, "{line}");
        }
    }

    #[test]
    fn columns_that_no_layout_reads_can_be_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut rows = [chat("q", "a"), chat("q", "b"), chat("q", "c"), chat("q", "d")];
        rows[0]["source"] = json!("BraTS");
        rows[1]["source"] = json!("brats24");
        rows[2]["source"] = json!(["ct_rate", "brats"]);
        rows[0]["age"] = json!(61.5);
        rows[1]["age"] = json!("40");
        rows[3]["patient id"] = json!(7);
        let d = open(&jsonl(dir.path(), &rows));
        for (line, expected) in [
            ("column.source:brats", &[0, 2][..]),
            ("column.source:brats*", &[0, 1, 2]),
            ("column.source:*a*s*", &[0, 1, 2]),
            ("column.source:\"brats*\"", &[]),
            ("-column.source:brats", &[1, 3]),
            ("column.source:", &[3]),
            ("column.age:>=40", &[0, 1]),
            ("column.age:41..70", &[0]),
            ("column.\"patient id\":7.0", &[3]),
            ("column.source:brats -answer:a", &[2]),
            ("column.nowhere:x", &[]),
            ("problem: column.source:brats", &[]),
        ] {
            assert_eq!(found(&d, line), expected, "{line}");
        }
        // Parquet files say which columns there are.
        let path = dir.path().join("d.parquet");
        captions(&path, 20, 20);
        let d = open(&path);
        assert_eq!(found(&d, "column.caption:\"Caption 3 of a Tumour\""), [3]);
        let error = Search::new(&d, "column.source:x".parse().unwrap()).err().unwrap().to_string();
        assert!(error.contains("\"source\"") && error.contains("image, caption"), "{error}");
    }

    #[test]
    fn a_search_stops_between_batches_goes_on_and_counts_what_it_could_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.parquet");
        captions(&path, 1000, 100);
        let d = Arc::new(open(&path));
        let mut search = Search::new(Arc::clone(&d), "caption".parse().unwrap()).unwrap();
        assert!(!search.run(&mut |_| ControlFlow::Break(())), "stopped");
        assert_eq!(search.done(), BATCH);
        let mut steps = Vec::new();
        assert!(search.run(&mut |step| {
            steps.extend(step.found.to_vec());
            assert_eq!(step.total, 1000);
            ControlFlow::Continue(())
        }));
        // Rows 9, 19, … have no caption; rows 24, 49, … no picture.
        let good = |i: &u32| i % 10 != 9 && i % 25 != 24;
        assert_eq!(search.matches(), (0..1000).filter(good).collect::<Vec<u32>>());
        assert_eq!(steps, (BATCH as u32..1000).filter(good).collect::<Vec<u32>>());
        assert_eq!(search.unreadable(), 1000 - search.matches().len());
    }
}
