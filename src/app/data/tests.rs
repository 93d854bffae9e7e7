//! States for tests, and what keys and results make of them.
use super::manage::Removed;
use super::open::*;
use super::seen::*;
use super::*;
use crate::app::{Effect as AppEffect, Screen, update as update_app};
use crossterm::event::{KeyCode, KeyModifiers};
use lightbox_core::data::{FoundKind, ImageRef, PartFile, Stats, Summary};

fn entry(name: &str, bytes: u64) -> Found {
    Found {
        name: name.into(),
        dataset_dir: "/home/u/data".into(),
        path: format!("/home/u/data/{name}/{name}.json").into(),
        kind: FoundKind::Named,
        bytes,
        problem: None,
    }
}

fn part(name: &str, rows: usize) -> PartInfo {
    let path = format!("/home/u/data/{name}/{name}.json").into();
    PartInfo {
        name: name.into(),
        format: "sharegpt",
        file_type: "json",
        files: vec![PartFile { path, rows }],
        rows,
        samples: rows,
        image_column: Some("images".into()),
        notes: vec![],
    }
}

pub fn empty() -> App {
    App { screen: Screen::Data, here: "/home/u".into(), size: (120, 40), ..App::default() }
}

/// Three sets are found, none is open.
pub fn found() -> App {
    let mut app = empty();
    let mut parquet = entry("train-00000-of-00001", 404_000_000);
    (parquet.kind, parquet.name) = (FoundKind::Parquet, "/home/u/hub/medtrinity/train-00000-of-00001.parquet".into());
    parquet.path = parquet.name.clone().into();
    let mut gone = entry("gone", 0);
    gone.problem = Some("file /home/u/data/gone.json not found".into());
    let found = vec![entry("phantoms", 331_000), entry("病例数据集", 12_900), gone, parquet];
    update_app(&mut app, Action::Data(Msg::Found { found, notes: vec![], complete: true }));
    app
}

/// Opens the first set with so many rows.
pub fn with_rows(rows: usize) -> App {
    let mut app = found();
    press(&mut app, "enter");
    let (id, _) = app.data.opening.clone().unwrap();
    update_app(&mut app, Action::Data(Msg::Opened(id, Ok((rows, vec![part("phantoms", rows)])))));
    app
}

fn good(question: &str, answer: &str, turns: usize, pictures: usize) -> Row {
    Row::Good { question: question.into(), answer: answer.into(), turns, pictures }
}

pub const ANSWER: &str = "This is a simulated non-contrast CT image of the head, with the skull, the brain tissue and both ventricles visible. The region of interest, located on the left side, is a small lesion of increased density, which may suggest a hemorrhage.";

pub fn opened() -> App {
    let mut app = with_rows(600);
    let id = app.data.open.as_ref().unwrap().id;
    let rows = (0..120).map(|i| {
        (
            i,
            match i % 5 {
                0 => good("What is the diagnosis in the image?", ANSWER, 1, 1),
                1 => good("图片中的诊断结果是怎样？", "这是一张模拟的头部非增强 CT 图像，左侧可见小病灶。", 1, 1),
                2 => good("Compare both.", "The second has the lesion.", 3, 2),
                3 => good("Hello", "Hello, how can I help you?", 1, 0),
                _ => Row::Bad("odd_turns: the conversation has 3 turns, so the last one is not an answer".into()),
            },
        )
    });
    update_app(&mut app, Action::Data(Msg::Rows(id, rows.collect())));
    show(
        &mut app,
        Shown {
            index: 0,
            origin: "/home/u/data/phantoms/phantoms.json:2".into(),
            images: vec![ImageRef::File("/home/u/data/phantoms/0.png".into())],
            turns: vec![
                (Who::User, "<image>What is the diagnosis in the image?".into()),
                (Who::Assistant, ANSWER.into()),
            ],
            more: 0,
            problem: None,
        },
    );
    app
}

fn show(app: &mut App, shown: Shown) {
    let id = app.data.open.as_ref().unwrap().id;
    update_app(app, Action::Data(Msg::Shown(id, Arc::new(shown))));
}

pub fn millions() -> App {
    let mut app = with_rows(25_000_000);
    press(&mut app, "G");
    app
}

pub fn failed() -> App {
    let mut app = found();
    press(&mut app, "enter");
    let (id, _) = app.data.opening.clone().unwrap();
    let why = "data file /home/u/data/phantoms/phantoms.json: no known layout: it has the keys a, b, c; describe it in a dataset_info.json and name it there";
    update_app(&mut app, Action::Data(Msg::Opened(id, Err(why.into()))));
    app
}

