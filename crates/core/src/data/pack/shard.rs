//! One parquet file as `datasets` writes it: `image` with the bytes of the file and its name, and columns of text. Pictures are
//! stored as they are (they do not get smaller), and pages are short, so that one row can be read at once.

use super::journal::Made;
use crate::fs;
use anyhow::{Context, Result};
use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::{Map, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The column of pictures, as in MedTrinity's `25M_demo`.
pub const IMAGE: &str = "image";
/// Rows handed to the writer at once.
const BATCH_ROWS: usize = 32;
/// A row group is closed at so many bytes: what a run holds in memory.
const GROUP_BYTES: u64 = 32 << 20;
/// A page holds about so much: what is read to see one picture.
const PAGE_BYTES: usize = 256 << 10;

/// A file that grows, under another name.
pub struct Shard {
    number: usize,
    partial: PathBuf,
    writer: ArrowWriter<File>,
    schema: Arc<Schema>,
    bytes: BinaryBuilder,
    paths: StringBuilder,
    texts: Vec<StringBuilder>,
    waiting: usize,
    group_bytes: u64,
    rows: usize,
    pub image_bytes: u64,
}

/// Shard `number`, from 0.
pub fn path(out: &Path, number: usize) -> PathBuf {
    out.join(format!("train-{number:05}.parquet"))
}

/// What a column of the rows is called here: `image` is taken.
pub fn output_name(column: &str) -> &str {
    if column == IMAGE { "image_file" } else { column }
}

fn image_fields() -> Fields {
    Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)])
}

impl Shard {
    pub fn create(out: &Path, number: usize, columns: &[String]) -> Result<Self> {
        let partial = out.join(format!(".train-{number:05}.partial"));
        let file = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
        let text = columns.iter().map(|name| Field::new(output_name(name), DataType::Utf8, true));
        let image = Field::new(IMAGE, DataType::Struct(image_fields()), true);
        let schema = Arc::new(Schema::new(std::iter::once(image).chain(text).collect::<Vec<_>>()));
        let stored = ColumnPath::new(vec![IMAGE.to_owned(), "bytes".to_owned()]);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_column_compression(stored.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(stored.clone(), false)
            .set_column_statistics_enabled(stored, EnabledStatistics::None)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_write_batch_size(4) // a page is looked at after so many rows
            .set_key_value_metadata(Some(vec![KeyValue::new("huggingface".to_owned(), features(columns))]))
            .build();
        // An Arrow schema beside the columns would hide the note from pyarrow, and so from `datasets`.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, schema.clone(), options)?;
        let texts = columns.iter().map(|_| StringBuilder::new()).collect();
        let (bytes, paths) = (BinaryBuilder::new(), StringBuilder::new());
        let (waiting, group_bytes, rows, image_bytes) = (0, 0, 0, 0);
        Ok(Self { number, partial, writer, schema, bytes, paths, texts, waiting, group_bytes, rows, image_bytes })
    }

    /// One row; `cells` in the order of the columns.
    pub fn add(&mut self, name: &str, picture: &[u8], cells: Vec<Option<String>>) -> Result<()> {
        self.bytes.append_value(picture);
        self.paths.append_value(name);
        self.texts.iter_mut().zip(cells).for_each(|(column, cell)| column.append_option(cell));
        self.waiting += 1;
        self.rows += 1;
        self.image_bytes += picture.len() as u64;
        self.group_bytes += picture.len() as u64;
        let full = self.group_bytes >= GROUP_BYTES;
        if self.waiting == BATCH_ROWS || full {
            self.write()?;
        }
        if full {
            self.group_bytes = 0;
            self.writer.flush().with_context(|| self.failed())?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let image: Vec<ArrayRef> = vec![Arc::new(self.bytes.finish()), Arc::new(self.paths.finish())];
        let image: ArrayRef = Arc::new(StructArray::new(image_fields(), image, None));
        let texts = self.texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        let batch = RecordBatch::try_new(self.schema.clone(), std::iter::once(image).chain(texts).collect())?;
        self.waiting = 0;
        self.writer.write(&batch).with_context(|| self.failed())
    }

    /// Makes it whole, on the disk, under its name.
    pub fn finish(mut self, out: &Path) -> Result<Made> {
        if self.waiting > 0 {
            self.write()?;
        }
        let failed = self.failed();
        self.writer.close().context(failed.clone())?;
        let to = path(out, self.number);
        let publish = || {
            fs::sync_file(&self.partial)?;
            fs::rename(&self.partial, &to)
        };
        publish().context(failed)?;
        Ok(Made { rows: self.rows, image_bytes: self.image_bytes })
    }

    fn failed(&self) -> String {
        format!(
            "writing {}; whole shards are kept: make room if the disk is full, and run the same command again",
            self.partial.display()
        )
    }
}

/// What `datasets` reads the columns as.
fn features(columns: &[String]) -> String {
    let text = columns.iter().map(|name| (output_name(name).to_owned(), json!({"dtype": "string", "_type": "Value"})));
    let all: Map<_, _> = std::iter::once((IMAGE.to_owned(), json!({"_type": "Image"}))).chain(text).collect();
    json!({"info": {"features": all}}).to_string()
}
