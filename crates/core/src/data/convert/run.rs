//! The rows of a conversion, one after the other: pictures, samples, problems, and a checkpoint now and then.

use super::folder::{Places, remove_if_there, sync_file_system};
use super::journal::Journal;
use super::names::{Names, id};
use super::output::{self, Growing};
use super::{ConvertError, ConvertOptions};
use crate::data::captions::{CaptionColumns, Pair};
use crate::data::cells::ImageCell;
use crate::data::parquet::{ParquetRow, ParquetTable};
use crate::data::problem::{Fault, kind};
use crate::data::{ImageRef, MAX_IMAGE_BYTES, OnBad, Step, Watch, layout, picture};
use crate::fs::sync_dir;
use anyhow::{Context, anyhow};
use serde_json::Map;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the journal is written, whichever comes first: what a killed conversion does twice.
const CHECKPOINT: Duration = Duration::from_millis(100);
const CHECKPOINT_ROWS: usize = 500;

/// A conversion at work.
pub struct Run<'a> {
    pub o: &'a ConvertOptions,
    pub table: &'a Arc<ParquetTable>,
    pub ids: &'a ParquetTable,
    pub columns: &'a CaptionColumns,
    pub image_column: &'a str,
    pub places: &'a Places,
    pub journal: Journal,
    pub json: Growing,
    pub problems: Growing,
}

/// A picture that can be written.
struct Good {
    extension: &'static str,
    bytes: Vec<u8>,
}

impl Run<'_> {
    /// Writes all rows from the journal's place on and makes the result whole.
    pub fn rows(mut self, rows: usize, names: &mut Names, watch: &mut Watch<'_>) -> Result<Journal, ConvertError> {
        let mut last = Instant::now();
        for row in self.journal.next_row..rows {
            let read = self.table.row(row);
            // Bad rows take their name as well: which rows are good depends on options, names must not.
            let stem = match &read {
                Ok(read) => names.claim(&id(Some(read), self.columns, row)),
                Err(_) => names.claim(&id(self.ids.row(row).ok().as_ref(), self.columns, row)),
            };
            let faults = match read {
                Ok(read) => self.row(row, &stem, &read)?,
                Err(fault) => vec![fault],
            };
            let mut problems = Vec::new();
            for fault in faults {
                let problem = fault.at(row, self.table.origin(row));
                if self.o.on_bad == OnBad::Refuse {
                    self.checkpoint(row)?;
                    return Err(ConvertError::BadRow(Box::new(problem)));
                }
                let mut line = serde_json::to_vec(&problem).map_err(anyhow::Error::from)?;
                line.push(b'\n');
                self.problems.write(&line)?;
                *self.journal.counts.problems.entry(problem.kind.to_owned()).or_default() += 1;
                problems.push(problem);
            }
            if watch(Step { done: row + 1, total: rows, problems: &problems }).is_break() {
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

    /// Writes the samples of a row, and says what keeps the others from being written. If that is a reason to stop, none is.
    fn row(&mut self, row: usize, stem: &str, read: &ParquetRow) -> anyhow::Result<Vec<Fault>> {
        let (pairs, mut faults) = match pairs(self.columns, row, read) {
            Ok(found) => found,
            Err(fault) => return Ok(vec![fault]),
        };
        if pairs.is_empty() || (self.o.on_bad == OnBad::Refuse && !faults.is_empty()) {
            return Ok(faults);
        }
        match self.picture(row, read) {
            Ok(picture) => self.write(stem, &picture, &pairs)?,
            Err(fault) => faults.push(fault),
        }
        Ok(faults)
    }

    fn picture(&self, row: usize, read: &ParquetRow) -> Result<Good, Fault> {
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
        Ok(Good { extension: picture::extension(found.format), bytes })
    }

    fn write(&mut self, stem: &str, picture: &Good, pairs: &[Pair<'_>]) -> anyhow::Result<()> {
        let name = format!("{stem}.{}", picture.extension);
        output::write_picture(&self.places.folder.join(&name), &picture.bytes)?;
        self.journal.counts.image_bytes += picture.bytes.len() as u64;
        let image = format!("{}/{name}", self.o.folder);
        for pair in pairs {
            let question = format!("{}{}", layout::IMAGE_MARK, pair.question);
            let first = self.journal.counts.written == 0;
            output::write_sample(&mut self.json, self.o.format, first, &question, &pair.caption, &image)?;
            self.journal.counts.written += 1;
            self.journal.counts.asked.add(pair.lang, pair.question);
        }
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

/// The questions and answers that a row makes, and the faults of those that it does not.
type Pairs<'a> = (Vec<Pair<'a>>, Vec<Fault>);

fn pairs<'a>(columns: &'a CaptionColumns, row: usize, read: &ParquetRow) -> Result<Pairs<'a>, Fault> {
    let mut fields = Map::new();
    for column in columns.texts() {
        fields.insert(column.to_owned(), read.json(column)?);
    }
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    for nth in 0..columns.samples_a_row() {
        match columns.pair(&fields, row, nth) {
            Ok(pair) => pairs.push(pair),
            Err(fault) => faults.push(fault),
        }
    }
    Ok((pairs, faults))
}

/// The partial files at the journal's place; from the beginning if they are not what the journal says (then pictures
/// that are there are compared, not written again).
pub fn reopen(places: &Places, journal: Journal) -> anyhow::Result<(Growing, Growing, Journal)> {
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
