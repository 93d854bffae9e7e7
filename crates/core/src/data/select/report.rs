//! What was chosen, what was not, and why.

use super::write::{Destination, Written};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// Examples that are kept of each reason.
const EXAMPLES: usize = 5;

#[derive(Debug, Clone, serde::Serialize)]
pub struct SelectReport {
    /// Samples of the data sets.
    pub read: usize,
    pub chosen: usize,
    /// By reason: `query`, `same_sample`, `same_answer`, `same_picture`, `similar_picture`, or the kind of a problem.
    pub left_out: BTreeMap<&'static str, LeftOut>,
    /// Pictures that had to be compared but could not be had, by kind: their rows count as if they were like no other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unread_pictures: BTreeMap<&'static str, usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Splitting>,
    pub parts: Vec<Written>,
    /// `None`: captioned pictures in parquet, which an entry cannot describe; they are opened by their path.
    pub dataset_info: Option<PathBuf>,
    /// Rows whose paths of pictures were changed, so that they are right from the new folder.
    pub paths_changed: usize,
    /// Parquet rows that name pictures by a path: they are looked for from this folder, as before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths_from: Option<PathBuf>,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Splitting {
    /// Of each part.
    pub groups: Vec<usize>,
    /// Rows of the largest group.
    pub largest_group: usize,
    /// Rows that the column or the pattern says nothing about; each stands for itself.
    pub without_group: usize,
    /// Groups that were put together because their pictures look alike.
    pub joined: usize,
}

/// Rows that were left out for one reason.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct LeftOut {
    pub count: usize,
    /// Chosen rows that they are like.
    #[serde(skip_serializing_if = "HashSet::is_empty", serialize_with = "count")]
    pub groups: HashSet<u32>,
    pub first: Vec<Example>,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Example {
    pub index: usize,
    pub origin: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

fn count<S: serde::Serializer>(rows: &HashSet<u32>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(rows.len() as u64)
}

/// The report as it grows.
#[derive(Debug, Default)]
pub struct Report {
    pub chosen: usize,
    pub left_out: BTreeMap<&'static str, LeftOut>,
    pub unread_pictures: BTreeMap<&'static str, usize>,
    pub splitting: Option<Splitting>,
}

impl Report {
    pub fn wants_example(&self, kind: &str) -> bool {
        self.left_out.get(kind).is_none_or(|left| left.first.len() < EXAMPLES)
    }

    /// `first`: the chosen row that it is like.
    pub fn leave_out(&mut self, kind: &'static str, origin: &str, index: usize, reason: String, first: Option<u32>) {
        let left = self.left_out.entry(kind).or_default();
        left.count += 1;
        left.groups.extend(first);
        if left.first.len() < EXAMPLES {
            left.first.push(Example { index, origin: origin.to_owned(), reason });
        }
    }

    /// One sentence for a selection of no row.
    pub fn why_nothing(&self) -> String {
        let reasons: Vec<String> = self.left_out.iter().map(|(kind, left)| format!("{} {kind}", left.count)).collect();
        match reasons.as_slice() {
            [] => "the data set has no rows".to_owned(),
            reasons => format!("no row is left ({})", reasons.join(", ")),
        }
    }

    pub fn finish(self, read: usize, to: &Destination, parts: Vec<Written>) -> SelectReport {
        SelectReport {
            read,
            chosen: parts.iter().map(|part| part.rows).sum(),
            left_out: self.left_out,
            unread_pictures: self.unread_pictures,
            split: self.splitting,
            paths_changed: parts.iter().map(|part| part.paths_changed).sum(),
            paths_from: to.paths_from(),
            dataset_info: to.dataset_info(),
            parts,
        }
    }
}
