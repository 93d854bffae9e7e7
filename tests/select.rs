//! `lightbox data select` and `data check --fix` from the outside: the real program, real files, real signals; what it wrote is
//! read again by `data show` and `data check`, and by Python's pyarrow and datasets where there are any.

use image::{ImageFormat, RgbImage, imageops};
use lightbox_core::demo::phantom;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn lightbox() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lightbox"))
}

fn data<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    lightbox().arg("data").args(args).output().unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[track_caller]
fn stdout(out: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(code), "stdout: {text}\nstderr: {}", stderr(out));
    text
}

#[track_caller]
fn json_of(out: &Output, code: i32) -> Value {
    serde_json::from_str(&stdout(out, code)).unwrap()
}

#[track_caller]
fn refused(out: &Output, code: i32, words: &str) {
    stdout(out, code);
    assert!(stderr(out).contains(words), "{}", stderr(out));
}

fn s(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// Every file below a folder with its bytes, hidden ones too.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(tree(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            files.insert(name, std::fs::read(path).unwrap());
        }
    }
    files
}

fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// A simulated slice of a head.
fn scan(seed: u64) -> RgbImage {
    image::load_from_memory(&phantom::draw(seed, "select", 0).png().unwrap()).unwrap().to_rgb8()
}

/// Stripes and a spot, different for every `seed`.
fn picture(seed: u32) -> RgbImage {
    RgbImage::from_fn(48, 40, |x, y| image::Rgb([(x * 5 + seed * 37) as u8, (y * 6) as u8, ((x * y) / 4 + seed) as u8]))
}

fn about(image: &str, answer: &str) -> Value {
    json!({"messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": answer}], "images": [image]})
}

