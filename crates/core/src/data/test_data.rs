//! Small data sets for the unit tests of this folder.

use super::{Dataset, DatasetOptions};
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// For the data set that `path` is.
pub fn options(path: &Path) -> DatasetOptions {
    DatasetOptions {
        dataset_dir: ".".into(),
        media_dir: None,
        names: vec![path.display().to_string()],
        max_samples: None,
        seed: 42,
        mix: Default::default(),
    }
}

pub fn open(path: &Path) -> Dataset {
    Dataset::open(&options(path)).unwrap()
}

pub fn jsonl(dir: &Path, rows: &[Value]) -> PathBuf {
    let path = dir.join("d.jsonl");
    std::fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    path
}

/// A question, an answer, no picture.
pub fn chat(question: &str, answer: &str) -> Value {
    serde_json::json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
}

/// Captioned pictures; every 10th row has an empty caption, every 25th a null for its picture.
pub fn captions(path: &Path, rows: usize, row_group: usize) {
    let png = |i: usize| {
        let mut out = std::io::Cursor::new(Vec::new());
        let side = 8 + i as u32 % 5;
        image::RgbImage::new(side, side).write_to(&mut out, image::ImageFormat::Png).unwrap();
        out.into_inner()
    };
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter((0..rows).map(|i| (i % 25 != 24).then(|| png(i)))));
    let paths: ArrayRef = Arc::new(StringArray::from_iter((0..rows).map(|_| None::<&str>)));
    let fields =
        Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)]);
    let nulls = bytes.nulls().cloned();
    let image: ArrayRef = Arc::new(StructArray::new(fields, vec![bytes, paths], nulls));
    let text = |i: usize| if i % 10 == 9 { String::new() } else { format!("Caption {i} of a Tumour") };
    let caption: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(text)));
    let batch = RecordBatch::try_from_iter([("image", image), ("caption", caption)]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(row_group)).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
