//! Reading parquet: every way a picture is stored, any order of rows, and files that are damaged.

use arrow_array::builder::{BinaryViewBuilder, LargeBinaryBuilder, ListBuilder, StringViewBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, BinaryArray, DictionaryArray, LargeStringArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field};
use lightbox_core::data::parquet::ParquetTable;
use lightbox_core::data::table::parquet_files;
use lightbox_core::data::{CaptionChoice, Dataset, DatasetOptions, ImageRef, caption_columns};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn bytes_of(row: usize) -> Vec<u8> {
    format!("picture {row} ").repeat(1 + row % 50).into_bytes()
}

fn text_of(row: usize) -> String {
    format!("caption of row {row}")
}

fn image_struct(rows: std::ops::Range<usize>) -> ArrayRef {
    let bytes: Vec<Vec<u8>> = rows.clone().map(bytes_of).collect();
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(bytes));
    let path: ArrayRef = Arc::new(StringArray::from_iter(rows.map(|_| None::<&str>)));
    Arc::new(StructArray::from(vec![
        (Arc::new(Field::new("bytes", DataType::Binary, true)), bytes),
        (Arc::new(Field::new("path", DataType::Utf8, true)), path),
    ]))
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// The style of 2024: small row groups, snappy, no page index.
fn old_style() -> WriterProperties {
    WriterProperties::builder()
        .set_max_row_group_row_count(Some(100))
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .build()
}

fn new_style() -> WriterProperties {
    WriterProperties::builder().set_data_page_size_limit(2048).set_write_batch_size(16).build()
}

fn shards(dir: &Path, sizes: &[usize], properties: fn() -> WriterProperties) -> Vec<PathBuf> {
    let mut first = 0;
    for (i, rows) in sizes.iter().enumerate() {
        let range = first..first + rows;
        let caption: ArrayRef = Arc::new(StringArray::from_iter_values(range.clone().map(text_of)));
        let columns = vec![("image", image_struct(range)), ("caption", caption)];
        write(&dir.join(format!("train-{i:05}.parquet")), columns, properties());
        first += rows;
    }
    parquet_files(&[dir.to_str().unwrap()]).unwrap()
}

fn open(files: &[PathBuf]) -> Dataset {
    let columns = caption_columns(&ParquetTable::open(files).unwrap(), &CaptionChoice::default()).unwrap();
    let options = DatasetOptions {
        dataset_dir: ".".into(),
        media_dir: None,
        names: vec![],
        max_samples: None,
        seed: 42,
        mix: Default::default(),
    };
    Dataset::open_captions(files, columns, &options).unwrap()
}

fn read(d: &Dataset, i: usize) -> (String, Vec<u8>) {
    let sample = d.get(i).unwrap_or_else(|p| panic!("{p}"));
    let bytes = sample.images[0].read().unwrap().into_owned();
    (sample.conversation.messages[1].content.clone(), bytes)
}

#[test]
fn rows_come_right_in_any_order_from_any_shard_with_and_without_page_index() {
    for properties in [old_style as fn() -> _, new_style] {
        let dir = tempfile::tempdir().unwrap();
        let files = shards(dir.path(), &[250, 1, 333], properties);
        let d = open(&files);
        assert_eq!(d.len(), 584);
        let forward = 0..d.len();
        let backward = (0..d.len()).rev();
        let jumping = (0..d.len()).map(|i| i * 263 % 584);
        for i in forward.chain(backward).chain(jumping) {
            assert_eq!(read(&d, i), (text_of(i), bytes_of(i)), "row {i}");
        }
        assert!(d.origin(250).ends_with("train-00001.parquet row 1"), "{}", d.origin(250));
    }
}

#[test]
fn several_threads_read_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let d = open(&shards(dir.path(), &[400, 400], old_style));
    std::thread::scope(|scope| {
        for t in 0..12 {
            let d = &d;
            scope.spawn(move || {
                (0..800).filter(|i| i % 12 == t).for_each(|i| assert_eq!(read(d, i), (text_of(i), bytes_of(i))))
            });
        }
    });
}

#[test]
fn every_way_of_storing_pictures_and_text_is_read() {
    let n = 5;
    let large = {
        let mut b = LargeBinaryBuilder::new();
        (0..n).for_each(|i| b.append_value(bytes_of(i)));
        Arc::new(b.finish()) as ArrayRef
    };
    let view = {
        let mut b = BinaryViewBuilder::new();
        (0..n).for_each(|i| b.append_value(bytes_of(i)));
        Arc::new(b.finish()) as ArrayRef
    };
    let list = {
        let mut b = ListBuilder::new(LargeBinaryBuilder::new());
        for i in 0..n {
            b.values().append_value(bytes_of(i));
            b.append(true);
        }
        Arc::new(b.finish()) as ArrayRef
    };
    let text_view = {
        let mut b = StringViewBuilder::new();
        (0..n).for_each(|i| b.append_value(text_of(i)));
        Arc::new(b.finish()) as ArrayRef
    };
    let texts: Vec<String> = (0..n).map(text_of).collect();
    let dictionary: DictionaryArray<Int32Type> = texts.iter().map(String::as_str).collect();
    let plain: ArrayRef = Arc::new(StringArray::from_iter_values(&texts));
    let large_text: ArrayRef = Arc::new(LargeStringArray::from_iter_values(&texts));
    for (image, caption) in
        [(image_struct(0..n), large_text), (large, text_view), (view, Arc::new(dictionary) as ArrayRef), (list, plain)]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let shape = format!("{} / {}", image.data_type(), caption.data_type());
        write(&path, vec![("image", image), ("caption", caption)], new_style());
        let d = open(&[path]);
        (0..n).for_each(|i| assert_eq!(read(&d, i), (text_of(i), bytes_of(i)), "{shape}"));
    }
}

