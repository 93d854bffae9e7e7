//! `lightbox-engine chat`, the program: where its pictures come from, and what it remembers of a conversation.

use crate::golden;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn chat(args: &[&str], stdin: &[u8], cache: &Path) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut child = Command::new(env!("CARGO_BIN_EXE_lightbox-engine"))
        .args([
            "chat",
            "--model",
            "assets/demo-model",
            "--device",
            "cpu",
            "--greedy",
            "--max-new-tokens",
            "12",
            "--json",
        ])
        .args(args)
        .env("HF_HUB_CACHE", cache)
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Refused before it is read, it is a broken pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn answers(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_picture_from_standard_input_or_the_hub_s_cache_is_the_one_in_the_file() {
    let cache = tempfile::tempdir().unwrap();
    let file = golden::path("images/ct_small.png");
    let bytes = std::fs::read(&file).unwrap();
    let snapshot = cache.path().join("datasets--org--set/snapshots").join("3".repeat(40));
    std::fs::create_dir_all(snapshot.join("a b")).unwrap();
    std::fs::write(snapshot.join("a b/ct.png"), &bytes).unwrap();
    let ask = |image: &str, stdin: &[u8]| chat(&["--image", image, "--prompt", "What is this?"], stdin, cache.path());
    let expected = answers(&ask(file.to_str().unwrap(), b""))[0]["token_ids"].clone();
    assert_eq!(answers(&ask("-", &bytes))[0]["token_ids"], expected);
    assert_eq!(answers(&ask("hf://datasets/org/set/a b/ct.png", b""))[0]["token_ids"], expected);

    let refused = |output: Output| {
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = refused(ask("hf://org/model/x.png", b""));
    assert!(told.contains("lightbox download model org/model"), "{told}");
    assert!(refused(ask("-", b"")).contains("standard input is empty"));
    assert!(refused(ask("-", b"no picture")).contains("picture 1"));
    assert!(refused(chat(&["--image", "-"], &bytes, cache.path())).contains("--prompt"));
    assert!(
        refused(chat(&["--image", "-", "--image", "-", "--prompt", "x"], &bytes, cache.path())).contains("2 times")
    );
}

#[test]
fn a_second_turn_says_how_much_of_it_was_known() {
    let cache = tempfile::tempdir().unwrap();
    let file = golden::path("images/ct_small.png");
    let turns = ["--image", file.to_str().unwrap(), "--prompt", "What is this?", "--prompt", "Sure?"];
    let answers = answers(&chat(&turns, b"", cache.path()));
    let count = |i: usize, key: &str| answers[i][key].as_u64().unwrap();
    assert_eq!(count(0, "cached_tokens"), 0);
    // The first prompt, at least; the picture is in it.
    assert!(count(1, "cached_tokens") >= count(0, "prompt_tokens"), "{answers:?}");
    assert!(count(1, "cached_tokens") < count(1, "prompt_tokens"));
}
