//! BLEU-4 and ROUGE as LLaMA-Factory 0.9.5 computes them (`train/sft/metric.py`, `ComputeSimilarity`), to the fourth
//! digit: nltk's `sentence_bleu` on characters with smoothing method 3, rouge_chinese on the words of jieba.
//!
//! Golden pairs: `tests/golden/evaluate`, some of them through LLaMA-Factory itself.

use jieba_rs::Jieba;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::LazyLock;

/// Similarity of two texts, each 0 to 100, rounded to four digits.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Similarity {
    #[serde(rename = "bleu-4")]
    pub bleu_4: f64,
    #[serde(rename = "rouge-1")]
    pub rouge_1: f64,
    #[serde(rename = "rouge-2")]
    pub rouge_2: f64,
    #[serde(rename = "rouge-l")]
    pub rouge_l: f64,
}

/// Of an answer and its label, both as they are: a newline at the end of the label counts against every answer, as it
/// does in LLaMA-Factory, whose labels have one.
pub fn similarity(predict: &str, label: &str) -> Similarity {
    let bleu_4 = bleu_4(predict, label);
    let (hypothesis, reference) = (spaced(predict), spaced(label));
    // The Python code says 0 here, where rouge_chinese would raise an error.
    if [&hypothesis, &reference].iter().any(|text| text.chars().all(is_space)) {
        return Similarity { bleu_4, ..Similarity::default() };
    }
    let (h, r) = (sentence_words(&hypothesis), sentence_words(&reference));
    let longest = lcs(&r, &h) as f64;
    Similarity {
        bleu_4,
        rouge_1: percent(rouge_n(&h, &r, 1)),
        rouge_2: percent(rouge_n(&h, &r, 2)),
        rouge_l: percent(f_measure(longest / h.len() as f64, longest / r.len() as f64)),
    }
}

/// The words of a text as Python's `jieba.cut` (0.42.1) finds them; white space and punctuation are words, too. Joined they
/// are the text.
///
/// jieba-rs 0.11 differs in three things, which are set right here: it knows more rare characters as Chinese, keeps `a-b`,
/// `a_b` and `a.b` together, and lacks one word.
pub fn words(text: &str) -> Vec<&str> {
    static JIEBA: LazyLock<Jieba> = LazyLock::new(|| {
        let mut jieba = Jieba::new(); // its dictionary takes a good part of a second to load
        jieba.add_word("B超", Some(3), Some("n"));
        jieba
    });
    // jieba/__init__.py `re_han_default`, and `re_skip` of jieba/finalseg/__init__.py
    static BLOCK: LazyLock<Regex> = LazyLock::new(|| regex(r"[\u{4E00}-\u{9FD5}a-zA-Z0-9+#&._%\-]+"));
    static LATIN: LazyLock<Regex> = LazyLock::new(|| regex(r"[a-zA-Z0-9]+(?:\.[0-9]+)?%?"));
    // Between blocks: each character, but a Windows line end is one.
    static BETWEEN: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)\r\n|."));

    let mut words = Vec::new();
    for (part, is_block) in parts(&BLOCK, text) {
        if !is_block {
            words.extend(BETWEEN.find_iter(part).map(|m| m.as_str()));
            continue;
        }
        for token in JIEBA.cut(part, true) {
            if token.word.is_ascii() && !JIEBA.has_word(token.word) {
                words.extend(parts(&LATIN, token.word).into_iter().map(|(part, _)| part));
            } else {
                words.push(token.word);
            }
        }
    }
    words
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant")
}

/// Matches and what lies between them, in order; `true`: a match.
fn parts<'t>(regex: &Regex, text: &'t str) -> Vec<(&'t str, bool)> {
    let (mut parts, mut end) = (Vec::new(), 0);
    for found in regex.find_iter(text) {
        parts.extend([(&text[end..found.start()], false), (found.as_str(), true)]);
        end = found.end();
    }
    parts.push((&text[end..], false));
    parts.retain(|(part, _)| !part.is_empty());
    parts
}

/// nltk 3.10's `sentence_bleu([label], predict, smoothing_function=SmoothingFunction().method3)`, 0 to 100, rounded.
pub fn bleu_4(predict: &str, label: &str) -> f64 {
    let (h, r): (Vec<char>, Vec<char>) = (predict.chars().collect(), label.chars().collect());
    let mut log_sum = 0.0;
    let mut halvings = 0;
    for n in 1..=4 {
        let (found, of) = clipped_matches(&h, &r, n);
        if n == 1 && found == 0 {
            return 0.0;
        }
        let precision = if found == 0 {
            halvings += 1;
            1.0 / (f64::from(1 << halvings) * of as f64)
        } else {
            found as f64 / of as f64
        };
        log_sum += 0.25 * precision.ln();
    }
    let brevity = if h.len() > r.len() { 1.0 } else { (1.0 - r.len() as f64 / h.len() as f64).exp() };
    percent(brevity * log_sum.exp())
}

