//! `data stats`: lengths and sizes, as numbers and as a picture.

use crate::rig::{data, golden, json_of, refused, s, stdout};
use serde_json::json;
use std::path::Path;

#[test]
fn stats_with_a_model_say_how_many_samples_exceed_the_cutoff() {
    let dir = golden("llamafactory/data");
    let run = |extra: &[&str]| {
        data(
            [
                "stats",
                "demo",
                "--dataset-dir",
                s(&dir),
                "--model",
                s(&golden("models/tiny-tied")),
                "--image-max-pixels",
                "65536",
            ]
            .iter()
            .chain(extra),
        )
    };
    let stats = json_of(&run(&["--json"]), 0);
    assert_eq!((&stats["samples"], &stats["good"], &stats["truncated"]), (&json!(13), &json!(13), &json!(0)));
    assert_eq!(stats["tokens"]["count"], 13);
    let median = stats["tokens"]["median"].as_u64().unwrap().to_string();
    let short = json_of(&run(&["--json", "--cutoff-len", &median]), 0);
    let cut = short["truncated"].as_u64().unwrap() + short["problems"]["too_long"].as_u64().unwrap_or(0);
    assert!((1..=6).contains(&cut), "half of 13 samples are longer than the median: {short}");
    let text = stdout(&run(&[]), 0);
    assert!(text.contains("median") && text.contains('#') && text.contains("cutoff_len 2048"), "{text}");
}

#[test]
fn stats_draw_a_picture_of_what_they_counted() {
    let dir = tempfile::tempdir().unwrap();
    let demo = golden("llamafactory/data");
    let run = |picture: &Path, extra: &[&str]| {
        data(["stats", "demo", "--dataset-dir", s(&demo), "--picture", s(picture)].iter().chain(extra))
    };
    let (png, svg) = (dir.path().join("a.png"), dir.path().join("b.svg"));
    let model = golden("models/tiny-tied");
    let text = stdout(&run(&png, &["--model", s(&model)]), 0);
    assert!(text.contains("picture tokens") && text.contains("a.png"), "{text}");
    assert_eq!(image::open(&png).unwrap().width(), 1280);
    stdout(&run(&svg, &["--json"]), 0);
    let text = std::fs::read_to_string(&svg).unwrap();
    assert!(text.contains("answers of a sample, in characters") && !text.contains("cutoff_len"), "{text}");
    let none = run(&dir.path().join("c.jpg"), &[]);
    refused(&none, 10, ".png or .svg");
}
