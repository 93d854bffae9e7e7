//! `lightbox data` from the outside: the real program, real files, real kills.

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::Field;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

fn lightbox() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lightbox"))
}

fn data<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    lightbox().arg("data").args(args).output().unwrap()
}

#[track_caller]
fn stdout(out: &Output, code: i32) -> String {
    assert_eq!(
        out.status.code(),
        Some(code),
        "stdout: {}\nstderr: {}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout.clone()).unwrap()
}

#[track_caller]
fn json_of(out: &Output, code: i32) -> Value {
    serde_json::from_str(&stdout(out, code)).unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn s(path: &Path) -> &str {
    path.to_str().unwrap()
}

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

fn write_parquet(path: &Path, rows: &[Row]) {
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter(rows.iter().map(|r| r.bytes.as_deref())));
    let paths: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|r| r.path)));
    let field = |name: &str, a: &ArrayRef| Arc::new(Field::new(name, a.data_type().clone(), true));
    let image =
        StructArray::from(vec![(field("bytes", &bytes), bytes.clone()), (field("path", &paths), paths.clone())]);
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("image", Arc::new(image) as ArrayRef, true),
        ("id", Arc::new(StringArray::from_iter(rows.iter().map(|r| r.id.as_deref()))) as ArrayRef, true),
        ("caption", Arc::new(StringArray::from_iter(rows.iter().map(|r| r.caption.as_deref()))) as ArrayRef, true),
    ])
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A valid picture, different for every `seed`.
fn picture(format: image::ImageFormat, seed: u32) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(56, 56, |x, y| image::Rgb([(x * 4 + seed) as u8, (y * 4) as u8, (seed >> 8) as u8]))
        .write_to(&mut out, format)
        .unwrap();
    out.into_inner()
}

/// A JPEG blown up to about `size` bytes by comments, which every reader skips.
fn large_jpeg(seed: u32, size: usize) -> Vec<u8> {
    let small = picture(image::ImageFormat::Jpeg, seed);
    let mut out = small[..2].to_vec();
    while out.len() < size {
        out.extend([0xFF, 0xFE, 0x80, 0x00]);
        out.extend(vec![seed as u8; 0x8000 - 2]);
    }
    out.extend(&small[2..]);
    out
}

/// Every file under `dir` with its content; the journal names times and is left out.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(tree(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else if !name.ends_with(".journal") {
            files.insert(name, std::fs::read(path).unwrap());
        }
    }
    files
}

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
    assert_eq!(
        info["mllm_med"],
        json!({"file_name": "mllm_data/mllm_data.json", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
               "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}})
    );
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
    write_parquet(&source.join("train-0.parquet"), &rows[..700]);
    write_parquet(&source.join("train-1.parquet"), &rows[700..]);
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
    let (whole, killed) = (tree(&whole), tree(&killed));
    assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>());
    assert!(whole == killed, "contents differ");
    assert!(whole.keys().all(|name| !name.ends_with(".partial") && !name.ends_with(".tmp")), "{:?}", whole.keys());
}

/// Rows that each have one fault, with the kind it must get.
fn faulty_rows() -> Vec<(Row, &'static str)> {
    let jpeg = picture(image::ImageFormat::Jpeg, 1);
    let png = picture(image::ImageFormat::Png, 2);
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
    write_parquet(&source, &rows.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>());
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
    let names: Vec<String> = tree(dir.path())
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
    let refused = data(["convert", s(&source), "--out", s(&other), "--on-bad", "refuse"]);
    stdout(&refused, 11);
    assert!(stderr(&refused).contains("s.parquet row 2: empty_caption"), "{}", stderr(&refused));
    let report = json_of(&data(["convert", s(&source), "--out", s(&other), "--json"]), 0);
    assert_eq!(report["continued_at"], 1);
    assert!(tree(&out) == tree(&other));
}

#[test]
fn decode_finds_what_the_quick_look_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("s.parquet");
    let mut hollow = picture(image::ImageFormat::Jpeg, 3);
    // The scan is cut out: header and end marker stay.
    let scan = hollow.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap();
    let end = hollow.len() - 2;
    hollow.drain(scan + 20..end);
    write_parquet(&source, &[row(hollow, "hollow", "c")]);
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
    stdout(&out, 10);
    assert!(stderr(&out).contains("--overwrite"), "{}", stderr(&out));
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

