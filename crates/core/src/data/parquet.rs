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
use super::media::{MediaError, open_regular};
use super::problem::{Fault, kind};
use anyhow::{Context, anyhow, bail};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::file::metadata::PageIndexPolicy;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use serde_json::Value;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Shards whose footer is kept. More only helps access that jumps between more shards than this.
const OPEN_SHARDS: usize = 8;
/// Places that are read from at the same time: one per thread that walks through the table.
const CURSORS: usize = 8;
/// A window is about this large, so that a random read decodes little beside its row.
const WINDOW_BYTES: usize = 256 << 10;
const WINDOW_ROWS: usize = 64;

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
    fn of(t: &DataType) -> Self {
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

#[derive(Debug, Clone)]
struct Shard {
    path: PathBuf,
    first_row: usize,
    rows: usize,
    row_groups: usize,
    bytes: u64,
}

/// Several parquet files with the same columns, as one list of rows.
pub struct ParquetTable {
    shards: Vec<Shard>,
    rows: usize,
    columns: Vec<(String, ColumnKind)>,
    /// Indices of the columns that are read; `None`: all.
    projection: Option<Vec<usize>>,
    image_column: Option<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Most recently used last.
    open: Vec<(usize, Arc<OpenShard>)>,
    cursors: Vec<Cursor>,
}

struct OpenShard {
    file: File,
    meta: ArrowReaderMetadata,
    /// First row of every row group.
    group_starts: Vec<usize>,
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
        f.debug_struct("ParquetTable").field("rows", &self.rows).field("shards", &self.shards.len()).finish()
    }
}

