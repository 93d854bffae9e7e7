//! `data check`, `show` and `list`: what a data set is, and what is wrong with it.

use crate::rig::{about, data, entry, golden, jpeg, json_of, lightbox, png, refused, s, stderr, stdout};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

#[test]
fn check_names_file_line_and_reason_and_says_so_with_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("good.png"), png(1)).unwrap();
    std::fs::write(dir.path().join("cut.jpg"), &jpeg(1)[..300]).unwrap();
    stdout(&Command::new("mkfifo").arg(dir.path().join("fifo.png")).output().unwrap(), 0);
    let talk = |image: &str| about(image, "\u{1b}]0;owned\u{7}").to_string();
    let lines =
        [talk("good.png"), talk("cut.jpg"), talk("fifo.png"), "{\"messages\": [".into(), talk("gone.png")].join("\n");
    std::fs::write(dir.path().join("d.jsonl"), lines).unwrap();
    std::fs::write(dir.path().join("dataset_info.json"), json!({"d": entry("d.jsonl")}).to_string()).unwrap();

    let report = json_of(&data(["check", "d", "--dataset-dir", s(dir.path()), "--json"]), 11);
    let kinds: Vec<&str> = report["problems"].as_array().unwrap().iter().map(|p| p["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["image_truncated", "image_not_a_file", "bad_json", "image_missing"]);
    assert_eq!((&report["good"], &report["by_kind"]["bad_json"]), (&json!(1), &json!(1)));
    let text = stdout(&data(["check", "d", "--dataset-dir", s(dir.path())]), 11);
    assert!(text.contains("d.jsonl:4: bad_json: not JSON:"), "{text}");
    assert!(text.contains(&format!("tried {}", dir.path().join("gone.png").display())), "{text}");
    stdout(&data(["check", "d", "--dataset-dir", s(dir.path()), "--limit", "1"]), 0);

    // Text from data never reaches the terminal as control codes.
    let shown = stdout(&data(["show", "d", "--dataset-dir", s(dir.path())]), 0);
    assert!(!shown.contains('\u{1b}') && shown.contains("\\u{1b}"), "{shown}");
    stdout(&data(["show", "d", "--dataset-dir", s(dir.path()), "--index", "3", "--json"]), 11);
    stdout(&data(["show", "d", "--dataset-dir", s(dir.path()), "--index", "5"]), 10);

    let stats = json_of(&data(["stats", "d", "--dataset-dir", s(dir.path()), "--json"]), 0);
    assert_eq!((&stats["good"], &stats["image_width"]["max"], &stats["tokens"]), (&json!(1), &json!(56), &Value::Null));
}

#[test]
fn list_says_what_can_be_used_and_why_the_rest_cannot() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.json"), "[{\"instruction\": \"x\", \"output\": \"y\"}]").unwrap();
    std::fs::write(
        dir.path().join("dataset_info.json"),
        json!({"a": {"file_name": "a.json"}, "hub": {"hf_hub_url": "u/v"}, "gone": {"file_name": "gone.json"}})
            .to_string(),
    )
    .unwrap();
    let list = json_of(&data(["list", "--dataset-dir", s(dir.path()), "--json"]), 0);
    assert_eq!((&list[0]["name"], &list[0]["samples"], &list[0]["format"]), (&json!("a"), &json!(1), &json!("alpaca")));
    assert!(list[1]["error"].as_str().unwrap().contains("download"));
    assert_eq!(list[0]["files"][0]["rows"], 1);
    assert!(list[2]["error"].as_str().unwrap().contains("not found"));
    let text = stdout(&data(["list", "--dataset-dir", s(dir.path())]), 0);
    assert!(text.contains("Next: lightbox data show a"), "{text}");
    let shards = stdout(&data(["list", s(&golden("parquet/medtrinity.parquet"))]), 0);
    assert!(shards.contains("caption") && shards.contains("parquet"), "{shards}");
}

#[test]
fn errors_have_their_exit_codes_and_a_closed_pipe_is_none() {
    let dir = golden("llamafactory/data");
    assert_eq!(lightbox().arg("--version").output().unwrap().status.code(), Some(0));
    assert_eq!(data(["frobnicate"]).status.code(), Some(2));
    refused(&data(["show", "demmo", "--dataset-dir", s(&dir)]), 10, "it has: demo");
    stdout(&data(["encode", "demo", "--dataset-dir", s(&dir), "--model", "no-such-model"]), 12);
    let mut child = lightbox()
        .args(["data", "encode", "demo", "--json", "--dataset-dir", s(&dir), "--model", s(&golden("models/tiny-tied"))])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), stderr(&out).as_str()), (Some(0), ""));
}
