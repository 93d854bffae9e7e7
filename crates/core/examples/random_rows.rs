//! Rows of a parquet file in a given order, with the bytes of their pictures, timed: one side of scripts/measure/data.py
//! (the other is peer_rows.py, which prints the same line).
//!
//! ```sh
//! cargo run --release -p lightbox-core --example random_rows -- PARQUET ROWS.json
//! ```

mod common;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use common::cpu_time;
use lightbox_core::data::{Dataset, DatasetOptions};
use sha2::{Digest, Sha256};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [parquet, rows] = args.as_slice() else { bail!("usage: random_rows PARQUET ROWS.json") };
    let rows: Vec<usize> = serde_json::from_slice(&std::fs::read(rows).with_context(|| format!("reading {rows}"))?)?;
    let options = DatasetOptions {
        dataset_dir: Path::new(".").to_owned(),
        media_dir: None,
        names: vec![parquet.clone()],
        max_samples: None,
        seed: 0,
        mix: Default::default(),
    };
    let start = Instant::now();
    let dataset = Dataset::open(&options)?;
    let open = start.elapsed();
    let (wall, cpu) = (Instant::now(), cpu_time()?);
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    for &row in &rows {
        let sample = dataset.get(row).map_err(|problem| anyhow::anyhow!("{problem}"))?;
        let picture = sample.images.first().context("a row without a picture")?;
        let picture = picture.read().map_err(anyhow::Error::msg)?;
        bytes += picture.len();
        digest.update(&picture);
        digest.update(&sample.conversation.messages[1].content);
    }
    let line = serde_json::json!({
        "rows": rows.len(),
        "open_s": open.as_secs_f64(),
        "wall_s": wall.elapsed().as_secs_f64(),
        "cpu_s": (cpu_time()? - cpu).as_secs_f64(),
        "bytes": bytes,
        "sha256": digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    });
    println!("{line}");
    Ok(())
}
