//! Whatever changes a run folder goes through `lightbox_core::fs`, where faults are injected and fsync is not forgotten.
use std::path::{Path, PathBuf};

/// Where to look, from the root of the workspace. A folder, or files that begin so.
const PLACES: [&str; 4] =
    ["crates/core/src/runs", "crates/engine/src/train", "crates/engine/src/weights.rs", "src/supervise"];

/// What changes files without `lightbox_core::fs`.
const CALLS: [&str; 17] = [
    "use std::fs;",
    "std::fs::rename",
    "std::fs::write",
    "std::fs::copy",
    "std::fs::create_dir",
    "std::fs::remove_",
    "std::fs::hard_link",
    "std::fs::set_permissions",
    "File::create",
    "File::options",
    "OpenOptions::new",
    "symlink(",
    ".set_len(",
    "NamedTempFile",
    "tempfile_in",
    "libc::rename",
    "libc::open",
];

/// File (its end), call, and why it may.
const ALLOWED: [(&str, &str, &str); 9] = [
    ("runs/lock.rs", "File::options", "the lock file stays empty, and its descriptor is the lock"),
    ("runs/lock.rs", "OpenOptions::new", "likewise"),
    ("runs/heartbeat.rs", "File::options", "written in place each second; losing it loses nothing"),
    ("runs/heartbeat.rs", "OpenOptions::new", "likewise"),
    ("commands/inbox.rs", "File::options", "opens for reading, without following links or waiting for pipes"),
    ("runs/queue.rs", "File::options", "a lock file, which stays empty"),
    ("runs/info.rs", "File::options", "a lock file, which stays empty"),
    ("drive/session.rs", "File::create", "`StateFile::create`, which writes atomically"),
    ("runs/rings.rs", "OpenOptions::new", "reopens the log that the process's own stdout and stderr go to"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sources(under: &Path, found: &mut Vec<PathBuf>) {
    if under.is_dir() {
        std::fs::read_dir(under).unwrap().for_each(|entry| sources(&entry.unwrap().path(), found));
    } else if under.is_file() && under.extension().is_some_and(|ext| ext == "rs") && !under.ends_with("tests.rs") {
        found.push(under.to_owned());
    }
}

/// Calls in code that is not for tests (which begin at the first `#[cfg(test)]` of a module), with their lines.
fn calls(text: &str) -> Vec<(usize, &'static str)> {
    let lines: &[&str] = &text.lines().collect::<Vec<_>>();
    let code = (0..lines.len())
        .take_while(|&i| {
            !(lines[i].starts_with("#[cfg(test)]") && lines.get(i + 1).is_some_and(|l| l.starts_with("mod ")))
        })
        .filter(|&i| !lines[i].trim_start().starts_with("//"));
    code.flat_map(|i| CALLS.iter().filter(move |call| lines[i].contains(**call)).map(move |call| (i + 1, *call)))
        .collect()
}

#[test]
fn run_folders_are_only_changed_through_core_fs() {
    let mut files = Vec::new();
    for place in PLACES.map(|place| root().join(place)) {
        sources(&place, &mut files);
        sources(&place.with_extension("rs"), &mut files);
    }
    files.sort();
    files.dedup();
    assert!(files.len() > 20, "the sources are here: {files:?}");
    let mut wrong = Vec::new();
    for file in &files {
        let allowed = |call: &str| ALLOWED.iter().any(|(end, allowed, _)| file.ends_with(end) && *allowed == call);
        let found = calls(&std::fs::read_to_string(file).unwrap());
        let found = found.into_iter().filter(|(_, call)| !allowed(call));
        wrong.extend(found.map(|(line, call)| format!("{}:{line}: {call}", file.display())));
    }
    assert!(wrong.is_empty(), "use lightbox_core::fs, or give a reason in {}:\n{}", file!(), wrong.join("\n"));
}

#[test]
fn what_the_rule_forbids_is_seen_and_tests_are_left_out() {
    let text = "fn f() {\n    std::fs::rename(a, b)?;\n    // File::create\n}\n#[cfg(test)]\nuse x;\nfn g() { File::create(p) }\n\
                #[cfg(test)]\nmod tests {\n    std::fs::write(a, b)\n}\n";
    assert_eq!(calls(text), [(2, "std::fs::rename"), (7, "File::create")]);
}
