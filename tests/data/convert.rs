//! `data convert`: captioned pictures in parquet become pictures and a JSON, also after kills.

use crate::rig::{
    data, entry, golden, jpeg, json_of, lightbox, pictures, png, refused, s, stderr, stdout, texts, tree, write_parquet,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// One row of a test file: `None` for a null cell.
#[derive(Clone)]
struct Row {
    bytes: Option<Vec<u8>>,
    path: Option<&'static str>,
    id: Option<String>,
    caption: Option<String>,
}

fn row(bytes: Vec<u8>, id: &str, caption: &str) -> Row {
    Row { bytes: Some(bytes), path: None, id: Some(id.into()), caption: Some(caption.into()) }
}

fn write_rows(path: &Path, rows: &[Row]) {
    let text = |of: fn(&Row) -> Option<&str>| texts(rows.iter().map(of));
    let columns = vec![
        ("image", pictures(rows.iter().map(|row| (row.bytes.as_deref(), row.path)))),
        ("id", text(|row| row.id.as_deref())),
        ("caption", text(|row| row.caption.as_deref())),
    ];
    write_parquet(path, columns);
}

/// A JPEG blown up to about `size` bytes by comments, which every reader skips.
fn large_jpeg(seed: u32, size: usize) -> Vec<u8> {
    let small = jpeg(seed);
    let mut out = small[..2].to_vec();
    while out.len() < size {
        out.extend([0xFF, 0xFE, 0x80, 0x00]);
        out.extend(vec![seed as u8; 0x8000 - 2]);
    }
    out.extend(&small[2..]);
    out
}

/// Every file under `dir` with its content; the journal names times and is left out.
fn made(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    tree(dir).into_iter().filter(|(name, _)| !name.ends_with(".journal")).collect()
}

#[test]
fn conversion_is_the_tutorials_json_byte_for_byte_and_keeps_picture_bytes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("dataset_info.json"),
        "{\"mine\": {\"file_name\": \"mine.json\", \"odd\": [1.0, null]}}",
    )
    .unwrap();
    let source = golden("parquet/medtrinity.parquet");
    let report = json_of(&data(["convert", s(&source), "--out", s(dir.path()), "--json"]), 0);
    assert_eq!(
        (&report["rows"], &report["written"], &report["skipped"], &report["repeated_ids"]),
        (&json!(3), &json!(3), &json!(0), &json!(1))
    );
    let made = std::fs::read(dir.path().join("mllm_data/mllm_data.json")).unwrap();
    assert_eq!(String::from_utf8(made).unwrap(), std::fs::read_to_string(golden("parquet/tutorial.json")).unwrap());
    let copied = std::fs::read(dir.path().join("mllm_data/8031efe0-1b5c-11ef-8929-000066532cad-2.png")).unwrap();
    assert_eq!(copied, std::fs::read(golden("parquet/outside.png")).unwrap());
    let info: Value = serde_json::from_slice(&std::fs::read(dir.path().join("dataset_info.json")).unwrap()).unwrap();
    assert_eq!(info["mine"], json!({"file_name": "mine.json", "odd": [1.0, null]}));
    assert_eq!(info["mllm_med"], entry("mllm_data/mllm_data.json"));
    let again = json_of(&data(["convert", s(&source), "--out", s(dir.path()), "--json"]), 0);
    assert_eq!(again["already_done"], true);
    let check = data(["check", "mllm_med", "--dataset-dir", s(dir.path())]);
    assert!(stdout(&check, 0).contains("3 samples and 3 pictures"));
    let shown = json_of(&data(["show", "mllm_med", "--dataset-dir", s(dir.path()), "--index", "1", "--json"]), 0);
    assert_eq!(shown["messages"][0], json!({"role": "user", "content": "<image>图片中的诊断结果是怎样？"}));
    assert_eq!((&shown["images"][0]["format"], &shown["images"][0]["width"]), (&json!("PNG"), &json!(32)));
}

#[test]
fn questions_and_languages_take_turns_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let source = golden("parquet/medtrinity.parquet");
    let out = data([
        "convert",
        s(&source),
        "--out",
        s(dir.path()),
        "--name",
        "both",
        "--format",
        "jsonl",
        "--question",
        "Q?",
        "--lang",
        "en",
        "--json",
    ]);
    assert_eq!(json_of(&out, 0)["written"], 3);
    let lines = std::fs::read_to_string(dir.path().join("both/both.jsonl")).unwrap();
    let questions: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["messages"][0]["content"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(questions, ["<image>Q?", "<image>What is the diagnosis in this picture?", "<image>Q?"]);
}