impl ParquetTable {
    /// Reads the footers of all shards, in the order given.
    ///
    /// # Errors
    /// No shard, a shard that is not parquet or is damaged, or shards with different columns.
    pub fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let (mut shards, mut rows): (Vec<Shard>, usize) = (Vec::new(), 0);
        let mut columns: Vec<(String, ColumnKind)> = Vec::new();
        for path in paths {
            let (meta, bytes) = load_footer(path)?;
            let these: Vec<_> =
                meta.schema().fields().iter().map(|f| (f.name().clone(), ColumnKind::of(f.data_type()))).collect();
            if shards.is_empty() {
                columns = these;
            } else if columns != these {
                bail!(
                    "{}: its columns ({}) are not those of {} ({}); name only files of one data set",
                    path.display(),
                    names(&these),
                    shards[0].path.display(),
                    names(&columns)
                );
            }
            let n = row_count(&meta).with_context(|| format!("parquet file {}", path.display()))?;
            shards.push(Shard {
                path: path.clone(),
                first_row: rows,
                rows: n,
                row_groups: meta.metadata().num_row_groups(),
                bytes,
            });
            rows = rows.checked_add(n).ok_or_else(|| anyhow!("{}: impossible number of rows", path.display()))?;
        }
        if shards.is_empty() {
            bail!("no parquet file was named");
        }
        Ok(Self { shards, rows, columns, projection: None, image_column: None, state: Mutex::default() })
    }

    /// Limits reading to the named columns (unknown names are left out) and says which one holds pictures.
    pub fn with_columns(mut self, wanted: &[&str], image_column: Option<&str>) -> Self {
        let keep = self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, (name, _))| wanted.contains(&name.as_str()) || Some(name.as_str()) == image_column);
        self.projection = Some(keep.map(|(i, _)| i).collect());
        self.image_column = image_column.map(str::to_owned);
        self
    }

    /// The same rows with other columns; no footer is read again.
    pub fn reopened(&self, wanted: &[&str]) -> Self {
        let same = Self {
            shards: self.shards.clone(),
            rows: self.rows,
            columns: self.columns.clone(),
            projection: None,
            image_column: None,
            state: Mutex::default(),
        };
        same.with_columns(wanted, None)
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn columns(&self) -> &[(String, ColumnKind)] {
        &self.columns
    }

    /// The columns that rows are read with, as [`Self::with_columns`] chose them.
    pub fn read_columns(&self) -> impl Iterator<Item = &(String, ColumnKind)> {
        let chosen = |i: &usize| self.projection.as_ref().is_none_or(|p| p.contains(i));
        self.columns.iter().enumerate().filter(move |(i, _)| chosen(i)).map(|(_, column)| column)
    }

    pub fn column(&self, name: &str) -> Option<&ColumnKind> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, kind)| kind)
    }

    /// Path, rows, row groups and bytes of every shard.
    pub fn shards(&self) -> impl Iterator<Item = (&Path, usize, usize, u64)> {
        self.shards.iter().map(|s| (s.path.as_path(), s.rows, s.row_groups, s.bytes))
    }

    /// `file row N` (from 1), for messages.
    pub fn origin(&self, row: usize) -> String {
        let (shard, local) = self.locate(row);
        format!("{} row {}", self.shards[shard].path.display(), local + 1)
    }

    /// The folder of the shard that holds `row`.
    pub fn folder(&self, row: usize) -> Option<&Path> {
        self.shards[self.locate(row).0].path.parent()
    }

    fn locate(&self, row: usize) -> (usize, usize) {
        let shard = self.shards.partition_point(|s| s.first_row <= row).saturating_sub(1);
        (shard, row - self.shards[shard].first_row)
    }

    /// One row. Its pictures stay where they are until they are asked for.
    pub fn row(&self, row: usize) -> Result<ParquetRow, Fault> {
        if row >= self.rows {
            return Err(Fault::new(kind::UNREADABLE, format!("there is no row {row}; the table has {}", self.rows)));
        }
        let (shard, local) = self.locate(row);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The decoder's authors guard against hostile files, yet a panic in it must not end a long check.
        let read = catch_unwind(AssertUnwindSafe(|| self.window(&mut state, shard, local)));
        let (window, at) = match read {
            Ok(Ok(found)) => found,
            Ok(Err(e)) => return Err(Fault::new(kind::BAD_PARQUET, format!("cannot be decoded: {e:#}"))),
            Err(_) => {
                state.cursors.clear();
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
    fn window(&self, state: &mut State, shard: usize, local: usize) -> anyhow::Result<(RecordBatch, usize)> {
        let near = |c: &Cursor| c.shard == shard && (c.first..=c.first + c.window.num_rows()).contains(&local);
        if let Some(i) = state.cursors.iter().position(near) {
            let mut cursor = state.cursors.remove(i);
            if local == cursor.first + cursor.window.num_rows() {
                match cursor.reader.next() {
                    Some(Ok(window)) if window.num_rows() > 0 => {
                        cursor.first = local;
                        cursor.window = window;
                    }
                    // Try again from this row on, with a window of one row, to lose no good row to a bad neighbour.
                    _ => return self.fresh(state, shard, local),
                }
            }
            let found = (cursor.window.clone(), local - cursor.first);
            state.cursors.push(cursor);
            return Ok(found);
        }
        self.fresh(state, shard, local)
    }

    fn fresh(&self, state: &mut State, shard: usize, local: usize) -> anyhow::Result<(RecordBatch, usize)> {
        let open = self.open_shard(state, shard)?;
        let group = open.group_starts.partition_point(|&start| start <= local).saturating_sub(1);
        let row_group = open.meta.metadata().row_group(group);
        let row_bytes = (row_group.total_byte_size() / row_group.num_rows().max(1)).max(1) as usize;
        let rows = (WINDOW_BYTES / row_bytes).clamp(1, WINDOW_ROWS);
        let read = |rows: usize| -> anyhow::Result<Cursor> {
            let schema = open.meta.parquet_schema();
            let mask = match &self.projection {
                Some(roots) => ProjectionMask::roots(schema, roots.iter().copied()),
                None => ProjectionMask::all(),
            };
            let mut reader =
                ParquetRecordBatchReaderBuilder::new_with_metadata(open.file.try_clone()?, open.meta.clone())
                    .with_row_groups((group..open.group_starts.len()).collect())
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
        if state.cursors.len() == CURSORS {
            state.cursors.remove(0);
        }
        state.cursors.push(cursor);
        Ok(found)
    }

    fn open_shard(&self, state: &mut State, shard: usize) -> anyhow::Result<Arc<OpenShard>> {
        if let Some(i) = state.open.iter().position(|(s, _)| *s == shard) {
            let entry = state.open.remove(i);
            let open = Arc::clone(&entry.1);
            state.open.push(entry);
            return Ok(open);
        }
        let path = &self.shards[shard].path;
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let plain = options();
        let footer = ArrowReaderMetadata::load(&file, plain.clone())?;
        let schema = text_as_bytes(footer.metadata().file_metadata().schema_descr().root_schema())?;
        let schema = Arc::new(SchemaDescriptor::new(schema));
        let meta = ArrowReaderMetadata::load(
            &file,
            plain.with_parquet_schema(schema).with_offset_index_policy(PageIndexPolicy::Optional),
        )?;
        if row_count(&meta)? != self.shards[shard].rows {
            bail!("{} was changed after it was opened; start again", path.display());
        }
        let group_starts = meta
            .metadata()
            .row_groups()
            .iter()
            .scan(0, |next, g| {
                let start = *next;
                *next += g.num_rows() as usize;
                Some(start)
            })
            .collect();
        let open = Arc::new(OpenShard { file, meta, group_starts });
        if state.open.len() == OPEN_SHARDS {
            state.open.remove(0);
        }
        state.open.push((shard, Arc::clone(&open)));
        Ok(open)
    }
}

/// One row of a [`ParquetTable`].
pub struct ParquetRow {
    window: RecordBatch,
    at: usize,
}

impl ParquetRow {
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

fn options() -> ArrowReaderOptions {
    ArrowReaderOptions::new().with_skip_arrow_metadata(true)
}

fn names(columns: &[(String, ColumnKind)]) -> String {
    columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn load_footer(path: &Path) -> anyhow::Result<(ArrowReaderMetadata, u64)> {
    let name = path.display();
    let (file, bytes) = open_regular(path).context("opening a parquet file")?;
    let footer = catch_unwind(AssertUnwindSafe(|| ArrowReaderMetadata::load(&file, options())))
        .map_err(|_| anyhow!("the parquet decoder failed"))
        .and_then(|r| r.map_err(Into::into))
        .with_context(|| format!("{name} is not a whole parquet file; download or copy it again"))?;
    Ok((footer, bytes))
}

fn row_count(meta: &ArrowReaderMetadata) -> anyhow::Result<usize> {
    meta.metadata().row_groups().iter().try_fold(0usize, |sum, group| {
        usize::try_from(group.num_rows())
            .ok()
            .and_then(|n| sum.checked_add(n))
            .ok_or_else(|| anyhow!("a row group with an impossible number of rows ({})", group.num_rows()))
    })
}

/// The same schema with the mark "this byte array is text" taken off.
fn text_as_bytes(t: &Type) -> anyhow::Result<TypePtr> {
    let info = t.get_basic_info();
    if t.is_primitive() {
        let text = matches!(info.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON)
            || matches!(info.logical_type_ref(), Some(LogicalType::String | LogicalType::Enum | LogicalType::Json));
        if !text || t.get_physical_type() != PhysicalType::BYTE_ARRAY {
            return Ok(Arc::new(t.clone()));
        }
        let bytes = Type::primitive_type_builder(t.name(), PhysicalType::BYTE_ARRAY)
            .with_repetition(info.repetition())
            .with_id(info.has_id().then(|| info.id()))
            .build()?;
        return Ok(Arc::new(bytes));
    }
    let fields = t.get_fields().iter().map(|field| text_as_bytes(field)).collect::<anyhow::Result<_>>()?;
    let mut group = Type::group_type_builder(t.name())
        .with_fields(fields)
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_id(info.has_id().then(|| info.id()));
    if info.has_repetition() {
        group = group.with_repetition(info.repetition());
    }
    Ok(Arc::new(group.build()?))
}
