//! All measures of a model's answers: first one sample, then the columns of a table.

use super::classes::Classes;
use super::interval::Ratio;
use super::predictions::Prediction;
use super::similarity::{Similarity, bleu_4, similarity};
use super::words;
use crate::text::Lang;
use serde::Serialize;
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

/// One answer against its label.
#[derive(Debug, Clone, Serialize)]
pub struct Scores {
    /// LLaMA-Factory's numbers: the label with the newline of its template.
    #[serde(flatten)]
    pub similarity: Similarity,
    /// BLEU-4 without that newline: 100 for a perfect answer. ROUGE does not see it.
    #[serde(rename = "bleu-4_stripped")]
    pub bleu_4_stripped: f64,
    /// The same text, after Unicode NFC and without white space around it.
    pub exact_match: bool,
    /// The same characters, but for the template's newline.
    pub exact_match_strict: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_sum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_target_tokens: Option<usize>,
    /// One a group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Named>,
}

/// Which class of a group label and answer name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Named {
    pub label: Option<usize>,
    pub answer: Option<usize>,
}

impl Scores {
    pub fn of(p: &Prediction, classes: Option<&Classes>) -> Self {
        let plain = |text: &str| text.trim().nfc().collect::<String>();
        let groups = classes.map_or(&[][..], |c| &c.groups);
        Self {
            similarity: similarity(&p.predict, &p.label),
            bleu_4_stripped: bleu_4(&p.predict, p.clean_label()),
            exact_match: plain(&p.predict) == plain(&p.label),
            exact_match_strict: p.predict == p.label.strip_suffix('\n').unwrap_or(&p.label),
            loss_sum: p.loss_sum,
            n_target_tokens: p.n_target_tokens,
            classes: groups
                .iter()
                .map(|g| Named { label: g.class_of(&p.label), answer: g.class_of(&p.predict) })
                .collect(),
        }
    }

    /// One number to order samples by, 0 to 100: the mean of BLEU-4 without the newline and ROUGE-L.
    pub fn overall(&self) -> f64 {
        (self.bleu_4_stripped + self.similarity.rouge_l) / 2.0
    }
}

/// One column of the table of measures.
pub struct Measure {
    /// In JSON, and behind `predict_` or `eval_`.
    pub key: String,
    /// For people, in English; a report has it in their language.
    pub title: String,
    pub higher_is_better: bool,
    pub ratio: Ratio,
    /// From the ratio to what is shown.
    pub map: fn(f64) -> f64,
}

/// Those that a model's scores allow; the same for all models whose files have the same keys.
pub fn measures(scores: &[Scores], classes: Option<&Classes>) -> Vec<Measure> {
    const SAME: fn(f64) -> f64 = |x| x;
    let mean = |key: &str, title: &str, of: &dyn Fn(&Scores) -> f64| Measure {
        key: key.into(),
        title: title.into(),
        higher_is_better: true,
        ratio: Ratio::mean(scores.iter().map(of).collect()),
        map: SAME,
    };
    let share = |yes: bool| if yes { 100.0 } else { 0.0 };
    let mut all = vec![
        mean("bleu-4", "BLEU-4 (LLaMA-Factory)", &|s| s.similarity.bleu_4),
        mean("bleu-4_stripped", "BLEU-4", &|s| s.bleu_4_stripped),
        mean("rouge-1", "ROUGE-1", &|s| s.similarity.rouge_1),
        mean("rouge-2", "ROUGE-2", &|s| s.similarity.rouge_2),
        mean("rouge-l", "ROUGE-L", &|s| s.similarity.rouge_l),
        mean("exact_match", words::EXACT_MATCH.get(Lang::En), &|s| share(s.exact_match)),
        mean("exact_match_strict", words::EXACT_MATCH_STRICT.get(Lang::En), &|s| share(s.exact_match_strict)),
    ];
    for (i, group) in classes.map_or(&[][..], |c| &c.groups).iter().enumerate() {
        let counted = |s: &Scores| f64::from(u8::from(s.classes[i].label.is_some()));
        let right = |s: &Scores| share(s.classes[i].label.is_some() && s.classes[i].label == s.classes[i].answer);
        all.push(Measure {
            key: format!("accuracy_{}", group.name),
            title: words::ACCURACY.fill(Lang::En, &[&group.name]),
            higher_is_better: true,
            ratio: Ratio {
                numerator: scores.iter().map(right).collect(),
                denominator: scores.iter().map(counted).collect(),
            },
            map: SAME,
        });
    }
    if scores.iter().all(|s| s.loss_sum.is_some() && s.n_target_tokens.is_some()) {
        let ratio = || Ratio {
            numerator: scores.iter().filter_map(|s| s.loss_sum).collect(),
            denominator: scores.iter().filter_map(|s| s.n_target_tokens).map(|n| n as f64).collect(),
        };
        let measure = |key: &str, title: &str, map| Measure {
            key: key.into(),
            title: title.into(),
            higher_is_better: false,
            ratio: ratio(),
            map,
        };
        all.push(measure("loss", words::LOSS.get(Lang::En), SAME));
        all.push(measure("perplexity", words::PERPLEXITY.get(Lang::En), f64::exp));
    }
    all
}

/// All measures under `{split}_{key}`, as the HF Trainer names them. What has no value is left out.
pub fn named(split: &str, measures: &[Measure]) -> Map<String, Value> {
    let value = |m: &Measure| Some((format!("{split}_{}", m.key), (m.map)(m.ratio.value()?).into()));
    measures.iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(predict: &str, label: &str) -> Prediction {
        Prediction {
            prompt: String::new(),
            predict: predict.into(),
            label: label.into(),
            index: None,
            images: vec![],
            loss_sum: Some(2.0),
            n_target_tokens: Some(4),
        }
    }

    #[test]
    fn exact_match_forgives_form_and_space_and_the_strict_one_only_the_templates_newline() {
        for (predict, label, plain, strict) in [
            ("Café", "Cafe\u{301}\n", true, false),
            ("yes", " yes \n\n", true, false),
            ("yes", "yes\n", true, true),
            ("yes", "yes", true, true),
            ("Yes", "yes\n", false, false),
            ("", "\n", true, true),
        ] {
            let s = Scores::of(&prediction(predict, label), None);
            assert_eq!((s.exact_match, s.exact_match_strict), (plain, strict), "{predict:?} {label:?}");
        }
    }

    #[test]
    fn a_models_measures_have_the_trainers_names() {
        let classes = Classes::parse("classes:\n  side:\n    left: [left]\n    right: [right]\n").unwrap();
        let rows = [("left", "left\n"), ("both", "right\n"), ("left", "none\n")];
        let scores: Vec<Scores> = rows.iter().map(|(p, l)| Scores::of(&prediction(p, l), Some(&classes))).collect();
        let named = named("predict", &measures(&scores, Some(&classes)));
        assert_eq!(named["predict_accuracy_side"], 50.0, "the third label names no side, so it does not count");
        assert_eq!(named["predict_loss"], 0.5);
        assert_eq!(named["predict_perplexity"], 0.5f64.exp());
        for key in ["predict_bleu-4", "predict_rouge-1", "predict_rouge-2", "predict_rouge-l", "predict_exact_match"] {
            assert!(named.contains_key(key), "{key}");
        }
        let without = Prediction { loss_sum: None, ..prediction("a", "a") };
        assert!(measures(&[Scores::of(&without, None)], None).iter().all(|m| m.key != "loss"));
    }
}
