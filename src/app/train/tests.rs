//! Keys → state and effects.
use super::files::{self, File, Known, Loaded, What};
use super::start::{Fate, Obstacle, Plan, Way};
use super::*;
use crate::app::overlay::{self, Overlay};
use crate::app::{Effect as Wanted, Screen, update as act};
use crate::input::Key as Pressed;
use crossterm::event::KeyModifiers;
use lightbox_core::profile::Key;

/// The screen with a file that was loaded.
pub fn with_file(text: &str) -> App {
    let mut app = App { screen: Screen::Train, here: "/w".into(), ..App::default() };
    let loaded = Loaded { path: Some("/w/a.yaml".into()), name: "a.yaml".into(), text: text.into() };
    act(&mut app, action(Msg::Files(files::Msg::Loaded(Ok(loaded), false))));
    app.train.estimate.reading = false;
    app
}

fn press(app: &mut App, words: &str) -> Effects {
    let mut effects = Vec::new();
    for word in words.split(' ') {
        let Pressed { code, modifiers } = Pressed::parse(word).unwrap();
        effects.extend(act(app, Action::Key(KeyEvent::new(code, modifiers))));
    }
    effects
}

fn type_text(app: &mut App, text: &str) {
    for c in text.chars() {
        act(app, Action::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)));
    }
}

fn go(app: &mut App, key: &str) {
    app.train.show(key);
    app.train.pane = Pane::Keys;
}

const SMALL: &str = "# mine\nlora_rank: 8   # small\nbf16: false\noutput_dir: out\n";

#[test]
fn space_toggles_and_arrows_step_and_undo_goes_back_to_the_key() {
    let mut app = with_file(SMALL);
    go(&mut app, "bf16");
    press(&mut app, "space");
    go(&mut app, "lora_rank");
    press(&mut app, "right + -");
    assert_eq!(app.train.draft.text(), SMALL.replace("rank: 8   #", "rank: 16  #").replace("false", "true"));
    go(&mut app, "lr_scheduler_type");
    press(&mut app, "right right left");
    assert!(app.train.draft.text().contains("lr_scheduler_type: cosine\n"));
    press(&mut app, "u u u u u u");
    assert_eq!(app.train.key().unwrap().name, "lora_rank");
    press(&mut app, "u");
    assert_eq!((app.train.draft.text(), app.train.key().unwrap().name), (SMALL, "bf16"));
    press(&mut app, "U");
    assert!(app.train.draft.text().contains("bf16: true"));
    assert!(app.train.is_changed());
}

#[test]
fn a_value_is_typed_in_place_and_checked_at_each_letter() {
    let mut app = with_file(SMALL);
    go(&mut app, "learning_rate");
    press(&mut app, "enter ctrl-u");
    type_text(&mut app, "x");
    assert!(app.train.field.as_ref().unwrap().error.is_some());
    press(&mut app, "enter");
    assert!(app.train.field.is_some(), "a wrong value is not taken");
    press(&mut app, "backspace");
    type_text(&mut app, "1e-4");
    press(&mut app, "enter");
    assert!(app.train.draft.text().contains("learning_rate: 1e-4\n"), "{}", app.train.draft.text());
    go(&mut app, "default_system");
    press(&mut app, "enter");
    type_text(&mut app, "You: a #1 reader, 图");
    press(&mut app, "enter");
    assert_eq!(app.train.draft.profile().unwrap().default_system.as_deref(), Some("You: a #1 reader, 图"));
    go(&mut app, "lora_rank");
    press(&mut app, "enter ctrl-u enter");
    assert!(app.train.draft.entry("lora_rank").is_none(), "an empty field is the default");
    go(&mut app, "seed");
    press(&mut app, "enter");
    type_text(&mut app, "999");
    press(&mut app, "esc");
    assert!(app.train.draft.entry("seed").is_none());
}

#[test]
fn a_choice_is_made_from_a_list_that_begins_at_what_is_set() {
    let mut app = with_file("lr_scheduler_type: cosine\n");
    go(&mut app, "lr_scheduler_type");
    press(&mut app, "enter down enter");
    assert_eq!(app.train.draft.text(), "lr_scheduler_type: cosine_with_restarts\n");
}

