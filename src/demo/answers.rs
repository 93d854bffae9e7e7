//! What the models said: reading `lightbox predict`'s answers and the training log, and scoring against the truth.

use anyhow::{Context, Result, bail};
use lightbox_core::demo::phantom::{self, Lesion};
use lightbox_core::demo::report::Facts;
use lightbox_core::demo::score::Score;
use serde::Deserialize;
use std::path::Path;

/// One phantom and what a model said of it.
#[derive(Debug, Clone)]
pub struct Answer {
    pub truth: Option<Lesion>,
    pub said: String,
}

/// Answers to a whole held-out set, by index.
#[derive(Debug, Clone)]
pub struct Exam {
    pub answers: Vec<Answer>,
    pub score: Score,
}

/// A row of `lightbox predict --output`.
#[derive(Deserialize)]
struct Prediction {
    index: usize,
    predict: String,
    label: String,
}

impl Exam {
    /// Reads the answers to phantoms `0..n` of `set` and scores them.
    ///
    /// The truth comes from the generator, not from the file; the label is only used to make sure that row i of the
    /// file is phantom i. A missing, repeated or foreign row is an error: a score over other pictures than promised
    /// would be worth nothing.
    pub fn read(path: &Path, seed: u64, set: &str, n: usize) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the answers in {}", path.display()))?;
        let mut said: Vec<Option<String>> = vec![None; n];
        for (line, row) in text.lines().enumerate().map(|(i, row)| (i + 1, row)) {
            let row: Prediction = serde_json::from_str(row)
                .with_context(|| format!("{}, line {line}: not an answer of `lightbox predict`", path.display()))?;
            let Some(place) = said.get_mut(row.index) else {
                bail!(
                    "{}, line {line}: index {} in a set of {n}; run the demo again with --fresh",
                    path.display(),
                    row.index
                );
            };
            if place.is_some() {
                bail!(
                    "{}, line {line}: index {} is there twice; run the demo again with --fresh",
                    path.display(),
                    row.index
                );
            }
            if Facts::parse(&row.label) != Facts::from(phantom::truth(seed, set, row.index as u64)) {
                bail!(
                    "{}, line {line}: the label is not that of phantom {}; run the demo again with --fresh",
                    path.display(),
                    row.index
                );
            }
            *place = Some(row.predict);
        }
        let mut exam = Self { answers: Vec::with_capacity(n), score: Score::default() };
        for (i, said) in said.into_iter().enumerate() {
            let Some(said) = said else {
                bail!("{} has no answer for phantom {i} of {n}; run the demo again with --fresh", path.display());
            };
            let truth = phantom::truth(seed, set, i as u64);
            exam.score.add(truth, Facts::parse(&said));
            exam.answers.push(Answer { truth, said });
        }
        Ok(exam)
    }
}

/// First and last logged training loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    pub first: f64,
    pub last: f64,
}

/// Reads trainer_log.jsonl, LLaMA-Factory's log: one object a line, those of training steps with `loss`.
pub fn losses(path: &Path) -> Result<Losses> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the training log {}", path.display()))?;
    let mut losses = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let row: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), i + 1))?;
        losses.extend(row["loss"].as_f64());
    }
    match (losses.first(), losses.last()) {
        (Some(&first), Some(&last)) => Ok(Losses { first, last }),
        _ => bail!("{} holds no training loss; run the demo again with --fresh", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lightbox_core::demo::dataset::Row;
    use lightbox_core::demo::words::Lang;

    fn row(index: usize, predict: &str, label: &str) -> String {
        serde_json::json!({ "index": index, "prompt": "?", "predict": predict, "label": label }).to_string()
    }

    fn label(index: usize) -> String {
        Row::at(7, "test", index, &[Lang::En]).caption
    }

    fn read(rows: &[String], n: usize) -> Result<Exam> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rows.join("\n")).unwrap();
        Exam::read(file.path(), 7, "test", n)
    }

    #[test]
    fn answers_are_scored_against_the_generator_in_any_order() {
        let rows = [2, 0, 1].map(|i| row(i, &if i == 1 { "I see a ring.".to_owned() } else { label(i) }, &label(i)));
        let exam = read(&rows, 3).unwrap();
        assert_eq!((exam.score.all.right, exam.score.all.total), (2, 3));
        assert_eq!(exam.answers[1].said, "I see a ring.");
        assert_eq!(exam.answers[2].said, label(2));
    }

    #[test]
    fn missing_repeated_foreign_and_broken_rows_are_refused_by_name() {
        let good = |i| row(i, "?", &label(i));
        let wrong_label = if phantom::truth(7, "test", 0).is_none() { "A small lesion." } else { "No focal lesion." };
        for (rows, wanted) in [
            (vec![good(0)], "no answer for phantom 1"),
            (vec![good(0), good(0)], "line 2: index 0 is there twice"),
            (vec![good(0), good(5)], "line 2: index 5 in a set of 2"),
            (vec![row(0, "?", wrong_label), good(1)], "line 1: the label is not that of phantom 0"),
            (vec![good(0), "{".to_owned()], "line 2"),
        ] {
            let error = format!("{:#}", read(&rows, 2).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn losses_are_the_first_and_last_that_were_logged() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"current_steps\": 1, \"loss\": 1.5}\n{\"eval_loss\": 9}\n{\"loss\": 0.25}\n{\"elapsed_time\": \"0:01\"}\n").unwrap();
        assert_eq!(losses(file.path()).unwrap(), Losses { first: 1.5, last: 0.25 });
        std::fs::write(file.path(), "").unwrap();
        assert!(losses(file.path()).unwrap_err().to_string().contains("no training loss"));
    }
}
