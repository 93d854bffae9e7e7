//! Profiles that are wrong in every key, and files that are no profiles: refused with line, key and what is allowed; nothing
//! is ignored, and nothing costs much time or memory.

mod meter;

use lightbox_core::profile::{KEYS, Kind, Origin, Profile};
use std::fmt::Write;

/// The largest file that is read.
const SIZE: usize = 128 << 10;

/// The messages of a profile that must be wrong.
fn refusals(text: &str) -> Vec<String> {
    match Profile::parse::<&str>("p.yaml", text, &[]) {
        Ok(_) => panic!("accepted: {text:.200}"),
        Err(e) => e.problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn every_key_is_taken_from_its_line_or_refused_there() {
    for key in KEYS {
        let mut default = serde_yaml::to_string(&key.default()).unwrap();
        if key.kind == Kind::Bool {
            // Every spelling of YAML 1.1 counts, so that none is read as a text and ignored.
            default = if key.default().as_bool() == Some(true) { "yes\n" } else { "OFF\n" }.to_owned();
        }
        let text = format!("# a line\n\n{}: {default}", key.name);
        match Profile::parse::<&str>("p.yaml", &text, &[]) {
            Ok(profile) => assert_eq!(profile.origin(key.name), Origin::File { line: 3 }, "{text}"),
            Err(e) => assert!(e.problems.iter().all(|p| p.message.contains(key.name)), "{text}: {e}"),
        }
    }
}

#[test]
fn every_key_refuses_numbers_out_of_its_range() {
    let mut limits = 0;
    for key in KEYS.iter().filter(|key| matches!(key.kind, Kind::Integer | Kind::Number)) {
        let range = &key.range;
        let step = if key.kind == Kind::Integer { 1.0 } else { 1e-3 };
        let below = range.min - if range.above_min { 0.0 } else { step };
        let above = range.max + if range.below_max { 0.0 } else { step };
        let mut values: Vec<String> = [below, above].iter().filter(|x| x.is_finite()).map(f64::to_string).collect();
        limits += values.len();
        values.extend(
            [".nan", ".inf", "-.inf", "1e400", "99999999999999999999999999", "0x", "1 2", "[1]", "{a: 1}", "true"]
                .map(Into::into),
        );
        for value in values {
            let messages = refusals(&format!("\n{}: {value}", key.name));
            let not_yaml = messages[0].contains("not valid YAML");
            assert!(messages[0].starts_with("p.yaml:2:"), "{messages:?}");
            assert!(
                not_yaml || messages[0].ends_with(&format!("is not allowed; needs {}", key.allowed())),
                "{messages:?}"
            );
        }
    }
    assert!(limits > 30, "only {limits} limits tried");
}

#[test]
fn every_key_that_stands_twice_or_looks_like_another_is_refused_with_its_line() {
    for key in KEYS {
        let name = key.name;
        let twice = refusals(&format!("{name}: null\n# {name}: 1\n{name}: null"));
        assert!(
            twice.iter().any(|m| m.starts_with("p.yaml:3:1: ") && m.contains("set twice (first in line 1)")),
            "{twice:?}"
        );
        let shouted = name.to_uppercase().replace('_', "-");
        let lookalike = name.replacen(['a', 'e', 'o', 'p'], "\u{435}", 1);
        let invisible = format!("{name}\u{200b}");
        for other in [shouted, lookalike, invisible] {
            let messages = refusals(&format!("seed: 1\n{other}: null"));
            if other != name {
                assert!(messages[0].contains("is not a key of a profile"), "{messages:?}");
                assert!(messages[0].ends_with(&format!("did you mean `{name}`?")), "{messages:?}");
            }
        }
        // A key one level too deep is not a key.
        let nested = refusals(&format!("model:\n  {name}: null"));
        assert!(nested[0].starts_with("p.yaml:1:1: `model` is not a key"), "{nested:?}");
    }
}

#[test]
fn files_that_are_no_profiles_are_refused_in_little_time_memory_and_text() {
    let many = |line: &dyn Fn(usize) -> String| {
        (0..)
            .map(line)
            .scan(0, |len, line| {
                *len += line.len();
                (*len < SIZE).then_some(line)
            })
            .collect::<String>()
    };
    let long = "x".repeat(SIZE);
    let aliases = (1..25).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |mut text, i| {
        let earlier = format!("*a{}", i - 1);
        writeln!(text, "a{i}: &a{i} [{}]", vec![earlier; 10].join(",")).unwrap();
        text
    });
    for (name, text) in [
        ("a key as long as a file", format!("{long}: 1")),
        ("a value as long as a file", format!("seed: {long}")),
        ("an interpolation as long as a file", format!("seed: ${{{long}")),
        ("unknown keys", many(&|i| format!("key{i}: 1\n"))),
        ("keys like ours", many(&|i| format!("learning_rat{i}: 1\n"))),
        ("keys that are not found again", many(&|i| format!("\"\\x6b{i}\": 1\n"))),
        ("one key for ever", many(&|_| "seed: 1\n".to_owned())),
        ("an alias bomb", aliases),
        ("depth", many(&|_| "[".to_owned())),
        ("depth in blocks", many(&|i| format!("{}a:\n", " ".repeat(i)))),
        ("question marks", many(&|_| "? ".to_owned())),
        ("tags", many(&|_| "!!a ".to_owned())),
        ("documents", many(&|_| "---\n".to_owned())),
        ("NULs", "\0".repeat(SIZE)),
        ("tabs", "\t".repeat(SIZE)),
        ("quotes", "\"".repeat(SIZE)),
    ] {
        let (messages, peak) = meter::peak(|| refusals(&text));
        assert!(messages.len() <= 102, "{name}: {} messages", messages.len());
        let longest = messages.iter().map(String::len).max().unwrap_or_default();
        assert!(longest < 1000, "{name}: a message of {longest} bytes");
        assert!(messages.iter().all(|m| !m.contains(char::is_control)), "{name}");
        assert!(peak <= meter::allowed(text.len()), "{name}: {} bytes cost {peak} bytes of memory", text.len());
    }
}

#[test]
fn a_file_of_ten_megabytes_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.yaml");
    std::fs::write(&path, vec![b'#'; 10 << 20]).unwrap();
    let (result, peak) = meter::peak(|| Profile::load::<&str>(&path, &[]));
    let message = result.unwrap_err().to_string();
    assert!(message.contains("big.yaml: is 10485760 bytes long; a profile has at most"), "{message}");
    assert!(peak < 64 << 10, "{peak} bytes");
}