#[test]
fn data_sets_are_picked_by_name_one_after_the_other() {
    let mut app = with_file("dataset_dir: d\ndataset: a\n");
    go(&mut app, "dataset");
    let effects = press(&mut app, "enter");
    assert!(matches!(&effects[..], [Wanted::Train(Effect::Datasets(dir, "dataset"))] if dir.ends_with("w/d")));
    let names = vec![("a".to_owned(), "a.json".to_owned()), ("b".to_owned(), "b.json".to_owned())];
    act(&mut app, action(Msg::Datasets("dataset", Ok(names.clone()))));
    press(&mut app, "down enter");
    assert_eq!(app.train.draft.text(), "dataset_dir: d\ndataset: a,b\n");
    act(&mut app, action(Msg::Datasets("dataset", Ok(names))));
    press(&mut app, "enter");
    assert_eq!(app.train.draft.text(), "dataset_dir: d\ndataset: b\n");
    act(&mut app, action(Msg::Datasets("dataset", Err("d/dataset_info.json: no such file".into()))));
    assert!(app.train.field.is_some(), "where there is no list the name is typed");
}

#[test]
fn a_folder_is_picked_and_written_relative_to_here() {
    let mut app = with_file("seed: 1\n");
    go(&mut app, "model_name_or_path");
    press(&mut app, "p");
    assert!(matches!(app.overlays.last(), Some(Overlay::Files(files)) if files.dir.ends_with("w")));
    let entries = vec![overlay::Entry { is_file: false, name: "Qwen2 VL".into(), bytes: 0 }];
    act(&mut app, Action::Overlay(overlay::Msg::Dir("/w".into(), Ok(entries))));
    press(&mut app, "down down enter");
    act(&mut app, Action::Overlay(overlay::Msg::Dir("/w/Qwen2 VL".into(), Ok(Vec::new()))));
    press(&mut app, "enter");
    assert_eq!(app.train.draft.profile().unwrap().model_name_or_path.as_deref(), Some("Qwen2 VL"));
    assert!(app.overlays.is_empty());
}

#[test]
fn search_finds_a_key_and_esc_goes_back_step_by_step() {
    let mut app = with_file(SMALL);
    press(&mut app, "/");
    type_text(&mut app, "booster");
    press(&mut app, "enter");
    assert_eq!(app.train.key().unwrap().name, "flash_attn");
    press(&mut app, "right");
    assert!(app.train.draft.text().contains("flash_attn: sdpa"));
    press(&mut app, "esc");
    assert_eq!(app.train.key().unwrap().name, "flash_attn");
    assert!(app.train.search.value().is_empty());
    press(&mut app, "f");
    assert_eq!(app.train.rows().len(), 4);
    press(&mut app, "esc");
    assert!(!app.train.only_set);
    press(&mut app, "esc");
    assert_eq!(app.train.pane, Pane::Groups);
}

#[test]
fn n_goes_round_all_problems() {
    let mut app = with_file("lora_rank: 0\nnonsense: 1\nseed: x\n");
    let mut seen = Vec::new();
    for _ in 0..4 {
        press(&mut app, "n");
        seen.push(app.train.row().unwrap().name().to_owned());
    }
    assert_eq!(seen, ["lora_rank", "nonsense", "seed", "lora_rank"]);
    press(&mut app, "N");
    assert_eq!(app.train.row().unwrap().name(), "seed");
    go(&mut app, "nonsense");
    press(&mut app, "x");
    assert!(!app.train.draft.text().contains("nonsense"));
}

#[test]
fn the_text_is_checked_while_it_is_typed_and_is_one_step_of_undo() {
    let mut app = with_file("seed: 1\n");
    press(&mut app, "e");
    type_text(&mut app, "lora_rank: [");
    press(&mut app, "enter");
    assert_eq!(app.train.draft.problems().len(), 1);
    assert_eq!(app.train.draft.problems()[0].key, None);
    press(&mut app, "up end backspace 4");
    assert!(app.train.draft.problems().is_empty(), "{:?}", app.train.draft.problems());
    let effects = press(&mut app, "ctrl-s");
    assert!(matches!(&effects[..], [Wanted::Train(Effect::Files(files::Effect::Save { .. }))]));
    press(&mut app, "esc");
    assert_eq!(app.train.key().unwrap().name, "lora_rank");
    press(&mut app, "u");
    assert_eq!(app.train.draft.text(), "seed: 1\n");
}

