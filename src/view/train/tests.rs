//! The screen in its main states, at every size, in both languages.
use crate::app::train::files::{Loaded, Msg as OfFiles};
use crate::app::train::templates::TEMPLATES;
use crate::app::train::{Msg, edit, pane};
use crate::app::{Action, App, Screen, update};
use crate::view::testing::{screen, snapshots};
use lightbox_core::estimate::memory::Memory;
use lightbox_core::estimate::{Basis, Disk, Estimate, MemoryNeed, Place, Steps, Time, Tokens, Verdict};
use std::time::{Duration, Instant};

fn opened(path: &str, text: &str) -> App {
    let mut app = App { screen: Screen::Train, here: "/home/li/work".into(), ..App::default() };
    let loaded = Loaded { path: Some(path.into()), name: "x.yaml".into(), text: text.into() };
    update(&mut app, Action::Train(Msg::Files(OfFiles::Loaded(Ok(loaded), false))));
    app
}

/// The figures of the profile for MedTrinity on an H100, in the order of magnitude that the estimate gives.
fn estimate() -> Estimate {
    let parts = Memory {
        weights: 4_418_000_000,
        trained: 147_000_000,
        activations: 2_100_000_000,
        logits: 3_700_000_000,
        workspace: 900_000_000,
        total: 11_265_000_000,
    };
    let device = Place {
        name: "cuda:0".into(),
        model: Some("NVIDIA H100 80GB HBM3".into()),
        missing: false,
        free_bytes: Some(84_000_000_000),
        total_bytes: Some(85_500_000_000),
    };
    Estimate {
        device,
        memory: Some(MemoryNeed {
            basis: Basis::Computed,
            uncertainty: (0.1, 0.3),
            parts,
            at_cutoff_bytes: 14_100_000_000,
            verdict: Verdict::Fits,
        }),
        steps: Some(Steps {
            basis: Basis::Counted,
            samples: 99_900,
            eval_samples: 0,
            samples_per_update: 16,
            per_epoch: 6_244,
            total: 18_732,
            warmup: 0,
            evaluations: 0,
            answers: 0,
            epochs: 3.0,
        }),
        tokens: Some(Tokens {
            basis: Basis::Sampled,
            looked_at: 200,
            mean: 512.4,
            longest: 1_024,
            mean_in_pictures: 256.0,
            uncertainty: 0.02,
            per_update: 9_000.0,
            total: 1.536e8,
            cut_share: 0.015,
            left_out_share: 0.005,
            bad_share: 0.0,
        }),
        disk: Some(Disk {
            basis: Basis::Computed,
            checkpoint_bytes: 111_000_000,
            checkpoints_written: 187,
            checkpoints_held: 187,
            result_bytes: 37_000_000,
            logs_bytes: 9_000_000,
            total_bytes: 20_800_000_000,
            free_bytes: Some(900_000_000_000),
            verdict: Verdict::Fits,
        }),
        time: Some(Time {
            basis: Basis::Measured,
            seconds: 12_600.0,
            between: (12_000.0, 13_300.0),
            tokens_per_second: 12_190.0,
            seconds_per_update: 0.67,
            runs: vec!["a".into(), "b".into()],
            differ: vec!["per_device_train_batch_size"],
        }),
        model_numbers: Some(2_208_985_600),
        trained_numbers: Some(9_232_384),
    }
}

fn medtrinity() -> App {
    let mut app = opened("/home/li/work/profiles/medtrinity-qwen2vl-2b.yaml", TEMPLATES[0].1);
    app.train.estimate.estimate = Some(estimate());
    app.train.estimate.reading = false;
    app
}

#[test]
fn a_new_profile() {
    let mut app = App { screen: Screen::Train, here: "/home/li/work".into(), ..App::default() };
    snapshots("train-new", &mut app);
}

#[test]
fn a_profile_that_is_being_changed() {
    let mut app = medtrinity();
    for (key, value) in [("lora_rank", "32"), ("learning_rate", "1e-4"), ("image_max_pixels", "512*512")] {
        edit::set(&mut app, key, value);
    }
    app.train.estimate.reading = false;
    app.train.show("learning_rate");
    snapshots("train-form", &mut app);
}

