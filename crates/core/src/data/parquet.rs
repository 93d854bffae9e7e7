//! Rows of parquet shards by index, read on demand.
//!
//! A [`ParquetTable`] holds, per shard, only its path and number of rows. Footers and page indexes of the few shards
//! in use are kept open; rows are decoded in small windows from the requested one on. So a set of 25 million rows
//! opens at the cost of its footers, and memory stays at a few windows however the rows are visited.
//!
//! All text columns are read as bytes and checked here, row by row. Left to itself, the decoder checks a whole
//! dictionary page at once, and one bad byte would take thousands of good rows with it. For the same reason the
//! Arrow schema that writers embed is ignored: large, view and dictionary variants are all plain byte arrays in the
//! file. What a row's cells become is in `cells.rs`.

use super::cells::{self, ImageCell};
use super::media::MediaError;
use super::problem::{Fault, kind};
use super::shards::{OpenShard, Shards};
use anyhow::bail;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Places that are read from at the same time: one per thread that walks through the table.
const CURSORS: usize = 8;
/// A window is about this large, so that a random read decodes little beside its row.
const WINDOW_BYTES: usize = 256 << 10;
const WINDOW_ROWS: usize = 64;
/// Row groups that one reader walks through. A reader over all of them would take as long to make as there are groups.
const READER_GROUPS: usize = 64;

/// What a column holds, as far as samples are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnKind {
    Text,
    Bytes,
    /// `datasets`' Image feature: struct of `bytes` and `path`.
    Image,
    List(Box<ColumnKind>),
    Other,
}

impl ColumnKind {
    pub(super) fn of(t: &DataType) -> Self {
        match t {
            DataType::Utf8 => Self::Text,
            DataType::Binary => Self::Bytes,
            DataType::Struct(fields) if fields.iter().any(|f| f.name() == "bytes") => Self::Image,
            DataType::List(inner) => Self::List(Box::new(Self::of(inner.data_type()))),
            _ => Self::Other,
        }
    }

    /// The kind of one element, for lists.
    pub fn element(&self) -> &Self {
        if let Self::List(inner) = self { inner } else { self }
    }
}

/// Several parquet files with the same columns, as one list of rows.
pub struct ParquetTable {
    shards: Arc<Shards>,
    /// Indices of the columns that are read; `None`: all.
    projection: Option<Vec<usize>>,
    image_column: Option<String>,
    /// Leave out the bytes of pictures.
    text_only: bool,
    /// Most recently used last.
    cursors: Mutex<Vec<Cursor>>,
    /// The same table without the bytes of pictures, once it was asked for.
    texts: OnceLock<Box<Self>>,
}

/// A reader and the rows it gave last.
struct Cursor {
    shard: usize,
    /// First row of `window`, counted in the shard.
    first: usize,
    window: RecordBatch,
    reader: ParquetRecordBatchReader,
}

impl std::fmt::Debug for ParquetTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetTable").field("rows", &self.len()).field("shards", &self.shards.list().len()).finish()
    }
}