#[test]
fn a_problem_of_the_whole_text_opens_it_at_its_line() {
    let mut app = with_file("seed: 1\nbf16: [true\nlora_rank: 8\n");
    press(&mut app, "n");
    assert!(app.train.yaml.is_some());
}

#[test]
fn saving_never_overwrites_silently() {
    let mut app = with_file(SMALL);
    go(&mut app, "bf16");
    press(&mut app, "space");
    let effects = press(&mut app, "ctrl-s");
    let [Wanted::Train(Effect::Files(files::Effect::Save { path, text, known }))] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!((path.to_str(), known), (Some("/w/a.yaml"), &Known::This(SMALL.into())));
    let saved = File::new(path.clone(), text.clone());
    act(&mut app, action(Msg::Files(files::Msg::Saved(Ok(saved)))));
    assert!(!app.train.is_changed());
    let there = files::Failure::ChangedOnDisk("/w/a.yaml".into());
    act(&mut app, action(Msg::Files(files::Msg::Saved(Err(there)))));
    assert!(matches!(app.overlays.last(), Some(Overlay::Confirm(question)) if question.danger));
    assert!(press(&mut app, "enter").is_empty(), "enter is no");
    let effects = act(&mut app, action(Msg::Files(files::Msg::SaveAs("b".into()))));
    assert!(
        matches!(&effects[..], [Wanted::Train(Effect::Files(files::Effect::Save { path, known: Known::Nothing, .. }))] if path.ends_with("w/b.yaml"))
    );
}

#[test]
fn a_file_that_someone_else_changed_is_told_once() {
    let mut app = with_file(SMALL);
    let effects = act(&mut app, Action::Focus(true));
    assert!(matches!(&effects[..], [Wanted::Train(Effect::Files(files::Effect::Look(_)))]));
    let looked = |text: &str| action(Msg::Files(files::Msg::Looked("/w/a.yaml".into(), Some(text.into()))));
    act(&mut app, looked(SMALL));
    let said = app.messages.past().count();
    act(&mut app, looked("seed: 1\n"));
    act(&mut app, looked("seed: 1\n"));
    assert!(app.train.file.as_ref().unwrap().changed_on_disk);
    assert_eq!(app.messages.past().count(), said + 1);
}

#[test]
fn another_profile_is_opened_over_changes_only_after_a_question() {
    let mut app = with_file(SMALL);
    go(&mut app, "bf16");
    press(&mut app, "space");
    act(&mut app, action(Msg::Files(files::Msg::Open(What::Template(0)))));
    assert!(matches!(app.overlays.last(), Some(Overlay::Confirm(_))));
    press(&mut app, "y");
    assert!(app.train.draft.text().contains("mllm_med") && app.train.file.is_none());
    press(&mut app, "q");
    assert!(app.quit, "a template that was not changed is no work to lose");
}

#[test]
fn leaving_with_changes_asks() {
    let mut app = with_file(SMALL);
    go(&mut app, "bf16");
    press(&mut app, "space q");
    assert!(!app.quit && matches!(app.overlays.last(), Some(Overlay::Confirm(_))));
    press(&mut app, "y");
    assert!(app.quit);
}

#[test]
fn json_becomes_yaml_under_another_name() {
    let app = with_file("{\"lora_rank\": 4,\n \"bf16\": true}");
    assert_eq!(app.train.draft.text(), "lora_rank: 4\nbf16: true\n");
    assert!(app.train.file.is_none());
}

