//! `data convert`: captioned pictures in parquet → a folder of pictures and one JSON, as LLaMA-Factory wants them.
//!
//! The result is what the MedTrinity tutorial's Python script makes, byte for byte in the JSON, with two differences:
//! the stored picture files are copied as they are (the script decodes and encodes them again, with loss), and a file
//! is called after what it is (`.png` for a PNG). Layout under `out`:
//! ```text
//! dataset_info.json                     one entry written or replaced, all others kept
//! mllm_data/<id>.jpg …                  pictures
//! mllm_data/mllm_data.json              [{"messages": […], "images": ["mllm_data/<id>.jpg"]}, …]
//! mllm_data/mllm_data.problems.jsonl    rows that were left out, with the reason; only if there are any
//! mllm_data/.mllm_data.journal          what a second run needs to go on, or to see that all is done
//! ```
//! With several captions a row (`both`) its picture is written once, and each caption makes a sample. Rows are written while
//! they are read (`run.rs`). `journal.rs` says how an interrupted conversion goes on; its result is the one an uninterrupted
//! run would have made.

pub(super) mod folder;
mod journal;
mod names;
pub(super) mod output;
mod run;

use super::captions::{CaptionChoice, CaptionColumns, caption_columns};
use super::parquet::ParquetTable;
use super::problem::Problem;
use super::questions::{Asked, Questions};
use super::{OnBad, Watch, register};
use anyhow::{Context, anyhow};
pub(crate) use folder::sync_file_system;
use folder::{Places, enough_space, is_unused};
use journal::Journal;
use names::Names;
use run::{Run, reopen};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The tutorial's names.
pub const DEFAULT_NAME: &str = "mllm_med";
pub const DEFAULT_FOLDER: &str = "mllm_data";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One list, as the tutorial writes it.
    #[default]
    Json,
    /// One row a line.
    Jsonl,
}

/// What to convert, and how.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    /// Parquet files, in order (see [`super::table::parquet_files`]).
    pub sources: Vec<PathBuf>,
    /// The future `dataset_dir`.
    pub out: PathBuf,
    /// Key in dataset_info.json.
    pub name: String,
    /// Folder inside `out` for the pictures and the JSON.
    pub folder: String,
    pub format: Format,
    /// Columns, and what is asked.
    pub columns: CaptionChoice,
    /// Where pictures lie that the parquet only names; default: beside the parquet file.
    pub media_dir: Option<PathBuf>,
    pub on_bad: OnBad,
    /// Decode every picture completely; without it, format, size and end of file are checked, and PNG checksums.
    pub decode: bool,
    /// Only the first rows.
    pub max_rows: Option<usize>,
    /// Replace what is there.
    pub overwrite: bool,
}

/// The closing summary.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ConvertReport {
    pub name: String,
    /// Rows of the source.
    pub rows: usize,
    /// Samples written.
    pub written: usize,
    /// Rows left out; with `both`, captions.
    pub skipped: usize,
    pub problems: BTreeMap<String, usize>,
    /// Which questions the samples were given.
    pub questions: Asked,
    pub repeated_ids: usize,
    pub image_bytes: u64,
    /// Rows an earlier run had done.
    pub continued_at: usize,
    /// Nothing was to be done any more.
    pub already_done: bool,
    pub json: PathBuf,
    pub dataset_info: PathBuf,
    pub problems_file: Option<PathBuf>,
}

/// Why a conversion stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// [`OnBad::Refuse`]: the first bad row.
    #[error("{0}; conversion stopped here, what is done is kept: run again with --on-bad skip to leave such rows out")]
    BadRow(Box<Problem>),
    /// The caller ended it.
    #[error(
        "stopped after {done} of {rows} rows; what is done is kept: the same conversion, started again, goes on from there"
    )]
    Stopped { done: usize, rows: usize },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Converts. What is done when `watch` breaks is kept, as after an interruption.
