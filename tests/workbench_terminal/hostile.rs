//! Names, texts and logs that attack a terminal, on every screen and overlay: the program sends only what is its own.

use crate::corpus::{corpus, is_forbidden};
use crate::rig::{Bench, Folder, copy, golden};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// What in these bytes is not the program's own: sequences that it has no use for, control characters, titles.
fn foreign(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = &*text;
    let mut found = Vec::new();
    while let Some(at) = rest.find(|c: char| is_forbidden(c) || c == '\n' || c == '\t') {
        rest = &rest[at..];
        let length = own(rest).unwrap_or_else(|| {
            found.push(rest.chars().take(24).collect());
            rest.chars().next().map_or(1, char::len_utf8)
        });
        rest = &rest[length..];
    }
    found
}

/// The length of the sequence at the beginning of the text, if the program has a use for it.
fn own(text: &str) -> Option<usize> {
    const MODES: [&str; 9] = ["?1049", "?2004", "?1004", "?25", "?2026", "?1000", "?1002", "?1006", "?7"];
    if let Some(body) = text.strip_prefix("\x1b[") {
        let end = body.find(|c: char| ('\x40'..='\x7e').contains(&c))?;
        let known = match body.as_bytes()[end] {
            b'm' | b'H' | b'J' | b'K' | b'X' => {
                body[..end].bytes().all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'))
            }
            b'h' | b'l' => MODES.contains(&&body[..end]),
            b't' => matches!(&body[..end], "22;2" | "23;2"),
            _ => false,
        };
        return known.then_some(2 + end + 1);
    }
    if let Some(title) = text.strip_prefix("\x1b]2;") {
        let end = title.find("\x1b\\")?;
        let known = title.starts_with("Lightbox") && !title[..end].contains(is_forbidden);
        return known.then_some(4 + end + 2);
    }
    text.starts_with("\x1b\\").then_some(2)
}

#[test]
fn the_watch_for_foreign_sequences_notices_attacks() {
    for attack in [
        "\x07",
        "\x1b]2;owned\x1b\\",
        "\x1b]52;c;AAAA\x07",
        "\x1b[6n",
        "\x1b[c",
        "\x1b_Ga=d\x1b\\",
        "\u{9b}6n",
        "\r",
        "\u{202e}",
    ] {
        assert!(!foreign(attack.as_bytes()).is_empty(), "{attack:?}");
    }
    let own = "\x1b[?2026h\x1b[1;2Ha图\x1b[38;5;3mb\x1b[?25l\x1b[?2026l\x1b]2;Lightbox · 1 running\x1b\\";
    assert_eq!(foreign(own.as_bytes()), [""; 0]);
}

/// A name of a file or folder can hold all but `/` and NUL, in 255 bytes.
fn file_name(text: &str, end: &str) -> Option<String> {
    let name = format!("{text}{end}");
    (!name.contains(['/', '\0']) && name.len() <= 255).then_some(name)
}

/// Data set, pictures, runs, profile and model folders, all of them hostile.
fn hostile_folder() -> Folder {
    let folder = Folder::empty();
    let all: Vec<String> = corpus().into_iter().map(|(_, text)| text).collect();
    let short: Vec<&String> = all.iter().filter(|text| text.len() < 1000).collect();
    data(&folder, &all);
    folder.train("night");
    let night = folder.path("saves/night");
    run(&night, &all);
    for (i, text) in short.iter().enumerate() {
        let dir = folder.path("saves").join(file_name(text, "").unwrap_or_else(|| format!("run {i}")));
        std::fs::create_dir_all(&dir).unwrap();
        for file in [
            "state.json",
            "events.jsonl",
            "metrics.jsonl",
            "worker.json",
            "profile.yaml",
            "adapter_config.json",
            "adapter_model.safetensors",
        ] {
            std::fs::copy(night.join(file), dir.join(file)).unwrap();
        }
        info(&dir, &format!("{i:03}-{text}"), &short[i..(i + 3).min(short.len())], text);
        if let Some(name) = file_name(text, " model") {
            std::fs::create_dir_all(folder.path("models").join(&name)).unwrap();
            std::fs::copy(
                golden().join("models/tiny-tied/config.json"),
                folder.path("models").join(name).join("config.json"),
            )
            .unwrap();
        }
    }
    let profile: String = all
        .iter()
        .take(150)
        .enumerate()
        .map(|(i, text)| format!("key{i}: {}\n", json!(text)))
        .chain([format!("stage: sft\nrun_name: {}\ndataset: {}\n", json!(all[27]), json!(all[40]))])
        .collect();
    std::fs::write(folder.path("profile.yaml"), profile).unwrap();
    folder
}

