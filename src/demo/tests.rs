//! The story with a stand-in for the engine: what is reused, resumed and repeated, and where the numbers come from.

use super::*;
use anyhow::bail;
use lightbox_core::demo::dataset::Row;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Answers like a base model without an adapter; with one, like a model that knows everything but every `misses`-th.
#[derive(Default)]
struct FakeTools {
    calls: RefCell<Vec<String>>,
    misses: usize,
    /// Training is interrupted this often before it succeeds.
    interruptions: Cell<usize>,
}

impl Tools for FakeTools {
    fn convert(&self, source: &Path, dataset_dir: &Path, name: &str, questions: &[&str]) -> Result<()> {
        assert!(std::fs::read_dir(source)?.count() > 0, "{}", source.display());
        self.calls.borrow_mut().push(format!("convert {name} {}", questions.len()));
        Ok(std::fs::create_dir_all(dataset_dir.join(name))?)
    }

    fn train(&self, profile: &Path, overrides: &[OsString]) -> Result<()> {
        assert!(profile.is_file());
        let overrides: Vec<_> = overrides.iter().map(|o| o.to_string_lossy().into_owned()).collect();
        let output = overrides.iter().find_map(|o| o.strip_prefix("output_dir=")).context("no output_dir")?;
        let partial = Path::new(output).join("checkpoint-100");
        self.calls.borrow_mut().push(if partial.exists() { "train on".to_owned() } else { "train".to_owned() });
        std::fs::create_dir_all(&partial)?;
        if self.interruptions.get() > 0 {
            self.interruptions.set(self.interruptions.get() - 1);
            return Err(Interrupted.into());
        }
        Ok(std::fs::write(Path::new(output).join("trainer_log.jsonl"), "{\"loss\": 1.25}\n{\"loss\": 0.5}\n")?)
    }

    fn predict(&self, ask: &Ask) -> Result<()> {
        self.calls.borrow_mut().push(format!("predict {} {}", ask.dataset, ask.adapter.is_some()));
        let Some((i, (set, lang))) = HELD_OUT.into_iter().enumerate().find(|(_, (set, _))| *set == ask.dataset) else {
            bail!("unknown set")
        };
        let rows = (0..QUICK.held_out[i]).map(|index| {
            let label = Row::at(SEED, set, index, &[lang]).caption;
            let knows = ask.adapter.is_some() && index % self.misses.max(1) != 0;
            let predict = if knows { label.as_str() } else { "The ring is \u{1b}[31mblack." };
            serde_json::json!({ "index": index, "prompt": "", "predict": predict, "label": label }).to_string()
        });
        Ok(std::fs::write(ask.output, rows.collect::<Vec<_>>().join("\n"))?)
    }
}

fn args(dir: &Path) -> DemoArgs {
    DemoArgs {
        prepare: false,
        headless: true,
        dir: dir.to_owned(),
        json: true,
        quick: true,
        fresh: false,
        seed: None,
        write_base_data: None,
        base_pictures: 0,
    }
}

/// What was told, to be read after the story.
#[derive(Clone, Default)]
struct Page(Rc<RefCell<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn told(args: &DemoArgs, text: &'static Text, tools: &FakeTools) -> (Result<serde_json::Value>, String) {
    let page = Page::default();
    let result = tell(args, text, tools, Box::new(page.clone()));
    let text = String::from_utf8(page.0.borrow().clone()).unwrap();
    (result, text)
}

fn tools() -> FakeTools {
    FakeTools { misses: 10, ..FakeTools::default() }
}

#[test]
fn the_story_runs_every_step_and_counts_what_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let tools = tools();
    let (report, page) = told(&args(dir.path()), &text::EN, &tools);
    let report = report.unwrap();
    assert_eq!(
        *tools.calls.borrow(),
        [
            "convert phantoms 6",
            "convert heldout_en 1",
            "convert heldout_zh 1",
            "predict heldout_en false",
            "predict heldout_zh false",
            "train",
            "predict heldout_en true",
            "predict heldout_zh true"
        ]
    );
    assert_eq!(report["accuracy_before"], 0.0);
    // Five of 50 and three of 25 were answered wrongly; their facts are all that is missing.
    assert_eq!(report["after"]["en"]["all"], 0.9);
    assert_eq!(report["after"]["zh"]["all"], 0.88);
    let accuracy = report["accuracy_after"].as_f64().unwrap();
    assert!((0.8..0.98).contains(&accuracy), "{accuracy}");
    assert_eq!((&report["loss_first"], &report["loss_last"], &report["n"]), (&1.25.into(), &0.5.into(), &75.into()));
    for wanted in [
        "[1/7] ",
        "[7/7] ",
        "90.0 %",
        "side",
        "1.250 at the first step",
        "lightbox chat --model",
        "sample.png",
        "The region of interest",
    ] {
        assert!(page.contains(wanted), "{wanted} is missing in\n{page}");
    }
    assert!(!page.contains('\u{1b}'), "control codes of a model never reach the terminal");
    assert!(
        dir.path().join("model/model.safetensors").is_file() && dir.path().join("data/dataset_info.json").is_file()
    );
}