#[test]
fn a_killed_conversion_goes_on_and_ends_as_if_nothing_had_happened() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let rows: Vec<Row> = (0..1200)
        .map(|i| match i % 97 {
            5 => Row { caption: None, ..row(large_jpeg(i, 64), &format!("id{i}"), "") },
            _ => row(large_jpeg(i, 100_000), &format!("id{}", i / 3), &format!("caption {i}")),
        })
        .collect();
    write_rows(&source.join("train-0.parquet"), &rows[..700]);
    write_rows(&source.join("train-1.parquet"), &rows[700..]);
    let convert = |out: &Path| {
        let mut command = lightbox();
        command
            .args(["data", "convert", s(&source), "--out", s(out), "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let whole = dir.path().join("whole");
    let uninterrupted = json_of(&convert(&whole).output().unwrap(), 0);
    assert_eq!((&uninterrupted["written"], &uninterrupted["skipped"]), (&json!(1187), &json!(13)));

    let killed = dir.path().join("killed");
    let files = || std::fs::read_dir(killed.join("mllm_data")).map_or(0, Iterator::count);
    let mut kills = 0;
    for at_least in [1, 2, 3, 150, 400, 800, 1100] {
        let mut child = convert(&killed).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while files() < at_least && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "no progress");
            std::thread::yield_now();
        }
        child.kill().unwrap(); // SIGKILL
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success() || out.status.code().is_none(), "it failed by itself: {}", stderr(&out));
        kills += usize::from(!out.status.success());
        let announced = killed.join("dataset_info.json").exists();
        assert!(!announced || killed.join("mllm_data/mllm_data.json").exists(), "announced before it was whole");
    }
    assert!(kills >= 3, "only {kills} kills came before the end");
    let report = json_of(&convert(&killed).output().unwrap(), 0);
    for count in ["rows", "written", "skipped", "problems", "repeated_ids", "image_bytes"] {
        assert_eq!(report[count], uninterrupted[count], "{count}");
    }
    assert!(report["continued_at"].as_u64().unwrap() > 0, "{report}");
    let (whole, killed) = (made(&whole), made(&killed));
    assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>());
    assert!(whole == killed, "contents differ");
    assert!(whole.keys().all(|name| !name.ends_with(".partial") && !name.ends_with(".tmp")), "{:?}", whole.keys());
}

/// Rows that each have one fault, with the kind it must get.
fn faulty_rows() -> Vec<(Row, &'static str)> {
    let jpeg = jpeg(1);
    let png = png(2);
    let bomb = b"P6 60000 60000 255\n".to_vec();
    let no_bytes = |path| Row { bytes: None, path, ..row(vec![], "x", "c") };
    vec![
        (row(jpeg.clone(), "good", "c"), ""),
        (row(jpeg.clone(), "e1", " \n"), "empty_caption"),
        (Row { caption: None, ..row(jpeg.clone(), "e2", "") }, "empty_caption"),
        (row(jpeg[..jpeg.len() / 2].to_vec(), "cut", "c"), "image_truncated"),
        (row(png[..png.len() - 20].to_vec(), "cut", "c"), "image_truncated"),
        (row(b"<html>".to_vec(), "html", "c"), "image_format"),
        (row(vec![], "none", "c"), "image_format"),
        (row(bomb, "bomb", "c"), "image_too_large"),
        (no_bytes(None), "image_missing"),
        (no_bytes(Some("not-there.png")), "image_missing"),
        (no_bytes(Some("https://example.org/a.png")), "image_url"),
        (no_bytes(Some("/dev/zero")), "image_not_a_file"),
        (row(jpeg, "mark", "see <image>"), "image_count"),
        (row(png, "../../evil\u{202e}/name", "c"), ""),
    ]
}

