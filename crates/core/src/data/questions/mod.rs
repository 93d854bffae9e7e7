//! What captioned pictures are asked.
//!
//! A caption is an answer that nobody asked for: `data convert`, `data slices` and training straight from parquet put a
//! question before it. One question for all teaches a model to hear that one alone, so there are sets of several
//! wordings, in the language of the caption if wanted.
//!
//! Which wording a sample gets is a pure function of a seed and of the sample's id ([`Place`]), so that conversion,
//! preview and training ask the same, in any order, of any part of a set, and after an interruption. `parse.rs` reads
//! sets from YAML and dataset_info.json; `ready_made.yaml` has the built-in ones.

mod asked;
mod parse;

use crate::seed;
use crate::text::Lang;
pub use asked::Asked;
use serde::Serialize;

/// The tutorial's question for every picture.
pub const DEFAULT_QUESTION: &str = "图片中的诊断结果是怎样？";
/// The tutorial's question in English.
pub const DEFAULT_QUESTION_EN: &str = "What is the diagnosis in this picture?";
/// For drawing questions and captions, where nothing else is said. Not the profile's `seed`: repeating a training with
/// another seed must not change its data.
pub const DEFAULT_SEED: u64 = 42;
/// The ready-made sets, as options and dataset_info.json name them.
pub const READY_MADE: [&str; 3] = ["en", "zh", "match"];

/// One question and how often it is drawn, beside the others of its list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wording {
    pub text: String,
    /// Above 0, up to a million; 1 if nothing is said.
    pub weight: f64,
}

/// Several wordings of the question. No list is empty.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum QuestionSet {
    /// Whatever the caption's language.
    Any(Vec<Wording>),
    /// A list for each language that a caption can have ([`Lang::of`]).
    ByCaption { en: Vec<Wording>, zh: Vec<Wording> },
}

/// How the question of a sample is found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Questions {
    /// Row *i* (from 0) is asked question *i* modulo their number.
    InTurn(Vec<String>),
    /// Drawn for each sample by its [`Place`].
    Drawn(QuestionSet),
}

/// The tutorial's question.
impl Default for Questions {
    fn default() -> Self {
        Self::InTurn(vec![DEFAULT_QUESTION.to_owned()])
    }
}

/// Where a sample stands in its data: what draws go by. The id where it has one, so that a sample keeps its question
/// when rows are left out, sorted or split; else the number of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub id: Option<&'a str>,
    pub row: usize,
}

impl Place<'_> {
    /// The seed of one draw at this place. Pinned by a golden: data sets that were made with it must not change.
    pub(super) fn seed(&self, seed: u64, purpose: &str) -> u64 {
        match self.id {
            Some(id) => seed::at(seed, &format!("{purpose} of {id}"), &[]),
            None => seed::at(seed, purpose, &[self.row as u64]),
        }
    }
}

impl Questions {
    /// What the sample at `place` is asked, whose caption is in language `caption`.
    pub fn of(&self, place: Place<'_>, seed: u64, caption: Lang) -> &str {
        match self {
            Self::InTurn(list) => list.get(place.row % list.len().max(1)).map_or("", String::as_str),
            Self::Drawn(set) => draw(set.list(caption), place.seed(seed, "question")),
        }
    }

    /// All texts that can be asked.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::InTurn(list) => list.iter().map(String::as_str).collect(),
            Self::Drawn(set) => Lang::ALL.iter().flat_map(|&lang| set.list(lang)).map(|w| w.text.as_str()).collect(),
        }
    }

    /// Whether the caption's language decides.
    pub fn goes_by_caption(&self) -> bool {
        matches!(self, Self::Drawn(QuestionSet::ByCaption { .. }))
    }
}

impl QuestionSet {
    fn list(&self, caption: Lang) -> &[Wording] {
        match (self, caption) {
            (Self::Any(list), _) | (Self::ByCaption { en: list, .. }, Lang::En) => list,
            (Self::ByCaption { zh: list, .. }, Lang::Zh) => list,
        }
    }
}

/// One of `wordings`, each with its share, by a number that is uniform in u64.
fn draw(wordings: &[Wording], number: u64) -> &str {
    let total: f64 = wordings.iter().map(|w| w.weight).sum();
    // 53 bits: as many as an f64 holds without rounding.
    let mut left = (number >> 11) as f64 / (1u64 << 53) as f64 * total;
    for wording in wordings {
        if left < wording.weight {
            return &wording.text;
        }
        left -= wording.weight;
    }
    // Rounding can leave a last crumb behind the last one.
    wordings.last().map_or("", |w| &w.text)
}

#[cfg(test)]
mod tests;