#[test]
fn a_second_run_repeats_nothing_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = told(&args(dir.path()), &text::EN, &tools());
    let again = tools();
    let (second, page) = told(&args(dir.path()), &text::EN, &again);
    assert!(again.calls.borrow().is_empty(), "{:?}", again.calls.borrow());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first["after"], second["after"]);
    assert_eq!(second["reused"], serde_json::json!(["unpack", "draw", "convert", "ask_base", "train", "ask_tuned"]));
    assert_eq!(page.matches(text::EN.reused).count(), 6);
}

#[test]
fn changed_settings_repeat_only_training_and_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    told(&args(dir.path()), &text::EN, &tools()).0.unwrap();
    let profile = dir.path().join("demo.yaml");
    let changed = std::fs::read_to_string(&profile).unwrap().replace("lora_rank: 8", "lora_rank: 4");
    std::fs::write(&profile, &changed).unwrap();
    let again = tools();
    let (result, page) = told(&args(dir.path()), &text::EN, &again);
    result.unwrap();
    assert_eq!(
        *again.calls.borrow(),
        ["train", "predict heldout_en true", "predict heldout_zh true"],
        "not `train on`: the old run is of other settings"
    );
    assert_eq!(std::fs::read_to_string(&profile).unwrap(), changed, "the user's change is kept");
    assert!(page.contains(text::EN.changed));
}

#[test]
fn a_new_version_of_the_profile_comes_in_and_the_changed_one_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    told(&args(dir.path()), &text::EN, &tools()).0.unwrap();
    let [profile, aside, state] = ["demo.yaml", "demo.yaml.old", "demo.json"].map(|name| dir.path().join(name));
    std::fs::write(&profile, "mine").unwrap();
    // What a program with another model or profile would have left: another digest of what it unpacked.
    let mut stamps: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    stamps["steps"]["unpack"]["inputs"] = "of another version".into();
    std::fs::write(&state, stamps.to_string()).unwrap();
    told(&args(dir.path()), &text::EN, &tools()).0.unwrap();
    assert_eq!(std::fs::read_to_string(&profile).unwrap(), profile_for(dir.path()));
    assert_eq!(std::fs::read_to_string(&aside).unwrap(), "mine");
}

#[test]
fn an_interrupted_training_is_continued_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let tools = FakeTools { interruptions: Cell::new(1), ..tools() };
    let error = told(&args(dir.path()), &text::EN, &tools).0.unwrap_err();
    assert!(error.is::<Interrupted>(), "{error}");
    tools.calls.borrow_mut().clear();
    let (result, page) = told(&args(dir.path()), &text::EN, &tools);
    result.unwrap();
    assert_eq!(*tools.calls.borrow(), ["train on", "predict heldout_en true", "predict heldout_zh true"]);
    assert!(page.contains(text::EN.resumed));
}

#[test]
fn fresh_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    told(&args(dir.path()), &text::EN, &tools()).0.unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let again = tools();
    told(&DemoArgs { fresh: true, ..args(dir.path()) }, &text::EN, &again).0.unwrap();
    assert_eq!(again.calls.borrow().len(), 8);
    assert!(dir.path().join("notes.txt").exists(), "only what the demo made is removed");
}

#[test]
fn the_story_is_told_in_chinese_too() {
    let dir = tempfile::tempdir().unwrap();
    let (result, page) = told(&args(dir.path()), &text::ZH, &tools());
    result.unwrap();
    assert!(page.contains("有无病灶") && page.contains("接下来可以试试"), "{page}");
}

#[test]
fn questions_and_captions_of_the_training_set_are_in_the_same_language() {
    let questions = training_questions();
    assert_eq!(questions.len(), 6);
    for index in 0..FULL.phantoms {
        let caption = Row::at(SEED, TRAIN, index, Lang::ALL).caption;
        assert_eq!(questions[index % questions.len()].is_ascii(), caption.is_ascii(), "row {index}");
    }
    // The same even if a converter counts rows within each of the two shards.
    for scale in [FULL, QUICK] {
        assert_eq!(scale.phantoms / 2 % questions.len(), 0);
    }
}

#[test]
fn the_embedded_profile_names_what_the_demo_makes() {
    for wanted in [format!("dataset: {TRAIN},{CHAT} "), format!("seed: {SEED}\n"), "finetuning_type: lora\n".to_owned()]
    {
        assert!(PROFILE.contains(&wanted), "{wanted}");
    }
}

#[test]
fn the_profile_names_the_paths_of_its_own_folder_whatever_that_is_called() {
    assert_eq!(profile_for(Path::new(DEFAULT_DIR)), PROFILE);
    for name in ["other/demo", "/tmp/a: b #c", "目录 'x'"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("demo.yaml");
        std::fs::write(&file, profile_for(Path::new(name))).unwrap();
        let no_overrides: [&str; 0] = [];
        let profile = lightbox_core::profile::Profile::load(&file, &no_overrides).unwrap();
        assert_eq!(profile.model_name_or_path.unwrap(), format!("{name}/model"));
        assert_eq!(profile.dataset_dir, Path::new(name).join("data"));
        assert_eq!(profile.output_dir, Path::new(name).join("adapter"));
    }
}

#[test]
fn answers_are_shown_on_one_line_of_bounded_length() {
    assert_eq!(one_line("a\n b\t c"), "a b c");
    let long = one_line(&"字 ".repeat(400));
    assert!(long.ends_with('…') && long.chars().count() == 321, "{}", long.chars().count());
}