pub fn convert(o: &ConvertOptions, watch: &mut Watch<'_>) -> Result<ConvertReport, ConvertError> {
    let table = ParquetTable::open(&o.sources)?;
    let columns = caption_columns(&table, &o.columns)?;
    let image_column = columns.image.clone().ok_or_else(|| anyhow!("no picture column"))?;
    let fingerprint = fingerprint(o, &table, &columns)?;
    let rows = o.max_rows.map_or(table.len(), |max| max.min(table.len()));
    let table = Arc::new(table.with_columns(&columns.texts().collect::<Vec<_>>(), Some(&image_column)));
    // Names depend on ids alone, so that they can be found again without reading pictures.
    let ids = table.reopened(&columns.id.iter().map(String::as_str).collect::<Vec<_>>());
    let places = Places::new(o)?;
    let info = register::entries(&o.out)?;
    std::fs::create_dir_all(&places.folder).with_context(|| format!("making folder {}", places.folder.display()))?;
    let _ours = register::lock(&places.folder, false)?.ok_or_else(|| {
        anyhow!(
            "another conversion is writing into {}; wait for it, or choose another --folder",
            places.folder.display()
        )
    })?;

    let mut journal = match Journal::load(&places.journal).or_else(|e| if o.overwrite { Ok(None) } else { Err(e) })? {
        Some(journal) if journal.fingerprint == fingerprint => journal,
        Some(_) if !o.overwrite => {
            return Err(anyhow!("{} holds another conversion (other source, questions or options); choose another --folder or --name, or replace it with --overwrite", places.folder.display()).into());
        }
        None if !o.overwrite && !is_unused(&places.folder, &o.folder)? => {
            return Err(anyhow!("{} is not empty and was not made by `data convert`; choose another --folder or --out, or use --overwrite", places.folder.display()).into());
        }
        _ => Journal::new(fingerprint),
    };
    if register::is_of_other_data(&info, &o.name, &places.file_name) && !o.overwrite {
        return Err(anyhow!(
            "{} has an entry \"{}\" for other data; choose another --name, or replace it with --overwrite",
            places.info.display(),
            o.name
        )
        .into());
    }

    let already_done = journal.finished && places.json.metadata().is_ok_and(|meta| meta.len() == journal.json_bytes);
    let mut names = Names::default();
    let continued_at;
    if already_done {
        continued_at = rows;
        names.replay(&ids, &columns, rows);
    } else {
        let (json, problems);
        (json, problems, journal) = reopen(&places, journal)?;
        continued_at = journal.next_row;
        enough_space(&table, rows, continued_at, &places.folder)?;
        names.replay(&ids, &columns, continued_at);
        let run = Run {
            o,
            table: &table,
            ids: &ids,
            columns: &columns,
            image_column: &image_column,
            places: &places,
            journal,
            json,
            problems,
        };
        journal = run.rows(rows, &mut names, watch)?;
    }
    let report = ConvertReport {
        name: o.name.clone(),
        rows,
        written: journal.counts.written,
        skipped: journal.counts.problems.values().sum(),
        problems: journal.counts.problems.clone(),
        questions: journal.counts.asked.clone(),
        repeated_ids: names.repeated,
        image_bytes: journal.counts.image_bytes,
        continued_at,
        already_done,
        json: places.json.clone(),
        dataset_info: places.info.clone(),
        problems_file: (!journal.counts.problems.is_empty()).then(|| places.problems.clone()),
    };
    register::put(&o.out, &o.name, entry(&places.file_name))?;
    Ok(report)
}

fn fingerprint(o: &ConvertOptions, table: &ParquetTable, columns: &CaptionColumns) -> anyhow::Result<Value> {
    let sources = table.shards().map(|(path, rows, _, bytes)| {
        let name = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let changed =
            path.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        Ok(json!({"path": name, "rows": rows, "bytes": bytes, "changed_ns": changed}))
    });
    let mut fingerprint = json!({
        "sources": sources.collect::<std::io::Result<Vec<_>>>()?,
        "image": columns.image, "id": columns.id, "caption": columns.captions.join(","), "questions": columns.questions,
        "media_dir": o.media_dir, "format": o.format, "folder": o.folder, "decode": o.decode, "max_rows": o.max_rows,
    });
    // Only where it counts: a journal of one caption and its questions in turn is that of earlier versions.
    if columns.captions.len() > 1 || matches!(columns.questions, Questions::Drawn(_)) {
        fingerprint["draw"] = json!({"captions": columns.captions, "both": columns.both, "seed": columns.seed});
    }
    Ok(fingerprint)
}

/// The entry that the tutorial adds by hand.
pub(crate) fn entry(file_name: &str) -> Value {
    json!({
        "file_name": file_name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::QuestionSet;
    use crate::data::test_data::captions;
    use std::ops::ControlFlow;

    #[test]
    fn a_stopped_conversion_goes_on_to_what_an_unstopped_one_makes() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("d.parquet");
        captions(&source, 120, 50);
        let options = |out: &str| {
            let out = dir.path().join(out);
            std::fs::create_dir(&out).or_else(|e| if out.is_dir() { Ok(()) } else { Err(e) }).unwrap();
            ConvertOptions {
                sources: vec![source.clone()],
                out,
                name: "d".into(),
                folder: "f".into(),
                format: Format::Json,
                columns: CaptionChoice {
                    questions: QuestionSet::ready_made("match").map(Questions::Drawn).unwrap(),
                    ..CaptionChoice::default()
                },
                media_dir: None,
                on_bad: OnBad::Skip,
                decode: false,
                max_rows: None,
                overwrite: false,
            }
        };
        let mut problems = Vec::new();
        let stopped = convert(&options("a"), &mut |step| {
            assert_eq!(step.total, 120);
            problems.extend(step.problems.iter().map(|p| p.index));
            if step.done == 70 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(ConvertError::Stopped { done: 70, rows: 120 })), "{stopped:?}");
        assert!(!dir.path().join("a/dataset_info.json").exists(), "half a data set has no entry");
        let report = convert(&options("a"), &mut |step| {
            problems.extend(step.problems.iter().map(|p| p.index));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!((report.continued_at, report.skipped), (70, problems.len()));
        assert!(problems.windows(2).all(|pair| pair[0] < pair[1]), "each once: {problems:?}");
        let unstopped = convert(&options("b"), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((&report.questions, report.written), (&unstopped.questions, unstopped.written));
        for file in ["f/f.json", "f/f.problems.jsonl", "dataset_info.json"] {
            let read = |folder: &str| std::fs::read(dir.path().join(folder).join(file)).unwrap();
            assert!(read("a") == read("b"), "{file}");
        }
    }
}
