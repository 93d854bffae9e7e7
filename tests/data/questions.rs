//! What captioned pictures are asked: the same in `data convert`, in parquet that is read directly, and in training's own
//! encoding, whatever the order of the rows.

use crate::rig::{data, golden, json_of, pictures, png, refused, s, stdout, texts, write_parquet};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Output;

#[track_caller]
fn lines_of(out: &Output) -> Vec<Value> {
    stdout(out, 0).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Id, English caption, Chinese caption.
type Row = (String, Option<String>, Option<String>);

fn rows(n: usize) -> Vec<Row> {
    let row = |i| (format!("id-{i}"), Some(format!("A CT scan, number {i}.")), Some(format!("第 {i} 幅 CT 图像。")));
    (0..n).map(row).collect()
}

/// Captioned pictures with two columns of captions.
fn write_rows(path: &Path, rows: &[Row]) {
    let images: Vec<Vec<u8>> = (0..rows.len()).map(|i| png(i as u32)).collect();
    let text = |of: fn(&Row) -> Option<&str>| texts(rows.iter().map(of));
    let columns = vec![
        ("image", pictures(images.iter().map(|bytes| (Some(bytes.as_slice()), None)))),
        ("id", text(|row| Some(&row.0))),
        ("caption", text(|row| row.1.as_deref())),
        ("caption_zh", text(|row| row.2.as_deref())),
    ];
    write_parquet(path, columns);
}

/// Question and answer of every sample of a converted JSONL, by picture.
fn converted(folder: &Path, name: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let text = std::fs::read_to_string(folder.join(format!("{name}/{name}.jsonl"))).unwrap();
    let mut samples: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let said = |i: usize| row["messages"][i]["content"].as_str().unwrap().to_owned();
        samples.entry(row["images"][0].as_str().unwrap().to_owned()).or_default().push((said(0), said(1)));
    }
    samples
}

fn is_chinese(text: &str) -> bool {
    text.chars().any(|c| ('\u{4E00}'..='\u{9FFF}').contains(&c))
}

fn convert(source: &Path, out: &Path, extra: &[&str]) -> Value {
    let args = ["convert", s(source), "--out", s(out), "--name", "d", "--format", "jsonl", "--json"];
    json_of(&data(args.iter().chain(extra)), 0)
}

const BOTH: [&str; 5] = ["--questions", "match", "--captions", "caption,caption_zh", "--both"];

#[test]
fn two_captions_are_two_samples_each_asked_in_its_language() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("d.parquet"), dir.path().join("out"));
    write_rows(&source, &rows(60));
    let report = convert(&source, &out, &BOTH);
    assert_eq!((&report["rows"], &report["written"], &report["skipped"]), (&json!(60), &json!(120), &json!(0)));
    let samples = converted(&out, "d");
    assert_eq!(samples.len(), 60, "a picture is written once");
    let mut questions: [HashSet<&str>; 2] = Default::default();
    for (question, answer) in samples.values().flatten() {
        assert_eq!(is_chinese(question), is_chinese(answer), "{question} {answer}");
        questions[usize::from(is_chinese(answer))].insert(question);
    }
    assert!(questions.iter().all(|q| q.len() > 3), "several wordings of each: {questions:?}");
    for lang in ["en", "zh"] {
        let counts = report["questions"][lang].as_object().unwrap();
        assert_eq!(counts.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 60, "{report}");
    }
    // For eyes: both languages, with their wordings.
    let again = data(["convert", s(&source), "--out", s(&out), "--name", "d", "--format", "jsonl"].iter().chain(&BOTH));
    let text = stdout(&again, 0);
    assert!(text.contains("60 samples with captions in Chinese") && !text.contains("another language"), "{text}");
}