fn view() -> SeenView {
    let text = |text: &str, look| Part::Text(text.into(), look);
    let token = |id, text: &str, look| Token { id, text: text.into(), look };
    SeenView {
        parts: vec![
            text("<|im_start|>", Look::Special),
            text("system\nYou are a helpful assistant.", Look::Context),
            text("<|im_end|>", Look::Special),
            text("\n", Look::Context),
            text("<|im_start|>", Look::Special),
            text("user\n", Look::Context),
            text("<|vision_start|>", Look::Special),
            Part::Picture { number: 1, tokens: 16, across: 4, down: 4, look: Look::Picture },
            text("<|vision_end|>", Look::Special),
            text("What is the diagnosis in the image?", Look::Context),
            text("<|im_end|>", Look::Special),
            text("\n", Look::Context),
            text(ANSWER, Look::Trained),
            text(" 以及会被截断的文字。", Look::Cut),
        ],
        tokens: [
            token(151644, "<|im_start|>", Look::Special),
            token(8948, "system", Look::Context),
            token(151655, "<|image_pad|>", Look::Picture),
            token(1986, "This", Look::Trained),
            token(374, " is", Look::Trained),
            token(100, "\\xE4", Look::Cut),
        ]
        .into(),
        n_tokens: 128,
        n_image: 16,
        n_target: 64,
        cut: 9,
        cutoff_len: 128,
        refused: None,
        model: "/home/u/lightbox-demo/model".into(),
        profile: Some("/home/u/lightbox-demo/demo.yaml".into()),
    }
}

pub fn seen() -> App {
    let mut app = opened();
    press(&mut app, "t");
    let id = app.data.open.as_ref().unwrap().id;
    update_app(&mut app, Action::Data(Msg::Seen(id, 0, Ok(Arc::new(view())))));
    app
}

pub fn tokens() -> App {
    let mut app = seen();
    press(&mut app, "T");
    app
}

pub fn searching() -> App {
    let mut app = opened();
    let effects = update_app(&mut app, Action::Data(Msg::Search("lesion pictures:>0".into())));
    let (id, number) = searched(&effects).unwrap();
    update_app(&mut app, Action::Data(Msg::Matches(id, number, vec![0, 2, 5, 7, 10, 102], 256)));
    app
}

fn searched(effects: &Effects) -> Option<(SetId, u64)> {
    effects.iter().find_map(|effect| match effect {
        AppEffect::Data(Effect::Search { id, number, .. }) => Some((*id, *number)),
        _ => None,
    })
}

fn problem(index: usize, kind: &'static str, reason: &str) -> Problem {
    Problem { index, origin: format!("phantoms.json:{index}"), kind, reason: reason.into() }
}

pub fn problems() -> App {
    let mut app = opened();
    press(&mut app, "c");
    let id = app.data.open.as_ref().unwrap().id;
    let found = vec![
        problem(4, "odd_turns", "the conversation has 3 turns, so the last one is not an answer"),
        problem(17, "image_missing", "\"图片/不存在.png\" not found; tried /home/u/data/图片/不存在.png"),
        problem(333, "image_truncated", "picture 333.png: the file ends too early"),
    ];
    update_app(&mut app, Action::Data(Msg::Problems(id, found, 400)));
    app
}

pub fn statistics() -> App {
    let mut app = opened();
    press(&mut app, "h");
    let id = app.data.open.as_ref().unwrap().id;
    let spread = |n: u64, width: u64| Summary::of((0..n).map(|i| 20 + i * i * width / n / n).collect());
    let stats = Stats {
        samples: 20_000,
        complete: true,
        good: 19_990,
        problems: Default::default(),
        text_only: 1_200,
        turns: Summary::of([1, 1, 1, 1, 2, 2, 3].into()),
        images_per_sample: Summary::of([0, 1, 1, 1, 1, 2].into()),
        image_width: Summary::of(vec![512; 9]),
        image_height: spread(500, 900),
        answer_characters: spread(600, 2_000),
        tokens: spread(600, 3_000),
        picture_tokens: Summary::of(vec![324; 9]),
        label_tokens: spread(600, 800),
        truncated: Some(37),
    };
    let measured = Measured { stats, of: 25_000_000, cutoff_len: Some(2048) };
    update_app(&mut app, Action::Data(Msg::Measured(id, Ok(Arc::new(measured)))));
    app
}

