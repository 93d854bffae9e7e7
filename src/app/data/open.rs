//! The set that is open: its list, what of it was fetched, and what is shown of the chosen sample. Plain data; what is
//! missing is asked for by [`Open::wanted_rows`] and fetched by [`crate::link::data`].

use super::seen::SeenView;
use super::{SetId, Source};
use crate::app::cursor::Cursor;
use lightbox_core::data::{ImageRef, PartInfo, Problem, Stats};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Open {
    pub id: SetId,
    pub source: Source,
    pub parts: Vec<PartInfo>,
    /// Samples.
    pub len: usize,
    /// The place among all samples, or among the matches.
    pub list: Cursor,
    pub rows: Rows,
    pub filter: Option<Filter>,
    pub mode: Mode,
    /// The sample that was asked for last.
    pub asked: Option<usize>,
    pub shown: Option<Arc<Shown>>,
    /// Which of its pictures is shown first.
    pub picture: usize,
    /// The first visible line of its text.
    pub scroll: usize,
    pub seen: Option<(usize, Result<Arc<SeenView>, Unseen>)>,
    pub seen_asked: Option<usize>,
    pub tokens: Cursor,
    pub check: Option<Check>,
    pub stats: Option<Statistics>,
}

/// What the middle of the screen lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Samples,
    Problems,
    Statistics,
}

/// What a list shows of a sample; texts are clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    Good { question: String, answer: String, turns: usize, pictures: usize },
    Bad(String),
}

/// One sample in full, clean.
#[derive(Debug, Clone)]
pub struct Shown {
    pub index: usize,
    pub origin: String,
    pub images: Vec<ImageRef>,
    pub turns: Vec<(Who, String)>,
    /// Characters that are not shown, of a text too long for a screen.
    pub more: usize,
    /// Why it cannot be read.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    System,
    Tools,
    User,
    Assistant,
    Observation,
    Function,
}

/// Why it cannot be said what the model sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unseen {
    /// No model folder is known.
    NoModel,
    Because(String),
}

/// A search and what it found.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Tells the results of this search from those of the one before.
    pub number: u64,
    pub query: String,
    pub matches: Vec<u32>,
    /// Samples looked at.
    pub done: usize,
    pub running: bool,
    pub failed: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Check {
    pub problems: Vec<Problem>,
    /// All of them, also those that `problems` has no room for.
    pub count: usize,
    pub by_kind: BTreeMap<&'static str, usize>,
    pub done: usize,
    pub running: bool,
    pub cursor: Cursor,
}

#[derive(Debug, Clone, Default)]
pub struct Statistics {
    pub running: bool,
    pub result: Option<Result<Arc<Measured>, String>>,
    pub scroll: usize,
}

/// What a set looks like, and how it was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    pub stats: Stats,
    /// Samples in the whole set; more than were measured: they are spread over it.
    pub of: usize,
    /// Of the model, if one is known.
    pub cutoff_len: Option<usize>,
}

/// Fetched rows that are kept: many screens full, and still less than a megabyte.
const KEPT_ROWS: usize = 2_000;
/// Problems that are kept; all are counted.
const KEPT_PROBLEMS: usize = 100_000;

#[derive(Debug, Default)]
pub struct Rows {
    map: HashMap<usize, Row>,
    /// In the order in which they came.
    order: VecDeque<usize>,
    /// What was asked for last, so that the same is not asked for at each key.
    asked: Vec<usize>,
}

impl Rows {
    pub fn get(&self, index: usize) -> Option<&Row> {
        self.map.get(&index)
    }

    pub fn insert(&mut self, index: usize, row: Row) {
        if self.map.insert(index, row).is_none() {
            self.order.push_back(index);
        }
        if self.order.len() > KEPT_ROWS
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

impl Open {
    /// How many samples the list has now.
    pub fn listed(&self) -> usize {
        self.filter.as_ref().map_or(self.len, |filter| filter.matches.len())
    }

    /// The sample in a row of the list.
    pub fn index_at(&self, row: usize) -> Option<usize> {
        match &self.filter {
            Some(filter) => filter.matches.get(row).map(|index| *index as usize),
            None => (row < self.len).then_some(row),
        }
    }

    /// The chosen sample.
    pub fn index(&self) -> Option<usize> {
        match (&self.mode, &self.check) {
            (Mode::Problems, Some(Check { problems, cursor, .. })) if !problems.is_empty() => {
                problems.get(cursor.at).map(|problem| problem.index)
            }
            _ => self.index_at(self.list.at),
        }
    }

    /// The rows around the visible ones that have to be fetched, the visible ones first; `None`: nothing is missing, or it
    /// was asked for already. `height`: rows of the list.
    pub fn wanted_rows(&mut self, height: u16) -> Option<Vec<usize>> {
        let height = usize::from(height).max(10);
        let (at, len) = (self.list.at, self.listed());
        let missing = |rows: Range<usize>| -> Vec<usize> {
            let indices = rows.filter_map(|row| self.index_at(row));
            indices.filter(|index| self.rows.get(*index).is_none()).collect()
        };
        let near = at.saturating_sub(height)..(at + height).min(len);
        let mut wanted = missing(near.clone());
        if wanted.is_empty() || wanted.iter().all(|index| self.rows.asked.contains(index)) {
            return None;
        }
        wanted.extend(missing(near.end..(near.end + height).min(len)));
        wanted.extend(missing(near.start.saturating_sub(height)..near.start));
        self.rows.asked.clone_from(&wanted);
        Some(wanted)
    }

    /// Shows all samples again; the chosen one stays chosen.
    pub fn show_all(&mut self) {
        let index = self.index_at(self.list.at).or(self.asked).unwrap_or_default();
        self.filter = None;
        self.mode = Mode::Samples;
        self.list = Cursor { at: index.min(self.len.saturating_sub(1)), len: self.len };
    }

    /// Goes to a sample; if a search hides it, shows all again.
    pub fn go_to(&mut self, index: usize) {
        let wanted = u32::try_from(index).unwrap_or(u32::MAX);
        match self.filter.as_ref().map(|filter| filter.matches.binary_search(&wanted)) {
            Some(Ok(row)) => self.list.at = row,
            _ => {
                self.filter = None;
                self.list = Cursor { at: index.min(self.len.saturating_sub(1)), len: self.len };
            }
        }
        self.mode = Mode::Samples;
    }
}

impl Check {
    pub fn add(&mut self, problems: Vec<Problem>, done: usize) {
        self.done = done;
        for problem in &problems {
            *self.by_kind.entry(problem.kind).or_default() += 1;
        }
        self.count += problems.len();
        let room = KEPT_PROBLEMS - self.problems.len().min(KEPT_PROBLEMS);
        self.problems.extend(problems.into_iter().take(room));
        self.cursor.set_len(self.problems.len());
    }
}

/// The sample that a typed number or percentage means: `17`, `1,000`, `50%`.
pub fn parse_place(text: &str, len: usize) -> Option<usize> {
    let text: String = text.trim().chars().filter(|c| !matches!(c, ',' | '_' | ' ' | '#')).collect();
    let last = len.checked_sub(1)?;
    if let Some(percent) = text.strip_suffix(['%', '％']) {
        let percent: f64 = percent.parse().ok()?;
        return (0.0..=100.0).contains(&percent).then(|| (last as f64 * percent / 100.0).round() as usize);
    }
    text.parse::<usize>().ok().filter(|index| *index <= last)
}