fn percent(share: f64) -> f64 {
    crate::runs::round(share * 100.0, 4)
}

/// n-grams of `h` that `r` has, too, each counted at most as often as it is in `r`; and all of `h`, at least 1.
fn clipped_matches<T: Hash + Eq>(h: &[T], r: &[T], n: usize) -> (usize, usize) {
    let count = |of: &'_ [T]| -> usize { of.len().saturating_sub(n - 1) };
    let mut available: HashMap<&[T], usize> = HashMap::new();
    r.windows(n).for_each(|gram| *available.entry(gram).or_default() += 1);
    let found = h.windows(n).filter(|gram| match available.get_mut(gram) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    });
    (found.count(), count(h).max(1))
}

/// `" ".join(jieba.cut(text))`
fn spaced(text: &str) -> String {
    words(text).join(" ")
}

/// What rouge_chinese makes of a text of words between blanks: it is cut into sentences at Chinese and some Western marks
/// and at line breaks, and white space around words is dropped. A sentence of white space alone becomes an empty word.
fn sentence_words(text: &str) -> Vec<String> {
    // rouge_chinese 1.0.3, `Rouge.cut_sent`
    static CUTS: LazyLock<[Regex; 4]> = LazyLock::new(|| {
        ["([。！？?])([^”’])", r"(\.{6})([^”’])", "(…{2})([^”’])", "([。！？?][”’])([^，。！？?])"].map(regex)
    });
    let mut text = text.to_owned();
    for cut in CUTS.iter() {
        text = cut.replace_all(&text, "$1\n$2").into_owned();
    }
    let sentences = text.trim_end_matches(is_space).split('\n').filter(|s| !s.is_empty());
    let mut words = Vec::new();
    for sentence in sentences {
        let before = words.len();
        words.extend(sentence.split(is_space).filter(|w| !w.is_empty()).map(str::to_owned));
        if words.len() == before {
            words.push(String::new());
        }
    }
    words
}

/// What Python's `str.split` takes for white space: Unicode's, and four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// F of the distinct n-grams.
fn rouge_n(h: &[String], r: &[String], n: usize) -> f64 {
    let (h, r): (HashSet<&[String]>, HashSet<&[String]>) = (h.windows(n).collect(), r.windows(n).collect());
    let common = h.intersection(&r).count() as f64;
    let share = |of: usize| if of == 0 { 0.0 } else { common / of as f64 };
    f_measure(share(h.len()), share(r.len()))
}

fn f_measure(precision: f64, recall: f64) -> f64 {
    2.0 * (precision * recall / (precision + recall + 1e-8))
}

/// Length of the longest common subsequence: O(n·m) time, O(m) memory.
fn lcs<T: Eq>(a: &[T], b: &[T]) -> usize {
    let mut above = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let here = if x == y { diagonal + 1 } else { above[j].max(above[j + 1]) };
            diagonal = std::mem::replace(&mut above[j + 1], here);
        }
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn golden(json: &str) -> Vec<Value> {
        serde_json::from_str(json).unwrap()
    }

    fn check(rows: &[Value], words_key: &str) {
        for row in rows {
            let text = |key: &str| row[key].as_str().unwrap();
            assert_eq!(serde_json::json!(words(text("predict"))), row[words_key], "{row}");
            let ours = similarity(text("predict"), text("label"));
            let golden: Similarity = serde_json::from_value(row.clone()).unwrap();
            assert_eq!(ours, golden, "{row}");
        }
    }

    #[test]
    fn pairs_score_as_in_llama_factory_itself() {
        let rows = golden(include_str!("../../../../tests/golden/evaluate/llamafactory.json"));
        assert_eq!(rows.len(), 12);
        check(&rows, "jieba_predict");
    }

    #[test]
    fn english_chinese_mixed_empty_and_long_pairs_score_as_with_nltk_jieba_and_rouge_chinese() {
        let rows = golden(include_str!("../../../../tests/golden/evaluate/similarity.json"));
        assert!(rows.len() > 150);
        check(&rows, "words");
    }

    /// Why there is a corrected number beside LLaMA-Factory's.
    #[test]
    fn a_perfect_answer_scores_100_without_the_labels_newline_and_less_with_it() {
        assert_eq!(similarity("ab", "ab\n").bleu_4, 36.0645);
        let perfect = similarity("abcd", "abcd");
        assert_eq!(perfect, Similarity { bleu_4: 100.0, rouge_1: 100.0, rouge_2: 0.0, rouge_l: 100.0 });
    }

    proptest! {
        #[test]
        fn any_texts_have_scores_between_0_and_100(a in any::<String>(), b in any::<String>()) {
            let s = similarity(&a, &b);
            for x in [s.bleu_4, s.rouge_1, s.rouge_2, s.rouge_l] {
                prop_assert!((0.0..=100.0).contains(&x), "{s:?}");
            }
            prop_assert_eq!(words(&a).concat(), a);
        }
    }
}
