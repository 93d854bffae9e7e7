//! `lightbox runs show`

use super::facts::{self, Best, CheckpointFacts};
use super::{Run, logs, words};
use crate::cli::table::table;
use anyhow::Result;
use clap::Args;
use lightbox_core::exit::Exit;
use lightbox_core::runs::RunDir;
use lightbox_core::runs::info::Parent;
use lightbox_core::runs::lock::WorkerInfo;
use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::record::{Answers, Event, Phase, SystemRecord};
use lightbox_core::runs::state::Status;
use lightbox_core::runs::view::{RunView, Summary};
use lightbox_core::safe_text::clean_line;
use serde::Serialize;
use serde_json::{Map, Value};

/// Events at the end of the report.
const EVENTS: usize = 8;

#[derive(Args)]
pub struct ShowArgs {
    #[command(flatten)]
    run: Run,
    /// Read every byte of every checkpoint; without it only their sizes are compared with their manifests
    #[arg(long)]
    verify: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// All there is to say about a run.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    summary: Summary,
    best: Option<Best>,
    /// The newest one, as in `eval_results.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation: Option<Map<String, Value>>,
    phase: Option<Phase>,
    checkpoints: Vec<CheckpointFacts>,
    notes: String,
    group: Option<String>,
    parent: Option<Parent>,
    archived: bool,
    created_ms: u64,
    worker: Option<WorkerInfo>,
    /// GPU, memory and disk, as last measured.
    system: Option<String>,
    events: Vec<String>,
    /// What continues, watches or uses the run.
    next: String,
}

pub fn run(args: &ShowArgs) -> Result<Exit> {
    let dir = args.run.find()?;
    let report = Report::of(&dir, args.verify);
    super::answer(args.json, &report, &report.text())?;
    Ok(Exit::Finished)
}

impl Report {
    fn of(dir: &RunDir, verify: bool) -> Self {
        let view = RunView::open_lenient(dir);
        let alive = view.is_alive();
        Self {
            best: facts::best(dir),
            evaluation: facts::evaluation(dir),
            phase: view.beat.filter(|_| alive && view.state == Status::Running).map(|beat| beat.phase),
            checkpoints: facts::checkpoints(dir, verify),
            notes: view.info.notes.clone(),
            group: view.info.group.clone(),
            parent: view.info.parent.clone(),
            archived: view.info.archived,
            created_ms: view.info.created_ms,
            worker: view.worker.clone().filter(|_| alive),
            system: logs::last_record::<SystemRecord>(dir, RunDir::SYSTEM, 1, words::system).pop().filter(|_| alive),
            events: logs::last_record::<Event>(dir, RunDir::EVENTS, EVENTS, words::event),
            next: next(&view),
            summary: view.summary(),
        }
    }

    fn text(&self) -> String {
        let run = &self.summary;
        let mut lines: Vec<(&str, String)> =
            vec![("run", format!("{}  ({})", run.name, run.id)), ("folder", run.dir.clone())];
        let phase = self.phase.filter(|&phase| phase != Phase::Training);
        let phase = phase.map(|phase| format!(", {}", format!("{phase:?}").to_lowercase())).unwrap_or_default();
        lines.push(("state", format!("{}{phase}", words::state_of(run))));
        if let Some(reason) = &run.reason {
            lines.push(("why", reason.text.clone()));
            lines.extend(reason.hint.iter().map(|hint| ("hint", hint.clone())));
        }
        lines.extend(run.error.iter().map(|error| ("damaged", error.clone())));
        let left = run.seconds_left.map(|s| format!(", {} left", short_time(s as f64))).unwrap_or_default();
        let loss = run.loss.map(|loss| format!(", loss {loss:.4}")).unwrap_or_default();
        lines.push((
            "progress",
            format!("step {}, epoch {:.2}{loss}{left}", words::steps(run.step, run.total_steps), run.epoch),
        ));
        lines.extend(self.best.map(|b| ("best", format!("evaluation loss {:.4} at step {}", b.loss, b.step))));
        lines.extend(self.evaluation.as_ref().and_then(answers).map(|answers| ("answers", answers)));
        lines.extend(self.worker.as_ref().map(|w| {
            let device = w.device.as_ref().map(|d| format!(" on {d}")).unwrap_or_default();
            ("worker", format!("pid {} at {}{device}, attempt {}, started by {}", w.pid, w.host, w.attempt, w.launcher))
        }));
        lines.extend(self.system.iter().map(|system| ("machine", system.clone())));
        if !run.tags.is_empty() {
            lines.push(("tags", run.tags.join(" ")));
        }
        lines.extend((!self.notes.is_empty()).then(|| ("notes", self.notes.clone())));
        lines.extend(self.parent.as_ref().map(|p| ("fork of", format!("{} at {} ({})", p.run, p.checkpoint, p.dir))));
        if self.archived {
            lines.push(("archived", "yes".into()));
        }
        let mut text: String =
            lines.iter().map(|(key, value)| format!("{key:<9} {}\n", clean_line(value, 2000))).collect();
        if !self.checkpoints.is_empty() {
            let rows: Vec<Vec<String>> = self.checkpoints.iter().map(checkpoint_row).collect();
            text += &format!("\n{}", table(&["checkpoint", "size#", "", "label"], &rows));
        }
        for problem in self.checkpoints.iter().filter_map(|c| c.problem.as_ref()) {
            text += &format!("  {}\n", clean_line(problem, 2000));
        }
        if !self.events.is_empty() {
            text += "\nlast events\n";
            text.extend(self.events.iter().map(|event| format!("  {}\n", clean_line(event, 400))));
        }
        text + &format!("\nNext: {}\n", self.next)
    }
}

