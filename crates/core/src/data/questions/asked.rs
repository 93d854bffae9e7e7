//! Which questions were put, and how often.

use crate::text::Lang;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often each question was put, by the language of the captions that answer it: `{"en": {"What …?": 12}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asked(BTreeMap<Lang, BTreeMap<String, usize>>);

impl Asked {
    pub fn add(&mut self, caption: Lang, question: &str) {
        let counts = self.0.entry(caption).or_default();
        match counts.get_mut(question) {
            Some(count) => *count += 1,
            None => drop(counts.insert(question.to_owned(), 1)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By language: the questions, the most frequent first.
    pub fn by_language(&self) -> impl Iterator<Item = (Lang, Vec<(&str, usize)>)> {
        self.0.iter().map(|(&lang, counts)| {
            let mut list: Vec<(&str, usize)> = counts.iter().map(|(question, &n)| (question.as_str(), n)).collect();
            list.sort_by_key(|&(_, n)| std::cmp::Reverse(n)); // stable: equal ones stay in order
            (lang, list)
        })
    }

    /// Samples that are asked in another language than they are answered in: those teach a model to answer so.
    pub fn crossed(&self) -> usize {
        let all =
            self.0.iter().flat_map(|(&lang, counts)| counts.iter().map(move |(question, &n)| (lang, question, n)));
        all.filter(|(lang, question, _)| Lang::of(question) != *lang).map(|(_, _, n)| n).sum()
    }
}
