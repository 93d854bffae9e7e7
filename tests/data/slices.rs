//! `data slices`: pictures of what scanners write.

use crate::rig::{about, data, json_of, s, stderr, stdout};
use serde_json::{Value, json};

/// Grey of 16 bits, from 0 to 5500.
fn wide_png() -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let grey = |x: u32, _: u32| image::Luma([x as u16 * 100]);
    image::ImageBuffer::from_fn(56, 40, grey).write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

#[test]
fn pictures_of_16_bits_are_warned_of_and_slices_makes_them_visible() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("ct.png"), wide_png()).unwrap();
    std::fs::write(at("d.jsonl"), about("ct.png", "A scan.").to_string()).unwrap();
    let set = at("d.jsonl");
    // A warning and no problem: LLaMA-Factory trains on it.
    let report = json_of(&data(["check", s(&set), "--json"]), 0);
    assert_eq!((&report["good"], &report["warnings"]), (&json!(1), &json!({"image_clipped": 1})), "{report}");
    let text = stdout(&data(["check", s(&set)]), 0);
    assert!(text.contains("image_clipped") && text.contains("lightbox data slices"), "{text}");
    let shown = stdout(&data(["show", s(&set), "--index", "0"]), 0);
    assert!(shown.contains("mode I;16") && shown.contains("values above 255 become white"), "{shown}");

    let out = at("out");
    let args = ["--window", "auto", "--question", "What is it?", "--answer", "A {kind} picture.", "--json"];
    let report = json_of(&data(["slices", s(&at("ct.png")), "--out", s(&out)].iter().chain(&args)), 0);
    assert_eq!((&report["pictures"], &report["samples"]), (&json!(1), &json!(1)), "{report}");
    let table = std::fs::read_to_string(out.join("slices.jsonl")).unwrap();
    let row: Value = serde_json::from_str(table.trim()).unwrap();
    assert!(row["window"]["from"].as_str().unwrap().starts_with("percentiles 1-99"), "{row}");
    let picture = image::open(out.join(row["image"].as_str().unwrap())).unwrap().to_luma8();
    let (left, right) = (picture.get_pixel(1, 20).0[0], picture.get_pixel(54, 20).0[0]);
    assert!(left < 20 && right > 235, "{left} {right}");
    // What was made is a data set without a warning.
    let report = json_of(&data(["check", "scans", "--dataset-dir", s(&out), "--json"]), 0);
    assert_eq!((&report["good"], &report["warnings"]), (&json!(1), &Value::Null), "{report}");
    let sheet = stdout(&data(["slices", s(&at("ct.png")), "--sheet", s(&at("sheet.png"))]), 0);
    assert!(image::open(at("sheet.png")).is_ok() && !sheet.is_empty(), "{sheet}");
}

#[test]
fn a_dicom_file_that_is_named_as_a_picture_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ct.dcm"), [vec![0; 128], b"DICM".to_vec(), vec![0; 64]].concat()).unwrap();
    let set = dir.path().join("d.jsonl");
    std::fs::write(&set, about("ct.dcm", "A scan.").to_string()).unwrap();
    let report = json_of(&data(["check", s(&set), "--json"]), 11);
    let reason = report["problems"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("lightbox data slices"), "{report}");
    // It is no sound DICOM file either: that is said, and no picture is made.
    let out = dir.path().join("out");
    let made = data(["slices", s(&dir.path().join("ct.dcm")), "--out", s(&out), "--json"]);
    assert_eq!(made.status.code(), Some(11), "{}", stderr(&made));
    assert_eq!(std::fs::read_to_string(out.join("slices.jsonl")).unwrap_or_default(), "");
}
