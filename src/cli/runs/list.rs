//! `lightbox runs list`

use super::facts::{self, Best};
use super::words;
use crate::cli::table::table;
use anyhow::Result;
use clap::{Args, ValueEnum};
use lightbox_core::exit::Exit;
use lightbox_core::runs::state::Status;
use lightbox_core::runs::view::{RunView, Summary};
use lightbox_core::runs::{RunDir, registry};
use serde::Serialize;
use std::cmp::Reverse;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Args)]
pub struct ListArgs {
    /// Only runs in this state: running, paused, stopped, finished, failed, crashed, queued, …
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    state: Option<Status>,
    /// Only runs with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only archived runs
    #[arg(long, conflicts_with = "all")]
    archived: bool,
    /// Archived runs, too
    #[arg(long)]
    all: bool,
    /// Measure what each folder takes on the disk
    #[arg(long)]
    size: bool,
    #[arg(long, value_enum, default_value_t = Sort::Created)]
    sort: Sort,
    /// One JSON list
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sort {
    /// The newest first
    Created,
    /// What changed last first
    Updated,
    Name,
    State,
    /// The smallest first
    Loss,
    /// The smallest evaluation loss first
    Best,
    /// The largest first; implies --size
    Size,
}

#[derive(Debug, Clone, Serialize)]
struct Row {
    #[serde(flatten)]
    summary: Summary,
    /// Smallest evaluation loss.
    best: Option<Best>,
    archived: bool,
    created_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

pub fn run(args: &ListArgs) -> Result<Exit> {
    let mut rows: Vec<Row> =
        every_run()?.iter().filter_map(|dir| row(dir, args)).filter(|row| args.shows(row)).collect();
    sort(&mut rows, args.sort);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    super::answer(args.json, &rows, &text(&rows, now_ms))?;
    Ok(Exit::Finished)
}

/// Those in the index and those under the current folder, each once.
pub fn every_run() -> Result<Vec<RunDir>> {
    Ok(registry::and_here(registry::all()?))
}

fn parse_state(word: &str) -> Result<Status, String> {
    let state = serde_json::from_value(serde_json::Value::String(word.to_lowercase()));
    state.map_err(|_| {
        "one of created, queued, starting, preparing, running, paused, stopping, stopped, finishing, finished, failed, crashed"
            .to_owned()
    })
}

/// `None` for a run that is archived, where that is enough to leave it out.
fn row(dir: &RunDir, args: &ListArgs) -> Option<Row> {
    let view = RunView::open_lenient(dir);
    if view.info.archived && !args.archived && !args.all {
        return None;
    }
    Some(Row {
        best: facts::best(dir),
        archived: view.info.archived,
        created_ms: view.info.created_ms,
        bytes: (args.size || matches!(args.sort, Sort::Size)).then(|| facts::bytes(dir.path())),
        summary: view.summary(),
    })
}

impl ListArgs {
    fn shows(&self, row: &Row) -> bool {
        self.state.is_none_or(|state| row.summary.state == state)
            && self.tag.as_ref().is_none_or(|tag| row.summary.tags.contains(tag))
            && (!self.archived || row.archived)
    }
}

fn sort(rows: &mut [Row], by: Sort) {
    let last = f64::INFINITY;
    match by {
        Sort::Created => rows.sort_by_key(|row| Reverse(row.created_ms)),
        Sort::Updated => rows.sort_by_key(|row| Reverse(row.summary.updated_ms)),
        Sort::Name => rows.sort_by(|a, b| a.summary.name.cmp(&b.summary.name)),
        Sort::State => rows.sort_by_key(|row| row.summary.state as u8),
        Sort::Loss => rows.sort_by(|a, b| a.summary.loss.unwrap_or(last).total_cmp(&b.summary.loss.unwrap_or(last))),
        Sort::Best => rows.sort_by(|a, b| {
            let best = |row: &Row| row.best.map_or(last, |best| best.loss);
            best(a).total_cmp(&best(b))
        }),
        Sort::Size => rows.sort_by_key(|row| Reverse(row.bytes)),
    }
}

fn text(rows: &[Row], now_ms: u64) -> String {
    if rows.is_empty() {
        return "No runs. `lightbox train PROFILE.yaml` starts one.".into();
    }
    let with_size = rows.iter().any(|row| row.bytes.is_some());
    let with_tags = rows.iter().any(|row| !row.summary.tags.is_empty());
    let mut head = vec!["name", "state", "step#", "loss#", "best#", "age#"];
    head.extend(with_size.then_some("size#"));
    head.extend(with_tags.then_some("tags"));
    let cells = |row: &Row| {
        let run = &row.summary;
        let mut cells = vec![
            run.name.clone(),
            words::state_of(run),
            words::steps(run.step, run.total_steps),
            words::loss(run.loss),
            words::loss(row.best.map(|best| best.loss)),
            words::age(now_ms, row.created_ms),
        ];
        cells.extend(with_size.then(|| row.bytes.map(words::size).unwrap_or_default()));
        cells.extend(with_tags.then(|| run.tags.join(" ")));
        cells
    };
    let mut text = table(&head, &rows.iter().map(cells).collect::<Vec<_>>());
    for run in rows.iter().map(|row| &row.summary) {
        if let Some(error) = &run.error {
            text += &format!("\n{}: {error}", run.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, state: Status, step: u64) -> Row {
        let summary = Summary {
            id: format!("2026-03-01-1432-{name}-k3f9"),
            name: name.into(),
            dir: format!("/runs/{name}"),
            state,
            step,
            total_steps: 1250,
            epoch: 0.5,
            loss: (step > 0).then_some(1.83421),
            pid: None,
            checkpoint: None,
            reason: None,
            started_ms: 1_000_000,
            updated_ms: 2_000_000,
            seconds_left: None,
            stalled_ms: None,
            suspended: false,
            tags: Vec::new(),
            error: None,
        };
        Row { summary, best: None, archived: false, created_ms: 1_000_000, bytes: None }
    }

    #[test]
    fn a_list_shows_how_each_run_stands_and_what_is_wrong_with_it() {
        let mut rows = vec![
            row("receipts", Status::Running, 42),
            row("bad\u{1b}[2Jname", Status::Created, 0),
            row("scans", Status::Finished, 1250),
            row("stuck", Status::Running, 7),
            row("next", Status::Queued, 0),
        ];
        rows[1].summary.error = Some("state.json: expected value at line 1 column 1".into());
        rows[2].best = Some(Best { step: 1000, loss: 1.5 });
        rows[2].bytes = Some(485_000_000);
        rows[2].summary.tags = vec!["best".into(), "ocr".into()];
        rows[3].summary.stalled_ms = Some(185_000);
        insta::assert_snapshot!(lightbox_core::safe_text::clean(&text(&rows, 8_380_000)));
    }

    #[test]
    fn runs_without_a_loss_come_last() {
        let mut rows = vec![row("a", Status::Created, 0), row("b", Status::Running, 5)];
        sort(&mut rows, Sort::Loss);
        assert_eq!(rows[0].summary.name, "b");
        sort(&mut rows, Sort::Name);
        assert_eq!(rows[0].summary.name, "a");
    }
}