/// As the link makes it of what a hostile file holds.
pub fn hostile() -> App {
    let mut app = opened();
    let text =
        "\x1b]0;title\x07\x1b[2J\u{202e}gnirts\u{200b} e\u{301}\u{301}\u{301} 👩‍👩‍👧‍👦 ＡＢＣ تجربة\n\tx\r\n".repeat(8);
    let conversation = lightbox_core::text::Conversation {
        system: Some(text.clone()),
        tools: None,
        messages: vec![
            lightbox_core::text::Message { role: lightbox_core::text::Role::User, content: format!("<image>{text}") },
            lightbox_core::text::Message { role: lightbox_core::text::Role::Assistant, content: text.clone() },
        ],
    };
    let origin = "/home/u/\x1b[31m.json:1".to_owned();
    let sample = lightbox_core::data::Sample { conversation, images: vec![], origin, image_labels: None };
    show(&mut app, Shown::new(0, sample));
    let id = app.data.open.as_ref().unwrap().id;
    let line = clean_line(&text, 200);
    update_app(&mut app, Action::Data(Msg::Rows(id, vec![(0, good(&line, &line, 1, 1)), (1, Row::Bad(line.clone()))])));
    app
}

pub fn press(app: &mut App, word: &str) -> Effects {
    let key = Key::parse(word).unwrap();
    let event = KeyEvent::new(key.code, key.modifiers | KeyModifiers::NONE);
    update_app(app, Action::Key(event))
}

fn asked_sample(effects: &Effects) -> Option<usize> {
    effects.iter().find_map(|effect| match effect {
        AppEffect::Data(Effect::Sample(_, index)) => Some(*index),
        _ => None,
    })
}

fn asked_rows(effects: &Effects) -> Option<Vec<usize>> {
    effects.iter().find_map(|effect| match effect {
        AppEffect::Data(Effect::Rows(_, rows)) => Some(rows.clone()),
        _ => None,
    })
}

fn type_line(app: &mut App, line: &str) -> Effects {
    for c in line.chars() {
        update_app(app, Action::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)));
    }
    press(app, "enter")
}

fn open_of(app: &App) -> &Open {
    app.data.open.as_ref().unwrap()
}

#[test]
fn the_end_of_25_million_rows_is_one_key_away_and_little_is_asked_for_and_kept() {
    let mut app = with_rows(25_000_000);
    assert_eq!(app.data.samples(), 25_000_000);
    let effects = press(&mut app, "G");
    assert_eq!(asked_sample(&effects), Some(24_999_999));
    let rows = asked_rows(&effects).unwrap();
    assert!(rows.contains(&24_999_999) && rows.len() <= 200, "{}", rows.len());
    let id = open_of(&app).id;
    for at in 0..100 {
        let rows = (at * 100..at * 100 + 100).map(|i| (i, good("q", "a", 1, 0))).collect();
        update_app(&mut app, Action::Data(Msg::Rows(id, rows)));
    }
    assert!(open_of(&app).rows.len() <= 2_000);
    press(&mut app, "g");
    assert_eq!(open_of(&app).index(), Some(0));
}

#[test]
fn rows_that_are_on_their_way_are_not_asked_for_twice() {
    let mut app = with_rows(1_000);
    assert_eq!(asked_rows(&press(&mut app, "j")), None, "asked for when the set was opened");
    let effects = press(&mut app, "G");
    assert!(asked_rows(&effects).is_some());
    assert_eq!(asked_rows(&press(&mut app, "k")), None);
}

#[test]
fn what_comes_late_for_another_set_or_sample_is_not_shown() {
    let mut app = opened();
    press(&mut app, "j");
    let late = Shown { index: 7, origin: String::new(), images: vec![], turns: vec![], more: 0, problem: None };
    show(&mut app, late.clone());
    assert_eq!(open_of(&app).shown.as_ref().unwrap().index, 0);
    let other = open_of(&app).id + 1;
    update_app(&mut app, Action::Data(Msg::Rows(other, vec![(500, good("q", "a", 1, 0))])));
    assert!(open_of(&app).rows.get(500).is_none());
}

#[test]
fn opening_is_cancelled_by_esc_and_the_set_before_stays() {
    let mut app = opened();
    press(&mut app, "esc");
    assert_eq!(app.data.focus, Pane::Sets);
    press(&mut app, "j");
    press(&mut app, "enter");
    let (id, _) = app.data.opening.clone().unwrap();
    press(&mut app, "esc");
    update_app(&mut app, Action::Data(Msg::Opened(id, Ok((3, vec![])))));
    assert_eq!(open_of(&app).source.name, "phantoms");
}

