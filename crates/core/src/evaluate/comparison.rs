//! Several models on the same samples: every measure with its interval, and the difference to the first model, paired.

use super::classes::Classes;
use super::interval::{Bootstrap, Estimate};
use super::measures::{Measure, Scores, measures};
use super::predictions::Prediction;
use anyhow::{Result, bail};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One model's answers.
#[derive(Debug, Clone)]
pub struct Answers {
    /// As the report calls it.
    pub model: String,
    /// Each has its index ([`super::predictions::read`]).
    pub rows: Vec<Prediction>,
}

#[derive(Debug, Serialize)]
pub struct Comparison {
    /// In the order of all lists below; the first is what the others are compared with.
    pub models: Vec<String>,
    /// Samples that every model has answered.
    pub samples: Vec<Sample>,
    pub measures: Vec<Row>,
    pub classes: Vec<GroupTable>,
    /// Answers of each model to samples that another one lacks: they count nowhere.
    pub left_out: Vec<usize>,
    pub bootstrap_seed: u64,
    pub bootstrap_draws: usize,
}

/// A measure of all models.
#[derive(Debug, Serialize)]
pub struct Row {
    pub key: String,
    /// In English.
    pub title: String,
    pub higher_is_better: bool,
    /// `None`: no sample counts, or the model's file does not have it.
    pub values: Vec<Option<Estimate>>,
    /// To the first model; its own is `None`.
    pub differences: Vec<Option<Estimate>>,
}

#[derive(Debug, Serialize)]
pub struct Sample {
    pub index: usize,
    pub prompt: String,
    pub label: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    pub answers: Vec<Scored>,
}

#[derive(Debug, Serialize)]
pub struct Scored {
    pub predict: String,
    #[serde(flatten)]
    pub scores: Scores,
}

impl Sample {
    /// How much better the last model's answer is than the first's, in points of [`Scores::overall`].
    pub fn gain(&self) -> f64 {
        let overall = |a: Option<&Scored>| a.map_or(0.0, |a| a.scores.overall());
        overall(self.answers.last()) - overall(self.answers.first())
    }
}

/// A group of classes, counted over the samples whose label names one.
#[derive(Debug, Serialize)]
pub struct GroupTable {
    pub name: String,
    pub classes: Vec<String>,
    /// Samples whose label names no class of the group.
    pub labels_without: usize,
    pub models: Vec<Confusion>,
}

#[derive(Debug, Serialize)]
pub struct Confusion {
    /// `[class of the label][class of the answer]`; the last column: answers that name none.
    pub counts: Vec<Vec<usize>>,
    pub per_class: Vec<PerClass>,
    /// Samples whose answer names no class, by index.
    pub unmatched: Vec<usize>,
}

/// In 0..=1; `None` where it would be 0/0.
#[derive(Debug, Serialize)]
pub struct PerClass {
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
}

