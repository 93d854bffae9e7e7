//! `data check --fix`: what is good, copied.

use crate::rig::{about, data, encoded, folder, golden, jpeg, json_of, lines, picture, png, refused, s, stdout, tree};
use image::{ImageFormat, RgbImage, imageops};
use serde_json::{Value, json};

#[test]
fn fix_copies_what_is_good_and_says_of_the_rest_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (old, out) = (dir.path().join("old"), dir.path().join("out"));
    let jpeg = jpeg(1);
    let blank = RgbImage::from_pixel(40, 40, image::Rgb([9, 9, 9]));
    let pictures = [
        ("good.png", png(2)),
        ("cut.jpg", jpeg[..jpeg.len() / 2].to_vec()),
        ("tiny.png", encoded(&imageops::resize(&picture(3), 8, 8, imageops::FilterType::Nearest), ImageFormat::Png)),
        ("blank.png", encoded(&blank, ImageFormat::Png)),
        ("empty.png", Vec::new()),
        ("huge.ppm", b"P6 60000 60000 255\n".to_vec()),
    ];
    let rows = [
        (about("pics/good.png", "One."), ""),
        (about("pics/cut.jpg", "One."), "image_truncated"),
        (about("pics/gone.png", "One."), "image_missing"),
        (about("pics/empty.png", "One."), "image_format"),
        (about("pics/huge.ppm", "One."), "image_too_large"),
        (about("pics/good.png", "see <image>"), "image_count"),
        (about("pics/good.png", " "), "empty_caption"),
        (json!({"messages": [{"role": "user", "content": "?"}]}), "odd_turns"),
        (json!({"messages": [{"role": "judge", "content": "?"}, {"role": "assistant", "content": "!"}]}), "bad_role"),
        (about("pics/tiny.png", "Two."), "image_tiny"),
        (about("pics/blank.png", "Three."), "image_blank"),
        (about("pics/good.png", "One."), "duplicate"),
        (about("pics/good.png", "Four."), ""),
    ];
    folder(&old, &rows.clone().map(|(row, _)| row), &pictures);
    let mut broken = std::fs::read_to_string(old.join("d.jsonl")).unwrap();
    broken.push_str("{\"messages\": [\n");
    std::fs::write(old.join("d.jsonl"), broken).unwrap();
    let before = tree(&old);
    let fix = |how: &str, name: &str| {
        data(["check", "d", "--dataset-dir", s(&old), "--out", s(&out), "--name", name, "--json", how])
    };
    let report = json_of(&fix("--fix", "clean"), 0);
    let fixed = &report["fixed"];
    assert_eq!(
        (&fixed["written"]["rows"], &fixed["removed"], &report["samples"]),
        (&json!(5), &json!(9), &json!(14)),
        "{report}"
    );
    let listed: Vec<Value> =
        lines(&out.join("clean.problems.jsonl")).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, listed) = listed.split_last().unwrap();
    let expected: Vec<(u64, &str, bool)> = (0..)
        .zip(&rows)
        .filter(|(_, (_, kind))| !kind.is_empty())
        .map(|(i, (_, kind))| (i, *kind, !["image_tiny", "image_blank", "duplicate"].contains(kind)))
        .chain([(13, "bad_json", true)])
        .collect();
    let found: Vec<(u64, &str, bool)> = listed
        .iter()
        .map(|p| (p["index"].as_u64().unwrap(), p["kind"].as_str().unwrap(), p["removed"].as_bool().unwrap()))
        .collect();
    assert_eq!(found, expected);
    assert!(listed.iter().all(|p| p["origin"].as_str().unwrap().contains("d.jsonl:") && p["reason"].is_string()));
    assert_eq!((&summary["summary"]["written"], &summary["summary"]["warnings"]["duplicate"]), (&json!(5), &json!(1)));
    assert!(tree(&old) == before, "the source was changed");
    let check = json_of(&data(["check", "clean", "--dataset-dir", s(&out), "--json"]), 0);
    assert_eq!(
        (&check["samples"], &check["good"], check["warnings"].as_object().unwrap().len()),
        (&json!(5), &json!(5), 3)
    );

    // Warnings remove a row only where it is asked for.
    assert_eq!(json_of(&fix("--fix=duplicate", "unique"), 0)["fixed"]["written"]["rows"], 4);
    json_of(&fix("--fix=warnings", "strict"), 0);
    let check = json_of(&data(["check", "strict", "--dataset-dir", s(&out), "--json"]), 0);
    assert_eq!((&check["samples"], &check["warnings"]), (&json!(2), &Value::Null));
    refused(&fix("--fix=sadness", "x"), 10, "image_tiny");
    refused(&fix("--fix", "clean"), 10, "--overwrite");
    let text = stdout(
        &data(["check", "d", "--dataset-dir", s(&old), "--out", s(&out), "--fix", "--overwrite", "--name", "clean"]),
        0,
    );
    assert!(text.contains("clean.problems.jsonl") && text.contains("Next: lightbox data stats clean"), "{text}");
    refused(&data(["check", "d", "--dataset-dir", s(&old), "--fix"]), 2, "--out");

    // Captioned pictures in parquet: the same, as parquet.
    let source = golden("parquet/medtrinity.parquet");
    let report = json_of(&data(["check", s(&source), "--out", s(&out), "--fix", "--json", "--limit", "2"]), 0);
    assert_eq!(
        (&report["fixed"]["written"]["rows"], &report["fixed"]["dataset_info"]),
        (&json!(2), &json!(s(&out.join("dataset_info.json")))),
        "{report}"
    );
    json_of(&data(["check", s(&out.join("medtrinity")), "--json"]), 0);
}
