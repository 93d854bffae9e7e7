//! A comparison as people read it: report.html (one file, no script, pictures inside), report.md (pictures beside it) and
//! report.json (everything, for programs). The first two are in their reader's language; what data and models say stays as it
//! is.
//!
//! Questions, labels, answers, names and paths come from data and models: every one of them passes
//! [`crate::safe_text::clean`] and the escaping of its format, and [`html`] cannot write a text that did not.

mod html;
pub(super) mod markdown;
mod marks;
mod thumbnail;

pub(super) use marks::marked;

use super::comparison::{Comparison, Row, Sample};
use super::interval::Estimate;
use super::words;
use crate::fs;
use crate::text::Lang;
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Samples in each of the two lists of largest changes.
const CHANGED: usize = 10;
/// Folder of report.md's pictures, beside it.
const PICTURES: &str = "report-pictures";

/// A picture's encoded file, or why it cannot be shown.
pub type Picture = Result<Vec<u8>, String>;

/// What a report shows beside all measures.
pub struct Contents<'a> {
    title: String,
    lang: Lang,
    comparison: &'a Comparison,
    /// Positions in the comparison's samples.
    better: Vec<usize>,
    worse: Vec<usize>,
    shown: Vec<Shown<'a>>,
}

/// A sample with small pictures (JPEG).
struct Shown<'a> {
    sample: &'a Sample,
    pictures: Vec<Picture>,
}

/// Writes the three files into `dir`. At most `show` samples stand side by side, those that changed most first among them;
/// `pictures` finds a sample's picture files.
///
/// # Errors
/// A file that cannot be written.
pub fn write(
    dir: &Path,
    lang: Lang,
    comparison: &Comparison,
    show: usize,
    pictures: &mut dyn FnMut(&Sample) -> Vec<Picture>,
) -> Result<Vec<PathBuf>> {
    let (better, worse) = comparison.most_changed(CHANGED);
    let all = 0..comparison.samples.len();
    let chosen: BTreeSet<usize> = better
        .iter()
        .chain(&worse)
        .copied()
        .chain(all)
        .scan(BTreeSet::new(), |seen, i| {
            seen.insert(i);
            (seen.len() <= show.max(better.len() + worse.len())).then_some(i)
        })
        .collect();
    let small = |p: Picture| p.and_then(|file| thumbnail::jpeg(&file).map_err(|e| e.to_string()));
    let shown: Vec<Shown> = chosen
        .iter()
        .map(|&i| &comparison.samples[i])
        .map(|sample| Shown { sample, pictures: pictures(sample).into_iter().map(small).collect() })
        .collect();
    let title = words::TITLE.fill(lang, &[&comparison.models.join(", ")]);
    let contents = Contents { title, lang, comparison, better, worse, shown };

    fs::create_dir_all(dir)?;
    let folder = dir.join(PICTURES);
    fs::remove_dir_all(&folder)?;
    for shown in &contents.shown {
        for (nth, jpeg) in shown.pictures.iter().enumerate().filter_map(|(n, p)| Some((n, p.as_ref().ok()?))) {
            fs::create_dir_all(&folder)?;
            fs::write_replacing(&folder.join(picture_name(shown.sample, nth)), jpeg)?;
        }
    }
    let report = json!({"title": contents.title, "report": 1, "comparison": comparison,
        "better": indices(comparison, &contents.better), "worse": indices(comparison, &contents.worse)});
    let files = [
        ("report.html", html::page(&contents)),
        ("report.md", markdown::page(&contents)),
        ("report.json", serde_json::to_string_pretty(&report)?),
    ];
    files
        .into_iter()
        .map(|(name, text)| {
            let path = dir.join(name);
            fs::write_atomic(&path, text.as_bytes())?;
            Ok(path)
        })
        .collect()
}

fn indices(c: &Comparison, positions: &[usize]) -> Vec<usize> {
    positions.iter().map(|&i| c.samples[i].index).collect()
}

fn picture_name(sample: &Sample, nth: usize) -> String {
    format!("{}-{}.jpg", sample.index, nth + 1)
}

/// What was counted, and what the brackets are; `name` makes a model's name safe for the format.
fn preface(c: &Comparison, lang: Lang, name: impl Fn(&str) -> String) -> String {
    let mut sentences = vec![words::ANSWERED.fill(lang, &[&c.samples.len()])];
    let left_out = c.models.iter().zip(&c.left_out).filter(|(_, n)| **n > 0);
    sentences.extend(left_out.map(|(model, n)| words::LEFT_OUT.fill(lang, &[n, &name(model)])));
    sentences.push(words::INTERVALS.fill(lang, &[&c.bootstrap_draws, &c.bootstrap_seed]));
    sentences.join(words::gap(lang))
}

/// `12.34`, and losses, which are small, with four digits.
fn number(row: &Row, x: f64) -> String {
    if row.higher_is_better { format!("{x:.2}") } else { format!("{x:.4}") }
}

/// `12.34 (10.00 to 14.00)`
pub fn estimate(row: &Row, e: &Estimate, lang: Lang) -> String {
    words::BETWEEN.fill(lang, &[&number(row, e.value), &number(row, e.low), &number(row, e.high)])
}

/// `+1.00 (0.50 to 1.50)`
fn difference(row: &Row, e: &Estimate, lang: Lang) -> String {
    let sign = if e.value > 0.0 { "+" } else { "" };
    format!("{sign}{}", estimate(row, e, lang))
}

/// What a difference says, beyond chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    Open,
}

fn verdict(row: &Row, e: &Estimate) -> Verdict {
    match (e.excludes_zero(), (e.value > 0.0) == row.higher_is_better) {
        (false, _) => Verdict::Open,
        (true, true) => Verdict::Better,
        (true, false) => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests;