#[test]
fn one_row_that_is_not_utf8_is_named_and_its_neighbours_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    // Bytes at first, then the file's schema is made to say that they are text: arrow writes no such text itself.
    let texts: Vec<Vec<u8>> =
        (0..20).map(|i| if i == 7 { b"caf\xe9 x".to_vec() } else { text_of(i).into_bytes() }).collect();
    let schema = Arc::new(
        parquet::schema::parser::parse_message_type(
            "message m { required binary image; required binary caption (UTF8); }",
        )
        .unwrap(),
    );
    let file = std::fs::File::create(&path).unwrap();
    let mut writer =
        parquet::file::writer::SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::new())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let images: Vec<Vec<u8>> = (0..20).map(bytes_of).collect();
    for values in [&images, &texts] {
        let values: Vec<parquet::data_type::ByteArray> = values.iter().cloned().map(Into::into).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<parquet::data_type::ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();

    let d = open(&[path]);
    for i in 0..20 {
        match d.get(i) {
            Err(problem) => assert_eq!((i, problem.kind), (7, "not_utf8"), "{problem}"),
            Ok(_) => assert_eq!(read(&d, i), (text_of(i), bytes_of(i))),
        }
    }
    assert!(d.get(7).is_err());
}

#[test]
fn a_damaged_file_gives_errors_and_never_a_panic_or_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let files = shards(dir.path(), &[60], old_style);
    let whole = std::fs::read(&files[0]).unwrap();
    let damaged = dir.path().join("damaged.parquet");
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    eprintln!("seed {state:#x}");
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut refused, mut rows_failed) = (0, 0);
    for round in 0..300 {
        let mut bytes = whole.clone();
        match round % 3 {
            0 => bytes.truncate(random(whole.len())),
            1 => (0..4).for_each(|_| bytes[random(whole.len())] ^= 1 << random(8)),
            // The footer is where sizes and offsets are.
            _ => {
                let at = whole.len() - 1 - random(whole.len().min(600));
                bytes[at] = bytes[at].wrapping_add(1 + random(255) as u8);
            }
        }
        std::fs::write(&damaged, &bytes).unwrap();
        let options = DatasetOptions {
            dataset_dir: dir.path().into(),
            media_dir: None,
            names: vec![damaged.to_str().unwrap().into()],
            max_samples: None,
            seed: 42,
            mix: Default::default(),
        };
        match Dataset::open(&options) {
            Err(_) => refused += 1,
            Ok(d) => {
                for i in 0..d.len().min(60) {
                    match d.get(i) {
                        Err(_) => rows_failed += 1,
                        Ok(sample) => sample.images.iter().for_each(|image| drop(image.read())),
                    }
                }
            }
        }
    }
    assert!(refused > 100 && rows_failed > 0, "{refused} files refused, {rows_failed} rows failed");
}

#[test]
fn a_row_without_bytes_leads_to_the_file_beside_the_parquet() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/parquet/medtrinity.parquet");
    let d = open(std::slice::from_ref(&golden));
    let sample = d.get(2).unwrap();
    let ImageRef::File(path) = &sample.images[0] else { panic!("{:?}", sample.images) };
    assert_eq!(path, &golden.with_file_name("outside.png"));
}

#[test]
fn files_of_other_columns_and_folders_without_parquet_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("25M_demo");
    std::fs::create_dir(&inner).unwrap();
    let mut files = shards(&inner, &[3], new_style);
    let message = parquet_files(&[dir.path().to_str().unwrap()]).unwrap_err().to_string();
    assert!(message.contains("25M_demo"), "{message}");
    let other = dir.path().join("other.parquet");
    write(&other, vec![("text", Arc::new(StringArray::from_iter_values(["a"])) as ArrayRef)], new_style());
    files.push(other.clone());
    let message = format!("{:#}", ParquetTable::open(&files).unwrap_err());
    assert!(message.contains("other.parquet") && message.contains("image, caption"), "{message}");
    let message = format!(
        "{:#}",
        caption_columns(&ParquetTable::open(&[other]).unwrap(), &CaptionChoice::default()).unwrap_err()
    );
    assert!(message.contains("--image-column"), "{message}");
}
