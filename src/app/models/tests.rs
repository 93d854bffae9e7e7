use super::entry::{Kind, Lack, Origin};
use super::export::{Field, Verified};
use super::work::{End, Offer, State};
use super::*;
use crate::app::action::Effect as AppEffect;
use crate::app::overlay::Overlay;
use crate::app::{App, tasks};
use crossterm::event::KeyModifiers;

fn app(entries: Vec<Entry>) -> App {
    let mut app = App { screen: Screen::Models, here: "/here".into(), ..App::default() };
    update(&mut app, Msg::Found(entries, Some(samples::disk())));
    app
}

fn press(app: &mut App, word: &str) -> Effects {
    let key = Key::parse(word).unwrap();
    crate::app::update(app, Action::Key(KeyEvent::new(key.code, key.modifiers)))
}

fn type_in(app: &mut App, text: &str) -> Effects {
    let key = |c| Action::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
    text.chars().flat_map(|c| crate::app::update(app, key(c))).collect()
}

fn own(effects: Effects) -> Vec<Effect> {
    let own = |effect| match effect {
        AppEffect::Models(effect) => Some(effect),
        _ => None,
    };
    effects.into_iter().filter_map(own).collect()
}

fn name(app: &App) -> String {
    app.models.entry().map_or_else(String::new, |entry| entry.name.clone())
}

/// Puts the cursor on an entry.
fn on(app: &mut App, name: &str) {
    let at = |row: &Row| matches!(row, Row::Entry(i) if app.models.entries[*i].name == name);
    let at = app.models.rows().iter().position(at).unwrap();
    update(app, Msg::Move(Move::To(at)));
}

fn top(app: &App) -> String {
    match app.overlays.last() {
        Some(Overlay::Confirm(confirm)) => format!("{}: {}", confirm.title, confirm.text),
        Some(Overlay::Prompt(prompt)) => format!("{}: {}", prompt.title, prompt.input.value()),
        Some(Overlay::Choose(choose)) => {
            choose.items.iter().map(|item| format!("{} = {}\n", item.label, item.detail)).collect()
        }
        other => format!("{other:?}"),
    }
}

fn message(app: &App) -> String {
    app.messages.past().next().map_or_else(String::new, |message| message.text.clone())
}

#[test]
fn the_cursor_never_stands_on_a_heading() {
    let mut app = app(samples::all());
    assert_eq!(app.models.rows()[0], Row::Bases);
    let mut seen = vec![name(&app)];
    for _ in 0..8 {
        press(&mut app, "down");
        seen.push(name(&app));
    }
    assert!(seen.iter().all(|name| !name.is_empty()), "{seen:?}");
    assert_eq!(seen.last().unwrap(), "医学图像");
    for word in ["up", "up", "up", "g", "up", "G", "pgup", "pgdn"] {
        press(&mut app, word);
        assert!(!name(&app).is_empty(), "{word}");
    }
}

#[test]
fn the_chosen_one_stays_chosen_when_the_list_is_made_anew() {
    let mut app = app(samples::all());
    on(&mut app, "receipts");
    update(&mut app, Msg::Found(samples::all().into_iter().skip(1).collect(), None));
    assert_eq!(name(&app), "receipts");
    update(&mut app, Msg::Found(Vec::new(), None));
    assert!(app.models.chosen().is_none());
}

#[test]
fn a_filter_takes_letters_and_esc_goes_back_step_by_step() {
    let mut app = app(samples::all());
    press(&mut app, "/");
    type_in(&mut app, "receiptsq");
    assert!(app.models.rows().is_empty() && !app.quit);
    press(&mut app, "backspace");
    assert_eq!((app.models.rows().len(), name(&app).as_str()), (5, "receipts-merged"));
    press(&mut app, "enter");
    press(&mut app, "tab");
    assert_eq!((app.models.typing, app.models.focus), (false, Pane::Details));
    press(&mut app, "esc");
    assert_eq!((app.models.focus, app.models.filter.value()), (Pane::List, "receipts"));
    press(&mut app, "esc");
    assert_eq!((app.models.filter.value(), name(&app).as_str()), ("", "receipts-merged"));
}