fn entry(file: &str) -> Value {
    json!({"file_name": file, "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}})
}

/// A dataset_dir with the data set `d` and pictures in `pics/`.
fn folder(dir: &Path, rows: &[Value], pictures: &[(&str, Vec<u8>)]) {
    std::fs::create_dir_all(dir.join("pics")).unwrap();
    for (name, bytes) in pictures {
        std::fs::write(dir.join("pics").join(name), bytes).unwrap();
    }
    std::fs::write(dir.join("d.jsonl"), rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    std::fs::write(dir.join("dataset_info.json"), json!({"d": entry("d.jsonl")}).to_string()).unwrap();
}

fn select(dir: &Path, out: &Path, more: &[&str]) -> Output {
    data(["select", "d", "--dataset-dir", s(dir), "--out", s(out), "--json"].iter().chain(more))
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// What a script prints in the reference Python, if there is one with these modules.
fn python(modules: &str, script: &str) -> Option<String> {
    let python = std::env::var_os("LIGHTBOX_REFERENCE_PYTHON")?;
    let has = Command::new(&python).args(["-c", &format!("import {modules}")]).output().ok()?;
    if !has.status.success() {
        eprintln!("skipped: LIGHTBOX_REFERENCE_PYTHON has no {modules}");
        return None;
    }
    let out = Command::new(python).args(["-c", script]).env("HF_DATASETS_OFFLINE", "1").output().unwrap();
    assert!(out.status.success(), "{script}\n{}", stderr(&out));
    Some(String::from_utf8(out.stdout).unwrap())
}

#[test]
fn json_rows_keep_their_bytes_and_lead_to_their_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("deep/new"));
    folder(
        &old,
        &[],
        &[("a.png", encoded(&picture(1), ImageFormat::Png)), ("图.png", encoded(&picture(2), ImageFormat::Png))],
    );
    // A list over several lines, with a number that no f64 holds and an escape that nobody has to write.
    let turns = r#""messages": [{"role": "user", "content": "<image>\u0041?"}, {"role": "assistant", "content": "tumour,\n left"}]"#;
    let list = format!(
        "[\n  {{ \"id\": 12345678901234567890123,  \"w\": 1.50,\n    {turns},\n    \"images\": [\"pics/a.png\"]\n  }},\n  {{{}, \"images\": [\"pics/\\u56fe.png\"]}}\n]",
        turns.replace("tumour", "nothing")
    );
    std::fs::write(old.join("d.jsonl"), list).unwrap();

    let report = json_of(&select(&old, &new, &["--where", "answer:tumour", "--name", "chosen"]), 0);
    assert_eq!(
        (&report["read"], &report["chosen"], &report["paths_changed"]),
        (&json!(2), &json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(report["left_out"]["query"]["count"], 1);
    let expected =
        format!("{{ \"id\": 12345678901234567890123,  \"w\": 1.50, {turns}, \"images\": [\"../../old/pics/a.png\"]}}");
    assert_eq!(lines(&new.join("chosen.jsonl")), [expected]);
    let info: Value = serde_json::from_slice(&std::fs::read(new.join("dataset_info.json")).unwrap()).unwrap();
    assert_eq!(info["chosen"], entry("chosen.jsonl"));
    let check = json_of(&data(["check", "chosen", "--dataset-dir", s(&new), "--json"]), 0);
    assert_eq!((&check["good"], &check["pictures"]), (&json!(1), &json!(1)));

    // In the folder itself no path changes; a row of one line is the same to the last byte.
    let report = json_of(&select(&old, &old, &["--where", "answer:nothing", "--name", "rest"]), 0);
    assert_eq!(report["paths_changed"], 0);
    let expected = format!("{{{}, \"images\": [\"pics/\\u56fe.png\"]}}", turns.replace("tumour", "nothing"));
    assert_eq!(lines(&old.join("rest.jsonl")), [expected]);
    json_of(&data(["check", "rest", "--dataset-dir", s(&old), "--json"]), 0);
    let info: Value = serde_json::from_slice(&std::fs::read(old.join("dataset_info.json")).unwrap()).unwrap();
    assert_eq!(info["d"], entry("d.jsonl"), "other entries stay");
    if let Some(read) = python(
        "datasets",
        &format!(
            "import datasets; print(datasets.load_dataset('json', data_files='{}', split='train')['images'][0][0])",
            s(&new.join("chosen.jsonl"))
        ),
    ) {
        assert_eq!(read.trim(), "../../old/pics/a.png");
    }
}

#[test]
fn parquet_rows_keep_columns_features_and_the_bytes_of_their_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let source = golden("parquet/medtrinity.parquet");
    let report = json_of(&data(["select", s(&source), "--where", "-émile", "--out", s(&out), "--json"]), 0);
    assert_eq!(
        (&report["read"], &report["chosen"], &report["dataset_info"]),
        (&json!(3), &json!(2), &json!(s(&out.join("dataset_info.json")))),
        "{report}"
    );
    let named = json_of(&data(["show", "medtrinity", "--dataset-dir", s(&out), "--index", "1", "--json"]), 0);
    assert_eq!(
        named["messages"],
        json_of(&data(["show", s(&out.join("medtrinity")), "--index", "1", "--json"]), 0)["messages"]
    );
    let file = out.join("medtrinity/data-00000.parquet");
    for index in ["0", "1"] {
        let show = |path: &Path| json_of(&data(["show", s(path), "--index", index, "--json"]), 0);
        let (theirs, ours) = (show(&source), show(&out.join("medtrinity")));
        assert_eq!(ours["messages"], theirs["messages"]);
        assert_eq!(ours["images"][0]["bytes"], theirs["images"][0]["bytes"]);
    }
    json_of(&data(["check", s(&file), "--json"]), 0);

    // Lists of structs and of pictures; an entry, since their layout has one.
    let talk = golden("parquet/sharegpt.parquet");
    let report =
        json_of(&data(["select", s(&talk), "--where", "pictures:2", "--name", "pairs", "--out", s(&out), "--json"]), 0);
    assert_eq!(report["chosen"], 1, "{report}");
    let show = json_of(&data(["show", "pairs", "--dataset-dir", s(&out), "--json"]), 0);
    assert_eq!(
        (&show["messages"][1]["content"], show["images"].as_array().unwrap().len()),
        (&json!("The second is larger."), 2)
    );
    let report = json_of(
        &data(["select", s(&talk), "--split", "a=0.5,b=0.5", "--group-regex", "b", "--out", s(&out), "--json"]),
        0,
    );
    assert_eq!(
        (&report["split"]["without_group"], &report["split"]["groups"]),
        (&json!(1), &json!([1, 1])),
        "{report}"
    );

    let script = format!(
        "import pyarrow.parquet as pq, datasets\n\
         a, b = pq.read_table('{source}'), pq.read_table('{file}')\n\
         print(b.equals(a.slice(0, 2)), a.schema.metadata[b'huggingface'] == b.schema.metadata[b'huggingface'])\n\
         d = datasets.load_dataset('parquet', data_files='{file}', split='train', cache_dir='{cache}')\n\
         print(d.features['image'], d[0]['image'].size)\n\
         a, b = pq.read_table('{talk}'), pq.read_table('{pairs}')\n\
         print(b.cast(a.schema).equals(a.slice(0, 1)))\n",
        source = s(&source),
        file = s(&file),
        cache = s(&dir.path().join("cache")),
        talk = s(&talk),
        pairs = s(&out.join("pairs/data-00000.parquet")),
    );
    if let Some(said) = python("pyarrow, datasets, PIL", &script) {
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "True True");
        assert!(lines[1].starts_with("Image(") && lines[1].ends_with("(60, 40)"), "{said}");
        assert_eq!(lines[2], "True");
    }
}

#[test]
fn of_equal_rows_the_first_stays_and_the_report_names_both() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    let png = |seed| encoded(&picture(seed), ImageFormat::Png);
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

#[test]
fn what_is_in_the_way_stays_and_the_input_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    folder(&old, &[about("pics/a.png", "One.")], &[("a.png", encoded(&picture(1), ImageFormat::Png))]);
    let before = tree(&old);
    // The default name in the same folder is the input itself: also with --overwrite, also through a link.
    refused(&select(&old, &old, &[]), 10, "is read");
    refused(&select(&old, &old, &["--overwrite"]), 10, "is read");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&old, &link).unwrap();
    refused(&select(&old, &link, &["--overwrite"]), 10, "is read");
    assert!(tree(&old) == before);
    for name in ["../x", "a/b", ".hidden", "a,b", "", "a\u{1b}[2J"] {
        refused(&select(&old, &old, &["--name", name]), 10, "--name");
    }
    refused(&select(&old, &old, &["--name", "x", "--where", "answer:nowhere"]), 10, "nothing was written");
    refused(&select(&old, &old, &["--name", "x", "--split", "a=0.5,b=0.5"]), 10, "nothing was written");
    refused(&select(&old, &old, &["--name", "x", "--group-by", "p"]), 2, "--split");
    refused(&select(&old, &old, &["--name", "x", "--where", "column.x:>y"]), 2, "column.x");
    assert!(tree(&old) == before, "{:?}", tree(&old).keys());

    let out = dir.path().join("out");
    stdout(&select(&old, &out, &[]), 0);
    let made = tree(&out);
    refused(&select(&old, &out, &[]), 10, "--overwrite");
    assert!(tree(&out) == made);
    stdout(&select(&old, &out, &["--overwrite"]), 0);
    assert!(tree(&out) == made);
    // An entry for other data, and a folder of the user's in the place of ours.
    std::fs::write(out.join("dataset_info.json"), json!({"e": entry("mine.json")}).to_string()).unwrap();
    refused(&select(&old, &out, &["--name", "e"]), 10, "other data");
    std::fs::create_dir_all(out.join("medtrinity")).unwrap();
    std::fs::write(out.join("medtrinity/notes.txt"), "mine").unwrap();
    let parquet = data(["select", s(&golden("parquet/medtrinity.parquet")), "--out", s(&out), "--overwrite"]);
    refused(&parquet, 10, "nothing that was written by this command");
    // Parquet and JSON have no common file.
    let both =
        data(["select", "d", s(&golden("parquet/sharegpt.parquet")), "--dataset-dir", s(&old), "--out", s(&out)]);
    refused(&both, 10, "train on both");
    assert_eq!(std::fs::read_to_string(out.join("medtrinity/notes.txt")).unwrap(), "mine");
    assert!(tree(&out).keys().all(|name| !name.contains("partial")), "{:?}", tree(&out).keys());
}