#[test]
fn bad_rows_are_listed_counted_and_left_out_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("s.parquet");
    let rows = faulty_rows();
    write_rows(&source, &rows.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>());
    let out = dir.path().join("out");
    let report = json_of(&data(["convert", s(&source), "--out", s(&out), "--json"]), 0);
    assert_eq!((&report["written"], &report["skipped"]), (&json!(2), &json!(12)));
    let listed = std::fs::read_to_string(report["problems_file"].as_str().unwrap()).unwrap();
    let listed: Vec<(u64, String)> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .inspect(|p| assert!(p["origin"].as_str().unwrap().contains("s.parquet row ")))
        .map(|p| (p["index"].as_u64().unwrap(), p["kind"].as_str().unwrap().to_owned()))
        .collect();
    let expected: Vec<(u64, String)> = (0..)
        .zip(&rows)
        .filter(|(_, (_, kind))| !kind.is_empty())
        .map(|(i, (_, kind))| (i, (*kind).to_owned()))
        .collect();
    assert_eq!(listed, expected);
    let names: Vec<String> = made(dir.path())
        .into_keys()
        .filter(|name| name.starts_with("out/mllm_data/") && !name.contains("json"))
        .collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.split('/').count() == 3 && name.is_ascii()), "{names:?}");

    // The same rows read without conversion.
    let check = json_of(&data(["check", s(&source), "--json"]), 11);
    assert_eq!((&check["good"], &check["samples"]), (&json!(2), &json!(14)));

    // Refusing stops at the first bad row; going on with skip gives the same as skipping from the beginning.
    let other = dir.path().join("other");
    let strict = data(["convert", s(&source), "--out", s(&other), "--on-bad", "refuse"]);
    refused(&strict, 11, "s.parquet row 2: empty_caption");
    let report = json_of(&data(["convert", s(&source), "--out", s(&other), "--json"]), 0);
    assert_eq!(report["continued_at"], 1);
    assert!(made(&out) == made(&other));
}

#[test]
fn decode_finds_what_the_quick_look_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("s.parquet");
    let mut hollow = jpeg(3);
    // The scan is cut out: header and end marker stay.
    let scan = hollow.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap();
    let end = hollow.len() - 2;
    hollow.drain(scan + 20..end);
    write_rows(&source, &[row(hollow, "hollow", "c")]);
    let convert = |out: &str, extra: &[&str]| {
        let out = dir.path().join(out);
        json_of(&data(["convert", s(&source), "--out", s(&out), "--json"].iter().chain(extra)), 0)
    };
    assert_eq!(convert("quick", &[])["written"], 1);
    let strict = convert("strict", &["--decode"]);
    assert_eq!((&strict["written"], &strict["skipped"]), (&json!(0), &json!(1)));
    assert_eq!(std::fs::read_to_string(dir.path().join("strict/mllm_data/mllm_data.json")).unwrap(), "[]");
    assert_eq!(json_of(&data(["check", s(&source), "--json"]), 11)["good"], 0);
}

#[test]
fn nothing_of_the_users_is_overwritten_without_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let source = golden("parquet/medtrinity.parquet");
    let convert = |extra: &[&str]| data(["convert", s(&source), "--out", s(dir.path())].iter().chain(extra));
    // A folder with something in it that we did not make.
    std::fs::create_dir(dir.path().join("mllm_data")).unwrap();
    std::fs::write(dir.path().join("mllm_data/notes.txt"), "mine").unwrap();
    let out = convert(&[]);
    refused(&out, 10, "--overwrite");
    stdout(&convert(&["--overwrite"]), 0);
    assert_eq!(std::fs::read_to_string(dir.path().join("mllm_data/notes.txt")).unwrap(), "mine");
    // Another conversion into the same folder.
    stdout(&convert(&["--question", "other?"]), 10);
    // An entry of the same name for other data.
    std::fs::write(dir.path().join("dataset_info.json"), "{\"mine\": {\"file_name\": \"x.json\"}}").unwrap();
    stdout(&convert(&["--name", "mine"]), 10);
    // A broken dataset_info.json is left as it is.
    std::fs::write(dir.path().join("dataset_info.json"), "{\"mine\": ").unwrap();
    stdout(&convert(&["--name", "third"]), 10);
    assert_eq!(std::fs::read_to_string(dir.path().join("dataset_info.json")).unwrap(), "{\"mine\": ");
    // Names that are no names.
    for name in ["../x", "a/b", ".hidden", "a,b", ""] {
        stdout(&convert(&["--name", name]), 10);
    }
}

#[test]
fn a_link_in_the_output_folder_is_replaced_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir_all(out.join("mllm_data")).unwrap();
    let link = out.join("mllm_data/8031efe0-1b5c-11ef-8929-000066532cad.jpg");
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    stdout(&data(["convert", s(&golden("parquet/medtrinity.parquet")), "--out", s(&out), "--overwrite"]), 0);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(link.symlink_metadata().unwrap().is_file());
}
