//! Nothing of the user's is harmed: by names, kills, full disks and what is in the way.

use super::select;
use crate::rig::{about, data, entry, folder, golden, lightbox, lines, png, refused, s, stderr, stdout, tree};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn what_is_in_the_way_stays_and_the_input_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    folder(&old, &[about("pics/a.png", "One.")], &[("a.png", png(1))]);
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
    folder(&old, &rows, &[("a.png", png(1))]);
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
