//! `data encode`: what training sees of a data set.

use crate::rig::{data, golden, s, stderr, stdout};
use serde_json::{Value, json};
use std::path::Path;

/// A model folder with Qwen2-VL's real tokenizer.
fn real_model(dir: &Path) {
    let ranks = std::fs::File::open(golden("tokenizer/qwen2_vl.ranks.gz")).unwrap();
    let tokenizer = lightbox_core::text::ranks::tokenizer_json_from_ranks(ranks).unwrap();
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::copy(golden("models/tiny-tied/preprocessor_config.json"), dir.join("preprocessor_config.json")).unwrap();
    let config = std::fs::read_to_string(dir.join("preprocessor_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["min_pixels"] = json!(3136);
    config["max_pixels"] = json!(12_845_056);
    std::fs::write(dir.join("preprocessor_config.json"), config.to_string()).unwrap();
}

#[test]
fn encode_gives_llamafactorys_ids_and_labels() {
    let model = tempfile::tempdir().unwrap();
    real_model(model.path());
    let dir = golden("llamafactory/data");
    let out = data([
        "encode",
        "demo",
        "--json",
        "--dataset-dir",
        s(&dir),
        "--model",
        s(model.path()),
        "--cutoff-len",
        "1024",
        "--image-max-pixels",
        "256*256",
    ]);
    let ours: Vec<Value> = stdout(&out, 0).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reference = std::fs::read_to_string(golden("llamafactory/dump-main/samples.jsonl")).unwrap();
    let reference: Vec<Value> = reference.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((ours.len(), reference.len()), (13, 13));
    for (ours, reference) in ours.iter().zip(&reference) {
        for key in ["index", "input_ids", "labels", "n_tokens"] {
            assert_eq!(ours[key], reference[key], "sample {} key {key}", reference["index"]);
        }
        let keys: Vec<&String> = ours.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["index", "input_ids", "labels", "image_grid_thw", "n_tokens", "truncated"]);
        assert_eq!(ours["truncated"], 0);
    }
    // The same without --json, for eyes: runs of picture tokens are folded.
    let out = data(["encode", "demo", "--limit", "1", "--dataset-dir", s(&dir), "--model", s(model.path())]);
    let text = stdout(&out, 0);
    assert!(text.contains("<|vision_start|><|image_pad|>×64<|vision_end|>What colour"), "{text}");
}

#[test]
fn a_picture_that_does_not_fit_is_left_out_or_refused() {
    let dir = golden("llamafactory/data");
    let run = |on_bad| {
        data([
            "encode",
            "--dataset",
            "demo",
            "--json",
            "--dataset-dir",
            s(&dir),
            "--model",
            s(&golden("models/tiny-tied")),
            "--cutoff-len",
            "70",
            "--image-max-pixels",
            "65536",
            "--on-bad",
            on_bad,
        ])
    };
    let out = run("skip");
    assert!(stdout(&out, 0).lines().count() < 13);
    assert!(stderr(&out).contains("too_long"), "{}", stderr(&out));
    let out = run("refuse");
    stdout(&out, 11);
    assert!(stderr(&out).contains("error: sample 0") && stderr(&out).contains("--on-bad skip"), "{}", stderr(&out));
}