/// As LLaMA Board writes it when a training is started there.
#[test]
fn llama_boards_training_args_load_as_they_are() {
    let args = "bf16: true\ncutoff_len: 2048\ndataset: mllm_demo\ndataset_dir: data\nddp_timeout: 180000000\ndo_train: true\n\
        double_quantization: true\nenable_thinking: true\nfinetuning_type: lora\nflash_attn: auto\n\
        freeze_multi_modal_projector: true\nfreeze_vision_tower: true\ngradient_accumulation_steps: 8\n\
        image_max_pixels: 589824\nimage_min_pixels: 1024\ninclude_num_input_tokens_seen: true\nlearning_rate: 5.0e-05\n\
        logging_steps: 5\nlora_alpha: 16\nlora_dropout: 0\nlora_rank: 8\nlora_target: all\nlr_scheduler_type: cosine\n\
        max_grad_norm: 1.0\nmax_samples: 100000\nmodel_name_or_path: Qwen/Qwen2-VL-2B-Instruct\nnum_train_epochs: 3.0\n\
        optim: adamw_torch\noutput_dir: saves/Qwen2-VL-2B-Instruct/lora/train_2025\npacking: false\n\
        per_device_train_batch_size: 2\nplot_loss: true\npreprocessing_num_workers: 16\nreport_to: none\nsave_steps: 100\n\
        stage: sft\ntemplate: qwen2_vl\ntrust_remote_code: true\nvideo_max_pixels: 65536\nvideo_min_pixels: 256\n\
        warmup_steps: 0\n";
    let mut app = with_file(args);
    assert_eq!(app.train.draft.problems(), []);
    assert_eq!(app.train.draft.text(), args);
    go(&mut app, "lora_rank");
    press(&mut app, "+");
    assert_eq!(app.train.draft.text(), args.replace("lora_rank: 8", "lora_rank: 16"));
}

#[test]
fn the_command_says_what_differs_from_the_file() {
    let mut app = with_file("model_name_or_path: m\nlora_rank: 8\nhf_hub_token: t0ken\nseed: 1\n");
    for (key, value) in [("lora_rank", "16"), ("hf_hub_token", "other"), ("default_system", "'a b'")] {
        edit::set(&mut app, key, value);
    }
    edit::unset(&mut app, "seed");
    let command = preview::lightbox(&app.train, &app.here);
    assert_eq!(command, "lightbox train a.yaml lora_rank=16 seed=42 \"default_system='a b'\"");
    let theirs = preview::llama_factory(app.train.draft.profile().unwrap());
    assert_eq!(
        theirs,
        "llamafactory-cli train \\\n    --model_name_or_path m \\\n    --default_system 'a b' \\\n    --lora_rank 16"
    );
    let effects = press(&mut app, "y");
    assert!(matches!(&effects[..], [Wanted::Copy(text)] if *text == command));
    press(&mut app, "c");
    let Some(Overlay::Page(page)) = app.overlays.last() else { panic!() };
    assert!(page.text.contains("lora_rank") && page.text.contains("16") && !page.text.contains("t0ken"));
}

#[test]
fn a_start_first_tells_what_stands_in_the_way() {
    let mut app = with_file("do_train: true\n");
    assert!(press(&mut app, "s").is_empty());
    assert!(app.train.starting.is_none());
    assert_eq!(app.train.key().unwrap().name, "dataset");
    let mut app = with_file(SMALL);
    let effects = press(&mut app, "s");
    assert!(matches!(&effects[..], [Wanted::Train(Effect::Start(start::Effect::Check(_)))]));
    let obstacle = Obstacle { key: "model_name_or_path".into(), message: "there is no folder m".into() };
    act(&mut app, action(Msg::Start(start::Msg::Checked(Way::Now, Err(vec![obstacle])))));
    assert_eq!(app.train.key().unwrap().name, "model_name_or_path");
    assert!(app.train.starting.is_none());
}

fn plan(fate: Fate) -> Msg {
    let plan = Plan { output_dir: "/w/out".into(), fate, free: "/w/out-2".into(), notes: Vec::new() };
    Msg::Start(start::Msg::Checked(Way::Now, Ok(plan)))
}

#[test]
fn a_new_run_is_started_after_one_question() {
    let mut app = with_file(SMALL);
    act(&mut app, action(plan(Fate::New)));
    let effects = press(&mut app, "enter");
    let [Wanted::Train(Effect::Start(start::Effect::Go(request)))] = &effects[..] else { panic!("{effects:?}") };
    assert!(!request.fresh && request.text == SMALL);
    act(&mut app, action(plan(Fate::Overwrites(3))));
    assert!(press(&mut app, "enter").is_empty(), "what deletes is not done by enter");
}

