//! Text from data never does anything to a terminal: hostile texts through `safe_text` into an emulated terminal, and
//! through `lightbox data` from end to end.

mod corpus;
mod told;

use corpus::{corpus, is_forbidden};
use lightbox_core::safe_text::{clean, clean_line};
use proptest::prelude::*;
use serde_json::json;
use std::num::NonZeroU16;
use std::path::Path;
use std::process::Command;
use told::Told;
use vt100::Parser;

/// What a terminal was told by `text` beside characters to show, and `end`, printed behind it, as it stands on the screen.
fn effects(text: &str) -> Vec<String> {
    let (rows, columns) = (NonZeroU16::new(24).unwrap(), NonZeroU16::new(80).unwrap());
    let mut terminal = Parser::new_with_callbacks(rows, columns, 0, Told::default());
    let before = terminal.screen().clone();
    // As the terminal driver does it.
    terminal.process(text.replace('\n', "\r\n").as_bytes());
    terminal.process(b"\r\nend");
    let mut told = std::mem::take(&mut terminal.callbacks_mut().0);
    let screen = terminal.screen();
    let mut same = |what: &str, is: bool| {
        if !is {
            told.push(what.to_owned());
        }
    };
    same("modes", screen.input_mode_formatted() == before.input_mode_formatted());
    same("colours", screen.attributes_formatted() == before.attributes_formatted());
    same("cursor", screen.hide_cursor() == before.hide_cursor() && screen.cursor_style() == before.cursor_style());
    same("other screen", !screen.alternate_screen());
    let shown = screen.contents();
    same("place of the cursor", shown.ends_with("\nend") || shown == "end");
    same("control characters on the screen", !shown.chars().any(is_forbidden));
    told
}

#[test]
fn the_emulated_terminal_notices_attacks() {
    for attack in
        ["\x07", "\x1b]0;x\x07", "\x1b]52;c;AAAA\x07", "\x1b[31m", "\x1b[?25l", "\x1b[?1049h", "\x1b[?2004h", "\x1b[6n"]
    {
        assert!(!effects(attack).is_empty(), "{attack:?}");
    }
    assert_eq!(effects("two\nlines, 图片\tعربي"), [""; 0]);
}

#[test]
fn hostile_text_only_shows_itself() {
    let corpus = corpus();
    assert!(corpus.len() >= 180, "{} texts", corpus.len());
    for (name, text) in &corpus {
        for cleaned in [clean(text), clean_line(text, 60), clean_line(text, usize::MAX)] {
            assert_eq!(cleaned.chars().find(|&c| is_forbidden(c)), None, "{name}");
            assert_eq!(effects(&cleaned), [""; 0], "{name}");
        }
        assert!(clean_line(text, 60).chars().count() <= 60 * "\\u{e0001}".len() + 1, "{name}");
        // What had to be changed is seen, not dropped.
        if text.chars().any(is_forbidden) {
            assert!(clean(text).contains("\\u{"), "{name}");
        }
    }
}

proptest! {
    #[test]
    fn no_mixture_of_hostile_texts_reaches_the_terminal(
        parts in proptest::collection::vec((0usize..1000, "\\PC{0,3}", any::<char>()), 0..8),
    ) {
        let corpus = corpus();
        let text: String = parts
            .iter()
            .map(|(i, words, c)| format!("{words}{}{c}", corpus[i % corpus.len()].1.chars().take(200).collect::<String>()))
            .collect();
        prop_assert!(!clean(&text).chars().any(is_forbidden));
        prop_assert_eq!(effects(&clean(&text)), [""; 0]);
        prop_assert_eq!(effects(&clean_line(&text, 100)), [""; 0]);
    }
}

/// A file name can hold all but `/` and NUL, in 255 bytes.
fn file_name(text: &str) -> Option<String> {
    let name = format!("{text}.png");
    (!name.contains(['/', '\0']) && name.len() <= 255).then_some(name)
}

#[test]
fn a_data_set_full_of_hostile_text_is_listed_shown_and_checked_without_a_control_character() {
    let corpus = corpus();
    let dir = tempfile::tempdir().unwrap();
    let picture = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images/tiny28.png")).unwrap();
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let mut rows = Vec::new();
    let mut entries = serde_json::Map::new();
    let tags = json!({"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
        "system_tag": "system"});
    for (i, (_, text)) in corpus.iter().enumerate() {
        // As question, answer and system text, as the name of a picture that is there, is damaged, is missing, and as a role.
        let talk = |role: &str, images: &[&str]| {
            let question = format!("{}{text}", "<image>".repeat(images.len()));
            json!({"messages": [turn("system", text), turn("user", &question), turn(role, &format!("{text}."))], "images": images})
        };
        let missing = format!("missing {text}");
        rows.extend([talk("assistant", &[]), talk("assistant", &[&missing]), talk(text, &[])]);
        if let Some(name) = file_name(text) {
            std::fs::write(dir.path().join(&name), if i % 2 == 0 { picture.as_slice() } else { text.as_bytes() })
                .unwrap();
            rows.push(talk("assistant", &[&name]));
        }
        // As the name of a set, of a file, and of columns.
        if text.len() < 1000 {
            entries.insert(text.clone(), json!({"file_name": format!("{text}.json"), text: text}));
            entries.insert(
                format!("columns {text}"),
                json!({"file_name": "d.json", "formatting": "sharegpt", "columns": {"messages": text}, "tags": tags}),
            );
        }
    }
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(dir.path().join("d.json"), text).unwrap();
    let columns = json!({"messages": "messages", "images": "images"});
    entries
        .insert("d".into(), json!({"file_name": "d.json", "formatting": "sharegpt", "columns": columns, "tags": tags}));
    std::fs::write(dir.path().join("dataset_info.json"), json!(entries).to_string()).unwrap();

    let run = |args: &[&str]| {
        let folder = dir.path().to_str().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
        let out = command.arg("data").args(args).args(["--dataset-dir", folder]).output().unwrap();
        assert!(out.status.code().is_some_and(|code| code < 20), "{args:?}: {}", out.status);
        let texts = [out.stdout, out.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        for (name, text) in ["stdout", "stderr"].iter().zip(&texts) {
            if let Some(at) = text.find(is_forbidden) {
                let line = text[..at].lines().last().unwrap_or_default();
                panic!("{args:?} wrote {:?} to {name} behind {line:?}", text[at..].chars().next());
            }
        }
        texts.concat()
    };
    let listed = run(&["list"]);
    assert!(["\\u{1b}", "\\u{9b}", "\\u{202e}"].iter().all(|shown| listed.contains(shown)), "{listed}");
    // The first problems only, which are those of the first texts.
    let checked = run(&["check", "d"]);
    assert!(checked.contains("\\u{1}"), "{checked}");
    run(&["stats", "d"]);
    for i in (0..rows.len()).map(|i| i.to_string()) {
        run(&["show", "d", "--index", &i]);
    }
    for (_, text) in corpus.iter().filter(|(_, text)| text.len() < 1000 && !text.contains('\0')) {
        run(&["show", text]);
        run(&["check", &format!("columns {text}"), "--limit", "2"]);
        run(&["list", text]);
    }
}
