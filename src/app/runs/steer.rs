//! What a run can be told, and the questions before it. Nothing is done here: each answer ends in an [`Effect`], and what
//! came of that is said when the run's answer is there.
use super::super::messages::Level;
use super::super::overlay::{Item, Overlay};
use super::{Effect, Effects, Msg, Part, effect, follow};
use crate::app::{Action, App};
use crate::cli::runs::control;
use crate::text::{T, runs as text};
use crate::view::words;
use lightbox_core::runs::commands::{CheckpointNow, Command, EvaluateNow, SampleNow, Stop, StopWhen};
use lightbox_core::runs::state::Status;
use lightbox_core::safe_text::clean_line;
use std::path::PathBuf;

/// What a line of text was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Name,
    Tags,
    Note,
    CheckpointLabel,
    Prompt,
    Setting,
    ResumeWith,
    ForkWith,
}

/// A change of what people say about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    Name(String),
    /// All of them.
    Tags(Vec<String>),
    Note(String),
    Archived(bool),
}

/// What removing a run would cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub run: PathBuf,
    pub name: String,
    pub bytes: u64,
    pub checkpoints: usize,
    /// What lies in the folder and is not a run's.
    pub foreign: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueItem {
    pub id: String,
    pub name: String,
    pub slot: String,
    pub state: lightbox_core::runs::queue::State,
    pub dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueOrder {
    Up,
    Down,
    First,
    Last,
    Remove,
}

/// The settings that may be changed while a run goes on, and what each does.
pub const SETTINGS: [(&str, T); 6] = [
    ("lr_scale", text::SET_LR_SCALE),
    ("max_steps", text::SET_MAX_STEPS),
    ("save_steps", text::SET_SAVE_STEPS),
    ("eval_steps", text::SET_EVAL_STEPS),
    ("logging_steps", text::SET_LOGGING_STEPS),
    ("skip_sample", text::SET_SKIP_SAMPLE),
];

pub(super) fn update(app: &mut App, msg: Msg) -> Effects {
    let lang = app.lang();
    match msg {
        Msg::Tell(run, command) => {
            app.say(Level::Info, text::ASKED.fill(lang, &[&text::command(&command, lang)]));
            vec![effect(Effect::Tell { run, command, lang })]
        }
        Msg::Typed(asked, words) => typed(app, asked, &words),
        Msg::SetKey(key) => set_key(app, key),
        Msg::Removal(removal) => removal_known(app, *removal),
        Msg::Remove(run, force) => vec![effect(Effect::Remove { run, force, lang })],
        Msg::Queue(items) => queue(app, items),
        Msg::QueueItem(item) => queue_item(app, &item),
        Msg::QueueDo(id, order) => vec![effect(Effect::Queue { id, order, lang })],
        Msg::Export(png) => export(app, png),
        Msg::Resume(run) => resume(app, run, ""),
        _ => Vec::new(),
    }
}

/// The chosen run: folder, name, state.
pub(super) fn target(app: &App) -> Option<(PathBuf, String, Status)> {
    let row = app.runs.row()?;
    Some((row.path.clone(), clean_line(&row.summary.name, 80), row.summary.state))
}

fn tell(app: &mut App, command: Command) -> Effects {
    match target(app) {
        Some((run, ..)) => update(app, Msg::Tell(run, command)),
        None => Vec::new(),
    }
}

/// Pauses a run, wakes a paused one, and asks how an ended one should go on.
pub(super) fn pause(app: &mut App) -> Effects {
    match target(app) {
        Some((_, _, Status::Paused)) => tell(app, Command::Resume),
        Some((_, _, state)) if super::run::is_live(state) => tell(app, Command::Pause),
        _ => ask_resume(app),
    }
}

pub(super) fn ask_resume(app: &mut App) -> Effects {
    match target(app) {
        Some((_, _, Status::Paused)) => tell(app, Command::Resume),
        Some((_, name, state)) if !super::run::is_live(state) => {
            let title = text::RESUME_TITLE.fill(app.lang(), &[&name]);
            ask(app, title, text::RESUME_LABEL, "", Asked::ResumeWith)
        }
        _ => Vec::new(),
    }
}

/// How a run can be ended, with what each costs.
pub(super) fn stop(app: &mut App) -> Effects {
    let Some((run, name, state)) = target(app) else { return Vec::new() };
    let stop = |when, checkpoint| Command::Stop(Stop { when, checkpoint });
    let ways = [
        (text::STOP_NOW, text::STOP_NOW_DOC, stop(StopWhen::Now, true)),
        (text::STOP_STEP, text::STOP_STEP_DOC, stop(StopWhen::AfterStep, true)),
        (text::STOP_EVAL, text::STOP_EVAL_DOC, stop(StopWhen::AfterEval, true)),
        (text::STOP_EPOCH, text::STOP_EPOCH_DOC, stop(StopWhen::AfterEpoch, true)),
        (text::STOP_BARE, text::STOP_BARE_DOC, stop(StopWhen::Now, false)),
        (text::STOP_KILL, text::STOP_KILL_DOC, Command::Kill),
    ];
    let waits = state == Status::Queued;
    let item = |(label, detail, command): (T, T, Command)| Item {
        label: app.t(label).into(),
        detail: app.t(detail).into(),
        action: Action::Runs(Msg::Tell(run.clone(), command)),
    };
    let mut items: Vec<Item> = ways.into_iter().map(item).collect();
    if waits {
        items.truncate(1);
        items[0].label = app.t(text::STOP_QUEUED).into();
        items[0].detail = String::new();
    }
    app.choose(text::STOP_TITLE.fill(app.lang(), &[&name]), items)
}

pub(super) fn evaluate(app: &mut App) -> Effects {
    tell(app, Command::EvaluateNow(EvaluateNow::default()))
}

pub(super) fn choose_setting(app: &mut App) -> Effects {
    let Some((_, name, _)) = target(app) else { return Vec::new() };
    let item = |(i, (key, doc)): (usize, &(&str, T))| Item {
        label: (*key).into(),
        detail: app.t(*doc).into(),
        action: Action::Runs(Msg::SetKey(i)),
    };
    let items = SETTINGS.iter().enumerate().map(item).collect();
    app.choose(text::SET_TITLE.fill(app.lang(), &[&name]), items)
}

fn set_key(app: &mut App, key: usize) -> Effects {
    let Some((name, doc)) = SETTINGS.get(key) else { return Vec::new() };
    let value = if *name == "lr_scale" { "1.0" } else { "" };
    ask(app, (*name).to_owned(), *doc, &format!("{name}={value}"), Asked::Setting)
}

/// Opens a question about the chosen run.
pub(super) fn ask(app: &mut App, title: String, label: T, value: &str, asked: Asked) -> Effects {
    let label = app.t(label);
    app.ask(
        title,
        label,
        value,
        match asked {
            Asked::Name => |typed| Action::Runs(Msg::Typed(Asked::Name, typed)),
            Asked::Tags => |typed| Action::Runs(Msg::Typed(Asked::Tags, typed)),
            Asked::Note => |typed| Action::Runs(Msg::Typed(Asked::Note, typed)),
            Asked::CheckpointLabel => |typed| Action::Runs(Msg::Typed(Asked::CheckpointLabel, typed)),
            Asked::Prompt => |typed| Action::Runs(Msg::Typed(Asked::Prompt, typed)),
            Asked::Setting => |typed| Action::Runs(Msg::Typed(Asked::Setting, typed)),
            Asked::ResumeWith => |typed| Action::Runs(Msg::Typed(Asked::ResumeWith, typed)),
            Asked::ForkWith => |typed| Action::Runs(Msg::Typed(Asked::ForkWith, typed)),
        },
    )
}

pub(super) fn ask_label(app: &mut App, asked: Asked) -> Effects {
    let Some(row) = app.runs.row() else { return Vec::new() };
    let (title, label, value) = match asked {
        Asked::Name => (text::RENAME_TITLE, text::RENAME_LABEL, row.summary.name.clone()),
        Asked::Tags => (text::TAG_TITLE, text::TAG_LABEL, row.summary.tags.join(" ")),
        Asked::Note => (text::NOTE_TITLE, text::NOTE_LABEL, row.notes.replace('\n', " ")),
        Asked::CheckpointLabel => (text::CHECKPOINT_TITLE, text::CHECKPOINT_LABEL, String::new()),
        Asked::Prompt => (text::PROMPT_TITLE, text::PROMPT_LABEL, String::new()),
        Asked::ForkWith => (text::FORK_TITLE, text::FORK_LABEL, String::new()),
        Asked::Setting | Asked::ResumeWith => return Vec::new(),
    };
    let name = clean_line(&row.summary.name, 80);
    let title = title.fill(app.lang(), &[&name]);
    ask(app, title, label, &clean_line(&value, 1_000), asked)
}

fn typed(app: &mut App, asked: Asked, words: &str) -> Effects {
    let Some((run, ..)) = target(app) else { return Vec::new() };
    let (lang, words) = (app.lang(), words.trim());
    let label = |label| vec![effect(Effect::Label { run: run.clone(), label, lang })];
    match asked {
        // an empty name is no name: it stays as it was
        Asked::Name if words.is_empty() => Vec::new(),
        Asked::Name => label(Label::Name(words.into())),
        Asked::Tags => label(Label::Tags(words.split_whitespace().map(str::to_owned).collect())),
        Asked::Note => label(Label::Note(words.into())),
        Asked::CheckpointLabel => {
            let named = Some(words.to_owned()).filter(|words| !words.is_empty());
            // a checkpoint that somebody asked for is wanted: it is not left to save_total_limit
            tell(app, Command::CheckpointNow(CheckpointNow { pin: true, label: named }))
        }
        Asked::Prompt => {
            let prompt = Some(words.to_owned()).filter(|words| !words.is_empty());
            let n = usize::from(prompt.is_none());
            tell(app, Command::SampleNow(SampleNow { prompt, n, ..SampleNow::default() }))
        }
        Asked::Setting => match control::edit(words) {
            Ok(edit) => tell(app, Command::Set(edit)),
            Err(e) => {
                // the question stays, with what is wrong
                let title = words.split('=').next().unwrap_or_default().to_owned();
                let doc = SETTINGS.iter().find(|(key, _)| *key == title).map_or(text::SET_ANY, |(_, doc)| *doc);
                let effects = ask(app, title, doc, words, Asked::Setting);
                if let Some(Overlay::Prompt(prompt)) = app.overlays.last_mut() {
                    prompt.error = Some(clean_line(&format!("{e:#}"), 300));
                }
                effects
            }
        },
        Asked::ResumeWith => resume(app, run, words),
        Asked::ForkWith => program(app, "fork", run, words),
    }
}

fn resume(app: &mut App, run: PathBuf, overrides: &str) -> Effects {
    program(app, "resume", run, overrides)
}

fn program(app: &mut App, verb: &str, run: PathBuf, overrides: &str) -> Effects {
    let mut args = vec!["runs".to_owned(), verb.to_owned(), run.display().to_string()];
    // quoted as in a shell: a value may hold blanks
    match shlex::split(overrides) {
        Some(words) => args.extend(words),
        None => {
            app.say(Level::Error, text::BAD_QUOTES.fill(app.lang(), &[&overrides]));
            return Vec::new();
        }
    }
    args.push("--json".into());
    vec![effect(Effect::Program { args, lang: app.lang() })]
}

pub(super) fn archive(app: &mut App) -> Effects {
    let Some(row) = app.runs.row() else { return Vec::new() };
    let label = Label::Archived(!row.archived);
    vec![effect(Effect::Label { run: row.path.clone(), label, lang: app.lang() })]
}

pub(super) fn pin(app: &mut App) -> Effects {
    let (run, lang) = (&app.runs.run, app.lang());
    match (run.checkpoints.get(run.checkpoint.at), &app.runs.chosen) {
        (Some(c), Some(path)) => vec![effect(Effect::Pin { run: path.clone(), step: c.step, pinned: !c.pinned, lang })],
        _ => Vec::new(),
    }
}

fn removal_known(app: &mut App, removal: Removal) -> Effects {
    let lang = app.lang();
    let Removal { run, name, bytes, checkpoints, foreign } = removal;
    let name = clean_line(&name, 80);
    let folder = clean_line(&run.display().to_string(), 300);
    let mut question = text::REMOVE_TEXT.fill(lang, &[&folder, &words::size(bytes), &checkpoints]);
    if !foreign.is_empty() {
        question += "\n\n";
        question += &text::REMOVE_FOREIGN.fill(lang, &[&clean_line(&foreign.join(", "), 300)]);
    }
    let force = !foreign.is_empty();
    app.confirm(text::REMOVE_TITLE.fill(lang, &[&name]), question, true, Action::Runs(Msg::Remove(run, force)))
}

fn queue(app: &mut App, items: Vec<QueueItem>) -> Effects {
    if items.is_empty() {
        app.say(Level::Info, app.t(text::QUEUE_EMPTY));
        return Vec::new();
    }
    let lang = app.lang();
    let item = |item: QueueItem| Item {
        label: format!("{} {}", item.id, clean_line(&item.name, 60)),
        detail: format!("{} · {}", text::queue_state(&item.state, lang), item.slot),
        action: Action::Runs(Msg::QueueItem(Box::new(item))),
    };
    app.choose(app.t(text::QUEUE_TITLE), items.into_iter().map(item).collect())
}

fn queue_item(app: &mut App, item: &QueueItem) -> Effects {
    let orders = [
        (text::QUEUE_UP, QueueOrder::Up),
        (text::QUEUE_DOWN, QueueOrder::Down),
        (text::QUEUE_FIRST, QueueOrder::First),
        (text::QUEUE_LAST, QueueOrder::Last),
        (text::QUEUE_REMOVE, QueueOrder::Remove),
    ];
    let mut items = vec![Item {
        label: app.t(text::QUEUE_SHOW).into(),
        detail: String::new(),
        action: Action::Runs(Msg::Chosen(item.dir.clone())),
    }];
    items.extend(orders.map(|(label, order)| Item {
        label: app.t(label).into(),
        detail: String::new(),
        action: Action::Runs(Msg::QueueDo(item.id.clone(), order)),
    }));
    app.choose(format!("{} {}", item.id, clean_line(&item.name, 60)), items)
}

pub(super) fn choose_export(app: &mut App) -> Effects {
    let item = |(label, detail, png): (T, T, bool)| Item {
        label: app.t(label).into(),
        detail: app.t(detail).into(),
        action: Action::Runs(Msg::Export(png)),
    };
    let items = [(text::EXPORT_PNG, text::EXPORT_PNG_DOC, true), (text::EXPORT_CSV, text::EXPORT_CSV_DOC, false)];
    app.choose(app.t(text::EXPORT_TITLE), items.map(item).into())
}

fn export(app: &mut App, png: bool) -> Effects {
    let Some((run, ..)) = target(app) else { return Vec::new() };
    let folder = run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = app.here.join(format!("{folder}-{}", if png { "loss.png" } else { "metrics.csv" }));
    vec![effect(Effect::Export { png, run, file, lang: app.lang() })]
}

/// Lays the run under the cursor over the others, or takes it away again.
pub(super) fn mark(app: &mut App) -> Effects {
    let Some(path) = app.runs.chosen.clone() else { return Vec::new() };
    if let Some(at) = app.runs.marked.iter().position(|(_, marked)| *marked == path) {
        app.runs.marked.remove(at);
    } else if app.runs.marked.len() >= super::MARKS {
        app.say(Level::Warning, text::TOO_MANY_MARKS.fill(app.lang(), &[&super::MARKS]));
        return Vec::new();
    } else {
        let colour = app.runs.free_colour();
        app.runs.marked.push((colour, path));
    }
    follow(app)
}

pub(super) fn copy_path(app: &mut App) -> Effects {
    let Some(path) = &app.runs.chosen else { return Vec::new() };
    let text = match app.runs.focus {
        Part::Checkpoints => app.runs.run.checkpoints.get(app.runs.run.checkpoint.at).map(|c| path.join(&c.name)),
        _ => None,
    };
    let text = text.unwrap_or_else(|| path.clone()).display().to_string();
    app.copy(text)
}