#[test]
fn what_a_run_needs_of_a_hub_is_asked_about_with_sizes_and_loaded_only_after_a_yes() {
    use super::load::{Effect as OfLoad, Item, Lacks, Msg as Load};
    use lightbox_core::hub::{DataPart, Source, Wanted as Needed, What};
    let item = |id: &str, what: What, bytes| Item {
        wanted: Needed::of(Source::HuggingFace, id, what, None, None),
        name: format!("something {id}\u{1b}[2J"),
        files: 3,
        bytes,
        missing: bytes - 1_000_000,
    };
    let items = vec![
        item("org/model", What::Model, 4_429_000_000),
        item("org/data", What::Data(DataPart::default()), 450_000_000),
    ];
    let lacks = Lacks { items, cache: "/cache".into(), free: Some(1_000_000), token: None };
    let asked = |app: &mut App| {
        app.train.starting = Some(Way::Now);
        act(app, action(Msg::Load(Load::Lacks(lacks.clone()))));
        let Some(Overlay::Confirm(question)) = app.overlays.last() else { panic!() };
        question.text.clone()
    };
    for language in [crate::text::Lang::En, crate::text::Lang::Zh] {
        let mut app = with_file(SMALL);
        app.settings.language = Some(language);
        let text = asked(&mut app);
        assert!(text.contains("4.4 GB  something org/model") && text.contains("org/data") && !text.contains('\u{1b}'));
        assert!(text.contains("/cache") && text.contains("HF_HOME"), "there is no room: {text}");
        assert!(app.train.starting.is_none());
        assert!(press(&mut app, "n").is_empty(), "no does nothing");
        assert!(app.overlays.is_empty());
    }
    let mut app = with_file(SMALL);
    asked(&mut app);
    let effects = press(&mut app, "y");
    let found = effects.iter().find_map(|e| match e {
        Wanted::Train(Effect::Load(OfLoad::Load { lacks, .. })) => Some(lacks),
        _ => None,
    });
    assert_eq!(found, Some(&lacks));
    assert!(matches!(app.overlays.last(), Some(Overlay::Tasks(_))), "where its progress stands");
}

#[test]
fn a_folder_with_a_run_offers_to_go_on_elsewhere_or_afresh() {
    let mut app = with_file(SMALL);
    act(&mut app, action(plan(Fate::GoesOn { step: 100, ended: false })));
    let effects = press(&mut app, "enter");
    assert!(matches!(&effects[..], [Wanted::Train(Effect::Start(start::Effect::Go(request)))] if !request.fresh));
    act(&mut app, action(plan(Fate::GoesOn { step: 100, ended: false })));
    let effects = press(&mut app, "down enter");
    assert!(app.train.draft.text().contains("output_dir: out-2\n"));
    assert!(effects.iter().any(|e| matches!(e, Wanted::Train(Effect::Start(start::Effect::Check(_))))));
    act(&mut app, action(plan(Fate::GoesOn { step: 100, ended: true })));
    let Some(Overlay::Choose(list)) = app.overlays.pop() else { panic!() };
    assert!(list.items[0].label.contains("out-2"), "a run that has ended is rarely to go on");
    act(&mut app, action(plan(Fate::Finished)));
    press(&mut app, "down enter");
    assert!(matches!(app.overlays.last(), Some(Overlay::Confirm(question)) if question.danger));
    let effects = press(&mut app, "y");
    assert!(matches!(&effects[..], [Wanted::Train(Effect::Start(start::Effect::Go(request)))] if request.fresh));
}

#[test]
fn facts_are_read_once_for_many_changes() {
    let mut app = with_file("model_name_or_path: m\ndataset: d\n");
    app.train.estimate = estimate::State::default();
    let reads = |effects: &Effects| {
        effects.iter().filter(|e| matches!(e, Wanted::Train(Effect::Estimate(estimate::Effect::Read(..))))).count()
    };
    assert_eq!(reads(&edit::set(&mut app, "seed", "1")), 1);
    assert_eq!(reads(&edit::set(&mut app, "seed", "2")), 0, "one is on its way");
    let read = estimate::Msg::Facts(Err("no such folder".into()), String::new());
    assert_eq!(reads(&act(&mut app, action(Msg::Estimate(read)))), 1, "it was read for an older profile");
}

#[test]
fn every_control_of_llama_board_can_be_reached() {
    let mut app = with_file(SMALL);
    for (name, label) in board::BOARD {
        let key = Key::find(name).unwrap();
        app.train.search = Input::new(label.0.to_owned());
        app.train.count();
        assert!(app.train.rows().iter().any(|row| row.name() == key.name), "{}", label.0);
    }
}
