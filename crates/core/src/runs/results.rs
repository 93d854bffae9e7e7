//! `train_results.json`, `eval_results.json` and their union `all_results.json`, as transformers'
//! `Trainer.save_metrics` writes them: sorted keys, indented by 4, no newline at the end.
use super::record::Answers;
use super::{RunDir, round};
use crate::data::Problem;
use crate::evaluate::measures::{Scores, measures, named};
use crate::evaluate::predictions::Prediction;
use crate::python_json;
use serde_json::{Map, Value};
use std::io;
use std::time::Duration;

/// Totals of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainResults {
    pub epoch: f64,
    /// If tokens are counted.
    pub num_input_tokens_seen: Option<u64>,
    /// Floating-point operations, by transformers' crude estimate.
    pub total_flos: f64,
    /// Mean over all updates, those before a resume included (the Trainer forgets them).
    pub train_loss: f64,
    pub runtime: Duration,
    /// Samples and updates done in `runtime`.
    pub samples: f64,
    pub steps: u64,
}

/// Totals of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalResults {
    pub epoch: Option<f64>,
    pub eval_loss: f64,
    /// Answers included.
    pub runtime: Duration,
    /// Of the loss.
    pub samples: usize,
    /// Forward passes.
    pub steps: usize,
    /// `predict_with_generate`.
    pub generated: Option<Generated>,
}

/// What the model answered at an evaluation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Generated {
    /// In the order of the data.
    pub rows: Vec<Prediction>,
    /// Samples without an answer, and why. They are in no mean.
    pub unanswered: Vec<Problem>,
    pub runtime: Duration,
}

impl Generated {
    /// All measures of the answers, under the names that `predict` gives them with `eval_` in place of `predict_`; empty
    /// without answers.
    pub fn metrics(&self) -> Map<String, Value> {
        let scores: Vec<Scores> = self.rows.iter().map(|row| Scores::of(row, None)).collect();
        named("eval", &measures(&scores, None))
    }

    /// Those that are drawn as curves; `metrics`: as [`Self::metrics`] gives them. `None`: nothing was answered.
    pub fn answers(&self, metrics: &Map<String, Value>) -> Option<Answers> {
        let value = |key: &str| metrics.get(&format!("eval_{key}"))?.as_f64();
        Some(Answers {
            n: self.rows.len() as u64,
            bleu_4: value("bleu-4")?,
            rouge_1: value("rouge-1")?,
            rouge_2: value("rouge-2")?,
            rouge_l: value("rouge-l")?,
            exact_match: value("exact_match")?,
        })
    }
}

impl TrainResults {
    /// The metrics under their names, also for the last entry of `log_history`.
    pub fn metrics(&self) -> Map<String, Value> {
        let mut metrics = Map::new();
        metrics.insert("epoch".into(), self.epoch.into());
        if let Some(tokens) = self.num_input_tokens_seen {
            metrics.insert("num_input_tokens_seen".into(), tokens.into());
        }
        metrics.insert("total_flos".into(), self.total_flos.into());
        metrics.insert("train_loss".into(), self.train_loss.into());
        speed(&mut metrics, "train", self.runtime, self.samples, self.steps as f64);
        metrics
    }
}

impl EvalResults {
    /// The metrics under their names, also for an entry of `log_history`.
    pub fn metrics(&self) -> Map<String, Value> {
        let mut metrics = Map::new();
        if let Some(epoch) = self.epoch {
            metrics.insert("epoch".into(), epoch.into());
        }
        metrics.insert("eval_loss".into(), self.eval_loss.into());
        speed(&mut metrics, "eval", self.runtime, self.samples as f64, self.steps as f64);
        metrics.extend(self.generated.iter().flat_map(Generated::metrics));
        metrics
    }
}

/// transformers' `speed_metrics`.
pub fn speed(metrics: &mut Map<String, Value>, split: &str, runtime: Duration, samples: f64, steps: f64) {
    let seconds = runtime.as_secs_f64();
    metrics.insert(format!("{split}_runtime"), round(seconds, 4).into());
    if seconds > 0.0 {
        metrics.insert(format!("{split}_samples_per_second"), round(samples / seconds, 3).into());
        metrics.insert(format!("{split}_steps_per_second"), round(steps / seconds, 3).into());
    }
}

