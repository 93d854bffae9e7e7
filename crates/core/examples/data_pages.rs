//! Opening a data set and looking at pages of it, timed: what the list of samples asks for.
//!
//! ```sh
//! cargo run --release -p lightbox-core --example data_pages -- make parquet ROWS ROW_GROUP FILE
//! cargo run --release -p lightbox-core --example data_pages -- make jsonl ROWS 0 FILE
//! cargo run --release -p lightbox-core --example data_pages -- read FILE [QUERY]
//! ```
use anyhow::{Context, bail};
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field};
use lightbox_core::data::{Dataset, DatasetOptions, Search};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Rows of a screen.
const PAGE: usize = 60;
const PAGES: usize = 40;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", kind, rows, group, path] => {
            let rows = rows.parse().with_context(|| format!("ROWS is {rows:?}"))?;
            let group = group.parse().with_context(|| format!("ROW_GROUP is {group:?}"))?;
            if *kind == "jsonl" { make_jsonl(rows, path) } else { make_parquet(rows, group, path) }
        }
        ["read", path] => read(path, None),
        ["read", path, query] => read(path, Some(query)),
        _ => bail!("usage: data_pages make parquet|jsonl ROWS ROW_GROUP FILE, or data_pages read FILE [QUERY]"),
    }
}

fn caption(row: usize) -> String {
    let sides = ["left upper lobe", "right lower lobe", "frontal lobe", "liver"];
    format!(
        "Picture {row} is an axial scan with a lesion in the {}. It takes about {} % of the picture, has a border that \
         is not sharp, and differs in texture from the tissue around it, which may hint at a tumour or an inflammation.",
        sides[row % sides.len()],
        row % 37
    )
}

fn make_jsonl(rows: usize, path: &str) -> anyhow::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for row in 0..rows {
        let line = serde_json::json!({
            "messages": [{"role": "user", "content": "<image>What is seen here?"}, {"role": "assistant", "content": caption(row)}],
            "images": [format!("pictures/{row}.jpg")],
        });
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// Pictures of noise, which does not compress: of 1 KB, or of 16 bytes where there are so many rows that the disk counts.
fn make_parquet(rows: usize, group: usize, path: &str) -> anyhow::Result<()> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_compression(Compression::SNAPPY)
        .set_offset_index_disabled(true)
        .build();
    let mut state = 1u64;
    let picture = if rows > 2_000_000 { 16 } else { 1024 };
    let mut noise = || {
        let mut bytes = Vec::with_capacity(picture);
        while bytes.len() < picture {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.extend_from_slice(&state.to_be_bytes());
        }
        bytes
    };
    let mut writer: Option<ArrowWriter<File>> = None;
    for first in (0..rows).step_by(10_000) {
        let range = first..rows.min(first + 10_000);
        let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(range.clone().map(|_| noise())));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(range.clone().map(|row| format!("{row}.jpg"))));
        let image: ArrayRef = Arc::new(StructArray::from(vec![
            (Arc::new(Field::new("bytes", DataType::Binary, true)), bytes),
            (Arc::new(Field::new("path", DataType::Utf8, true)), names.clone()),
        ]));
        let captions: ArrayRef = Arc::new(StringArray::from_iter_values(range.map(caption)));
        let batch = RecordBatch::try_from_iter([("image", image), ("id", names), ("caption", captions)])?;
        if writer.is_none() {
            writer = Some(ArrowWriter::try_new(File::create(path)?, batch.schema(), Some(properties.clone()))?);
        }
        writer.as_mut().context("no writer")?.write(&batch)?;
    }
    writer.context("no rows")?.close()?;
    Ok(())
}

fn read(path: &str, query: Option<&str>) -> anyhow::Result<()> {
    let start = Instant::now();
    let options = DatasetOptions {
        dataset_dir: ".".into(),
        media_dir: None,
        names: vec![path.to_owned()],
        max_samples: None,
        seed: 42,
        mix: Default::default(),
    };
    let dataset = Dataset::open(&options)?;
    println!("opened {} samples in {:.1} ms", dataset.len(), ms(start));
    let places: Vec<usize> =
        (0..PAGES).map(|i| i * 7919 * 104_729 % dataset.len().saturating_sub(PAGE).max(1)).collect();
    pages("beginnings", &places, |first| dataset.peek_range(first..first + PAGE).iter().filter(|p| p.is_ok()).count());
    pages("samples in full", &places, |first| (first..first + PAGE).filter(|&i| dataset.get(i).is_ok()).count());
    if let Some(query) = query {
        let start = Instant::now();
        let mut search = Search::new(&dataset, query.parse()?)?;
        search.run(&mut |_| {
            if start.elapsed().as_secs() < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let (done, matches) = (search.done(), search.matches().len());
        println!(
            "searched {done} samples, {matches} match: {:.0} a second",
            done as f64 / start.elapsed().as_secs_f64()
        );
    }
    println!("{}", resident().unwrap_or_default());
    Ok(())
}

fn pages(what: &str, places: &[usize], read: impl Fn(usize) -> usize) {
    let mut times = Vec::new();
    for &first in places {
        let start = Instant::now();
        let good = read(first);
        times.push(ms(start));
        assert_eq!(good, PAGE, "page at {first}");
    }
    let first = times[0];
    times.sort_by(f64::total_cmp);
    println!(
        "{what}: a page of {PAGE} at a random place: first {first:.1} ms, median {:.2} ms, slowest {:.1} ms",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

/// Most memory the process had.
fn resident() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find(|line| line.starts_with("VmHWM")).map(str::to_owned)
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
