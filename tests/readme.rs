//! The README keeps its word: its links lead somewhere, its `make` targets exist, its commands run.
//!
//! A block of commands under `<!-- tested -->` is run line by line; one under `<!-- tested with the engine -->` after it,
//! with the worker beside `lightbox` (`make build`). The options of all commands are checked in any case.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lightbox_core::demo::dataset::PhantomSet;
use lightbox_core::demo::phantom;
use lightbox_core::demo::words::Lang;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LIGHTBOX: &str = env!("CARGO_BIN_EXE_lightbox");

/// The commands of the ```sh blocks, with the comment that stands above each block.
fn blocks() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("README.md");
    let mut blocks = Vec::new();
    let mut above = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let commands = lines.by_ref().take_while(|l| *l != "```").map(str::to_owned).collect();
            blocks.push((above.to_owned(), commands));
        }
        above = line;
    }
    blocks
}

fn commands_of(mark: &str) -> Vec<String> {
    let found: Vec<_> =
        blocks().into_iter().filter(|(above, _)| above == mark).flat_map(|(_, commands)| commands).collect();
    assert!(!found.is_empty(), "the README has no block marked {mark:?}");
    found
}

/// What `lightbox demo` leaves in `lightbox-demo/`, with few phantoms and without its training.
fn demo_folder(at: &Path) {
    let demo = at.join("lightbox-demo");
    fs::create_dir_all(demo.join("model")).unwrap();
    for file in fs::read_dir(Path::new(ROOT).join("assets/demo-model")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), demo.join("model").join(file.file_name())).unwrap();
    }
    fs::copy(Path::new(ROOT).join("profiles/demo.yaml"), demo.join("demo.yaml")).unwrap();
    let set = PhantomSet { name: "phantoms", rows: 12, shards: 2, languages: Lang::ALL, seed: 42 };
    set.write_parquet(&demo.join("source/phantoms"), &mut |_, _| ()).unwrap();
    fs::write(demo.join("sample.png"), phantom::draw(42, "phantoms", 0).png().unwrap()).unwrap();
}

/// Runs a line of the README in a shell, as its reader would; returns what it printed.
fn run(line: &str, folder: &Path) -> String {
    let programs = Path::new(LIGHTBOX).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let out = Command::new("sh").args(["-c", line]).env("PATH", path).current_dir(folder).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{line}\n{}\n{stdout}\n{stderr}", out.status);
    stdout.into_owned()
}

#[test]
fn the_data_commands_of_the_readme_run_and_then_those_of_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    demo_folder(folder.path());
    let printed: Vec<String> = commands_of("<!-- tested -->").iter().map(|line| run(line, folder.path())).collect();
    let sample: serde_json::Value = serde_json::from_str(printed.last().unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(sample["input_ids"].as_array().unwrap().len(), sample["labels"].as_array().unwrap().len());

    let engine = Path::new(LIGHTBOX).with_file_name("lightbox-engine");
    assert!(engine.exists(), "{} is missing: run `make build`, then this test again", engine.display());
    for line in commands_of("<!-- tested with the engine -->") {
        run(&line, folder.path());
    }
    assert!(folder.path().join("my-run/adapter_model.safetensors").exists());
}

#[test]
fn every_command_of_the_readme_is_one_that_exists() {
    let makefile = fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    for line in blocks().into_iter().flat_map(|(_, commands)| commands) {
        match line.split_once(' ') {
            Some(("make", target)) => {
                assert!(makefile.lines().any(|l| l.starts_with(&format!("{target}:"))), "no target for `{line}`");
            }
            // With --help behind them wrong options are still errors, and nothing runs.
            Some(("lightbox", _)) => drop(run(&format!("{line} --help"), Path::new(ROOT))),
            _ => panic!("neither make nor lightbox: `{line}`"),
        }
    }
}

/// The address that a heading has in its page.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_of_the_pages_lead_to_files_and_headings_of_this_repository() {
    for page in ["README.md", "docs/guide.md", "docs/guide.zh.md", "docs/architecture.md"] {
        let page = Path::new(ROOT).join(page);
        let text = fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file: PathBuf = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(file.exists(), "{}: {target}", page.display());
            let is_there =
                || fs::read_to_string(&file).unwrap().lines().any(|l| l.starts_with('#') && anchor(l) == heading);
            assert!(heading.is_empty() || is_there(), "{}: no heading {target}", page.display());
        }
    }
}