fn data(folder: &Folder, all: &[String]) {
    let dir = folder.path("data");
    std::fs::create_dir(&dir).unwrap();
    let picture = std::fs::read(golden().join("images/tiny28.png")).unwrap();
    let tags = json!({"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
        "system_tag": "system"});
    let (mut rows, mut entries) = (String::new(), serde_json::Map::new());
    let columns = json!({"messages": "messages", "images": "images"});
    let d = json!({"file_name": "d.json", "formatting": "sharegpt", "columns": columns, "tags": tags});
    entries.insert("d".into(), d);
    for (i, text) in all.iter().enumerate() {
        let name = file_name(text, ".png");
        if let Some(name) = &name {
            std::fs::write(dir.join(name), if i % 2 == 0 { picture.as_slice() } else { text.as_bytes() }).unwrap();
        }
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        let turns =
            [turn("system", text), turn("user", &format!("<image>{text}")), turn("assistant", &format!("{text}."))];
        let image = name.unwrap_or_else(|| format!("missing {text}"));
        rows += &format!("{}\n", json!({"messages": turns, "images": [image]}));
        if text.len() < 1000 {
            entries.insert(format!("z{i:03}{text}"), json!({"file_name": format!("{text}.json"), text: text}));
        }
    }
    std::fs::write(dir.join("d.json"), rows).unwrap();
    std::fs::write(dir.join("dataset_info.json"), json!(entries).to_string()).unwrap();
    folder.data(&dir);
}

fn info(dir: &Path, name: &str, tags: &[&String], notes: &str) {
    let info = json!({"v": 1, "id": name, "name": name, "created_ms": 1, "tags": tags, "notes": notes, "group": notes,
        "parent": {"run": name, "dir": notes, "checkpoint": notes}, "archived": false, "app": notes});
    std::fs::write(dir.join("run.json"), info.to_string()).unwrap();
}

/// The run that is looked into: every kind of event and the log, with every text.
fn run(dir: &Path, all: &[String]) {
    let mut events = std::fs::read_to_string(dir.join("events.jsonl")).unwrap();
    let mut log = String::new();
    for (i, text) in all.iter().enumerate() {
        let text: String = text.chars().take(3000).collect();
        let event = match i % 7 {
            0 => json!({"type": "warning", "code": text, "text": text, "hint": text}),
            1 => {
                json!({"type": "data_issue", "source": text, "sample": 1, "kind": text, "reason": text, "action": text})
            }
            2 => json!({"type": "changed", "what": text, "key": text, "before": text, "after": text}),
            3 => json!({"type": "setting", "key": text, "value": text, "step": 3, "by": text}),
            4 => json!({"type": "checkpoint_quarantined", "step": 3, "path": text, "reason": text}),
            5 => json!({"type": "checkpoint_failed", "step": 3, "path": text, "error": text}),
            _ => {
                json!({"type": "command_ack", "id": text, "cmd": text, "status": "refused", "effective_step": 1, "error": text})
            }
        };
        let sample = json!({"type": "sample", "step": 3, "prompt": text, "images": [text], "text": text, "tokens": 3, "dt_ms": 3});
        for mut event in [event, sample] {
            let envelope =
                json!({"v": 1, "seq": 1000 + 2 * i, "t": 1_795_486_178_369u64, "mono": 1, "att": 1, "rank": 0});
            event.as_object_mut().unwrap().extend(envelope.as_object().unwrap().clone());
            events += &format!("{event}\n");
        }
        log += &format!("{text}\n");
    }
    std::fs::write(dir.join("events.jsonl"), events).unwrap();
    std::fs::write(dir.join("worker.log"), log).unwrap();
    info(dir, "night", &all[27..33].iter().collect::<Vec<_>>(), &all[30..90].concat());
}

/// Moves down row by row, so that each is shown with all that belongs to it.
fn down(bench: &mut Bench, rows: usize) {
    for _ in 0..rows {
        bench.send("j");
        bench.pause(Duration::from_millis(15));
    }
}

/// Nothing but the program's own was sent, and the terminal was told nothing else.
fn assert_own(bench: &mut Bench, place: &str) {
    bench.pause(Duration::from_millis(100));
    assert!(bench.screen.screen().alternate_screen(), "{place}: it ended: {:?}", bench.pty.ended());
    let found = foreign(bench.written());
    assert!(found.is_empty(), "{place}: {:?}", &found[..found.len().min(5)]);
    // modes and the title's stack are unknown to the emulated terminal; above they were looked at one by one
    let told = &bench.screen.callbacks().0;
    let known = |told: &&String| {
        ["CSI h", "CSI l", "CSI t", "CSI m", "escape 92"].contains(&told.as_str())
            || told.starts_with("title [76, 105, 103")
    };
    let told: Vec<_> = told.iter().filter(|told| !known(told)).collect();
    // of the questions at the start
    let told: Vec<_> = told
        .into_iter()
        .filter(|told| !matches!(told.as_str(), "CSI q" | "CSI c") && !told.starts_with("OSC [[49, 49]"))
        .collect();
    assert!(told.is_empty(), "{place}: {told:?}");
}