#[test]
fn a_killed_or_stopped_selection_leaves_nothing_half_and_the_same_command_makes_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    let rows: Vec<Value> = (0..300).map(|i| about("pics/a.png", &format!("Answer {i}."))).collect();
    folder(&old, &rows, &[("a.png", encoded(&picture(1), ImageFormat::Png))]);
    let command = |out: &Path| {
        let mut command = lightbox();
        command.args(["data", "select", "d", "--dataset-dir", s(&old), "--out", s(out), "--name", "x"]);
        command.args(["--split", "train=0.9,test=0.1"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let whole = dir.path().join("whole");
    stdout(&command(&whole).output().unwrap(), 0);
    let expected = tree(&whole);
    assert_eq!(expected.keys().collect::<Vec<_>>(), ["dataset_info.json", "x_test.jsonl", "x_train.jsonl"]);

    // Killed at every operation on the disk: no file has its name before all of it is there.
    let mut kills = 0;
    for n in 1.. {
        let out = dir.path().join(format!("killed {n}"));
        let killed = command(&out).env("LIGHTBOX_FAULTS", format!("fs#{n}=abort")).output().unwrap();
        if killed.status.success() {
            break;
        }
        kills += 1;
        let left = if out.exists() { tree(&out) } else { BTreeMap::new() };
        for (name, bytes) in left.iter().filter(|(name, _)| !name.starts_with('.')) {
            assert!(expected[name] == *bytes || name == "dataset_info.json", "kill {n}: {name} is not whole");
        }
        stdout(&command(&out).arg("--overwrite").output().unwrap(), 0);
        let after: BTreeMap<_, _> = tree(&out).into_iter().filter(|(name, _)| !name.starts_with(".tmp-")).collect();
        assert!(after == expected, "kill {n}: {:?}", after.keys());
    }
    assert!(kills > 10, "only {kills} kills");

    // A full disk, and Ctrl-C in the middle.
    let out = dir.path().join("full");
    let full = command(&out).env("LIGHTBOX_FAULTS", "fs.write#1=error:ENOSPC").output().unwrap();
    assert!(!full.status.success() && stderr(&full).contains("partial"), "{}", stderr(&full));
    assert_eq!(tree(&out).len(), 0);
    let mut child = command(&out).env("LIGHTBOX_FAULTS", "fs.open#2=stop").spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    while !state().rsplit(')').next().unwrap_or_default().starts_with(" T") {
        assert!(Instant::now() < deadline, "it did not stop");
        std::thread::yield_now();
    }
    for signal in ["-INT", "-CONT"] {
        stdout(&Command::new("kill").args([signal, &child.id().to_string()]).output().unwrap(), 0);
    }
    child.stdin.take();
    let stopped = child.wait_with_output().unwrap();
    refused(&stopped, 3, "stopped; nothing was written");
    assert_eq!(tree(&out).len(), 0, "{:?}", tree(&out).keys());
    stdout(&command(&out).output().unwrap(), 0);
    assert!(tree(&out) == expected);
}

#[test]
fn hostile_names_lead_nowhere_and_print_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    let paths = [
        "../../../etc/passwd",
        "/etc/passwd",
        "https://example.org/a.png",
        "a\u{0}b",
        "\u{1b}]0;owned\u{7}.png",
        "x\u{202e}gnp.png",
        "",
    ];
    let rows: Vec<Value> = paths.iter().enumerate().map(|(i, path)| about(path, &format!("{i}."))).collect();
    folder(&old, &rows, &[]);
    // A data set whose name is a path and an escape sequence.
    let name = "../../evil\u{1b}[2J";
    let info = json!({name: entry("d.jsonl"), "d": entry("d.jsonl")});
    std::fs::write(old.join("dataset_info.json"), info.to_string()).unwrap();
    let out = dir.path().join("out");
    let made = data(["select", name, "--dataset-dir", s(&old), "--out", s(&out), "--dedupe"]);
    let text = stdout(&made, 0);
    assert!(!text.contains('\u{1b}') && !stderr(&made).contains('\u{1b}'), "{text}");
    let names: Vec<String> = tree(&out).into_keys().collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.is_ascii() && !name.contains('/')), "{names:?}");
    let copied = lines(&out.join(names.iter().find(|name| name.ends_with(".jsonl")).unwrap()));
    let images = |line: &String| serde_json::from_str::<Value>(line).unwrap()["images"][0].as_str().unwrap().to_owned();
    let images: Vec<String> = copied.iter().map(images).collect();
    // Absolute paths and URLs stay; what is relative is relative to where it was; what is no path stays what it is.
    assert_eq!(images[..4], ["../old/../../../etc/passwd", "/etc/passwd", "https://example.org/a.png", "a\u{0}b"]);
    assert_eq!(images[4..], ["../old/\u{1b}]0;owned\u{7}.png", "../old/x\u{202e}gnp.png", ""]);
}

