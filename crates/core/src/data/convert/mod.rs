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
//! Rows are written while they are read. `journal.rs` says how an interrupted conversion goes on; its result is the
//! one an uninterrupted run would have made.

pub(super) mod folder;
mod journal;
mod names;
pub(super) mod output;

use super::cells::ImageCell;
use super::guess::{CaptionChoice, caption_columns};
use super::layout::CaptionColumns;
use super::parquet::{ParquetRow, ParquetTable};
use super::problem::{Fault, Problem, kind};
use super::{ImageRef, MAX_IMAGE_BYTES, OnBad, Step, Watch, layout, picture, register};
use crate::fs::sync_dir;
use anyhow::{Context, anyhow};
pub(crate) use folder::sync_file_system;
use folder::{Places, enough_space, is_unused, remove_if_there};
use journal::Journal;
use names::Names;
use output::Growing;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tutorial's names.
pub const DEFAULT_NAME: &str = "mllm_med";
pub const DEFAULT_FOLDER: &str = "mllm_data";

/// How often the journal is written, whichever comes first: what a killed conversion does twice.
const CHECKPOINT: Duration = Duration::from_millis(100);
const CHECKPOINT_ROWS: usize = 500;

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
    /// Columns, and the questions: row *i* of the source (from 0) is asked question *i* modulo their number.
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
    pub written: usize,
    pub skipped: usize,
    pub problems: BTreeMap<String, usize>,
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
    let wanted: Vec<&str> = columns.id.iter().chain([&columns.caption]).map(String::as_str).collect();
    let table = Arc::new(table.with_columns(&wanted, Some(&image_column)));
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
        replay_names(&ids, &columns, rows, &mut names);
    } else {
        let (json, problems);
        (json, problems, journal) = reopen(&places, journal)?;
        continued_at = journal.next_row;
        enough_space(&table, rows, continued_at, &places.folder)?;
        replay_names(&ids, &columns, continued_at, &mut names);
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

/// A conversion at work.
struct Run<'a> {
    o: &'a ConvertOptions,
    table: &'a Arc<ParquetTable>,
    ids: &'a ParquetTable,
    columns: &'a CaptionColumns,
    image_column: &'a str,
    places: &'a Places,
    journal: Journal,
    json: Growing,
    problems: Growing,
}

/// A row that can be written.
struct Good {
    caption: String,
    extension: &'static str,
    bytes: Vec<u8>,
}

impl Run<'_> {
    /// Writes all rows from the journal's place on and makes the result whole.
    fn rows(mut self, rows: usize, names: &mut Names, watch: &mut Watch<'_>) -> Result<Journal, ConvertError> {
        let mut last = Instant::now();
        for row in self.journal.next_row..rows {
            let read = self.table.row(row);
            // Bad rows take their name as well: which rows are good depends on options, names must not.
            let stem = match &read {
                Ok(read) => names.claim(&id(Some(read), self.columns, row)),
                Err(_) => names.claim(&id(self.ids.row(row).ok().as_ref(), self.columns, row)),
            };
            let problem = match read.and_then(|read| self.good(row, &read)) {
                Ok(good) => {
                    self.write(row, &stem, &good)?;
                    None
                }
                Err(fault) => {
                    let problem = fault.at(row, self.table.origin(row));
                    if self.o.on_bad == OnBad::Refuse {
                        self.checkpoint(row)?;
                        return Err(ConvertError::BadRow(Box::new(problem)));
                    }
                    let mut line = serde_json::to_vec(&problem).map_err(anyhow::Error::from)?;
                    line.push(b'\n');
                    self.problems.write(&line)?;
                    *self.journal.counts.problems.entry(problem.kind.to_owned()).or_default() += 1;
                    Some(problem)
                }
            };
            if watch(Step { done: row + 1, total: rows, problems: problem.as_slice() }).is_break() {
                self.checkpoint(row + 1)?;
                return Err(ConvertError::Stopped { done: row + 1, rows });
            }
            if last.elapsed() >= CHECKPOINT || (row + 1).is_multiple_of(CHECKPOINT_ROWS) {
                self.checkpoint(row + 1)?;
                last = Instant::now();
            }
        }
        Ok(self.finish(rows)?)
    }

    fn good(&self, row: usize, read: &ParquetRow) -> Result<Good, Fault> {
        let caption = match read.json(&self.columns.caption)? {
            Value::String(caption) if !caption.trim().is_empty() => caption,
            Value::String(_) | Value::Null => {
                return Err(Fault::new(
                    kind::EMPTY_CAPTION,
                    format!("the caption (column \"{}\") is empty", self.columns.caption),
                ));
            }
            other => {
                return Err(Fault::new(
                    kind::BAD_TYPE,
                    format!(
                        "the caption (column \"{}\") is {}, not a text",
                        self.columns.caption,
                        layout::type_name(&other)
                    ),
                ));
            }
        };
        if caption.contains(layout::IMAGE_MARK) {
            return Err(Fault::new(
                kind::IMAGE_COUNT,
                format!("the caption holds {}, which would stand for a second picture", layout::IMAGE_MARK),
            ));
        }
        if let Some(column) = &self.columns.id {
            read.json(column)?;
        }
        let cells = self.table.image_cells(read, self.image_column)?;
        let image = match cells.as_slice() {
            [ImageCell::Stored(nth)] => ImageRef::Stored { table: Arc::clone(self.table), row, nth: *nth },
            [ImageCell::Path(path)] => {
                let beside = self.table.folder(row);
                let media_dir = self.o.media_dir.as_deref().or(beside).unwrap_or(Path::new("."));
                ImageRef::resolve(path, media_dir, beside)?
            }
            [] | [ImageCell::Empty] => {
                return Err(Fault::new(kind::IMAGE_MISSING, "the row has neither the picture's bytes nor its path"));
            }
            several => {
                return Err(Fault::new(
                    kind::IMAGE_COUNT,
                    format!("{} pictures in one row; a caption needs exactly one", several.len()),
                ));
            }
        };
        let bytes = image.load()?.into_owned();
        if bytes.len() as u64 > MAX_IMAGE_BYTES {
            return Err(Fault::new(
                kind::IMAGE_TOO_LARGE,
                format!("{} bytes; pictures above {MAX_IMAGE_BYTES} bytes are refused", bytes.len()),
            ));
        }
        let found = picture::look(&bytes)?;
        if self.o.decode {
            crate::vision::check(&bytes).map_err(|e| Fault::new(e.kind(), e.to_string()))?;
        }
        Ok(Good { caption, extension: picture::extension(found.format), bytes })
    }

    fn write(&mut self, row: usize, stem: &str, good: &Good) -> anyhow::Result<()> {
        let name = format!("{stem}.{}", good.extension);
        output::write_picture(&self.places.folder.join(&name), &good.bytes)?;
        let question = format!("{}{}", layout::IMAGE_MARK, self.columns.question(row));
        let image = format!("{}/{name}", self.o.folder);
        let first = self.journal.counts.written == 0;
        output::write_sample(&mut self.json, self.o.format, first, &question, &good.caption, &image)?;
        self.journal.counts.written += 1;
        self.journal.counts.image_bytes += good.bytes.len() as u64;
        Ok(())
    }

    fn checkpoint(&mut self, next_row: usize) -> anyhow::Result<()> {
        self.json.flush()?;
        self.problems.flush()?;
        self.journal.next_row = next_row;
        self.journal.json_bytes = self.json.bytes;
        self.journal.problem_bytes = self.problems.bytes;
        self.journal.store(&self.places.journal)
    }

    fn finish(mut self, rows: usize) -> anyhow::Result<Journal> {
        self.checkpoint(rows)?;
        output::write_end(&mut self.json, self.o.format, self.journal.counts.written == 0)?;
        self.journal.json_bytes = self.json.bytes;
        self.journal.finished = true;
        // One sync for all pictures, before the JSON that names them appears.
        sync_file_system(&self.places.folder)?;
        if self.journal.counts.problems.is_empty() {
            remove_if_there(&self.problems.path)?;
            remove_if_there(&self.places.problems)?;
        } else {
            self.problems.publish(&self.places.problems)?;
        }
        self.json.publish(&self.places.json)?;
        self.journal.store(&self.places.journal)?;
        sync_dir(&self.places.folder).with_context(|| format!("syncing {}", self.places.folder.display()))?;
        Ok(self.journal)
    }
}

