//! How long the workbench takes for a frame, on every screen, at 200x60; and how it scrolls through 25 million samples.
//!
//! ```sh
//! cargo run --release --example frames -- [--work DIR] [--rows 25000000] [--json]
//! ```
//!
//! Drives the real state, effects and drawing, with a buffer in the place of the terminal. DIR holds `lightbox-demo/` and is
//! made when it is missing; the large data set is generated into it once.

use anyhow::{Context, Result};
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Schema};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use lightbox::app::{Action, App, Screen, action::Effects, update};
use lightbox::link::{Back, Links};
use lightbox::view;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const SIZE: (u16, u16) = (200, 60);

struct Bench {
    app: App,
    links: Links,
    results: UnboundedReceiver<Action>,
    terminal: Terminal<TestBackend>,
    started: Instant,
    json: bool,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let temp = tempfile::tempdir()?;
    let work = value("--work").map_or_else(|| temp.path().to_owned(), PathBuf::from);
    let work = std::path::absolute(work)?;
    let rows: usize = value("--rows").map_or(Ok(25_000_000), |text| text.parse())?;
    // SAFETY: nothing runs beside this yet
    unsafe { std::env::set_var("LIGHTBOX_STATE", work.join("bench-state")) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(bench(&work, rows, args.iter().any(|a| a == "--json")))?;
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

async fn bench(work: &Path, rows: usize, json: bool) -> Result<()> {
    let large = work.join(format!("rows-{rows}.parquet"));
    if !large.exists() {
        write_large(&large, rows)?;
    }
    let (send, results) = unbounded_channel();
    let app = App { here: work.to_owned(), size: SIZE, focused: true, ..App::default() };
    let terminal = Terminal::new(TestBackend::new(SIZE.0, SIZE.1))?;
    let mut b = Bench { app, links: Links::new(Back(send)), results, terminal, started: Instant::now(), json };
    for (screen, name) in [
        (Screen::Data, "data"),
        (Screen::Train, "train"),
        (Screen::Runs, "runs"),
        (Screen::Chat, "chat"),
        (Screen::Models, "models"),
    ] {
        b.act(Action::Go(screen));
        b.pump(Duration::from_secs(2)).await;
        b.frames(&format!("frame, {name}"));
    }
    // ---- 25 million rows
    let opened = Instant::now();
    b.act(Action::Go(Screen::Data));
    let action = lightbox::app::data::open_path(&large);
    b.act(action);
    while b.app.data.samples() != rows {
        anyhow::ensure!(opened.elapsed() < Duration::from_secs(60), "the large data set did not open");
        b.pump(Duration::from_millis(5)).await;
    }
    b.say(&format!("{rows} rows: open"), opened.elapsed().as_secs_f64() * 1e3, "ms", None);
    for (name, keys) in
        [("a row further", KeyCode::Down), ("a page further", KeyCode::PageDown), ("to the end and back", KeyCode::End)]
    {
        let mut worst = Duration::ZERO;
        let mut all = Vec::new();
        for i in 0..300 {
            let key = if keys == KeyCode::End && !usize::is_multiple_of(i, 2) { KeyCode::Home } else { keys };
            let begun = Instant::now();
            b.act(Action::Key(KeyEvent::new(key, KeyModifiers::NONE)));
            b.draw()?;
            worst = worst.max(begun.elapsed());
            all.push(begun.elapsed());
            b.pump(Duration::from_millis(2)).await;
        }
        all.sort();
        b.say(&format!("{rows} rows: {name}, median"), all[all.len() / 2].as_secs_f64() * 1e3, "ms", Some("4"));
        b.say(&format!("{rows} rows: {name}, worst of 300"), worst.as_secs_f64() * 1e3, "ms", None);
    }
    Ok(())
}

impl Bench {
    fn act(&mut self, action: Action) {
        self.app.now_ms = self.started.elapsed().as_millis() as u64;
        let effects: Effects = update(&mut self.app, action);
        for effect in effects {
            self.links.run(effect);
        }
    }

    /// Takes results for so long.
    async fn pump(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while let Ok(Some(action)) = tokio::time::timeout_at(end, self.results.recv()).await {
            self.act(action);
        }
    }

    fn draw(&mut self) -> Result<()> {
        let mut hits = view::Hits::default();
        let app = &self.app;
        self.terminal.draw(|frame| hits = view::draw(app, frame)).context("drawing")?;
        self.app.hits = hits;
        Ok(())
    }

    fn frames(&mut self, name: &str) {
        let mut times: Vec<Duration> = (0..200)
            .filter_map(|_| {
                let begun = Instant::now();
                self.draw().ok()?;
                Some(begun.elapsed())
            })
            .collect();
        times.sort();
        let ms = |i: usize| times.get(i).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        let (median, high) = (ms(times.len() / 2), ms(times.len() * 99 / 100));
        self.say(&format!("{name}, median of 200"), median, "ms", Some("4"));
        self.say(&format!("{name}, 99th of 100"), high, "ms", None);
    }

    fn say(&self, name: &str, value: f64, unit: &str, target: Option<&str>) {
        if self.json {
            println!("{}", serde_json::json!({"name": name, "value": value, "unit": unit, "target": target}));
        } else {
            println!(
                "{name:<52} {value:>10.2} {unit}{}",
                target.map(|t| format!("   (target {t})")).unwrap_or_default()
            );
        }
    }
}

/// Captioned pictures in MedTrinity's layout; all row groups but the last are alike.
fn write_large(path: &Path, rows: usize) -> Result<()> {
    const GROUP: usize = 100_000;
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([(x * 8) as u8, (y * 8) as u8, 90]))
        .write_to(&mut png, image::ImageFormat::Png)?;
    let png = png.into_inner();
    let picture = vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)];
    let fields = vec![
        Field::new("image", DataType::Struct(picture.clone().into()), true),
        Field::new("id", DataType::Utf8, false),
        Field::new("caption", DataType::Utf8, false),
    ];
    let schema = Arc::new(Schema::new(fields));
    let temporary = path.with_extension("part");
    let file = std::fs::File::create(&temporary).with_context(|| temporary.display().to_string())?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(GROUP))
        .build();
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))?;
    let group = |n: usize| -> Result<RecordBatch> {
        let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..n).map(|_| &png[..])));
        let paths: ArrayRef = Arc::new(StringArray::from_iter((0..n).map(|_| None::<&str>)));
        let pictures: ArrayRef = Arc::new(StructArray::try_new(picture.clone().into(), vec![bytes, paths], None)?);
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..n).map(|i| format!("scan-{i:06}"))));
        let captions: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..n).map(|i| format!("The image {i} is a computed tomography scan of the head without a lesion.")),
        ));
        Ok(RecordBatch::try_new(schema.clone(), vec![pictures, ids, captions])?)
    };
    let whole = group(GROUP)?;
    for _ in 0..rows / GROUP {
        writer.write(&whole)?;
    }
    if !rows.is_multiple_of(GROUP) {
        writer.write(&group(rows % GROUP)?)?;
    }
    writer.close()?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}