#[test]
fn convert_show_and_an_entry_of_dataset_info_give_the_same_conversations() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("d.parquet"), dir.path().join("out"));
    write_rows(&source, &rows(12));
    convert(&source, &out, &BOTH);
    let entry = json!({"scans": {"file_name": "d.parquet",
        "captions": {"columns": ["caption", "caption_zh"], "both": true, "questions": "match"}}});
    std::fs::write(dir.path().join("dataset_info.json"), entry.to_string()).unwrap();
    let show = |args: &[&str], index: &str| json_of(&data(["show", "--json", "--index", index].iter().chain(args)), 0);
    for index in ["0", "1", "13", "23"] {
        let made = show(&["d", "--dataset-dir", s(&out)], index);
        let direct = show(&[&[s(&source)], &BOTH[..]].concat(), index);
        let named = show(&["scans", "--dataset-dir", s(dir.path())], index);
        assert_eq!((&direct["messages"], &named["messages"]), (&made["messages"], &made["messages"]));
    }
    let encode = |name: &str, dir: &Path| {
        let model = golden("models/tiny-tied");
        let out = data(["encode", name, "--dataset-dir", s(dir), "--model", s(&model), "--json"]);
        let mut lines = lines_of(&out);
        lines.sort_by_key(|line| line["index"].as_u64());
        lines.into_iter().map(|line| (line["input_ids"].clone(), line["labels"].clone())).collect::<Vec<_>>()
    };
    let ids = encode("scans", dir.path());
    assert_eq!(ids.len(), 24);
    assert!(ids == encode("d", &out), "training from parquet reads what training from the converted set reads");
    let listed = stdout(&data(["list", "scans", "--dataset-dir", s(dir.path())]), 0);
    assert!(listed.contains("caption"), "{listed}");
}

#[test]
fn a_sample_keeps_its_question_and_its_drawn_caption_when_rows_move() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut all = rows(80);
    write_rows(&at("a.parquet"), &all);
    all.reverse();
    all.truncate(50);
    write_rows(&at("b.parquet"), &all);
    let drawn = ["--questions", "match", "--captions", "caption,caption_zh"];
    convert(&at("a.parquet"), &at("a"), &drawn);
    convert(&at("b.parquet"), &at("b"), &drawn);
    let (a, b) = (converted(&at("a"), "d"), converted(&at("b"), "d"));
    assert_eq!((a.len(), b.len()), (80, 50));
    assert!(b.iter().all(|(picture, said)| a[picture] == *said));
    let chinese = a.values().filter(|said| is_chinese(&said[0].1)).count();
    assert!((20..=60).contains(&chinese), "about half of the captions are drawn in each language: {chinese}");
    convert(&at("a.parquet"), &at("other"), &[&drawn[..], &["--question-seed", "7"]].concat());
    assert_ne!(converted(&at("other"), "d"), a, "another seed draws anew");
}

#[test]
fn a_caption_that_is_not_there_is_left_out_or_not_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut all = rows(20);
    all[3].2 = None;
    all[4].1 = Some("  ".into());
    (all[5].1, all[5].2) = (None, None);
    write_rows(&at("d.parquet"), &all);
    let both = convert(&at("d.parquet"), &at("both"), &BOTH);
    assert_eq!((&both["written"], &both["problems"]), (&json!(36), &json!({"empty_caption": 4})), "{both}");
    let one = convert(&at("d.parquet"), &at("one"), &BOTH[..4]);
    assert_eq!((&one["written"], &one["problems"]), (&json!(19), &json!({"empty_caption": 1})), "{one}");
    let samples = converted(&at("one"), "d");
    assert!(!is_chinese(&samples["d/id-3.png"][0].1) && is_chinese(&samples["d/id-4.png"][0].1));
    // The two ways of reading agree on what is wrong.
    let checked = data(["check", s(&at("d.parquet")), "--json"].iter().chain(&BOTH));
    let report: Value = serde_json::from_str(&stdout(&checked, 11)).unwrap();
    assert_eq!((&report["samples"], &report["good"]), (&json!(40), &json!(36)));
    let (source, out) = (at("d.parquet"), at("no"));
    let args = ["convert", s(&source), "--out", s(&out), "--name", "d", "--on-bad", "refuse"];
    refused(&data(args.iter().chain(&BOTH)), 11, "caption_zh");
}

