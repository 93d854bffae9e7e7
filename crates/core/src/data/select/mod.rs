//! `data select`: a data set of chosen rows, of one or several data sets; whole, or in parts for training and testing.
//!
//! ```text
//! every row, several at once      in order                                    in order
//! look ─ query, keys, looks, ──►  choose ─ readable? asked for? said before?  write ─ NAME.jsonl or NAME/data-*.parquet,
//!        groups                            looks like another? which part?            entries in dataset_info.json
//! ```
//! Rows are read twice, once to choose and once to copy; between the two a byte a row says where it goes. In memory are, a
//! row: 1 byte; with a split 16 and 20 to 40 a group; 20 to 40 for each way of `dedupe`; 100 a picture for each of `near` and
//! `group_near`.
//!
//! Read next: `look` (one row), `twins` (equal rows), `near` (pictures that look alike), `split` (parts), `write` (files).

mod fix;
mod look;
mod near;
mod report;
mod split;
mod twins;
mod write;

pub use fix::{FixOptions, FixReport, Remove, fix};
pub use near::MOST as MOST_BITS;
pub use report::{Example, LeftOut, SelectReport, Splitting};
pub use split::Split;
pub(super) use twins::{Key, Twins, picture_key, sample_key};
pub use write::Written;

use super::journal::{Journal, in_order_kept};
use super::query::Query;
use super::{Dataset, Problem};
use anyhow::{Result, anyhow, ensure};
use look::{Found, Looker, Refused};
use near::{Look, Looks};
use report::Report;
use split::Groups;
use std::ops::ControlFlow;
use std::path::PathBuf;
use write::{Destination, LEFT_OUT};

/// What is chosen, and where it goes.
#[derive(Debug, Clone)]
pub struct SelectOptions {
    /// The dataset_dir to be.
    pub out: PathBuf,
    /// Of the new data set; with a split `NAME_PART`.
    pub name: String,
    /// Only rows that fit.
    pub query: Option<Query>,
    /// Of rows that are the same in one of these ways only the first.
    pub dedupe: Vec<Twin>,
    /// Of rows with pictures that look alike only the first: bits that may differ, at most [`MOST_BITS`].
    pub near: Option<u32>,
    pub split: Option<Split>,
    /// Rows that stay together in a split.
    pub group: Option<Grouping>,
    /// Rows whose pictures look alike stay together, too.
    pub group_near: Option<u32>,
    /// Of the split.
    pub seed: u64,
    /// Replace an earlier selection of the same name.
    pub overwrite: bool,
}

impl SelectOptions {
    /// What is found out about each row: options with the same go on with one journal.
    pub fn asked_of_rows(&self) -> String {
        let looks = self.near.is_some() || self.group_near.is_some();
        format!("{:?}", (&self.query, &self.dedupe, looks, self.split.is_some(), &self.group))
    }
}

/// In what rows are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    /// Conversation and bytes of the pictures.
    Sample,
    /// Texts of the answers.
    Answer,
    /// Bytes of the pictures.
    Picture,
}

impl Twin {
    fn reason(self) -> &'static str {
        match self {
            Self::Sample => "same_sample",
            Self::Answer => "same_answer",
            Self::Picture => "same_picture",
        }
    }
}

/// What a row's group is called.
#[derive(Debug, Clone, Default)]
pub struct Grouping {
    /// A column; without one the row's `id`, else the names of its pictures.
    pub column: Option<String>,
    /// A regular expression: its first group, or all that fits it.
    pub pattern: Option<String>,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Reading,
    Writing,
}

/// Watches: rows done, of how many; `Break` stops, and nothing is left behind.
pub type SelectWatch<'a> = dyn FnMut(Phase, usize, usize) -> ControlFlow<()> + 'a;

