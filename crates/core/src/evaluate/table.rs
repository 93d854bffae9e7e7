//! One question to several models as a table: Markdown with the pictures, CSV, JSON lines.
//!
//! What differs from the first model's answer is marked in Markdown and on the terminal; CSV and JSON lines hold the answers
//! as they are.

use super::report::markdown::{bold, text};
use super::report::marked;
use crate::fs;
use crate::safe_text::clean;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

/// A question, and what each model said to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    pub images: Vec<PathBuf>,
    pub prompt: String,
    /// In the order of the models; `None`: not answered (the work was stopped).
    pub answers: Vec<Option<Said>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Said {
    pub model: String,
    pub text: String,
    /// Why there is no text, e.g. a picture that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub tokens: usize,
    /// `stop`, `length` or `cancelled`.
    pub finish_reason: String,
    pub seconds: f64,
}

/// How a table is written, by the file's ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Markdown,
    Csv,
    JsonLines,
}

impl Format {
    /// # Errors
    /// Another ending.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
            Some("md" | "markdown") => Ok(Self::Markdown),
            Some("csv") => Ok(Self::Csv),
            Some("jsonl") => Ok(Self::JsonLines),
            _ => bail!("{}: a table ends in .md, .csv or .jsonl", path.display()),
        }
    }
}

/// Writes the table, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, format: Format, models: &[String], rows: &[Asked]) -> Result<()> {
    let text = match format {
        Format::Markdown => markdown(path.parent().unwrap_or(Path::new("")), models, rows),
        Format::Csv => csv(models, rows),
        Format::JsonLines => json_lines(rows)?,
    };
    fs::write_atomic(path, text.as_bytes()).with_context(|| format!("{}: cannot be written", path.display()))
}

fn json_lines(rows: &[Asked]) -> Result<String> {
    rows.iter().map(|row| Ok(serde_json::to_string(row)? + "\n")).collect()
}

/// RFC 4180: every cell in quotation marks, line ends as they are.
fn csv(models: &[String], rows: &[Asked]) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
        cells.join(",") + "\r\n"
    };
    let head = ["image", "prompt"].map(str::to_owned);
    let mut out = line(&mut head.into_iter().chain(models.iter().cloned()));
    for row in rows {
        let images: Vec<String> = row.images.iter().map(|path| path.display().to_string()).collect();
        let answers = row.answers.iter().map(|said| said.as_ref().map_or_else(String::new, plain));
        out += &line(&mut [images.join(" "), row.prompt.clone()].into_iter().chain(answers));
    }
    out
}

fn plain(said: &Said) -> String {
    said.error.as_ref().map_or_else(|| said.text.clone(), |why| format!("[{why}]"))
}

/// `dir`: where the file will stand; pictures are named from there.
fn markdown(dir: &Path, models: &[String], rows: &[Asked]) -> String {
    let cells = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = String::new();
    let one = rows.first().map(|row| &row.prompt).filter(|prompt| rows.iter().all(|row| row.prompt == **prompt));
    if let Some(prompt) = one {
        let _ = writeln!(out, "{}\n", text(prompt));
    }
    if models.len() > 1 {
        let _ = writeln!(out, "**Bold**: words that the answer of {} does not have there.\n", text(&models[0]));
    }
    out += &cells(std::iter::once("picture".to_owned()).chain(models.iter().map(|m| text(m))).collect());
    out += &cells(vec!["---".to_owned(); models.len() + 1]);
    for row in rows {
        let pictures: Vec<String> = row.images.iter().map(|path| picture(dir, path)).collect();
        let answers = pieces(row).into_iter().map(|pieces| {
            let piece = |(piece, differs): (String, bool)| if differs { bold(&piece) } else { text(&piece) };
            pieces.into_iter().map(piece).collect()
        });
        out += &cells(std::iter::once(pictures.join("<br>")).chain(answers).collect());
    }
    out
}

fn picture(dir: &Path, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let from_here = from(dir, path);
    let mut address = String::new();
    for c in from_here.to_string_lossy().chars() {
        if c.is_alphanumeric() || "-_./".contains(c) {
            address.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(address, "%{byte:02X}");
        }
    }
    format!("<img src=\"{address}\" width=\"240\"><br>{}", text(&name))
}