/// Writes `{split}_results.json` and adds the metrics to `all_results.json`.
///
/// # Errors
/// Writing failed, or there is an `all_results.json` that is not a JSON object (it is left as it is).
pub fn save_metrics(dir: &RunDir, split: &str, metrics: &Map<String, Value>) -> io::Result<()> {
    crate::fs::write_atomic(&dir.join(&format!("{split}_results.json")), python_json::sorted(metrics, 4)?.as_bytes())?;
    let path = dir.join("all_results.json");
    let mut all: Map<String, Value> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display())))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(e) => return Err(e),
    };
    all.extend(metrics.clone());
    crate::fs::write_atomic(&path, python_json::sorted(&all, 4)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../../tests/golden/llamafactory/out-main/train_results.json");

    fn results() -> TrainResults {
        TrainResults {
            epoch: 3.0,
            num_input_tokens_seen: Some(5824),
            total_flos: 8547581952.0,
            train_loss: 11.961566077338325,
            runtime: Duration::from_secs_f64(33.0507),
            samples: 39.0,
            steps: 9,
        }
    }

    #[test]
    fn train_results_equal_the_trainers_byte_by_byte() {
        assert_eq!(python_json::sorted(&results().metrics(), 4).unwrap(), GOLDEN);
    }

    #[test]
    fn all_results_is_the_union_of_training_and_evaluation() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        save_metrics(&dir, "train", &results().metrics()).unwrap();
        let eval = EvalResults {
            epoch: Some(3.0),
            eval_loss: 1.5,
            runtime: Duration::from_secs(2),
            samples: 8,
            steps: 4,
            generated: None,
        };
        save_metrics(&dir, "eval", &eval.metrics()).unwrap();
        let read = |name: &str| {
            serde_json::from_str::<Map<String, Value>>(&std::fs::read_to_string(dir.join(name)).unwrap()).unwrap()
        };
        let all = read("all_results.json");
        assert_eq!(
            (&all["train_loss"], &all["eval_loss"], &all["eval_samples_per_second"]),
            (&11.961566077338325.into(), &1.5.into(), &4.0.into())
        );
        assert_eq!(all.len(), 7 + 4);
        assert_eq!(read("train_results.json").len(), 7);
    }

    #[test]
    fn answers_have_the_measures_of_predict_and_what_was_not_answered_is_in_no_mean() {
        let row = |predict: &str, label: &str| Prediction {
            prompt: String::new(),
            predict: predict.into(),
            label: label.into(),
            index: None,
            images: vec![],
            loss_sum: None,
            n_target_tokens: None,
        };
        let lost = Problem { index: 2, origin: "a.json:3".into(), kind: "unreadable", reason: "gone".into() };
        let rows = vec![row("a nodule", "a nodule\n"), row("nothing", "a nodule\n")];
        let generated = Generated { rows, unanswered: vec![lost.clone()], runtime: Duration::ZERO };
        let metrics = generated.metrics();
        assert_eq!((&metrics["eval_exact_match"], &metrics["eval_rouge-l"]), (&50.0.into(), &50.0.into()));
        assert!(!metrics.contains_key("eval_loss"), "that is the evaluation's own: {metrics:?}");
        let answers = generated.answers(&metrics).unwrap();
        assert_eq!((answers.n, answers.exact_match, answers.rouge_1), (2, 50.0, 50.0));
        let written = serde_json::to_value(answers).unwrap();
        for key in ["n", "bleu-4", "rouge-1", "rouge-2", "rouge-l", "exact_match"] {
            assert!(written[key].is_number(), "{key}: {written}");
        }
        let none = Generated { unanswered: vec![lost], ..Generated::default() };
        assert_eq!((none.metrics().len(), none.answers(&none.metrics())), (0, None));
    }
}