#[test]
fn fix_copies_what_is_good_and_says_of_the_rest_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (old, out) = (dir.path().join("old"), dir.path().join("out"));
    let jpeg = encoded(&picture(1), ImageFormat::Jpeg);
    let blank = RgbImage::from_pixel(40, 40, image::Rgb([9, 9, 9]));
    let pictures = [
        ("good.png", encoded(&picture(2), ImageFormat::Png)),
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

/// Questions that are drawn go by the id, so they stay with their rows; a row that makes several samples cannot be chosen in part.
#[test]
fn drawn_questions_stay_with_chosen_rows_and_rows_of_several_samples_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = golden("parquet/medtrinity.parquet");
    let captions = |more: Value| {
        let mut captions = json!({"columns": ["caption"], "questions": {"en": ["Which?", "What?", "Where?"], "zh": ["哪里？"]}, "seed": 7});
        more.as_object().unwrap().iter().for_each(|(key, value)| captions[key] = value.clone());
        json!({"file_name": s(&source), "captions": captions})
    };
    let info =
        json!({"d": captions(json!({})), "twice": captions(json!({"columns": ["caption", "id"], "both": true}))});
    std::fs::write(dir.path().join("dataset_info.json"), info.to_string()).unwrap();
    let out = dir.path().join("out");
    let select =
        |name: &str| data(["select", name, "--dataset-dir", s(dir.path()), "--where", "-émile", "--out", s(&out)]);
    stdout(&select("d"), 0);
    let show = |folder: &Path, index: &str| {
        json_of(&data(["show", "d", "--dataset-dir", s(folder), "--index", index, "--json"]), 0)["messages"].clone()
    };
    let (all, chosen) =
        ([0, 1, 2].map(|i| show(dir.path(), &i.to_string())), [0, 1].map(|i| show(&out, &i.to_string())));
    assert!(chosen.iter().all(|messages| all.contains(messages)), "{all:?}\n{chosen:?}");
    refused(&select("twice"), 10, "`both`");
}