#[test]
fn a_download_asks_lists_shows_what_it_loads_and_only_then_loads() {
    let mut app = app(Vec::new());
    press(&mut app, "D");
    assert_eq!(top(&app), format!("Download a model: {}", work::SUGGESTED));
    press(&mut app, "enter");
    assert!(top(&app).ends_with(": main"));
    let effects = own(press(&mut app, "enter"));
    let [Effect::List { job, repo, revision, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((repo.as_str(), revision.as_str()), (work::SUGGESTED, "main"));
    assert_eq!(app.models.job().map(|job| job.state.clone()), Some(State::Listing));

    let offer = Offer {
        repo: repo.clone(),
        revision: revision.clone(),
        files: 12,
        bytes: 4_400_000_000,
        missing: 4_000_000_000,
        free: Some(1_000_000_000),
        cache: "/cache".into(),
        largest: vec![("model-00001-of-00002.safetensors".into(), 3_900_000_000)],
    };
    update(&mut app, Msg::Listed(*job, Ok(offer)));
    let question = top(&app);
    for word in
        ["12 files, 4.4 GB", "4.0 GB of it", "1.0 GB free in /cache", "not enough", "3.9 GB  model-00001", "11 more"]
    {
        assert!(question.contains(word), "{word}: {question}");
    }
    assert!(app.models.jobs.is_empty());
    let effects = own(press(&mut app, "y"));
    let [Effect::Download { job, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    update(&mut app, Msg::Began(*job, 7));
    crate::app::update(&mut app, Action::Task(tasks::News::Started { id: 7, title: "x".into() }));
    let effects = press(&mut app, "x");
    assert!(matches!(effects.as_slice(), [AppEffect::CancelTask(7)]), "{effects:?}");

    // stopped before its end, it is chosen as soon as it is in the list
    let mut cancelled = samples::all();
    cancelled.push(samples::base("half", samples::cached(work::SUGGESTED, false)));
    let kept = app.models.jobs.clone();
    update(&mut app, Msg::Ended(*job, End::Cancelled));
    update(&mut app, Msg::Found(cancelled, None));
    assert_eq!(name(&app), "half");
    update(&mut app, Msg::Found(Vec::new(), None));
    app.models.jobs = kept;
    app.models.cursor.at = 1;

    update(&mut app, Msg::Ended(*job, End::Failed("gated: accept the terms at …".into())));
    assert!(matches!(&app.models.job().unwrap().state, State::Failed(why) if why.contains("terms")));
    // what it has left on the disk takes the row of the failure, which is put away first
    let left = Entry {
        lack: Some(Lack::Half { here: 0, of: None }),
        ..samples::base("left", samples::cached(work::SUGGESTED, false))
    };
    update(&mut app, Msg::Found(samples::all().into_iter().skip(1).chain([left]).collect(), None));
    assert_eq!((name(&app).as_str(), app.models.job().is_some()), ("left", true));
    press(&mut app, "del");
    assert!(app.overlays.is_empty() && app.models.jobs.is_empty());
    let effects = own(press(&mut app, "r"));
    assert!(matches!(effects.as_slice(), [Effect::List { .. }]), "{effects:?}");
}

#[test]
fn what_a_repository_holds_is_no_question_while_the_user_is_elsewhere() {
    let mut app = app(samples::all());
    let effects = own(update(&mut app, Msg::Repo("https://huggingface.co/a/b@v1".into())));
    let [Effect::List { job, repo, revision, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((repo.as_str(), revision.as_str()), ("a/b", "v1"));
    press(&mut app, "?");
    let overlays = app.overlays.len();
    update(&mut app, Msg::Listed(*job, Ok(Offer { repo: "a/b".into(), missing: 1, ..Offer::default() })));
    assert_eq!((app.overlays.len(), &app.models.jobs[0].state), (overlays, &State::Offered));
}

#[test]
fn a_half_download_goes_on_with_one_key_and_is_not_asked_or_exported() {
    let mut app = app(samples::all());
    on(&mut app, "Qwen/Qwen2-VL-7B-Instruct");
    assert!(matches!(app.models.entry().unwrap().lack, Some(Lack::Half { .. })));
    for word in ["c", "t", "E"] {
        assert!(own(press(&mut app, word)).is_empty() && app.overlays.is_empty(), "{word}");
    }
    let effects = own(press(&mut app, "r"));
    let [Effect::List { repo, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(repo, "Qwen/Qwen2-VL-7B-Instruct");
    assert_eq!(app.models.rows().len(), samples::all().len() + 2, "its own row shows it");
}

#[test]
fn an_export_is_a_form_and_the_command_is_shown_before_it_runs() {
    let mut app = app(samples::all());
    on(&mut app, "receipts/checkpoint-200");
    press(&mut app, "E");
    let form = app.models.form.clone().unwrap();
    assert_eq!(form.out, PathBuf::from("/runs/receipts-checkpoint-200-merged"));
    update(&mut app, Msg::Field(Field::Dtype));
    update(&mut app, Msg::Field(Field::Verify));
    app.overlays.clear();
    update(&mut app, Msg::Shard("a lot".into()));
    assert!(message(&app).contains("5GB"), "{}", message(&app));
    update(&mut app, Msg::Out("my out".into()));
    app.overlays.clear();
    update(&mut app, Msg::Field(Field::Start));
    let command = "lightbox export --model /models/Qwen/Qwen2-VL-2B-Instruct --adapter /runs/receipts/checkpoint-200 \
                   --out '/here/my out' --dtype bf16 --shard-size 5GB";
    assert!(top(&app).replace(" \\\n ", "").ends_with(command), "{}", top(&app));
    let effects = own(press(&mut app, "enter"));
    let [Effect::Export { job, args, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(args.contains(&"--json".to_owned()) && !args.contains(&"--verify".to_owned()));

    let out = PathBuf::from("/here/my out");
    let verified =
        Verified { max_abs_diff: 2e-5, rounding: 1e-5, max_logit: 21.5, tokens_equal: true, tokens: 64, questions: 4 };
    let effects = update(&mut app, Msg::Ended(*job, End::Exported(out.clone(), Some(verified))));
    assert!(effects.iter().any(|effect| matches!(effect, AppEffect::SaveSettings)));
    assert_eq!(app.settings.exports.as_slice(), std::slice::from_ref(&out));
    assert!(message(&app).contains("/here/my out") && message(&app).contains("all 64 tokens"), "{}", message(&app));
    let mut entries = samples::all();
    entries[2].path = out.clone();
    update(&mut app, Msg::Found(entries, None));
    assert_eq!(app.models.entry().map(|entry| entry.path.clone()), Some(out), "the new folder is chosen");
}

#[test]
fn an_adapter_without_its_base_asks_for_one() {
    let mut app = app(samples::all());
    on(&mut app, "医学图像");
    press(&mut app, "E");
    update(&mut app, Msg::Field(Field::Start));
    assert!(message(&app).contains("Qwen/Qwen2-VL-7B-Instruct"), "{}", message(&app));
    app.overlays.clear();
    update(&mut app, Msg::Field(Field::Base));
    let bases = top(&app);
    assert!(bases.contains("receipts-merged") && !bases.contains("模型"), "only what is whole: {bases}");
    press(&mut app, "enter");
    assert_eq!(app.models.form.as_ref().unwrap().base, Some("/models/Qwen/Qwen2-VL-2B-Instruct".into()));
    app.overlays.clear();
    assert!(!press(&mut app, "c").iter().any(|effect| matches!(effect, AppEffect::SaveSettings)));
}

#[test]
fn only_our_own_folders_are_removed_and_only_after_a_question_that_enter_denies() {
    let mut entries = samples::all();
    entries.push(samples::base("given", Origin::Folder));
    let mut app = app(entries);
    app.settings.models = vec!["/models/given".into()];
    for (row, said) in [("receipts", "Runs screen"), ("receipts/checkpoint-200", "Runs screen")] {
        on(&mut app, row);
        press(&mut app, "del");
        assert!(app.overlays.is_empty() && message(&app).contains(said), "{row}");
    }
    for row in ["receipts-merged", "Qwen/Qwen2-VL-2B-Instruct"] {
        on(&mut app, row);
        press(&mut app, "del");
        assert!(top(&app).contains(row) && top(&app).contains("4.4 GB"), "{}", top(&app));
        assert!(own(press(&mut app, "enter")).is_empty(), "enter says no");
        press(&mut app, "del");
        let effects = own(press(&mut app, "y"));
        assert!(matches!(effects.as_slice(), [Effect::Remove { entry, .. }] if entry.name == row), "{effects:?}");
    }
    on(&mut app, "given");
    press(&mut app, "del");
    assert!(top(&app).contains("files stay"), "{}", top(&app));
    press(&mut app, "y");
    assert!(app.settings.models.is_empty());
}

#[test]
fn a_model_is_handed_to_chat_and_training() {
    let mut app = app(samples::all());
    on(&mut app, "receipts");
    press(&mut app, "c");
    assert_eq!(app.screen, Screen::Chat);
    assert_eq!(app.settings.last.model, Some("/models/Qwen/Qwen2-VL-2B-Instruct".into()));
    assert_eq!(app.settings.last.adapter, Some("/runs/receipts".into()));
    app.screen = Screen::Models;
    on(&mut app, "receipts-merged");
    assert_eq!(app.models.entry().unwrap().kind, Kind::Export);
    press(&mut app, "t");
    assert_eq!((app.screen, &app.settings.last.model), (Screen::Train, &Some("/models/receipts-merged".into())));
}

#[test]
fn a_folder_that_was_opened_is_kept_and_a_file_in_it_means_the_folder() {
    let mut app = app(Vec::new());
    let effects = own(update(&mut app, Msg::Add(vec!["/m/config.json".into()])));
    assert!(matches!(effects.as_slice(), [Effect::Add(path)] if path == Path::new("/m")), "{effects:?}");
    update(&mut app, Msg::Added(Err("/m".into())));
    assert!(app.settings.models.is_empty() && message(&app).contains("config.json"), "{}", message(&app));
    let effects = update(&mut app, Msg::Added(Ok("/m".into())));
    assert_eq!(app.settings.models, [PathBuf::from("/m")]);
    assert!(effects.iter().any(|effect| matches!(effect, AppEffect::SaveSettings)));
    let effects = own(effects);
    assert!(matches!(effects.as_slice(), [Effect::Scan(places)] if places.given.contains(&"/m".into())), "{effects:?}");
}

#[test]
fn the_menu_lists_what_can_be_done_with_the_row() {
    let mut app = app(samples::all());
    on(&mut app, "receipts");
    press(&mut app, "enter");
    let menu = top(&app);
    assert!(menu.contains("merge and export") && menu.contains("copy path") && !menu.contains("train on it"), "{menu}");
}
