//! `generated_predictions.jsonl`: LLaMA-Factory's file of answers, one JSON object a line, with keys of our own behind its
//! three.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;

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