#[test]
fn an_opened_set_is_remembered_and_saved() {
    let mut app = found();
    press(&mut app, "enter");
    let (id, _) = app.data.opening.clone().unwrap();
    let effects = update_app(&mut app, Action::Data(Msg::Opened(id, Ok((3, vec![part("phantoms", 3)])))));
    assert!(effects.iter().any(|effect| matches!(effect, AppEffect::SaveSettings)));
    assert_eq!(app.settings.last.dataset_dir, Some(PathBuf::from("/home/u/data")));
    assert_eq!(app.data.focus, Pane::List);
}

#[test]
fn a_jump_takes_numbers_and_percentages_and_says_what_it_does_not_take() {
    assert_eq!(parse_place("17", 100), Some(17));
    assert_eq!(parse_place(" 24,999,999 ", 25_000_000), Some(24_999_999));
    assert_eq!(parse_place("50%", 101), Some(50));
    assert_eq!(parse_place("100%", 7), Some(6));
    for bad in ["", "x", "-1", "100", "101%", "NaN%"] {
        assert_eq!(parse_place(bad, 100), None, "{bad}");
    }
    assert_eq!(parse_place("0", 0), None);
    let mut app = with_rows(1_000);
    press(&mut app, "J");
    type_line(&mut app, "5000");
    assert!(matches!(app.overlays.last(), Some(crate::app::overlay::Overlay::Prompt(p)) if p.error.is_some()));
    let effects = type_line(&mut app, "900");
    assert_eq!(asked_sample(&effects), Some(900));
    assert!(app.overlays.is_empty());
}

#[test]
fn a_search_lists_matches_as_they_come_and_esc_keeps_the_chosen_one() {
    let mut app = searching();
    assert_eq!((open_of(&app).listed(), open_of(&app).index()), (6, Some(0)));
    press(&mut app, "G");
    assert_eq!(open_of(&app).index(), Some(102));
    let id = open_of(&app).id;
    update_app(&mut app, Action::Data(Msg::Matches(id, 1, vec![555], 300)));
    assert_eq!(open_of(&app).listed(), 6, "a result of another search");
    press(&mut app, "esc");
    assert_eq!((open_of(&app).listed(), open_of(&app).index()), (600, Some(102)));
}

#[test]
fn a_line_that_is_no_query_is_asked_for_again_with_the_reason() {
    let mut app = opened();
    press(&mut app, "/");
    type_line(&mut app, "pictures:many");
    let Some(crate::app::overlay::Overlay::Prompt(prompt)) = app.overlays.last() else { panic!() };
    assert!(prompt.error.as_ref().unwrap().contains("pictures:3..9"));
    assert_eq!(prompt.input.value(), "pictures:many");
    press(&mut app, "esc");
    assert!(open_of(&app).filter.is_none());
}

#[test]
fn a_problem_leads_to_its_sample() {
    let mut app = problems();
    press(&mut app, "j");
    assert_eq!(open_of(&app).index(), Some(17), "moving shows the sample at once");
    press(&mut app, "enter");
    assert_eq!((open_of(&app).mode, open_of(&app).list.at), (Mode::Samples, 17));
    let id = open_of(&app).id;
    update_app(&mut app, Action::Data(Msg::Checked(id, true)));
    assert_eq!(app.data.known[&open_of(&app).source].problems, Some(3));
}

#[test]
fn what_the_model_sees_follows_the_chosen_sample() {
    let mut app = opened();
    let wanted = |effects: &Effects| {
        effects.iter().find_map(|effect| match effect {
            AppEffect::Data(Effect::Seen(_, index, by)) => Some((*index, by.cutoff_len)),
            _ => None,
        })
    };
    assert_eq!(wanted(&press(&mut app, "t")), Some((0, None)));
    press(&mut app, "tab");
    app.data.focus = Pane::List;
    assert_eq!(wanted(&press(&mut app, "j")), Some((1, None)));
    press(&mut app, "L");
    assert_eq!(wanted(&type_line(&mut app, "64")), Some((1, Some(64))));
    press(&mut app, "t");
    app.data.focus = Pane::List;
    assert_eq!(wanted(&press(&mut app, "j")), None, "not shown, so not asked for");
}

#[test]
fn zoomed_panes_follow_enter_and_esc_and_esc_leaves_the_zoom_last() {
    let mut app = opened();
    press(&mut app, "z");
    press(&mut app, "enter");
    assert_eq!((app.data.focus, app.data.zoom), (Pane::Detail, true));
    press(&mut app, "esc");
    assert_eq!((app.data.focus, app.data.zoom), (Pane::List, true));
    press(&mut app, "esc");
    assert_eq!((app.data.focus, app.data.zoom), (Pane::List, false));
    press(&mut app, "esc");
    assert_eq!(app.data.focus, Pane::Sets);
}