/// Hostile text is on the screen, made visible: without it a walk proves nothing.
#[track_caller]
fn assert_shown(bench: &mut Bench) {
    bench.wait_text("\\u{");
}

/// What every screen has: help, palette, messages, tasks, settings.
const OVERLAYS: [&str; 5] = ["?", "\x10", "\x0f", "\x14", "\x1b[20~"];

fn overlays(bench: &mut Bench, screen: &str) {
    for keys in OVERLAYS {
        bench.press(&[keys, "\x1b[B", "\x1b[6~", "\x1b"]);
        bench.pause(Duration::from_millis(60));
    }
    assert_own(bench, &format!("{screen}: overlays"));
}

#[test]
fn hostile_data_only_shows_itself() {
    let folder = hostile_folder();
    let mut bench = folder.open("data");
    bench.wait_text("z00");
    down(&mut bench, 40);
    assert_shown(&mut bench);
    assert_own(&mut bench, "data: sets");
    bench.press(&["g", "\r"]);
    bench.wait_text("d.json");
    bench.settle();
    for mode in ["t", "z"] {
        down(&mut bench, 95);
        assert_shown(&mut bench);
        assert_own(&mut bench, &format!("data: samples, then {mode}"));
        bench.press(&[mode]);
    }
    down(&mut bench, 20);
    for keys in ["h", "c", "f", "m", "L", "o", "i"] {
        bench.press(&[keys, "j", "j", "\x1b[6~"]);
        assert_own(&mut bench, &format!("data: {keys}"));
        bench.press(&["\x1b"]);
        bench.pause(Duration::from_millis(60));
    }
    bench.press(&["/"]);
    bench.send("owned");
    bench.press(&["\r"]);
    down(&mut bench, 10);
    bench.press(&["\x1b"]);
    overlays(&mut bench, "data");
    assert!(bench.quit().success());
}

#[test]
fn hostile_runs_only_show_themselves() {
    let folder = hostile_folder();
    let mut bench = folder.open("runs");
    bench.wait_text("Runs · 19");
    bench.settle();
    down(&mut bench, 100);
    assert_shown(&mut bench);
    assert_own(&mut bench, "runs: list");
    bench.press(&["/"]);
    bench.send("night");
    bench.press(&["\r", "\r"]);
    bench.wait_text("✓ night");
    assert_shown(&mut bench);
    for part in 0..6 {
        down(&mut bench, 40);
        bench.press(&["\x1b[6~", "\x1b[6~", "\x1b[5~", "\r"]);
        assert_own(&mut bench, &format!("runs: part {part}"));
        bench.press(&["\x1b"]);
        bench.pause(Duration::from_millis(60));
        bench.press(&["\t"]);
    }
    for keys in ["z", "l", "R", "T", "N", "a", "D"] {
        bench.press(&[keys, "j", "j"]);
        assert_own(&mut bench, &format!("runs: {keys}"));
        bench.press(&["\x1b"]);
        bench.pause(Duration::from_millis(60));
    }
    overlays(&mut bench, "runs");
    assert!(bench.quit().success());
}

#[test]
fn hostile_profiles_models_and_folders_only_show_themselves() {
    let folder = hostile_folder();
    copy(&folder.path("data"), &folder.path("copied"));
    let mut bench = folder.open("train");
    bench.press(&["o"]);
    bench.pause(Duration::from_millis(200));
    bench.send("profile.yaml");
    bench.press(&["\r"]);
    bench.settle();
    assert_own(&mut bench, "train: opened");
    bench.wait_text("profile.yaml");
    for keys in ["e", "v", "t", "c", "f", "d", "p"] {
        bench.press(&[keys]);
        down(&mut bench, 30);
        assert_own(&mut bench, &format!("train: {keys}"));
        bench.press(&["\x1b"]);
        bench.pause(Duration::from_millis(60));
    }
    for _ in 0..4 {
        bench.press(&["]"]);
        down(&mut bench, 40);
    }
    overlays(&mut bench, "train");
    // the file picker among hostile names, from the composer; models are chosen among the runs as well
    bench.press(&["\x1b", "\x1b[15~"]);
    bench.pause(Duration::from_millis(100));
    for (keys, dir) in [("\x1ba", "data/"), ("\x1ba", "models/"), ("\x1bm", "")] {
        bench.press(&[keys]);
        bench.pause(Duration::from_millis(200));
        bench.send(dir);
        for _ in 0..60 {
            bench.send("\x1b[B");
            bench.pause(Duration::from_millis(10));
        }
        assert_shown(&mut bench);
        assert_own(&mut bench, &format!("chat: {dir}"));
        bench.press(&["\x1b"]);
        bench.pause(Duration::from_millis(60));
    }
    overlays(&mut bench, "chat");
    assert!(bench.quit().success());
}