#[test]
fn problems_and_hostile_text() {
    let text = "stage: sft\ndo_train: true\ntemplate: qwen2_vl\nlora_rank: 0\nlearning_rat: 1e-4\nuse_dora: true\n\
                dataset: \"图片\\e[31m数据集\"\noutput_dir: '/very/long/输出目录/that/does/not/end/and/goes/on/and/on/for/ever/and/ever/out'\n";
    let mut app = opened("/home/li/work/\u{1b}[2J坏.yaml", text);
    app.train.show("lora_rank");
    snapshots("train-problems", &mut app);
    app.train.show("learning_rat");
    snapshots("train-other-keys", &mut app);
}

#[test]
fn a_value_that_is_being_typed_wrongly() {
    let mut app = medtrinity();
    app.train.show("num_train_epochs");
    edit::type_in(&mut app);
    for c in "x2".chars() {
        let event =
            crossterm::event::KeyEvent::new(crossterm::event::KeyCode::Char(c), crossterm::event::KeyModifiers::NONE);
        update(&mut app, Action::Key(event));
    }
    snapshots("train-typing", &mut app);
}

#[test]
fn a_search() {
    let mut app = medtrinity();
    update(&mut app, Action::Run("train-search"));
    for c in "warm".chars() {
        let event =
            crossterm::event::KeyEvent::new(crossterm::event::KeyCode::Char(c), crossterm::event::KeyModifiers::NONE);
        update(&mut app, Action::Key(event));
    }
    snapshots("train-search", &mut app);
}

#[test]
fn the_text_with_an_error() {
    let mut app = medtrinity();
    pane::open(&mut app, Some(16));
    update(&mut app, Action::Paste("lora_rank: zwölf\n中文: \u{202e}x\u{1b}[31m\n".into()));
    snapshots("train-yaml", &mut app);
}

#[test]
fn what_differs_from_the_file_and_the_estimate_on_pages() {
    let mut app = medtrinity();
    for (key, value) in [("lora_rank", "32"), ("learning_rate", "1e-4"), ("seed", "7")] {
        edit::set(&mut app, key, value);
    }
    app.train.estimate.reading = false;
    edit::unset(&mut app, "max_samples");
    update(&mut app, Action::Run("train-compare"));
    snapshots("train-compare", &mut app);
    app.overlays.clear();
    app.settings.language = None;
    update(&mut app, Action::Run("train-estimate"));
    snapshots("train-estimate", &mut app);
    app.overlays.clear();
    app.settings.language = None;
    update(&mut app, Action::Run("train-preview"));
    snapshots("train-preview", &mut app);
}

/// In the smallest usual window the longest help is whole.
#[test]
fn no_help_is_cut_off_in_a_small_window() {
    let mut app = medtrinity();
    let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace() && *c != '│').collect::<String>();
    for lang in [crate::text::Lang::En, crate::text::Lang::Zh] {
        app.settings.language = Some(lang);
        let doc = |key: &lightbox_core::profile::Key| crate::app::train::form::doc(lang, key);
        let mut keys: Vec<_> = lightbox_core::profile::KEYS.iter().collect();
        keys.sort_by_key(|key| std::cmp::Reverse(crate::view::words::width(&doc(key))));
        for key in &keys[..4] {
            app.train.show(key.name);
            let text = screen(&mut app, 80, 24);
            assert!(squeezed(&text).contains(&squeezed(&doc(key))), "{}:\n{text}", key.name);
        }
    }
}

#[test]
#[ignore = "a measurement, for a quiet machine: cargo test --release -p lightbox --lib a_frame -- --ignored"]
fn a_frame_is_quick() {
    let mut app = medtrinity();
    screen(&mut app, 200, 60);
    let begin = Instant::now();
    for _ in 0..50 {
        screen(&mut app, 200, 60);
    }
    // two frames each, and what the test itself does
    let frame = begin.elapsed() / 100;
    eprintln!("{frame:?}");
    assert!(frame < Duration::from_millis(4), "{frame:?}");
}