/// Chooses and copies; `journal` keeps what was found out about each row. `None`: `watch` stopped it.
///
/// # Errors
/// Data sets that do not fit into one, a column that is not there, files that are in the way, no row or a part without rows, a
/// full disk. Nothing is left behind then.
pub fn select(
    d: &Dataset,
    o: &SelectOptions,
    journal: Option<&mut Journal>,
    watch: &mut SelectWatch<'_>,
) -> Result<Option<SelectReport>> {
    ensure!(u32::try_from(d.len()).is_ok(), "{} samples are too many; choose from a part (--max-samples)", d.len());
    let names = match &o.split {
        None => vec![o.name.clone()],
        Some(split) => split.parts.iter().map(|(part, _)| format!("{}_{part}", o.name)).collect(),
    };
    let to = Destination::new(d, &o.out, names, o.overwrite)?;
    let looker = Looker::new(d, o)?;
    let mut chooser = Chooser::new(d, o);
    in_order_kept(
        journal,
        d.len(),
        |i| looker.look(i),
        |i, found| {
            chooser.take(i, found);
            watch(Phase::Reading, i + 1, d.len())
        },
    );
    if chooser.part_of.len() < d.len() {
        return Ok(None);
    }
    let Chooser { mut part_of, mut report, groups, .. } = chooser;
    if report.chosen == 0 {
        return Err(anyhow!("{}; nothing was written", report.why_nothing()));
    }
    if let (Some(split), Some(groups)) = (&o.split, groups) {
        let (without_group, joined) = (groups.without_group, groups.joined);
        let dealt = groups.deal(split)?;
        let mut parts = dealt.parts.into_iter();
        part_of.iter_mut().filter(|part| **part != LEFT_OUT).for_each(|part| *part = parts.next().unwrap_or(LEFT_OUT));
        report.splitting =
            Some(Splitting { groups: dealt.groups, largest_group: dealt.largest, without_group, joined });
    }
    let mut lost =
        |problem: Problem| report.leave_out(problem.kind, &problem.origin, problem.index, problem.reason, None);
    let Some(parts) = to.write(d, &part_of, &mut lost, &mut |done, total| watch(Phase::Writing, done, total))? else {
        return Ok(None);
    };
    Ok(Some(report.finish(d.len(), &to, parts)))
}

/// Takes the rows in order and says where each goes.
struct Chooser<'a> {
    d: &'a Dataset,
    o: &'a SelectOptions,
    part_of: Vec<u8>,
    twins: Vec<Twins>,
    looks: Option<Looks>,
    groups: Option<Groups>,
    report: Report,
}

impl<'a> Chooser<'a> {
    fn new(d: &'a Dataset, o: &'a SelectOptions) -> Self {
        let twins = o.dedupe.iter().map(|_| Twins::default()).collect();
        let groups = o.split.as_ref().map(|_| Groups::new(o.seed, o.group_near));
        let part_of = Vec::with_capacity(d.len());
        Self { d, o, part_of, twins, looks: o.near.map(Looks::new), groups, report: Report::default() }
    }

    fn take(&mut self, index: usize, mut found: Found) {
        for kind in &found.unread {
            *self.report.unread_pictures.entry(kind).or_default() += 1;
        }
        let origin = || self.d.origin(index);
        let why = match found.refused.take() {
            Some(Refused::Query) => Some(("query", String::new(), None)),
            Some(Refused::Unreadable(problem)) => Some((problem.kind, problem.reason, None)),
            None => self
                .first_of_its_kind(&found)
                .map(|(reason, first)| (reason, format!("as {}", self.d.origin(first as usize)), Some(first))),
        };
        if let Some((kind, reason, first)) = why {
            self.part_of.push(LEFT_OUT);
            let origin = if self.report.wants_example(kind) { origin() } else { String::new() };
            return self.report.leave_out(kind, &origin, index, reason, first);
        }
        self.part_of.push(0);
        self.report.chosen += 1;
        let row = index as u32; // `select` refused larger sets
        for (twins, key) in self.twins.iter_mut().zip(&found.twins) {
            key.map(|key| twins.find_or_add(key, row));
        }
        let looks: Vec<Look> = found.looks.into_iter().flatten().collect();
        if let Some(index) = &mut self.looks {
            looks.iter().for_each(|look| index.add(*look, row));
        }
        if let Some(groups) = &mut self.groups {
            groups.add(found.content, self.o.group.as_ref().map(|_| found.groups.as_slice()), &looks);
        }
    }

    /// In what it is like a chosen row, and which one.
    fn first_of_its_kind(&self, found: &Found) -> Option<(&'static str, u32)> {
        let same = self.o.dedupe.iter().zip(&self.twins).zip(&found.twins);
        let mut same = same.filter_map(|((twin, twins), key)| Some((twin.reason(), twins.find((*key)?)?)));
        same.next().or_else(|| self.looks_like(&found.looks).map(|first| ("similar_picture", first)))
    }

    /// The first row with a picture like the first one, if there is one for every picture.
    fn looks_like(&self, looks: &[Option<Look>]) -> Option<u32> {
        let index = self.looks.as_ref()?;
        let first = |look: &Option<Look>| index.similar(look.as_ref()?).min();
        let firsts: Option<Vec<u32>> = looks.iter().map(first).collect();
        firsts?.first().copied()
    }
}
