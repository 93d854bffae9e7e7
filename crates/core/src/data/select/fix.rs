//! `data check --fix`: a copy of the good rows, and a file that says of every other one what is wrong with it.

use super::write::{Destination, LEFT_OUT, Written};
use super::{Phase, SelectWatch};
use crate::data::check::{CheckReport, check_each};
use crate::data::problem::kind;
use crate::data::{Dataset, Encoder, Journal, Problem, Step};
use crate::fs::{self, OutFile};
use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

/// Where the copy goes, and which rows are not in it.
#[derive(Debug, Clone)]
pub struct FixOptions {
    /// The dataset_dir to be.
    pub out: PathBuf,
    /// Of the new data set.
    pub name: String,
    pub remove: Remove,
    /// Replace an earlier copy of the same name.
    pub overwrite: bool,
}

/// Rows with problems are never copied; those with these warnings neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remove {
    kinds: Vec<&'static str>,
}

impl Remove {
    /// `problems` (no warning at all), `warnings` (all), or kinds of warnings.
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut kinds = Vec::new();
        for word in words {
            match word.as_str() {
                "problems" => {}
                "warnings" => kinds.extend(kind::WARNINGS),
                other => kinds.push(*kind::WARNINGS.iter().find(|kind| **kind == other).ok_or_else(|| {
                    anyhow!("\"{other}\" is no kind of warning; they are: {}", kind::WARNINGS.join(", "))
                })?),
            }
        }
        Ok(Self { kinds })
    }
}

/// What became of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct FixReport {
    pub written: Written,
    pub dataset_info: PathBuf,
    /// Samples that are not in the copy.
    pub removed: usize,
    /// One line for each problem and each warning, then a summary.
    pub problems_file: PathBuf,
}

/// Checks samples `range` and copies those that are good; `journal` keeps what was found. `None`: `watch` stopped it.
///
/// # Errors
/// As [`super::select`].
pub fn fix(
    d: &Dataset,
    range: Range<usize>,
    encoder: Option<&Encoder<'_>>,
    o: &FixOptions,
    journal: Option<&mut Journal>,
    watch: &mut SelectWatch<'_>,
) -> Result<Option<(CheckReport, FixReport)>> {
    ensure!(u32::try_from(d.len()).is_ok(), "{} samples are too many; check a part (--max-samples)", d.len());
    let to = Destination::new(d, &o.out, vec![o.name.clone()], o.overwrite)?;
    let mut listed = ProblemFile::begin(&o.out, &o.name, o.overwrite)?;
    let done = check_and_copy(d, Checking { range, encoder, journal }, o, &to, &mut listed, watch);
    match done {
        Ok(Some((report, written, removed))) => {
            let problems_file = listed.publish(&report, &written, removed)?;
            let dataset_info = to.dataset_info();
            Ok(Some((report, FixReport { written, dataset_info, removed, problems_file })))
        }
        other => {
            listed.discard();
            other.map(|_| None)
        }
    }
}

/// What is checked, and how.
struct Checking<'a, 'e> {
    range: Range<usize>,
    encoder: Option<&'a Encoder<'e>>,
    journal: Option<&'a mut Journal>,
}

fn check_and_copy(
    d: &Dataset,
    checking: Checking<'_, '_>,
    o: &FixOptions,
    to: &Destination,
    listed: &mut ProblemFile,
    watch: &mut SelectWatch<'_>,
) -> Result<Option<(CheckReport, Written, usize)>> {
    let mut part_of = vec![LEFT_OUT; d.len()];
    let mut failed = None;
    let mut each = |index: usize, problems: &[Problem], warnings: &[Problem]| {
        let remove = !problems.is_empty() || warnings.iter().any(|warning| o.remove.kinds.contains(&warning.kind));
        if !remove {
            part_of[index] = 0;
        }
        match listed.add(problems, warnings, remove) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failed = Some(e);
                ControlFlow::Break(())
            }
        }
    };
    let Checking { range, encoder, journal } = checking;
    let reading = &mut |step: Step<'_>| watch(Phase::Reading, step.done, step.total);
    let report = check_each(d, range, encoder, journal, reading, &mut each);
    if let Some(e) = failed {
        return Err(e.into());
    }
    if !report.complete {
        return Ok(None);
    }
    let good = part_of.iter().filter(|part| **part != LEFT_OUT).count();
    ensure!(good > 0, "none of the {} samples is good; nothing was written", report.samples);
    let mut lost = Vec::new();
    let parts = to
        .write(d, &part_of, &mut |problem| lost.push(problem), &mut |done, total| watch(Phase::Writing, done, total))?;
    let Some(written) = parts.and_then(|mut parts| parts.pop()) else { return Ok(None) };
    listed.add(&lost, &[], true)?;
    let removed = report.samples - written.rows;
    Ok(Some((report, written, removed)))
}

/// `NAME.problems.jsonl`, as it grows.
struct ProblemFile {
    out: OutFile,
    partial: PathBuf,
    path: PathBuf,
}

impl ProblemFile {
    fn begin(folder: &Path, name: &str, overwrite: bool) -> Result<Self> {
        let partial = folder.join(format!(".{name}.problems.jsonl.partial"));
        let path = folder.join(format!("{name}.problems.jsonl"));
        ensure!(
            overwrite || path.symlink_metadata().is_err(),
            "{} is there already; nothing was written: give another --name, or replace it with --overwrite",
            path.display()
        );
        Ok(Self { out: OutFile::create(&partial)?, partial, path })
    }

    fn add(&mut self, problems: &[Problem], warnings: &[Problem], removed: bool) -> std::io::Result<()> {
        for (problem, severity) in
            problems.iter().map(|p| (p, "problem")).chain(warnings.iter().map(|p| (p, "warning")))
        {
            let Problem { index, origin, kind, reason } = problem;
            let line = json!({"index": index, "origin": origin, "severity": severity, "kind": kind, "reason": reason, "removed": removed});
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn publish(mut self, report: &CheckReport, written: &Written, removed: usize) -> Result<PathBuf> {
        let summary = json!({"summary": {
            "samples": report.samples, "good": report.good, "written": written.rows, "removed": removed,
            "problems": report.by_kind, "warnings": report.warnings,
        }});
        writeln!(self.out, "{summary}")?;
        self.out.finish()?;
        fs::rename(&self.partial, &self.path)?;
        if let Some(folder) = self.path.parent() {
            fs::sync_dir(folder)?;
        }
        Ok(self.path)
    }

    fn discard(self) {
        drop(self.out);
        // What led here says more than an error from tidying up.
        drop(fs::remove_file(&self.partial));
    }
}
