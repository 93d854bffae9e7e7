use super::fixture::{app, curve, entries, gpu, news, reason, row, usual, usual_news};
use super::*;
use crate::app::overlay::Overlay;
use crate::app::runs::chart::Metric;
use crate::app::{Action, Effect as AppEffect, update as app_update};
use crossterm::event::KeyModifiers;
use lightbox_core::runs::commands::{Stop, StopWhen};
use lightbox_core::runs::record::Answers;

fn press(app: &mut App, word: &str) -> Effects {
    let key = crate::input::Key::parse(word).unwrap();
    app_update(app, Action::Key(KeyEvent::new(key.code, key.modifiers)))
}

fn type_in(app: &mut App, words: &str) {
    for c in words.chars() {
        app_update(app, Action::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)));
    }
}

/// The effects of this screen, as text.
fn asked(effects: &Effects) -> Vec<String> {
    let ours = effects.iter().filter_map(|e| if let AppEffect::Runs(e) = e { Some(format!("{e:?}")) } else { None });
    ours.collect()
}

fn told(effects: &Effects) -> Option<&Told> {
    effects.iter().find_map(|e| match e {
        AppEffect::Runs(Effect::Tell { command, .. }) => Some(command),
        _ => None,
    })
}

#[test]
fn the_first_look_shows_the_newest_live_run_and_follows_it() {
    let mut newest = row("b", Status::Finished, 9);
    newest.created_ms += 1_000;
    let mut app = App { screen: Screen::Runs, ..App::default() };
    let effects = update(&mut app, Msg::List { changed: vec![newest, row("a", Status::Running, 5)], gone: Vec::new() });
    assert_eq!(app.runs.chosen, Some("/runs/a".into()));
    assert_eq!(app.runs.list.at, 1, "the cursor is on it");
    let asked = asked(&effects).join(" ");
    assert!(asked.contains("Follow { curves: [(\"/runs/a\"") && asked.contains("run: Some((\"/runs/a\""), "{asked}");
}

#[test]
fn a_second_look_changes_rows_and_not_the_choice() {
    let mut app = app(vec![row("a", Status::Running, 5), row("b", Status::Stopped, 5)]);
    press(&mut app, "down");
    assert_eq!(app.runs.chosen, Some("/runs/b".into()));
    let mut newer = row("c", Status::Running, 1);
    newer.created_ms += 5_000;
    let gone = vec![PathBuf::from("/runs/a")];
    assert!(asked(&update(&mut app, Msg::List { changed: vec![newer], gone })).is_empty());
    assert_eq!(app.runs.chosen, Some("/runs/b".into()));
    assert_eq!((app.runs.list.at, app.runs.rows.len()), (1, 2), "the cursor stays on its run");
}

#[test]
fn a_run_that_is_gone_gives_way_to_its_neighbour() {
    let mut app = app(vec![row("a", Status::Running, 5), row("b", Status::Stopped, 5)]);
    let gone = vec![PathBuf::from("/runs/a")];
    update(&mut app, Msg::List { changed: Vec::new(), gone });
    assert_eq!(app.runs.chosen, Some("/runs/b".into()));
    update(&mut app, Msg::List { changed: Vec::new(), gone: vec!["/runs/b".into()] });
    assert_eq!(app.runs.chosen, None);
}

#[test]
fn the_end_of_a_run_is_said_with_how_and_told_to_who_looks_elsewhere() {
    let mut app = app(vec![row("a", Status::Running, 5)]);
    app.focused = false;
    let mut ended = row("a", Status::Crashed, 5);
    ended.summary.reason = reason("its worker was killed (signal 9)", "resume it");
    let effects = update(&mut app, Msg::List { changed: vec![ended], gone: Vec::new() });
    let said = app.messages.past().next().unwrap();
    assert_eq!((said.level, said.text.as_str()), (Level::Error, "a is crashed: its worker was killed (signal 9)"));
    assert!(effects.iter().any(|e| matches!(e, AppEffect::Notify(text) if text.starts_with("a is crashed"))));
    // and only once
    let again = update(&mut app, Msg::List { changed: vec![row("a", Status::Crashed, 5)], gone: Vec::new() });
    assert!(!again.iter().any(|e| matches!(e, AppEffect::Notify(_))));
}

#[test]
fn late_news_of_another_run_are_not_taken_for_this_ones() {
    let mut app = app(vec![row("a", Status::Running, 5), row("b", Status::Stopped, 5)]);
    let old = app.runs.run.token;
    let curve = app.runs.curves[&PathBuf::from("/runs/a")].token;
    press(&mut app, "down");
    update(&mut app, Msg::News(old, Box::new(usual_news(Vec::new()))));
    let path = PathBuf::from("/runs/a");
    let entries = entries(5, 1.0);
    update(&mut app, Msg::Curve { path, token: curve, entries, reset: false, whole: true, damaged: 0 });
    assert!(app.runs.run.events.is_empty() && app.runs.series().unwrap().is_empty());
}

