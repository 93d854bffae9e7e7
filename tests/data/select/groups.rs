//! Rows that belong together: equal ones, pictures that look alike, a patient's slices.

use super::select;
use crate::rig::{about, data, encoded, folder, json_of, lines, png, s};
use image::{ImageFormat, RgbImage, imageops};
use lightbox_core::demo::phantom;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A simulated slice of a head.
fn scan(seed: u64) -> RgbImage {
    image::load_from_memory(&phantom::draw(seed, "select", 0).png().unwrap()).unwrap().to_rgb8()
}

#[test]
fn of_equal_rows_the_first_stays_and_the_report_names_both() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    let rows = [
        about("pics/a.png", "One."),
        about("pics/a2.png", "One."), // the same bytes under another name
        about("pics/a.png", "Two."),
        about("pics/b.png", "One."),
        json!({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Two."}], "images": []}),
        json!({"messages": [{"role": "user", "content": "no answer"}]}),
    ];
    folder(&old, &rows, &[("a.png", png(1)), ("a2.png", png(1)), ("b.png", png(2))]);
    let chosen = |more: &[&str]| {
        let out = dir.path().join(more.join(" "));
        let report = json_of(&select(&old, &out, more), 0);
        let lines = lines(&out.join("d.jsonl"));
        let numbers: Vec<usize> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| lines.iter().any(|l| l.replace("../old/", "") == row.to_string()))
            .map(|(i, _)| i)
            .collect();
        assert_eq!(report["left_out"]["odd_turns"]["count"], 1, "{report}");
        (numbers, report)
    };
    let (numbers, report) = chosen(&["--dedupe"]);
    assert_eq!(numbers, [0, 2, 3, 4]);
    let same = &report["left_out"]["same_sample"];
    assert_eq!((&same["count"], &same["groups"]), (&json!(1), &json!(1)));
    let first = &same["first"][0];
    assert!(
        first["origin"].as_str().unwrap().ends_with("d.jsonl:2")
            && first["reason"].as_str().unwrap().ends_with("d.jsonl:1"),
        "{report}"
    );
    assert_eq!(chosen(&["--dedupe=answer"]).0, [0, 2]);
    assert_eq!(chosen(&["--dedupe=picture"]).0, [0, 3, 4]);
    let (numbers, report) = chosen(&["--dedupe=picture,answer"]);
    // Row 4 has the answer of row 2, which is not chosen.
    assert_eq!(numbers, [0, 4]);
    let count = |reason: &str| report["left_out"][reason]["count"].clone();
    assert_eq!((count("same_picture"), count("same_answer")), (json!(2), json!(1)), "{report}");
}

#[test]
fn pictures_that_look_alike_are_found_and_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (old, out) = (dir.path().join("old"), dir.path().join("out"));
    let (mut rows, mut pictures): (Vec<Value>, Vec<(String, Vec<u8>)>) = Default::default();
    for seed in 0..12 {
        let scan = scan(seed);
        let (w, h) = scan.dimensions();
        let larger = imageops::resize(&scan, w * 2, h * 2, imageops::FilterType::CatmullRom);
        for (name, bytes) in [
            (format!("{seed}.png"), encoded(&scan, ImageFormat::Png)),
            (format!("{seed}-again.jpg"), encoded(&scan, ImageFormat::Jpeg)),
            (format!("{seed}-larger.png"), encoded(&larger, ImageFormat::Png)),
        ] {
            rows.push(about(&format!("pics/{name}"), &format!("About {name}.")));
            pictures.push((name, bytes));
        }
    }
    rows.push(about("pics/gone.png", "Cannot be compared."));
    let named: Vec<(&str, Vec<u8>)> = pictures.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    folder(&old, &rows, &named);
    let report = json_of(&select(&old, &out, &["--near", "8"]), 0);
    let similar = &report["left_out"]["similar_picture"];
    assert_eq!((&similar["count"], &similar["groups"]), (&json!(24), &json!(12)), "{report}");
    assert_eq!(report["unread_pictures"], json!({"image_missing": 1}));
    let kept: Vec<String> = lines(&out.join("d.jsonl"));
    assert_eq!(kept.len(), 13);
    assert!(kept[..12].iter().all(|line| !line.contains("again") && !line.contains("larger")));

    // In a split they stay together.
    let parts = ["--split", "train=0.5,test=0.5", "--group-near", "8", "--name", "p"];
    let report = json_of(&select(&old, &out, &parts), 0);
    assert_eq!(report["split"]["joined"], 24, "{report}");
    let heads = |part: &str| -> BTreeSet<String> {
        let lines = lines(&out.join(format!("p_{part}.jsonl")));
        lines
            .iter()
            .filter_map(|line| line.split("About ").nth(1)?.split(['.', '-']).next().map(str::to_owned))
            .collect()
    };
    assert!(heads("train").is_disjoint(&heads("test")));
    assert_eq!(heads("train").len() + heads("test").len(), 12);
}

#[test]
fn a_patients_slices_stay_together_whatever_the_order_of_rows() {
    let dir = tempfile::tempdir().unwrap();
    let patients: Vec<String> = (0..40).map(|p| format!("P{p:03}")).collect();
    let mut rows: Vec<Value> = Vec::new();
    for (p, patient) in patients.iter().enumerate() {
        for slice in 0..1 + p % 7 {
            let mut row = json!({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": format!("{patient} {slice}")}]});
            row["id"] = json!(format!("{patient}_slice{slice}"));
            row["patient"] = json!(patient);
            rows.push(row);
        }
    }
    rows.push(json!({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "of nobody"}]}));
    let split = |name: &str, rows: &[Value], by: &[&str]| -> (Value, BTreeMap<&'static str, BTreeSet<String>>) {
        let (old, out) = (dir.path().join(format!("old {name}")), dir.path().join(name));
        folder(&old, rows, &[]);
        let more = [&["--split", "train=0.7,val=0.15,test=0.15", "--name", "s"], by].concat();
        let report = json_of(&select(&old, &out, &more), 0);
        let part = |part| (part, lines(&out.join(format!("s_{part}.jsonl"))).into_iter().collect());
        (report, ["train", "val", "test"].map(part).into())
    };
    let patients_of = |lines: &BTreeSet<String>| -> BTreeSet<String> {
        lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["patient"].as_str().map(str::to_owned))
            .collect()
    };
    let (report, parts) = split("by column", &rows, &["--group-by", "patient"]);
    assert_eq!(report["split"]["without_group"], 1, "{report}");
    let of: Vec<BTreeSet<String>> = parts.values().map(patients_of).collect();
    assert_eq!(of.iter().map(BTreeSet::len).sum::<usize>(), patients.len(), "a patient is in two parts");
    for (part, share) in [("train", 0.7), ("val", 0.15), ("test", 0.15)] {
        let off = (parts[part].len() as f64 - share * rows.len() as f64).abs();
        assert!(off <= 1.0, "{part} is off by {off} rows");
    }
    // Another order of rows, and the id in place of the column: the same parts.
    let mut turned = rows.clone();
    turned.reverse();
    turned.rotate_left(17);
    assert_eq!(split("turned", &turned, &["--group-by", "patient"]).1, parts);
    assert_eq!(split("by id", &rows, &["--group-regex", "^(P[0-9]+)_"]).1, parts);
    assert_ne!(split("other seed", &rows, &["--group-by", "patient", "--seed", "7"]).1, parts);
    // The parts are data sets.
    let check = json_of(
        &data(["check", "s_train,s_val,s_test", "--dataset-dir", s(&dir.path().join("by column")), "--json"]),
        0,
    );
    assert_eq!(check["samples"], rows.len());
}