#[test]
fn a_file_of_ones_own_is_read_and_what_is_wrong_in_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_rows(&at("d.parquet"), &rows(30));
    std::fs::write(at("q.yaml"), "questions:\n  - What?\n  - text: \"Where: left or right?\"\n    weight: 3\n")
        .unwrap();
    let report = convert(&at("d.parquet"), &at("out"), &["--questions", s(&at("q.yaml"))]);
    let counts = report["questions"]["en"].as_object().unwrap();
    assert_eq!(counts.len(), 2, "{report}");
    assert!(counts["Where: left or right?"].as_u64() > counts["What?"].as_u64(), "{report}");
    // In an entry the file lies beside dataset_info.json.
    let entry = json!({"d": {"file_name": "d.parquet", "captions": {"questions": "q.yaml"}}});
    std::fs::write(at("dataset_info.json"), entry.to_string()).unwrap();
    let shown = json_of(&data(["show", "d", "--dataset-dir", s(dir.path()), "--json"]), 0);
    assert!(
        ["<image>What?", "<image>Where: left or right?"].contains(&shown["messages"][0]["content"].as_str().unwrap())
    );

    std::fs::write(at("bad.yaml"), "questions:\n  fr: [Quoi?]\n").unwrap();
    for (questions, part) in [("bad.yaml", "`fr`"), ("gone.yaml", "gone.yaml"), ("french", "en, zh, match")] {
        let word = if questions.ends_with("yaml") { at(questions).display().to_string() } else { questions.into() };
        let out = data(["convert", s(&at("d.parquet")), "--out", s(&at("no")), "--questions", &word]);
        refused(&out, 10, part);
        assert!(!at("no").exists(), "nothing is begun");
    }
    let out = data(["show", s(&at("d.parquet")), "--captions", "caption", "--both"]);
    refused(&out, 10, "two columns");
    let out = data(["show", s(&at("d.parquet")), "--captions", "caption,nowhere"]);
    refused(&out, 10, "\"nowhere\"");
}

#[test]
fn the_tutorials_question_stays_the_default_and_its_language_is_remarked() {
    let dir = tempfile::tempdir().unwrap();
    let source = golden("parquet/medtrinity.parquet");
    let report = json_of(&data(["convert", s(&source), "--out", s(dir.path()), "--json"]), 0);
    let question = "图片中的诊断结果是怎样？";
    assert_eq!(report["questions"], json!({"en": {question: 2}, "zh": {question: 1}}));
    let text = stdout(&data(["convert", s(&source), "--out", s(dir.path())]), 0);
    assert!(text.contains("2 are asked in another language") && text.contains("--questions match"), "{text}");
}

#[test]
fn slices_are_asked_in_several_wordings_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("in")).unwrap();
    for i in 0..24u16 {
        let grey = |x: u32, _: u32| image::Luma([x as u16 * 100 + i]);
        image::ImageBuffer::from_fn(56, 40, grey).save(at(&format!("in/{i}.png"))).unwrap();
    }
    let slices = |out: &str, extra: &[&str]| {
        let (source, out) = (at("in"), at(out));
        data(["slices", s(&source), "--out", s(&out), "--window", "auto", "--json"].iter().chain(extra))
    };
    let report = json_of(&slices("zh", &["--questions", "match", "--answer", "一幅 {kind} 图片，未见异常。"]), 0);
    assert_eq!(report["samples"], 24, "{report}");
    let counts = report["questions"]["zh"].as_object().unwrap();
    assert!(counts.len() > 3 && counts.keys().all(|question| is_chinese(question)), "{report}");
    // A template of one's own has values in it; without answers the language is nobody's to match.
    std::fs::write(at("q.yaml"), "questions: [\"Is this a {kind}?\", \"What is slice {slice} of?\"]").unwrap();
    json_of(&slices("own", &["--questions", s(&at("q.yaml"))]), 0);
    let text = std::fs::read_to_string(at("own/scans.jsonl")).unwrap();
    assert!(text.contains("<image>Is this a png?") && text.contains("<image>What is slice 0 of?"), "{text}");
    refused(&slices("no", &["--questions", "match"]), 10, "--answer");
    refused(&slices("no", &["--answer", "A scan."]), 10, "--question");
}