/// What the newest evaluation's answers are worth.
fn answers(evaluation: &Map<String, Value>) -> Option<String> {
    let value = |key: &str| evaluation.get(key)?.as_f64();
    let (bleu_4, rouge_l) = (value("eval_bleu-4")?, value("eval_rouge-l")?);
    let exact_match = value("eval_exact_match")?;
    let epoch = value("epoch").map(|epoch| format!(" at epoch {epoch:.2}")).unwrap_or_default();
    Some(words::answers(&Answers { bleu_4, rouge_l, exact_match, ..Answers::default() }) + &epoch)
}

fn checkpoint_row(checkpoint: &CheckpointFacts) -> Vec<String> {
    let mut marks = Vec::new();
    marks.extend((!checkpoint.valid).then_some("cannot be used"));
    marks.extend(checkpoint.best.then_some("best"));
    marks.extend(checkpoint.pinned.then_some("pinned"));
    vec![
        checkpoint.name.clone(),
        words::size(checkpoint.bytes),
        marks.join(", "),
        checkpoint.label.clone().unwrap_or_default(),
    ]
}

/// The command for what one probably wants now.
fn next(view: &RunView) -> String {
    let dir = lightbox_core::safe_text::shell_word(&view.path.display().to_string());
    match view.state {
        Status::Finished => format!("lightbox chat --adapter {dir}"),
        Status::Queued => "lightbox runs queue list".into(),
        Status::Paused if view.is_alive() => format!("lightbox runs resume {dir}"),
        _ if view.is_alive() => format!("lightbox runs attach {dir}"),
        _ => format!("lightbox runs resume {dir}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lightbox_core::runs::state::Reason;
    use lightbox_core::safe_text::shell_word;

    #[test]
    fn a_report_says_how_the_run_stands_and_how_it_goes_on() {
        let checkpoint = |step: u64, problem: Option<&str>| CheckpointFacts {
            step,
            name: format!("checkpoint-{step}"),
            bytes: 485_000_000,
            valid: problem.is_none(),
            problem: problem.map(str::to_owned),
            pinned: step == 1000,
            best: step == 1000,
            label: (step == 1000).then(|| "before the new data".into()),
        };
        let damage = "checkpoint-1250: optimizer.safetensors is 12 MB shorter than its manifest says";
        let report = Report {
            summary: Summary {
                id: "2026-03-01-1432-receipts-k3f9".into(),
                name: "receipts".into(),
                dir: "/runs/my receipts".into(),
                state: Status::Crashed,
                step: 1234,
                total_steps: 2500,
                epoch: 0.98,
                loss: Some(1.83421),
                pid: None,
                checkpoint: Some("checkpoint-1000".into()),
                reason: Some(Reason {
                    kind: "signal".into(),
                    text: "the worker was killed by signal 9".into(),
                    hint: Some("it goes on from checkpoint-1000".into()),
                }),
                started_ms: 0,
                updated_ms: 0,
                seconds_left: None,
                stalled_ms: None,
                suspended: false,
                tags: vec!["ocr".into()],
                error: None,
            },
            best: Some(Best { step: 1000, loss: 1.5 }),
            evaluation: serde_json::from_str(
                r#"{"epoch": 0.9, "eval_loss": 1.6, "eval_bleu-4": 31.25, "eval_rouge-l": 40.5, "eval_exact_match": 12.5}"#,
            )
            .ok(),
            phase: None,
            checkpoints: vec![checkpoint(1000, None), checkpoint(1250, Some(damage))],
            notes: "a \u{1b}[31mnote".into(),
            group: None,
            parent: Some(Parent {
                run: "scans".into(),
                dir: "/runs/scans".into(),
                checkpoint: "checkpoint-500".into(),
            }),
            archived: false,
            created_ms: 0,
            worker: None,
            system: None,
            events: vec!["running at step 0".into(), "the worker was killed by signal 9".into()],
            next: format!("lightbox runs resume {}", shell_word("/runs/my receipts")),
        };
        insta::assert_snapshot!(lightbox_core::safe_text::clean(&report.text()));
    }
}
