//! What list, show and compare read from a run's files beside its state. What cannot be read is absent: these are
//! reports, and one damaged file must not cost the rest.

use lightbox_core::runs::checkpoints::{self, Checkpoint};
use lightbox_core::runs::log;
use lightbox_core::runs::record::{Answers, Metric};
use lightbox_core::runs::trainer_log::LogLine;
use lightbox_core::runs::{RunDir, record};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// The smallest evaluation loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Best {
    pub step: u64,
    pub loss: f64,
}

/// From `trainer_log.jsonl`, which has a line per report, not per update: short, also for long runs.
pub fn best(dir: &RunDir) -> Option<Best> {
    let text = std::fs::read_to_string(dir.join(RunDir::TRAINER_LOG)).ok()?;
    let lines = text.lines().filter(|line| line.contains("eval_loss"));
    let evaluations = lines.filter_map(|line| {
        let line: LogLine = serde_json::from_str(line).ok()?;
        Some(Best { step: line.current_steps, loss: line.eval_loss? })
    });
    evaluations.min_by(|a, b| a.loss.total_cmp(&b.loss))
}

/// `eval_results.json`: the newest evaluation of all samples, in the HF Trainer's names.
pub fn evaluation(dir: &RunDir) -> Option<Map<String, Value>> {
    serde_json::from_slice(&std::fs::read(dir.join("eval_results.json")).ok()?).ok()
}

/// Bytes of all files under a folder. Links are not followed; what vanishes meanwhile does not count.
pub fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(m) if m.is_dir() => bytes(&entry.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}

/// A checkpoint as `runs show` lists it.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointFacts {
    pub step: u64,
    /// Relative to the run's folder.
    pub name: String,
    pub bytes: u64,
    pub valid: bool,
    /// Why not.
    pub problem: Option<String>,
    pub pinned: bool,
    pub best: bool,
    pub label: Option<String>,
}

/// All checkpoints, the oldest first. `verify` reads every byte; else only sizes are looked at.
pub fn checkpoints(dir: &RunDir, verify: bool) -> Vec<CheckpointFacts> {
    let pins = checkpoints::pins(dir).unwrap_or_default();
    let best = best(dir).map(|best| best.step);
    let facts = |checkpoint: Checkpoint| {
        let problem = if verify { checkpoint.check() } else { checkpoint.check_quick() }.err();
        let about = checkpoints::manifest(&checkpoint.path).ok().flatten().map(|manifest| manifest.about);
        CheckpointFacts {
            step: checkpoint.step,
            name: checkpoint.name(),
            bytes: bytes(&checkpoint.path),
            valid: problem.is_none(),
            problem,
            pinned: pins.contains_key(&checkpoint.step),
            best: best == Some(checkpoint.step),
            label: pins.get(&checkpoint.step).cloned().flatten().or_else(|| about.and_then(|about| about.label)),
        }
    };
    checkpoints::list(dir).unwrap_or_default().into_iter().map(facts).collect()
}

/// Losses by update. Of an update that was made twice, before and after a crash, the second counts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Curves {
    pub loss: BTreeMap<u64, f64>,
    pub eval_loss: BTreeMap<u64, f64>,
    /// `predict_with_generate`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<u64, Answers>,
}

impl Curves {
    pub fn read(dir: &RunDir) -> Self {
        let mut curves = Self::default();
        let Ok(records) = log::read::<Metric>(&dir.join(RunDir::METRICS)) else { return curves };
        for line in records.lines {
            match line.record {
                Metric::Step(record::Step { step, loss: Some(loss), .. }) => drop(curves.loss.insert(step, loss)),
                Metric::Eval(record::Eval { step, loss, answers, .. }) => {
                    curves.eval_loss.extend(loss.map(|loss| (step, loss)));
                    curves.answers.extend(answers.map(|answers| (step, answers)));
                }
                _ => {}
            }
        }
        curves
    }
}