impl Comparison {
    /// # Errors
    /// No sample that all have answered; a label that differs between two files, which then are not of the same data.
    pub fn new(answers: &[Answers], classes: Option<&Classes>, seed: u64) -> Result<Self> {
        let by_index: Vec<BTreeMap<usize, &Prediction>> =
            answers.iter().map(|a| a.rows.iter().map(|p| (p.index.unwrap_or_default(), p)).collect()).collect();
        let Some((first, others)) = by_index.split_first() else { bail!("no file of answers is given") };
        let common: BTreeSet<usize> =
            first.keys().copied().filter(|i| others.iter().all(|o| o.contains_key(i))).collect();
        if common.is_empty() {
            bail!("the files have no sample in common: their `index` values differ everywhere");
        }
        let sample = |index: usize| -> Result<Sample> {
            let own: Vec<&Prediction> = by_index.iter().map(|rows| rows[&index]).collect();
            if let Some(at) = own.iter().position(|p| p.clean_label() != own[0].clean_label()) {
                bail!(
                    "sample {index} has another label in {} than in {}: the files are not answers to the same data",
                    answers[at].model,
                    answers[0].model
                );
            }
            let scored = |p: &&Prediction| Scored { predict: p.predict.clone(), scores: Scores::of(p, classes) };
            Ok(Sample {
                index,
                prompt: own[0].prompt.clone(),
                label: own[0].clean_label().to_owned(),
                images: own.iter().map(|p| &p.images).find(|i| !i.is_empty()).cloned().unwrap_or_default(),
                answers: own.iter().map(scored).collect(),
            })
        };
        let samples = common.iter().map(|&i| sample(i)).collect::<Result<Vec<_>>>()?;
        let columns: Vec<Vec<Measure>> = (0..answers.len())
            .map(|m| {
                let scores: Vec<Scores> = samples.iter().map(|s| s.answers[m].scores.clone()).collect();
                measures(&scores, classes)
            })
            .collect();
        let bootstrap = Bootstrap::new(samples.len(), seed);
        Ok(Self {
            models: answers.iter().map(|a| a.model.clone()).collect(),
            measures: rows(&columns, &bootstrap),
            classes: classes.map_or(vec![], |c| (0..c.groups.len()).map(|g| group(c, g, &samples)).collect()),
            left_out: answers.iter().map(|a| a.rows.len() - samples.len()).collect(),
            samples,
            bootstrap_seed: seed,
            bootstrap_draws: bootstrap.draws(),
        })
    }

