//! The program, and what the tests of its data commands give it: rows, pictures, data sets.

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::Field;
use image::{ImageFormat, RgbImage};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

pub fn lightbox() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lightbox"))
}

pub fn data<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    lightbox().arg("data").args(args).output().unwrap()
}

pub fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// What was said on standard output; the exit code is this one.
#[track_caller]
pub fn stdout(out: &Output, code: i32) -> String {
    let text = String::from_utf8(out.stdout.clone()).unwrap();
    assert_eq!(out.status.code(), Some(code), "stdout: {text}\nstderr: {}", stderr(out));
    text
}

#[track_caller]
pub fn json_of(out: &Output, code: i32) -> Value {
    serde_json::from_str(&stdout(out, code)).unwrap()
}

/// The exit code, and words of what was said on standard error.
#[track_caller]
pub fn refused(out: &Output, code: i32, words: &str) {
    stdout(out, code);
    assert!(stderr(out).contains(words), "{}", stderr(out));
}

pub fn s(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// Every file below a folder with its bytes, hidden ones too.
pub fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(tree(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            files.insert(name, std::fs::read(path).unwrap());
        }
    }
    files
}

/// A picture, different for every `seed` below 65,536.
pub fn picture(seed: u32) -> RgbImage {
    RgbImage::from_fn(56, 56, |x, y| image::Rgb([(x * 4 + seed) as u8, (y * 4) as u8, (seed >> 8) as u8]))
}

pub fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

pub fn png(seed: u32) -> Vec<u8> {
    encoded(&picture(seed), ImageFormat::Png)
}

pub fn jpeg(seed: u32) -> Vec<u8> {
    encoded(&picture(seed), ImageFormat::Jpeg)
}

/// A sample: a question about a picture, and its answer.
pub fn about(image: &str, answer: &str) -> Value {
    json!({"messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": answer}], "images": [image]})
}

/// What dataset_info.json says of a file of such samples.
pub fn entry(file: &str) -> Value {
    json!({"file_name": file, "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}})
}

/// A dataset_dir with the data set `d` and pictures in `pics/`.
pub fn folder(dir: &Path, rows: &[Value], pictures: &[(&str, Vec<u8>)]) {
    std::fs::create_dir_all(dir.join("pics")).unwrap();
    for (name, bytes) in pictures {
        std::fs::write(dir.join("pics").join(name), bytes).unwrap();
    }
    std::fs::write(dir.join("d.jsonl"), rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    std::fs::write(dir.join("dataset_info.json"), json!({"d": entry("d.jsonl")}).to_string()).unwrap();
}

/// A parquet file of these columns, a hundred rows a group.
pub fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let nullable = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(nullable).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A column of texts; `None` is a null cell.
pub fn texts<'a>(cells: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(cells))
}

/// A column of pictures: their bytes, or where they lie.
pub fn pictures<'a>(cells: impl IntoIterator<Item = (Option<&'a [u8]>, Option<&'a str>)>) -> ArrayRef {
    let (bytes, paths): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter(bytes));
    let field = |name: &str, a: &ArrayRef| Arc::new(Field::new(name, a.data_type().clone(), true));
    let paths = texts(paths);
    Arc::new(StructArray::from(vec![(field("bytes", &bytes), bytes), (field("path", &paths), paths)]))
}
