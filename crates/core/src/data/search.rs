//! Looking through a data set: a few rows at a time on the caller's thread, so that whoever calls can stop between two
//! batches and show what was found. What can be asked for is in `query.rs`.
//!
//! Matches are kept as four bytes each: at most 100 MB, if all of 25 million samples match. The bytes of pictures are
//! not read, so a picture that is missing or damaged is no problem here: [`super::check`](super::check()) finds those.

use super::layout::Parsed;
use super::query::{Field, Query};
use super::{Dataset, Problem};
use anyhow::bail;
use memchr::memmem::Finder;
use std::ops::{ControlFlow, Deref};

/// Rows between two looks at whether the search is still wanted: a few milliseconds.
const BATCH: usize = 256;

/// A search at work. `D`: `&Dataset` or `Arc<Dataset>`.
pub struct Search<D> {
    dataset: D,
    query: Query,
    needles: Vec<Needle>,
    next: usize,
    matches: Vec<u32>,
    unreadable: usize,
    texts: Texts,
}

struct Needle {
    finder: Finder<'static>,
    field: Field,
    not: bool,
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
    /// A data set of more than 2³² samples.
    pub fn new(dataset: D, query: Query) -> anyhow::Result<Self> {
        if u32::try_from(dataset.len()).is_err() {
            bail!("{} samples are too many to search; open a part of them (max_samples)", dataset.len());
        }
        let needle = |word: &super::query::Word| {
            let mut text = String::new();
            fold(&word.text, &mut text);
            Needle { finder: Finder::new(text.as_bytes()).into_owned(), field: word.field, not: word.not }
        };
        let needles = query.words.iter().map(needle).collect();
        Ok(Self { dataset, query, needles, next: 0, matches: Vec::new(), unreadable: 0, texts: Texts::default() })
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
        match self.dataset.glance(index) {
            Ok(parsed) => self.query.problem.is_none() && self.fits_sample(index, &parsed),
            Err(problem) => {
                self.unreadable += 1;
                self.fits_problem(index, &problem)
            }
        }
    }

    /// A row that cannot be read has no texts and no pictures: only its origin can be asked for.
    fn fits_problem(&mut self, index: usize, problem: &Problem) -> bool {
        let asked = self.query.problem.as_deref().is_some_and(|kind| kind.is_empty() || kind == problem.kind);
        let other = self.query.pictures.is_some() || self.query.length.is_some();
        asked && !other && {
            self.texts.clear();
            self.words_fit(index)
        }
    }

    fn fits_sample(&mut self, index: usize, parsed: &Parsed) -> bool {
        let messages = &parsed.conversation.messages;
        if self.query.pictures.as_ref().is_some_and(|bounds| !bounds.contains(&parsed.images.len())) {
            return false;
        }
        if let Some(bounds) = &self.query.length {
            let length = messages.iter().skip(1).step_by(2).map(|m| m.content.chars().count()).sum();
            if !bounds.contains(&length) {
                return false;
            }
        }
        if self.needles.is_empty() {
            return true;
        }
        self.texts.clear();
        fold(parsed.conversation.system.as_deref().unwrap_or_default(), &mut self.texts.system);
        for message in messages {
            let text = if message.role.answers() { &mut self.texts.answers } else { &mut self.texts.questions };
            fold(&message.content, text);
            text.push('\n');
        }
        self.words_fit(index)
    }

    fn words_fit(&mut self, index: usize) -> bool {
        if self.needles.iter().any(|needle| needle.field == Field::Origin) {
            fold(&self.dataset.origin(index), &mut self.texts.origin);
        }
        let Texts { system, questions, answers, origin } = &self.texts;
        self.needles.iter().all(|needle| {
            let is_in = |text: &String| needle.finder.find(text.as_bytes()).is_some();
            let found = match needle.field {
                Field::Any => is_in(questions) || is_in(answers) || is_in(system),
                Field::Question => is_in(questions),
                Field::Answer => is_in(answers),
                Field::Origin => is_in(origin),
            };
            found != needle.not
        })
    }
}

/// The texts of one sample, folded; kept to spare their allocation.
#[derive(Default)]
struct Texts {
    system: String,
    questions: String,
    answers: String,
    origin: String,
}

impl Texts {
    fn clear(&mut self) {
        for text in [&mut self.system, &mut self.questions, &mut self.answers, &mut self.origin] {
            text.clear();
        }
    }
}

/// Appends `text` in lower case, character by character, so that a word folds the same wherever it stands (Rust's
/// `to_lowercase` writes a final sigma differently).
fn fold(text: &str, out: &mut String) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        out[start..].make_ascii_lowercase();
        return;
    }
    out.extend(text.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }));
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