    /// Positions in `samples`: those that the last model answers better than the first, and those it answers worse, the
    /// largest changes first, at most `n` of each.
    pub fn most_changed(&self, n: usize) -> (Vec<usize>, Vec<usize>) {
        let mut order: Vec<(f64, usize)> = self.samples.iter().enumerate().map(|(i, s)| (s.gain(), i)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let better = order.iter().take_while(|(gain, _)| *gain > 0.0).take(n).map(|&(_, i)| i).collect();
        let worse = order.iter().rev().take_while(|(gain, _)| *gain < 0.0).take(n).map(|&(_, i)| i).collect();
        (better, worse)
    }
}

/// Every measure that any model has, in the order of the first model that has it.
fn rows(columns: &[Vec<Measure>], bootstrap: &Bootstrap) -> Vec<Row> {
    let mut keys: Vec<&Measure> = Vec::new();
    for measure in columns.iter().flatten() {
        if !keys.iter().any(|m| m.key == measure.key) {
            keys.push(measure);
        }
    }
    let row = |m: &&Measure| {
        let of: Vec<Option<&Measure>> = columns.iter().map(|c| c.iter().find(|x| x.key == m.key)).collect();
        let difference = |x: &Measure| bootstrap.difference(&of[0]?.ratio, &x.ratio, x.map);
        Row {
            key: m.key.clone(),
            title: m.title.clone(),
            higher_is_better: m.higher_is_better,
            values: of.iter().map(|x| x.and_then(|x| bootstrap.estimate(&x.ratio, x.map))).collect(),
            differences: of.iter().enumerate().map(|(i, x)| x.filter(|_| i > 0).and_then(difference)).collect(),
        }
    };
    keys.iter().map(row).collect()
}

fn group(classes: &Classes, g: usize, samples: &[Sample]) -> GroupTable {
    let group = &classes.groups[g];
    let n = group.class_names().len();
    let models = samples.first().map_or(0, |s| s.answers.len());
    let confusion = |m: usize| {
        let mut counts = vec![vec![0; n + 1]; n];
        let mut unmatched = Vec::new();
        for sample in samples {
            let named = sample.answers[m].scores.classes[g];
            let Some(label) = named.label else { continue };
            counts[label][named.answer.unwrap_or(n)] += 1;
            if named.answer.is_none() {
                unmatched.push(sample.index);
            }
        }
        let per_class = (0..n).map(|c| per_class(&counts, c)).collect();
        Confusion { counts, per_class, unmatched }
    };
    GroupTable {
        name: group.name.clone(),
        classes: group.class_names().map(str::to_owned).collect(),
        labels_without: samples.iter().filter(|s| s.answers[0].scores.classes[g].label.is_none()).count(),
        models: (0..models).map(confusion).collect(),
    }
}

fn per_class(counts: &[Vec<usize>], c: usize) -> PerClass {
    let share = |right: usize, of: usize| (of > 0).then(|| right as f64 / of as f64);
    let right = counts[c][c];
    let (said, is) = (counts.iter().map(|row| row[c]).sum::<usize>(), counts[c].iter().sum::<usize>());
    PerClass { precision: share(right, said), recall: share(right, is), f1: share(2 * right, said + is) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(model: &str, rows: &[(usize, &str, &str)]) -> Answers {
        let row = |&(index, predict, label): &(usize, &str, &str)| Prediction {
            prompt: "q".into(),
            predict: predict.into(),
            label: format!("{label}\n"),
            index: Some(index),
            images: vec![],
            loss_sum: None,
            n_target_tokens: None,
        };
        Answers { model: model.into(), rows: rows.iter().map(row).collect() }
    }

    #[test]
    fn models_are_compared_on_the_samples_that_all_have_answered() {
        let a = answers("base", &[(0, "x", "left side"), (1, "right side", "right side"), (2, "y", "none")]);
        let b = answers("tuned", &[(1, "left", "right side"), (0, "left side", "left side")]);
        let c = Comparison::new(&[a, b], None, 1).unwrap();
        assert_eq!(c.samples.iter().map(|s| s.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(c.left_out, [1, 0]);
        let exact = c.measures.iter().find(|m| m.key == "exact_match").unwrap();
        assert_eq!(exact.values.iter().map(|v| v.unwrap().value).collect::<Vec<_>>(), [50.0, 50.0]);
        assert_eq!((exact.differences[0], exact.differences[1].unwrap().value), (None, 0.0));
        assert!(!exact.differences[1].unwrap().excludes_zero());
        assert_eq!(c.most_changed(5), (vec![0], vec![1]));
    }

    #[test]
    fn files_of_other_data_are_not_compared() {
        let a = answers("a.jsonl", &[(0, "x", "left")]);
        let error = Comparison::new(&[a.clone(), answers("b.jsonl", &[(0, "x", "right")])], None, 1).unwrap_err();
        assert!(error.to_string().contains("sample 0 has another label in b.jsonl"), "{error}");
        let error = Comparison::new(&[a, answers("b.jsonl", &[(9, "x", "left")])], None, 1).unwrap_err();
        assert!(error.to_string().contains("no sample in common"), "{error}");
        assert!(Comparison::new(&[], None, 1).is_err());
    }

    #[test]
    fn classes_are_counted_with_what_named_nothing() {
        let classes =
            Classes::parse("classes:\n  side:\n    left: [left]\n    right: [right]\n    both: [both]\n").unwrap();
        let rows =
            [(0, "left", "left"), (1, "right", "left"), (2, "?", "right"), (3, "right", "right"), (4, "left", "?")];
        let c = Comparison::new(&[answers("m", &rows)], Some(&classes), 1).unwrap();
        let side = &c.classes[0];
        assert_eq!(side.labels_without, 1);
        let m = &side.models[0];
        assert_eq!(m.counts, [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]);
        assert_eq!(m.unmatched, [2]);
        let left = &m.per_class[0];
        assert_eq!((left.precision, left.recall, left.f1), (Some(1.0), Some(0.5), Some(2.0 / 3.0)));
        assert_eq!((m.per_class[2].precision, m.per_class[2].recall, m.per_class[2].f1), (None, None, None));
        let accuracy = c.measures.iter().find(|m| m.key == "accuracy_side").unwrap();
        assert_eq!(accuracy.values[0].unwrap().value, 50.0);
    }
}