/// A path as seen from a folder, where both are on one disk.
fn from(dir: &Path, path: &Path) -> PathBuf {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (dir, path) = (whole(dir), whole(path));
    let common = dir.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = dir.components().skip(common).map(|_| Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}

/// Each model's answer in pieces; `true`: differs from the first one's. What is only blanks goes with the piece before it.
fn pieces(row: &Asked) -> Vec<Vec<(String, bool)>> {
    let first = row.answers.first().and_then(Option::as_ref);
    let runs = |pieces: Vec<(String, bool)>| {
        let mut runs: Vec<(String, bool)> = Vec::new();
        let mut pieces = pieces.into_iter().peekable();
        while let Some((text, differs)) = pieces.next() {
            let joins = text.trim().is_empty() && pieces.peek().is_some_and(|(_, next)| *next);
            match runs.last_mut() {
                Some((run, true)) if differs || joins => run.push_str(&text),
                Some((run, false)) if !differs => run.push_str(&text),
                _ => runs.push((text, differs)),
            }
        }
        runs
    };
    let of = |(i, said): (usize, &Option<Said>)| match (said, first) {
        (None, _) => Vec::new(),
        (Some(said), Some(first)) if i > 0 && first.error.is_none() && said.error.is_none() => {
            runs(marked(&first.text, &said.text))
        }
        (Some(said), _) => vec![(plain(said), false)],
    };
    row.answers.iter().enumerate().map(of).collect()
}

/// A question's answers for a terminal, one model under the other; `colour`: differences in bold, else unmarked.
pub fn for_terminal(models: &[String], row: &Asked, colour: bool) -> String {
    let mut out = String::new();
    if !row.images.is_empty() {
        let names: Vec<String> = row.images.iter().map(|path| clean(&path.display().to_string())).collect();
        let _ = writeln!(out, "{}", names.join(" "));
    }
    let widest = models.iter().map(|m| m.chars().count()).max().unwrap_or(0);
    for (model, pieces) in models.iter().zip(pieces(row)) {
        let _ = write!(out, "  {:<widest$}  ", clean(model));
        for (piece, differs) in pieces {
            let piece = clean(&piece).replace('\n', &format!("\n{}", " ".repeat(widest + 4)));
            let _ = if differs && colour { write!(out, "\x1b[1m{piece}\x1b[22m") } else { write!(out, "{piece}") };
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(model: &str, text: &str) -> Option<Said> {
        let (model, text) = (model.to_owned(), text.to_owned());
        Some(Said { model, text, error: None, tokens: 3, finish_reason: "stop".into(), seconds: 0.5 })
    }

    fn rows() -> Vec<Asked> {
        let hostile = "a \"quoted\", | <b>cell</b>\n\u{1b}[31m=1+1";
        let broken = Said { error: Some("no picture".into()), ..said("tuned", "").unwrap() };
        vec![
            Asked {
                images: vec!["/data/slices/a (1).png".into()],
                prompt: "What?".into(),
                answers: vec![said("base", "The left side."), said("tuned", "The right side.")],
            },
            Asked {
                images: vec!["/data/slices/b.png".into()],
                prompt: "What?".into(),
                answers: vec![said("base", hostile), Some(broken)],
            },
        ]
    }

    #[test]
    fn markdown_shows_pictures_marks_differences_and_takes_no_markup_from_data() {
        let models = ["base".to_owned(), "tuned".to_owned()];
        let table = markdown(Path::new("/data/out"), &models, &rows());
        assert!(table.contains("<img src=\"../slices/a%20%281%29.png\""), "{table}");
        assert!(table.contains("| The left side. | The **right** side. |"), "{table}");
        assert!(table.contains("&lt;b&gt;cell") && !table.contains('\u{1b}'), "{table}");
        assert_eq!(table.lines().filter(|line| line.starts_with('|')).count(), 4, "{table}");
    }

    #[test]
    fn neighbouring_words_that_differ_are_one_run() {
        let row = Asked { answers: vec![said("a", "It is so."), said("b", "It was not so.")], ..rows()[0].clone() };
        let of = |pieces: &[(String, bool)]| {
            pieces.iter().map(|(t, d)| if *d { format!("[{t}]") } else { t.clone() }).collect::<String>()
        };
        assert_eq!(of(&pieces(&row)[1]).replace(" ]", "] "), "It [was not] so.");
    }

    #[test]
    fn csv_and_json_lines_hold_the_answers_as_they_are() {
        let models = ["base".to_owned(), "tuned".to_owned()];
        let table = csv(&models, &rows());
        assert!(table.starts_with("\"image\",\"prompt\",\"base\",\"tuned\"\r\n"), "{table}");
        assert!(table.contains("\"a \"\"quoted\"\", | <b>cell</b>\n\u{1b}[31m=1+1\",\"[no picture]\""), "{table}");
        let lines = json_lines(&rows()).unwrap();
        let second: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(second["answers"][1]["error"], "no picture");
    }

    #[test]
    fn a_terminal_gets_no_control_codes_of_a_model() {
        let models = ["base".to_owned(), "tuned".to_owned()];
        let all: String = rows().iter().map(|row| for_terminal(&models, row, false)).collect();
        assert!(!all.contains('\u{1b}') && all.contains("The right side."), "{all}");
        let coloured = for_terminal(&models, &rows()[0], true);
        assert!(coloured.contains("\u{1b}[1mright\u{1b}[22m"), "{coloured}");
    }

    #[test]
    fn a_table_is_known_by_its_ending() {
        assert_eq!(Format::of(Path::new("a.MD")).unwrap(), Format::Markdown);
        assert!(Format::of(Path::new("a.txt")).unwrap_err().to_string().contains(".md, .csv or .jsonl"));
    }
}