#[test]
fn five_runs_lie_over_each_other_with_colours_that_stay() {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let mut app = app(names.map(|name| row(name, Status::Stopped, 5)).into());
    for _ in 0..5 {
        press(&mut app, "space");
    }
    assert_eq!(app.runs.chosen, Some("/runs/f".into()), "each mark goes on to the next run");
    let colours: Vec<_> = app.runs.overlaid().into_iter().map(|(n, path)| (path.display().to_string(), n)).collect();
    assert_eq!(colours[0], ("/runs/f".into(), 5), "the chosen one has the colour that is left");
    assert_eq!(app.runs.curves.len(), 6);
    press(&mut app, "space");
    assert_eq!(app.runs.marked.len(), MARKS, "no more than there are colours");
    // taking one away leaves the others theirs
    update(&mut app, Msg::Move(Part::List, Move::To(0)));
    press(&mut app, "space");
    assert!(app.runs.marked.contains(&(1, "/runs/b".into())));
    press(&mut app, "u");
    assert_eq!(app.runs.curves.len(), 1);
}

#[test]
fn pausing_waking_and_resuming_are_one_key() {
    let mut app = app(vec![row("a", Status::Running, 5)]);
    assert_eq!(told(&press(&mut app, "p")), Some(&Told::Pause));
    update(&mut app, Msg::List { changed: vec![row("a", Status::Paused, 5)], gone: Vec::new() });
    assert_eq!(told(&press(&mut app, "p")), Some(&Told::Resume));
    update(&mut app, Msg::List { changed: vec![row("a", Status::Stopped, 5)], gone: Vec::new() });
    assert!(press(&mut app, "p").is_empty());
    type_in(&mut app, "max_steps=9 'a b'");
    let effects = press(&mut app, "enter");
    let asked = asked(&effects).join("");
    assert!(
        asked.contains(r#"["runs", "resume", "/runs/a", "max_steps=9", "a b", "--json"]"#),
        "quoted as in a shell: {asked}"
    );
}

#[test]
fn stopping_asks_how_and_a_key_of_an_ended_run_does_nothing() {
    let mut app = app(vec![row("a", Status::Running, 5)]);
    press(&mut app, "s");
    type_in(&mut app, "epoch");
    let effects = press(&mut app, "enter");
    assert_eq!(told(&effects), Some(&Told::Stop(Stop { when: StopWhen::AfterEpoch, checkpoint: true })));
    update(&mut app, Msg::List { changed: vec![row("a", Status::Finished, 5)], gone: Vec::new() });
    assert!(press(&mut app, "s").is_empty() && app.overlays.is_empty());
}

#[test]
fn a_setting_that_cannot_be_is_asked_for_again_with_what_is_wrong() {
    let mut app = app(vec![row("a", Status::Running, 5)]);
    press(&mut app, "t");
    type_in(&mut app, "save_steps");
    press(&mut app, "enter");
    type_in(&mut app, "0");
    assert!(press(&mut app, "enter").is_empty());
    let Some(Overlay::Prompt(prompt)) = app.overlays.last() else { panic!("no question: {:?}", app.overlays) };
    assert!(prompt.error.as_ref().unwrap().contains("1 or more"), "{prompt:?}");
    press(&mut app, "backspace");
    type_in(&mut app, "50");
    let effects = press(&mut app, "enter");
    assert_eq!(told(&effects), Some(&Told::Set(lightbox_core::runs::edits::Edit::SaveSteps(50))));
}

#[test]
fn removing_says_first_what_is_lost_and_enter_means_no() {
    let mut app = app(vec![row("a", Status::Stopped, 5)]);
    assert_eq!(asked(&press(&mut app, "D")), ["Measure(\"/runs/a\")"]);
    let removal = Removal {
        run: "/runs/a".into(),
        name: "a".into(),
        bytes: 1_400_000_000,
        checkpoints: 3,
        foreign: vec!["thesis.tex".into()],
    };
    update(&mut app, Msg::Removal(Box::new(removal.clone())));
    let Some(Overlay::Confirm(confirm)) = app.overlays.last() else { panic!() };
    for word in ["/runs/a", "1.4 GB", "3 checkpoints", "thesis.tex"] {
        assert!(confirm.text.contains(word), "{word}: {}", confirm.text);
    }
    assert!(press(&mut app, "enter").is_empty() && app.overlays.is_empty());
    update(&mut app, Msg::Removal(Box::new(removal)));
    assert!(asked(&press(&mut app, "y"))[0].contains("Remove { run: \"/runs/a\", force: true"));
}

#[test]
fn labels_checkpoints_and_questions_are_asked_for() {
    let mut app = app(vec![row("a", Status::Running, 5)]);
    press(&mut app, "R");
    press(&mut app, "backspace");
    type_in(&mut app, "better");
    assert!(asked(&press(&mut app, "enter"))[0].contains("Name(\"better\")"));
    press(&mut app, "T");
    type_in(&mut app, "ocr  best");
    assert!(asked(&press(&mut app, "enter"))[0].contains("Tags([\"ocr\", \"best\"])"));
    press(&mut app, "c");
    type_in(&mut app, "keep");
    let effects = press(&mut app, "enter");
    assert!(
        matches!(told(&effects), Some(Told::CheckpointNow(what)) if what.pin && what.label.as_deref() == Some("keep"))
    );
    press(&mut app, "a");
    let effects = press(&mut app, "enter");
    assert!(matches!(told(&effects), Some(Told::SampleNow(what)) if what.prompt.is_none() && what.n == 1));
    assert!(matches!(told(&press(&mut app, "e")), Some(Told::EvaluateNow(_))));
}

#[test]
fn the_filter_takes_keys_and_escape_gives_all_rows_back() {
    let mut app = app(vec![row("scans", Status::Running, 5), row("receipts", Status::Stopped, 5)]);
    press(&mut app, "/");
    type_in(&mut app, "stopped");
    assert_eq!(app.runs.shown.len(), 1);
    press(&mut app, "enter");
    type_in(&mut app, "p");
    assert_eq!(app.runs.filter.value(), "stopped", "letters are commands again");
    app.overlays.clear();
    press(&mut app, "esc");
    assert_eq!(app.runs.shown.len(), 2);
}

#[test]
fn escape_is_always_one_step_back() {
    let mut app = usual();
    press(&mut app, "enter");
    press(&mut app, "z");
    press(&mut app, "left");
    assert!(app.runs.chart.cursor.is_some() && app.runs.expanded && app.runs.focus == Part::Chart);
    press(&mut app, "esc");
    assert!(app.runs.chart.cursor.is_none() && app.runs.expanded);
    press(&mut app, "esc");
    assert!(!app.runs.expanded && app.runs.focus == Part::Chart);
    press(&mut app, "esc");
    assert_eq!(app.runs.focus, Part::List);
}

#[test]
fn tab_goes_round_all_parts_and_arrows_move_in_the_one_with_the_focus() {
    let mut app = usual();
    let mut seen = vec![app.runs.focus];
    for _ in 1..Part::ALL.len() {
        press(&mut app, "tab");
        seen.push(app.runs.focus);
    }
    assert_eq!(seen, Part::ALL);
    press(&mut app, "shift-tab");
    press(&mut app, "shift-tab");
    assert_eq!(app.runs.focus, Part::Log);
    assert_eq!(app.runs.run.line.at, 39, "at the end, which it follows");
    press(&mut app, "up");
    news(&mut app, News { log: vec!["one more".into()], ..News::default() });
    assert_eq!((app.runs.run.line.at, app.runs.run.line.len), (38, 41), "who looks back is not taken to the end");
    press(&mut app, "G");
    news(&mut app, News { log: vec!["and one".into()], ..News::default() });
    assert_eq!(app.runs.run.line.at, 41);
}

#[test]
fn metric_scale_and_axis_have_keys() {
    let mut app = usual();
    press(&mut app, "m");
    press(&mut app, "l");
    press(&mut app, "x");
    press(&mut app, "S");
    let chart = &app.runs.chart;
    assert_eq!((chart.metric, chart.log, chart.axis, chart.smoothing), (Metric::Lr, true, series::Axis::Time, 1));
    press(&mut app, "M");
    assert_eq!(app.runs.chart.metric, Metric::Loss);
    press(&mut app, "+");
    assert!(app.runs.chart.window.is_some());
    press(&mut app, "0");
    assert!(app.runs.chart.window.is_none());
}

#[test]
fn metrics_of_answers_are_offered_where_a_run_has_some() {
    let mut app = usual();
    let round = |app: &mut App| {
        let mut seen = vec![app.runs.chart.metric];
        loop {
            press(app, "m");
            if app.runs.chart.metric == seen[0] {
                return seen;
            }
            seen.push(app.runs.chart.metric);
        }
    };
    assert_eq!(round(&mut app), Metric::ALL[..5]);
    let answers = Answers { n: 32, bleu_4: 31.25, exact_match: 12.5, ..Answers::default() };
    let eval = series::Eval { step: 400, secs: 1_200.0, loss: 1.0, answers: Some(answers) };
    curve(&mut app, "receipts", vec![series::Entry::Eval(eval)]);
    assert_eq!(round(&mut app), Metric::ALL);
    assert_eq!((Metric::Bleu4.of_eval(&eval), Metric::ExactMatch.of_eval(&eval)), (Some(31.25), Some(12.5)));
    assert_eq!((Metric::Loss.of_eval(&eval), Metric::Lr.of_eval(&eval)), (Some(1.0), None));
}

#[test]
fn this_machine_is_measured_only_while_it_is_seen_and_no_run_measures_it() {
    let mut app = app(vec![row("a", Status::Running, 5)]);
    app.size = (200, 60);
    let ended = update(&mut app, Msg::List { changed: vec![row("a", Status::Stopped, 5)], gone: Vec::new() });
    assert_eq!(asked(&ended), ["Monitor(true)"]);
    assert_eq!(asked(&app.go(Screen::Chat))[..2], ["Seen(false)", "Monitor(false)"]);
    assert_eq!(asked(&app.go(Screen::Runs)), ["Seen(true)", "Monitor(true)"]);
    // where it has no place of its own it has to be called
    app.size = (80, 24);
    assert_eq!(asked(&press(&mut app, "tab")), ["Monitor(false)"]);
    press(&mut app, "tab");
    assert_eq!((asked(&press(&mut app, "tab")), app.runs.focus), (vec!["Monitor(true)".to_owned()], Part::Machine));
    assert_eq!(asked(&press(&mut app, "esc")), ["Monitor(false)"]);
}

#[test]
fn the_tabs_tell_how_all_live_runs_stand() {
    let mut app = app(vec![row("a", Status::Running, 625), row("b", Status::Paused, 0), row("c", Status::Failed, 9)]);
    assert_eq!(summary(&app), "1 running · 1 paused · 25 % · 1h20m left");
    app.runs.rows.clear();
    assert_eq!(summary(&app), "");
}

#[test]
fn a_run_that_was_just_started_is_shown_before_the_list_knows_it() {
    let mut app = app(Vec::new());
    app.screen = Screen::Train;
    let effects = app_update(&mut app, Action::Runs(Msg::Chosen("/runs/new".into())));
    assert_eq!(app.screen, Screen::Runs);
    let asked = asked(&effects).join(" ");
    assert!(asked.contains("/runs/new") && asked.contains("Look"), "{asked}");
    update(&mut app, Msg::List { changed: vec![row("new", Status::Preparing, 0)], gone: Vec::new() });
    curve(&mut app, "new", entries(3, 1.0));
    news(&mut app, usual_news(vec![gpu(0)]));
    assert_eq!(app.runs.row().unwrap().summary.name, "new");
}

#[test]
fn the_queue_is_listed_and_each_item_can_be_moved() {
    let mut app = app(Vec::new());
    assert_eq!(asked(&press(&mut app, "Q")), ["ReadQueue"]);
    let item = |id: &str| QueueItem {
        id: id.into(),
        name: "night".into(),
        slot: "cuda:0".into(),
        state: lightbox_core::runs::queue::State::Waiting,
        dir: "/runs/night".into(),
    };
    update(&mut app, Msg::Queue(vec![item("q1"), item("q2")]));
    press(&mut app, "down");
    press(&mut app, "enter");
    type_in(&mut app, "first");
    assert!(asked(&press(&mut app, "enter"))[0].contains("id: \"q2\", order: First"));
}

#[test]
fn a_click_on_the_chart_sets_the_cursor_and_the_wheel_zooms() {
    let mut app = usual();
    crate::view::testing::screen(&mut app, 120, 40);
    let area = app.hits.lists[Part::Chart.list()].area;
    let mouse = |kind| {
        Action::Mouse(crossterm::event::MouseEvent {
            kind,
            column: area.x + area.width / 2,
            row: area.y + 3,
            modifiers: KeyModifiers::NONE,
        })
    };
    let click = crossterm::event::MouseEventKind::Down(crossterm::event::MouseButton::Left);
    app_update(&mut app, mouse(click));
    let cursor = app.runs.chart.cursor.unwrap();
    assert!((200.0..=220.0).contains(&cursor), "{cursor}");
    app_update(&mut app, mouse(crossterm::event::MouseEventKind::ScrollUp));
    assert!(app.runs.chart.window.is_some_and(|w| w.width < 419.0));
}