/// The partial files at the journal's place; from the beginning if they are not what the journal says (then pictures
/// that are there are compared, not written again).
fn reopen(places: &Places, journal: Journal) -> anyhow::Result<(Growing, Growing, Journal)> {
    if journal.next_row > 0 && journal.same_boot() && !journal.finished && places.json_partial.exists() {
        let json = Growing::resume(&places.json_partial, journal.json_bytes)?;
        let problems = Growing::resume(&places.problems_partial, journal.problem_bytes)?;
        if let (Some(json), Some(problems)) = (json, problems) {
            return Ok((json, problems, journal));
        }
    }
    // The journal comes before every other file: it makes the folder ours.
    let journal = Journal::new(journal.fingerprint);
    journal.store(&places.journal)?;
    remove_if_there(&places.json_partial)?;
    remove_if_there(&places.problems_partial)?;
    let fresh = |path| Growing::resume(path, 0)?.ok_or_else(|| anyhow!("{}: cannot be begun", path.display()));
    Ok((fresh(&places.json_partial)?, fresh(&places.problems_partial)?, journal))
}

/// The id of a row as text; rows without one are called by their number.
fn id(row: Option<&ParquetRow>, columns: &CaptionColumns, number: usize) -> String {
    let cell = columns.id.as_ref().zip(row).and_then(|(column, row)| row.json(column).ok());
    match cell {
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) => id.to_string(),
        _ => format!("row-{:08}", number + 1),
    }
}

/// Brings `names` to where an uninterrupted run would be before row `rows`.
fn replay_names(ids: &ParquetTable, columns: &CaptionColumns, rows: usize, names: &mut Names) {
    for row in 0..rows {
        names.claim(&id(ids.row(row).ok().as_ref(), columns, row));
    }
}

fn fingerprint(o: &ConvertOptions, table: &ParquetTable, columns: &CaptionColumns) -> anyhow::Result<Value> {
    let sources = table.shards().map(|(path, rows, _, bytes)| {
        let name = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let changed =
            path.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        Ok(json!({"path": name, "rows": rows, "bytes": bytes, "changed_ns": changed}))
    });
    Ok(json!({
        "sources": sources.collect::<std::io::Result<Vec<_>>>()?,
        "image": columns.image, "id": columns.id, "caption": columns.caption, "questions": columns.questions,
        "media_dir": o.media_dir, "format": o.format, "folder": o.folder, "decode": o.decode, "max_rows": o.max_rows,
    }))
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
                columns: CaptionChoice::default(),
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
        convert(&options("b"), &mut |_| ControlFlow::Continue(())).unwrap();
        for file in ["f/f.json", "f/f.problems.jsonl", "dataset_info.json"] {
            let read = |folder: &str| std::fs::read(dir.path().join(folder).join(file)).unwrap();
            assert!(read("a") == read("b"), "{file}");
        }
    }
}
