//! Parquet rows, column for column: pictures with the bytes they had, and what the writer noted beside the columns (the features
//! of `datasets`, the index of pandas).
//!
//! ```text
//! NAME/data-00000.parquet …   a new one at 500 MB; a row group at 100 MB, which is what a part holds in memory
//! ```
//! Text is read as bytes (`parquet.rs` says why) and becomes text again here. Pictures are stored as they are, in short pages, so
//! that one row can be read at once.

use crate::data::parquet::ParquetTable;
use crate::data::problem::{Fault, kind};
use crate::data::shards::schema_of;
use crate::data::table::Table;
use crate::fs::{self, OutFile};
use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::concat::concat_batches;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Type as PhysicalType};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILE_BYTES: u64 = 500 << 20;
const GROUP_BYTES: usize = 100 << 20;
/// A page of pictures holds about so much: what is read to see one of them.
const PAGE_BYTES: usize = 256 << 10;
/// Rows handed to the writer at once.
const BATCH_ROWS: usize = 64;
/// … or fewer, when they have so many bytes.
const BATCH_BYTES: usize = 8 << 20;

/// The files of one part.
pub struct ColumnFiles {
    folder: PathBuf,
    file: Option<File>,
    source: Option<Arc<Source>>,
    files: usize,
    rows: usize,
    bytes: u64,
}

/// The file that the last row came from.
struct Source {
    /// Data set and shard.
    of: (usize, usize),
    schema: SchemaRef,
    notes: Vec<KeyValue>,
}

struct File {
    writer: ArrowWriter<OutFile>,
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
}

/// The rows with all their columns; `None` for JSON.
pub fn whole(table: &Table) -> Option<ParquetTable> {
    let Table::Parquet(table) = table else { return None };
    let all: Vec<&str> = table.columns().iter().map(|(name, _)| name.as_str()).collect();
    Some(table.reopened(&all))
}

fn file_name(number: usize) -> String {
    format!("data-{number:05}.parquet")
}

/// Is there nothing in the folder but files with such names?
pub fn has_only_our_files(folder: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("data-").and_then(|name| name.strip_suffix(".parquet"));
        let ours = number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()));
        if !ours || !entry.file_type()?.is_file() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl ColumnFiles {
    pub fn begin(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), file: None, source: None, files: 0, rows: 0, bytes: 0 })
    }

    /// Appends row `row` of `table`, which is data set `set`. The inner error is the row's, the outer one the disk's.
    pub fn add(&mut self, table: &ParquetTable, set: usize, row: usize) -> Result<Result<(), Fault>> {
        let (shard, path) = table.shard_of(row);
        let source = match &self.source {
            Some(source) if source.of == (set, shard) => source.clone(),
            _ => {
                let (schema, notes) = schema_of(&path)?;
                self.source.insert(Arc::new(Source { of: (set, shard), schema, notes })).clone()
            }
        };
        let batch = match table.row(row).and_then(|found| as_text(&found.cells(), &source.schema)) {
            Ok(batch) => batch,
            Err(fault) => return Ok(Err(fault)),
        };
        // Files of one data set may differ in what their readers do not see, such as which columns may be null.
        if self.file.as_ref().is_some_and(|file| file.schema != source.schema) {
            self.close()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.folder.join(file_name(self.files)), &source)?),
        };
        file.waiting_bytes += picture_bytes(&batch);
        file.waiting.push(batch);
        self.rows += 1;
        if file.waiting.len() >= BATCH_ROWS || file.waiting_bytes >= BATCH_BYTES {
            file.write()?;
            if (file.writer.bytes_written() + file.writer.in_progress_size()) as u64 >= FILE_BYTES {
                self.close()?;
            }
        }
        Ok(Ok(()))
    }

    fn close(&mut self) -> Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.write()?;
        file.writer.into_inner()?.finish()?;
        self.bytes += self.folder.join(file_name(self.files)).metadata()?.len();
        self.files += 1;
        Ok(())
    }

    /// On the disk; rows, bytes, rows with other paths.
    pub fn finish(mut self) -> Result<(usize, u64, usize)> {
        self.close()?;
        fs::sync_dir(&self.folder)?;
        Ok((self.rows, self.bytes, 0))
    }
}

impl File {
    fn create(path: &Path, Source { schema, notes, .. }: &Source) -> Result<Self> {
        let notes = notes.iter().filter(|note| note.key != ARROW_SCHEMA_META_KEY).cloned().collect();
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(None)
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .set_key_value_metadata(Some(notes));
        let columns = ArrowSchemaConverter::new().convert(schema)?;
        let is_picture = |column: &&parquet::schema::types::ColumnDescPtr| {
            column.physical_type() == PhysicalType::BYTE_ARRAY && column.logical_type_ref().is_none()
        };
        for column in columns.columns().iter().filter(is_picture) {
            properties = properties
                .set_column_compression(column.path().clone(), Compression::UNCOMPRESSED)
                .set_column_dictionary_enabled(column.path().clone(), false)
                .set_column_statistics_enabled(column.path().clone(), EnabledStatistics::None)
                .set_column_data_page_size_limit(column.path().clone(), PAGE_BYTES)
                .set_write_batch_size(4); // a page is looked at after so many rows
        }
        // An Arrow schema beside the columns would hide the notes from pyarrow, and so from `datasets`.
        let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(OutFile::create(path)?, schema.clone(), options)?;
        Ok(Self { writer, schema: schema.clone(), waiting: Vec::new(), waiting_bytes: 0 })
    }

    fn write(&mut self) -> Result<()> {
        let batch = concat_batches(&self.schema, &self.waiting)?;
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(self.writer.write(&batch)?)
    }
}

/// Bytes of the row's own cells, roughly: a slice shares its buffers with its neighbours.
fn picture_bytes(row: &RecordBatch) -> usize {
    let bytes = |array: &ArrayRef| array.to_data().get_slice_memory_size().unwrap_or_default();
    row.columns().iter().map(bytes).sum()
}

/// The columns of `schema`: text that was read as bytes is text again.
fn as_text(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Fault> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(array, field)| retyped(array, field.data_type()));
    let batch = columns.collect::<Result<_, _>>().and_then(|columns| RecordBatch::try_new(schema.clone(), columns));
    batch.map_err(|e| Fault::new(kind::BAD_PARQUET, format!("cannot be copied: {e}")))
}

fn retyped(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    Ok(match (array.data_type(), to) {
        (DataType::Binary, DataType::Utf8) => Arc::new(StringArray::try_from_binary(array.as_binary().clone())?),
        (DataType::List(_), DataType::List(field)) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            Arc::new(ListArray::try_new(field.clone(), offsets, retyped(&values, field.data_type())?, nulls)?)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let (_, columns, nulls) = array.as_struct().clone().into_parts();
            let columns = columns.iter().zip(fields).map(|(column, field)| retyped(column, field.data_type()));
            Arc::new(StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, nulls)?)
        }
        (from, to) => return Err(ArrowError::SchemaError(format!("a column of type {from} where {to} was expected"))),
    })
}
