//! `generated_predictions.jsonl`: LLaMA-Factory's file of answers, one JSON object a line, with keys of our own behind its
//! three.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Read, Write};
use std::path::Path;

/// LLaMA-Factory's name for the file.
pub const FILE: &str = "generated_predictions.jsonl";

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The question with its special tokens, as the model read it.
    #[serde(default)]
    pub prompt: String,
    /// What the model said, without special tokens.
    pub predict: String,
    /// What the data says. LLaMA-Factory's ends with the newline of its template, and ours with it.
    pub label: String,
    /// In the data set. LLaMA-Factory does not write it: there it is the line's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// Paths, or where in a parquet file they lie.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Σ of the loss over the label's tokens, in nats, as `lightbox score` computes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_sum: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_target_tokens: Option<usize>,
}

impl Prediction {
    /// The label without the newline of the template.
    pub fn clean_label(&self) -> &str {
        self.label.trim_end()
    }
}

/// A prompt as people read it: without the system text, special tokens and the row of picture tokens.
pub fn question(prompt: &str) -> String {
    let mut out = String::new();
    for turn in prompt.split("<|im_start|>").filter(|turn| !turn.starts_with("system\n")) {
        let turn = turn.split("<|im_end|>").next().unwrap_or_default();
        let (role, text) = turn.split_once('\n').unwrap_or(("", turn));
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        // Of several turns the answers before the last question are the model's own.
        if role == "assistant" {
            out += "— ";
        }
        out += text;
    }
    let mut rest = out.as_str();
    let mut shown = String::new();
    while let Some((before, after)) = rest.split_once("<|vision_start|>") {
        shown += before;
        let pads = after.trim_start_matches("<|image_pad|>");
        rest = pads.strip_prefix("<|vision_end|>").unwrap_or(pads);
    }
    shown + rest
}

/// Writes a file of answers, whole or not at all.
///
/// # Errors
/// Writing failed.
pub fn write(path: &Path, rows: &[Prediction]) -> std::io::Result<()> {
    crate::fs::write_atomic_by(path, |file| {
        rows.iter().try_for_each(|row| writeln!(file, "{}", serde_json::to_string(row)?))
    })
}

/// The first `n` rows of a file of answers, for a screen: what comes behind them is not read.
///
/// # Errors
/// What is no file or cannot be read; a line that is no answer, or that is longer than all answers a screen could show.
pub fn first(path: &Path, n: usize) -> Result<Vec<Prediction>> {
    const MOST: u64 = 64 << 20;
    if !path.is_file() {
        bail!("{} is no file", path.display()); // opening a pipe would wait
    }
    let file = std::fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let lines = std::io::BufReader::new(file.take(MOST)).lines().take(n);
    lines.map(|line| serde_json::from_str(&line?).with_context(|| path.display().to_string())).collect()
}

/// Reads a file of answers; each gets its index.
///
/// # Errors
/// A file that cannot be read or has no answer; a line that is none, or an index that comes twice, with its number.
pub fn read(path: &Path) -> Result<Vec<Prediction>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut rows = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}, line {}", path.display(), at + 1);
        let mut row: Prediction = serde_json::from_str(line).with_context(|| {
            format!("{}: not an answer of `predict`, a JSON object with prompt, predict and label", place())
        })?;
        let index = *row.index.get_or_insert(rows.len());
        if !seen.insert(index) {
            bail!("{}: index {index} is there twice; the file was put together from two", place());
        }
        rows.push(row);
    }
    if rows.is_empty() {
        bail!("{}: holds no answer", path.display());
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.jsonl");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn llama_factorys_file_gets_indices_from_its_lines_and_ours_keeps_its_own() {
        let theirs = "{\"prompt\": \"q\", \"predict\": \"a\", \"label\": \"b\\n\"}\n";
        let (_dir, path) = file(&theirs.repeat(2));
        let rows = read(&path).unwrap();
        assert_eq!(rows.iter().map(|r| r.index).collect::<Vec<_>>(), [Some(0), Some(1)]);
        assert_eq!((rows[0].label.as_str(), rows[0].clean_label()), ("b\n", "b"));
        let ours = r#"{"prompt":"q","predict":"a","label":"b\n","index":7,"images":["x.png"],"loss_sum":1.5,"n_target_tokens":3}"#;
        let (_dir, path) = file(ours);
        let row = read(&path).unwrap().remove(0);
        assert_eq!((row.index, row.n_target_tokens), (Some(7), Some(3)));
        assert_eq!(serde_json::to_string(&row).unwrap(), ours);
    }

    #[test]
    fn a_screen_reads_the_first_answers_and_a_question_without_its_tokens() {
        let pads = "<|image_pad|>".repeat(9);
        let prompt = format!(
            "<|im_start|>system\nYou are it.<|im_end|>\n<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(question(&prompt), "What?");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let row = |i| Prediction {
            prompt: prompt.clone(),
            index: Some(i),
            ..serde_json::from_str(r#"{"predict":"a","label":"b"}"#).unwrap()
        };
        write(&path, &[row(3), row(5), row(8)]).unwrap();
        assert_eq!(read(&path).unwrap(), [row(3), row(5), row(8)]);
        assert_eq!(first(&path, 2).unwrap(), [row(3), row(5)]);
        assert!(first(dir.path(), 2).is_err() && first(&dir.path().join("none"), 2).is_err());
    }

    #[test]
    fn what_is_no_answer_is_named_with_its_line() {
        for (text, part) in [
            ("", "holds no answer"),
            ("{\"predict\": \"a\", \"label\": \"b\"}\n{\"predict\": 1}\n", "line 2"),
            ("{\"predict\": \"a\"}\n", "missing field `label`"),
            ("[1]\n", "line 1"),
            (
                "{\"predict\":\"a\",\"label\":\"\",\"index\":3}\n\n{\"predict\":\"a\",\"label\":\"\",\"index\":3}\n",
                "line 3: index 3",
            ),
        ] {
            let (_dir, path) = file(text);
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains(part) && error.contains("p.jsonl"), "{error}");
        }
    }
}