#[test]
fn check_names_file_line_and_reason_and_says_so_with_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("good.png"), picture(image::ImageFormat::Png, 1)).unwrap();
    std::fs::write(dir.path().join("cut.jpg"), &picture(image::ImageFormat::Jpeg, 1)[..300]).unwrap();
    stdout(&Command::new("mkfifo").arg(dir.path().join("fifo.png")).output().unwrap(), 0);
    let talk = |image: &str| {
        json!({"messages": [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "\u{1b}]0;owned\u{7}"}], "images": [image]}).to_string()
    };
    let lines =
        [talk("good.png"), talk("cut.jpg"), talk("fifo.png"), "{\"messages\": [".into(), talk("gone.png")].join("\n");
    std::fs::write(dir.path().join("d.jsonl"), lines).unwrap();
    let entry = json!({"d": {"file_name": "d.jsonl", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}});
    std::fs::write(dir.path().join("dataset_info.json"), entry.to_string()).unwrap();

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
    stdout(&none, 10);
    assert!(stderr(&none).contains(".png or .svg"), "{}", stderr(&none));
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
    let unknown = data(["show", "demmo", "--dataset-dir", s(&dir)]);
    stdout(&unknown, 10);
    assert!(stderr(&unknown).contains("it has: demo"), "{}", stderr(&unknown));
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

/// Grey of 16 bits, from 0 to 5500.
fn wide_png() -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let grey = |x: u32, _: u32| image::Luma([x as u16 * 100]);
    image::ImageBuffer::from_fn(56, 40, grey).write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

fn question_about(image: &str) -> String {
    let turns = json!([{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "A scan."}]);
    json!({"messages": turns, "images": [image]}).to_string()
}

#[test]
fn pictures_of_16_bits_are_warned_of_and_slices_makes_them_visible() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("ct.png"), wide_png()).unwrap();
    std::fs::write(at("d.jsonl"), question_about("ct.png")).unwrap();
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
    std::fs::write(&set, question_about("ct.dcm")).unwrap();
    let report = json_of(&data(["check", s(&set), "--json"]), 11);
    let reason = report["problems"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("lightbox data slices"), "{report}");
    // It is no sound DICOM file either: that is said, and no picture is made.
    let out = dir.path().join("out");
    let made = data(["slices", s(&dir.path().join("ct.dcm")), "--out", s(&out), "--json"]);
    assert_eq!(made.status.code(), Some(11), "{}", stderr(&made));
    assert_eq!(std::fs::read_to_string(out.join("slices.jsonl")).unwrap_or_default(), "");
}

/// A tar archive with files of these names.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in members {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        (header[156], header[257]) = (b'0', b'u');
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(*bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// MedTrinity's `25M_full`: captions in parquet, pictures in archives.
#[test]
fn packed_rows_and_archives_are_a_data_set_like_25m_demo() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |values: [&str; 3]| Arc::new(StringArray::from_iter_values(values)) as ArrayRef;
    let columns = [
        ("file_name", text(["a-right lung.nii-105.png", "b.jpg", "gone.jpg"])),
        ("caption", text(["First.", "Second.", "Third."])),
        ("source", text(["flare23", "pmc_oa", "brats"])),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    std::fs::create_dir(at("25M_full")).unwrap();
    let file = std::fs::File::create(at("25M_full/train-00000-of-00001.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let (png, jpeg) = (picture(image::ImageFormat::Png, 1), picture(image::ImageFormat::Jpeg, 2));
    std::fs::create_dir(at("25M_accessible")).unwrap();
    std::fs::write(at("25M_accessible/2.tar"), tar(&[("x/y/a-right lung.nii-105.png", &png)])).unwrap();
    std::fs::write(at("25M_accessible/1.tar"), tar(&[("b.jpg", &jpeg), ("unknown.jpg", &jpeg)])).unwrap();

    let (rows, archives, packed) = (at("25M_full"), at("25M_accessible"), at("packed"));
    let args = ["pack", s(&rows), "--archives", s(&archives), "--out", s(&packed), "--json"];
    let report = json_of(&data(args), 0);
    let counts = ["rows", "packed", "unnamed", "repeated"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(counts, [3, 2, 1, 0], "{report}");
    let shown = json_of(&data(["show", s(&packed), "--index", "1", "--json"]), 0);
    assert!(shown.to_string().contains("First."), "{shown}");
    let report = json_of(&data(["check", s(&packed), "--json"]), 0);
    assert_eq!((&report["samples"], &report["good"]), (&json!(2), &json!(2)), "{report}");
    // The same again has nothing to do; other archives are another data set.
    let again = json_of(&data(args), 0);
    assert_eq!((&again["packed"], &again["continued_at"]), (&json!(2), &json!(1)));
    let other = data(["pack", s(&rows), "--archives", s(&at("25M_accessible/1.tar")), "--out", s(&packed)]);
    assert_ne!(other.status.code(), Some(0));
    assert!(stderr(&other).contains("--overwrite"), "{}", stderr(&other));
}
