//! Pictures through our image processor, timed: one side of `make bench` (the other is
//! scripts/measure/peer_preprocess.py, which prints the same line).
//!
//! ```sh
//! cargo run --release -p lightbox-core --example preprocess -- MODEL REPEAT FILES…
//! ```

mod common;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use common::cpu_time;
use lightbox_core::vision::ImageProcessor;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, repeat, files @ ..] = args.as_slice() else { bail!("usage: preprocess MODEL REPEAT FILES…") };
    let repeat: usize = repeat.parse().with_context(|| format!("REPEAT is {repeat:?}"))?;
    let processor = ImageProcessor::from_dir(Path::new(model))?;
    let files = files
        .iter()
        .map(|path| std::fs::read(path).with_context(|| format!("reading {path}")))
        .collect::<Result<Vec<_>, _>>()?;

    // Warm-up; and the sum shows that both sides make the same pixels.
    let mut checksum = 0.0;
    for file in &files {
        checksum += processor.process(file, None)?.values.iter().map(|x| f64::from(*x)).sum::<f64>();
    }
    let (wall, cpu) = (Instant::now(), cpu_time()?);
    for _ in 0..repeat {
        for file in &files {
            std::hint::black_box(processor.process(file, None)?);
        }
    }
    let line = serde_json::json!({
        "images": repeat * files.len(),
        "wall_s": wall.elapsed().as_secs_f64(),
        "cpu_s": (cpu_time()? - cpu).as_secs_f64(),
        "checksum": checksum,
    });
    println!("{line}");
    Ok(())
}