#[test]
fn nothing_acts_on_samples_that_what_is_being_opened_covers() {
    let mut app = opened();
    press(&mut app, "esc");
    press(&mut app, "j");
    press(&mut app, "enter");
    app.data.focus = Pane::List;
    let before = open_of(&app).list.at;
    press(&mut app, "G");
    assert!(press(&mut app, "J").is_empty() && app.overlays.is_empty());
    assert_eq!(open_of(&app).list.at, before);
}

#[test]
fn tab_goes_through_the_panes_that_are_there() {
    let mut app = opened();
    let mut seen = vec![app.data.focus];
    for _ in 0..3 {
        press(&mut app, "tab");
        seen.push(app.data.focus);
    }
    assert_eq!(seen, [Pane::List, Pane::Detail, Pane::Sets, Pane::List]);
    press(&mut app, "[");
    press(&mut app, "tab");
    press(&mut app, "tab");
    assert_eq!(app.data.focus, Pane::List, "the hidden pane is left out");
}

#[test]
fn an_entry_is_taken_out_after_a_question_and_put_back_by_u() {
    let mut app = found();
    let effects = press(&mut app, "del");
    assert!(effects.is_empty() && app.overlays.len() == 1);
    press(&mut app, "enter");
    assert!(app.overlays.is_empty(), "enter means no");
    press(&mut app, "del");
    let effects = press(&mut app, "y");
    assert!(
        matches!(effects.as_slice(), [AppEffect::Data(Effect::Manage(manage::Effect::Unregister(source)))] if source.name == "phantoms")
    );
    let removed = Removed { source: open_source(), entry: serde_json::json!({"file_name": "a.json"}) };
    update_app(&mut app, Action::Data(Msg::Manage(manage::Msg::Removed(removed.clone()))));
    let effects = press(&mut app, "u");
    assert!(
        matches!(effects.as_slice(), [AppEffect::Data(Effect::Manage(manage::Effect::PutBack(back)))] if *back == removed)
    );
    assert!(app.data.manage.removed.is_empty());
}

fn open_source() -> Source {
    Source { dir: "/home/u/data".into(), name: "phantoms".into() }
}

#[test]
fn a_conversion_is_asked_for_in_three_lines() {
    let mut app = found();
    press(&mut app, "G");
    press(&mut app, "C");
    press(&mut app, "enter");
    press(&mut app, "enter");
    let effects = press(&mut app, "enter");
    let [AppEffect::Data(Effect::Manage(manage::Effect::Convert { form, .. }))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (form.out.to_str(), form.name.as_str(), form.folder.as_str()),
        (Some("/home/u/data"), "mllm_med", "mllm_data")
    );
    assert_eq!(form.questions.len(), 1);
}

#[test]
fn the_scroll_bar_reaches_both_ends() {
    let mut app = with_rows(25_000_000);
    crate::view::testing::screen(&mut app, 120, 40);
    update_app(&mut app, Action::Data(Msg::Bar(1_000)));
    assert_eq!(open_of(&app).list.at, 24_999_999);
    update_app(&mut app, Action::Data(Msg::Bar(0)));
    assert_eq!(open_of(&app).list.at, 0);
}

#[test]
fn a_pasted_path_is_opened_and_other_text_is_not() {
    let mut app = empty();
    let effects = update_app(&mut app, Action::Paste("/data/a b.jsonl\n".into()));
    assert!(
        matches!(effects.as_slice(), [AppEffect::Data(Effect::LookAt(path, _))] if path == Path::new("/data/a b.jsonl"))
    );
    assert!(update_app(&mut app, Action::Paste("hello".into())).is_empty());
}

#[test]
fn entering_the_screen_again_changes_nothing_that_is_chosen() {
    let mut app = opened();
    (0..5).for_each(|_| drop(press(&mut app, "j")));
    update_app(&mut app, Action::Go(Screen::Train));
    let effects = update_app(&mut app, Action::Go(Screen::Data));
    assert!(effects.iter().any(|effect| matches!(effect, AppEffect::Data(Effect::Discover(_)))));
    let found = vec![entry("another", 1), entry("phantoms", 331_000)];
    update_app(&mut app, Action::Data(Msg::Found { found, notes: vec![], complete: true }));
    assert_eq!((open_of(&app).list.at, app.data.focus, app.data.sets.at), (5, Pane::List, 1));
}