impl ParquetTable {
    /// Reads the footers of all shards, in the order given.
    ///
    /// # Errors
    /// No shard, a shard that is not parquet or is damaged, or shards with different columns.
    pub fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        Ok(Self::over(Arc::new(Shards::open(paths)?)))
    }

    fn over(shards: Arc<Shards>) -> Self {
        Self {
            shards,
            projection: None,
            image_column: None,
            text_only: false,
            cursors: Mutex::default(),
            texts: OnceLock::new(),
        }
    }

    /// Limits reading to the named columns (unknown names are left out) and says which one holds pictures.
    pub fn with_columns(mut self, wanted: &[&str], image_column: Option<&str>) -> Self {
        let keep = self
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, (name, _))| wanted.contains(&name.as_str()) || Some(name.as_str()) == image_column);
        self.projection = Some(keep.map(|(i, _)| i).collect());
        self.image_column = image_column.map(str::to_owned);
        self
    }

    /// The same rows with other columns; no footer is read again.
    pub fn reopened(&self, wanted: &[&str]) -> Self {
        Self::over(Arc::clone(&self.shards)).with_columns(wanted, None)
    }

    /// The same rows without the bytes of pictures, which are most of a table: for looking through texts.
    pub(super) fn texts(&self) -> &Self {
        self.texts.get_or_init(|| {
            let (projection, image_column) = (self.projection.clone(), self.image_column.clone());
            Box::new(Self { projection, image_column, text_only: true, ..Self::over(Arc::clone(&self.shards)) })
        })
    }

    pub fn len(&self) -> usize {
        self.shards.rows
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn columns(&self) -> &[(String, ColumnKind)] {
        &self.shards.columns
    }

    /// The columns that rows are read with, as [`Self::with_columns`] chose them.
    pub fn read_columns(&self) -> impl Iterator<Item = &(String, ColumnKind)> {
        let chosen = |i: &usize| self.projection.as_ref().is_none_or(|p| p.contains(i));
        self.columns().iter().enumerate().filter(move |(i, _)| chosen(i)).map(|(_, column)| column)
    }

    pub fn column(&self, name: &str) -> Option<&ColumnKind> {
        self.columns().iter().find(|(n, _)| n == name).map(|(_, kind)| kind)
    }

    /// Path, rows, row groups and bytes of every shard.
    pub fn shards(&self) -> impl Iterator<Item = (&Path, usize, usize, u64)> {
        self.shards.list().iter().map(|s| (s.path.as_path(), s.rows, s.row_groups, s.bytes))
    }

    /// `file row N` (from 1), for messages.
    pub fn origin(&self, row: usize) -> String {
        let (shard, local) = self.shards.locate(row);
        format!("{} row {}", self.shards.list()[shard].path.display(), local + 1)
    }

    /// The folder of the shard that holds `row`.
    pub fn folder(&self, row: usize) -> Option<&Path> {
        self.shards.list()[self.shards.locate(row).0].path.parent()
    }

    /// One row. Its pictures stay where they are until they are asked for.
    pub fn row(&self, row: usize) -> Result<ParquetRow, Fault> {
        if row >= self.len() {
            return Err(Fault::new(kind::UNREADABLE, format!("there is no row {row}; the table has {}", self.len())));
        }
        let (shard, local) = self.shards.locate(row);
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        // The decoder's authors guard against hostile files, yet a panic in it must not end a long check.
        let read = catch_unwind(AssertUnwindSafe(|| self.window(&mut cursors, shard, local)));
        let (window, at) = match read {
            Ok(Ok(found)) => found,
            Ok(Err(e)) => return Err(Fault::new(kind::BAD_PARQUET, format!("cannot be decoded: {e:#}"))),
            Err(_) => {
                cursors.clear();
                return Err(Fault::new(kind::BAD_PARQUET, "the parquet decoder failed on this row"));
            }
        };
        Ok(ParquetRow { window, at })
    }

    /// The cells of the picture column of one row: no bytes are copied.
    pub(super) fn image_cells(&self, row: &ParquetRow, column: &str) -> Result<Vec<ImageCell>, Fault> {
        let is_path = self.column(column).is_some_and(|k| *k.element() == ColumnKind::Text);
        row.column(column).map_or(Ok(Vec::new()), |array| cells::images(array, row.at, is_path))
    }

    /// How many pictures a row of [`Self::texts`] names; whether their bytes are there was not looked at.
    pub(super) fn count_images(&self, row: &ParquetRow, column: &str) -> usize {
        match row.column(column) {
            Some(array) => cells::count(array, row.at),
            None => usize::from(self.column(column).is_some()),
        }
    }

    /// The paths that the pictures of a row have beside their bytes, or instead of them.
    pub(super) fn image_names(&self, row: &ParquetRow, column: &str) -> Vec<String> {
        let is_path = self.column(column).is_some_and(|k| *k.element() == ColumnKind::Text);
        row.column(column).map_or(Vec::new(), |array| cells::image_names(array, row.at, is_path))
    }

    /// The file that holds `row`: its number and its path.
    pub(super) fn shard_of(&self, row: usize) -> (usize, PathBuf) {
        let (shard, _) = self.shards.locate(row);
        (shard, self.shards.list()[shard].path.clone())
    }

    /// Bytes of picture `nth` of `row`.
    pub(super) fn image(&self, row: usize, nth: usize) -> Result<Vec<u8>, MediaError> {
        let found =
            self.row(row).map_err(|fault| MediaError::Parquet(format!("{}: {}", self.origin(row), fault.reason)))?;
        let column = self.image_column.as_deref().and_then(|name| found.column(name));
        match column.and_then(|array| cells::image_bytes(array, found.at, nth)) {
            Some(bytes) => Ok(bytes),
            None => Err(MediaError::Parquet(format!("{}: there is no picture {}", self.origin(row), nth + 1))),
        }
    }

    /// The window that holds `local` of `shard`: one at hand, the next of a reader that stands there, or a new one.
    fn window(&self, cursors: &mut Vec<Cursor>, shard: usize, local: usize) -> anyhow::Result<(RecordBatch, usize)> {
        let near = |c: &Cursor| c.shard == shard && (c.first..=c.first + c.window.num_rows()).contains(&local);
        if let Some(i) = cursors.iter().position(near) {
            let mut cursor = cursors.remove(i);
            if local == cursor.first + cursor.window.num_rows() {
                match cursor.reader.next() {
                    Some(Ok(window)) if window.num_rows() > 0 => {
                        cursor.first = local;
                        cursor.window = window;
                    }
                    // Try again from this row on, with a window of one row, to lose no good row to a bad neighbour.
                    _ => return self.fresh(cursors, shard, local),
                }
            }
            let found = (cursor.window.clone(), local - cursor.first);
            cursors.push(cursor);
            return Ok(found);
        }
        self.fresh(cursors, shard, local)
    }

    fn fresh(&self, cursors: &mut Vec<Cursor>, shard: usize, local: usize) -> anyhow::Result<(RecordBatch, usize)> {
        let open = self.shards.get(shard)?;
        let group = open.group_starts.partition_point(|&start| start <= local).saturating_sub(1);
        let leaves = self.leaves(&open);
        let row_group = open.meta.metadata().row_group(group);
        let bytes: i64 = leaves.iter().map(|&leaf| row_group.column(leaf).uncompressed_size().max(0)).sum();
        let row_bytes = (bytes / row_group.num_rows().max(1)).max(1) as usize;
        let rows = (WINDOW_BYTES / row_bytes).clamp(1, WINDOW_ROWS);
        let groups = group..open.group_starts.len().min(group + READER_GROUPS);
        let read = |rows: usize| -> anyhow::Result<Cursor> {
            let mask = ProjectionMask::leaves(open.meta.parquet_schema(), leaves.iter().copied());
            let mut reader =
                ParquetRecordBatchReaderBuilder::new_with_metadata(open.file.try_clone()?, open.meta.clone())
                    .with_row_groups(groups.clone().collect())
                    .with_offset(local - open.group_starts[group])
                    .with_projection(mask)
                    .with_batch_size(rows)
                    .build()?;
            match reader.next() {
                Some(window) => Ok(Cursor { shard, first: local, window: window?, reader }),
                None => bail!("the file ends before this row"),
            }
        };
        let cursor = match read(rows) {
            Err(_) if rows > 1 => read(1)?,
            other => other?,
        };
        if cursor.window.num_rows() == 0 {
            bail!("the file ends before this row");
        }
        let found = (cursor.window.clone(), 0);
        if cursors.len() == CURSORS {
            cursors.remove(0);
        }
        cursors.push(cursor);
        Ok(found)
    }

    /// The leaves of the schema that are read. Of a picture, [`Self::texts`] reads its path alone, which says as well
    /// whether there is a picture and how many; where a list has nothing but bytes, they are the only ones to say so.
    fn leaves(&self, open: &OpenShard) -> Vec<usize> {
        let schema = open.meta.parquet_schema();
        let image = self.image_column.as_deref().filter(|_| self.text_only);
        let wanted = |leaf: &usize| {
            let root = schema.get_column_root_idx(*leaf);
            if self.projection.as_ref().is_some_and(|roots| !roots.contains(&root)) {
                return false;
            }
            let Some((_, kind)) = self.columns().get(root).filter(|(name, _)| Some(name.as_str()) == image) else {
                return true;
            };
            let of_root = |leaf: usize| schema.get_column_root_idx(leaf) == root;
            let alone = (0..schema.num_columns()).filter(|&other| of_root(other)).count() == 1;
            match kind {
                ColumnKind::Bytes => false,
                kind if *kind.element() == ColumnKind::Image && !alone => schema.column(*leaf).name() != "bytes",
                _ => true,
            }
        };
        (0..schema.num_columns()).filter(wanted).collect()
    }
}

/// One row of a [`ParquetTable`].
pub struct ParquetRow {
    window: RecordBatch,
    at: usize,
}

impl ParquetRow {
    /// All its cells, text as bytes.
    pub(super) fn cells(&self) -> RecordBatch {
        self.window.slice(self.at, 1)
    }

    fn column(&self, name: &str) -> Option<&dyn Array> {
        self.window.column_by_name(name).map(|a| a.as_ref())
    }

    /// A cell as JSON; `Null` if there is no such column.
    pub fn json(&self, column: &str) -> Result<Value, Fault> {
        self.column(column).map_or(Ok(Value::Null), |array| {
            cells::json(array, self.at)
                .map_err(|fault| Fault::new(fault.kind, format!("column \"{column}\": {}", fault.reason)))
        })
    }
}
