use super::super::testing::{screen, snapshots};
use crate::app::models::export::Verified;
use crate::app::models::work::{Job, State, Work};
use crate::app::models::{Msg, Row, samples, update as tell};
use crate::app::tasks::{News, Progress};
use crate::app::{Action, App, Screen, overlay, update};
use crate::text::Lang;
use tui_input::Input;

fn app() -> App {
    let mut app = App { screen: Screen::Models, ..App::default() };
    tell(&mut app, Msg::Found(samples::all(), Some(samples::disk())));
    app
}

fn on(app: &mut App, name: &str) {
    let at = |row: &Row| matches!(row, Row::Entry(i) if app.models.entries[*i].name == name);
    app.models.cursor.at = app.models.rows().iter().position(at).unwrap();
}

#[test]
fn models_and_adapters_in_a_list_and_one_of_them_in_full() {
    let mut app = app();
    snapshots("models-base", &mut app);
    on(&mut app, "receipts/checkpoint-200");
    snapshots("models-adapter", &mut app);
}

#[test]
fn without_a_model_the_screen_says_how_to_get_one() {
    let mut app = App { screen: Screen::Models, ..App::default() };
    assert!(screen(&mut app, 80, 24).contains("loading"));
    tell(&mut app, Msg::Found(Vec::new(), Some(samples::disk())));
    snapshots("models-empty", &mut app);
}

#[test]
fn what_is_under_way_shows_its_progress_in_its_row_and_what_failed_says_why() {
    let mut app = app();
    let download = |repo: &str| Work::Download { repo: repo.into(), revision: "main".into() };
    let why = "model meta/Gated is gated: its owners ask to accept terms at https://huggingface.co/meta/Gated; accept \
               them there, make a token in your account's settings, and set HF_TOKEN to it";
    app.models.jobs = vec![
        Job { id: 1, work: download("Qwen/Qwen2-VL-7B-Instruct"), task: Some(1), state: State::Running },
        Job { id: 2, work: Work::Export { out: "/runs/receipts-merged".into() }, task: Some(2), state: State::Running },
        Job { id: 3, work: download("meta/Gated"), task: None, state: State::Failed(why.into()) },
        Job { id: 4, work: download("Qwen/Other"), task: None, state: State::Listing },
    ];
    for (id, done, note) in [
        (1, 4_150_000_000, "85.0 MB/s · 2m 26s · model-00002-of-00005.safetensors"),
        (2, 15_000_000_000, "model-00001-of-00001.safetensors"),
    ] {
        update(&mut app, Action::Task(News::Started { id, title: "download".into() }));
        let progress = Progress { done, total: 16_600_000_000, bytes: true, note: note.into() };
        update(&mut app, Action::Task(News::Progress(id, progress)));
    }
    on(&mut app, "Qwen/Qwen2-VL-7B-Instruct");
    snapshots("models-busy", &mut app);
    app.models.cursor.at = app.models.rows().iter().position(|row| *row == Row::Job(2)).unwrap();
    snapshots("models-failed", &mut app);
}

#[test]
fn hostile_and_long_names_a_filter_and_a_verified_export() {
    let mut app = app();
    app.models.cursor.at = 4;
    app.models.top = 3;
    snapshots("models-hostile", &mut app);
    assert!(!screen(&mut app, 200, 60).contains('\u{1b}'));
    let found = Verified {
        max_abs_diff: 3.1e-2,
        rounding: 2.9e-2,
        max_logit: 31.4,
        tokens_equal: true,
        tokens: 64,
        questions: 4,
    };
    app.models.verified.insert("/models/receipts-merged".into(), found);
    (app.models.filter, app.models.typing, app.models.top) = (Input::new("receipts".into()), true, 0);
    tell(&mut app, Msg::Found(samples::all(), None));
    on(&mut app, "receipts-merged");
    snapshots("models-filter", &mut app);
}

#[test]
fn the_form_of_an_export_fits_a_small_screen() {
    let mut app = app();
    on(&mut app, "receipts");
    for (lang, code) in [(Lang::En, "en"), (Lang::Zh, "zh")] {
        app.settings.language = Some(lang);
        app.overlays.clear();
        update(&mut app, Action::Run("models-export"));
        insta::assert_snapshot!(format!("models-form-{code}"), screen(&mut app, 80, 24));
        // Start: the last question
        update(&mut app, Action::Overlay(overlay::Msg::Pick(0)));
        insta::assert_snapshot!(format!("models-form-question-{code}"), screen(&mut app, 80, 24));
    }
}
