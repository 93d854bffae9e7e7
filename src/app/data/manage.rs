//! Questions of the Data screen and what follows: jump, search, convert, register and unregister, download.

use super::open::parse_place;
use super::{Data, Pane, Source, discover, forget_seen, update as update_data};
use crate::app::messages::Level;
use crate::app::overlay::{Item, Overlay, Prompt};
use crate::app::{Action, App, Effects};
use crate::text::data as text;
use lightbox_core::data::convert::{DEFAULT_FOLDER, DEFAULT_NAME};
use lightbox_core::data::questions::DEFAULT_QUESTION;
use lightbox_core::data::{FoundKind, dataset_info};
use std::path::PathBuf;
use tui_input::Input;

/// What a line of text was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Jump,
    Query,
    CutoffLen,
    ConvertOut,
    ConvertName,
    ConvertQuestions,
    RegisterName,
    Repo,
}

/// Half-filled forms, and what can be undone.
#[derive(Debug, Default)]
pub struct Manage {
    pub convert: Convert,
    /// The file that is to be registered, and where.
    pub register: Option<(PathBuf, PathBuf)>,
    /// Entries that were removed, the last on top.
    pub removed: Vec<Removed>,
}

/// What to convert into what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Convert {
    pub sources: Vec<PathBuf>,
    pub out: PathBuf,
    pub name: String,
    pub folder: String,
    pub questions: Vec<String>,
}

/// An entry that was taken out of a dataset_info.json.
#[derive(Debug, Clone, PartialEq)]
pub struct Removed {
    pub source: Source,
    pub entry: serde_json::Value,
}

#[derive(Debug, Clone)]
pub enum Msg {
    /// It lies here now: look for sets again and open it.
    Made(Source),
    Converted {
        source: Source,
        written: usize,
        skipped: usize,
        json: PathBuf,
    },
    /// There is an entry of this name for other data, as the text says.
    Taken {
        file: PathBuf,
        dir: PathBuf,
        name: String,
        why: String,
    },
    Replace {
        file: PathBuf,
        dir: PathBuf,
        name: String,
    },
    Unregister(Source),
    Removed(Removed),
    PutBack,
    /// The entry is in its dataset_info.json again.
    IsBack(Source),
}

#[derive(Debug)]
pub enum Effect {
    Convert { form: Convert, title: String },
    Register { file: PathBuf, dir: PathBuf, name: String, replace: bool },
    Unregister(Source),
    PutBack(Removed),
    Download { repo: String, title: String },
}

fn effect(effect: Effect) -> crate::app::Effect {
    crate::app::Effect::Data(super::Effect::Manage(effect))
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Made(source) => {
            let mut effects = vec![discover(app)];
            effects.extend(super::open(app, source, true));
            effects
        }
        Msg::Converted { source, written, skipped, json } => {
            let level = if skipped == 0 { Level::Good } else { Level::Warning };
            let said = text::CONVERTED.fill(app.lang(), &[&written, &skipped, &json.display()]);
            app.say(level, said);
            update(app, Msg::Made(source))
        }
        Msg::Taken { file, dir, name, why } => {
            let title = app.t(text::REGISTER);
            let why = text::REPLACE.fill(app.lang(), &[&why]);
            let action = Action::Data(super::Msg::Manage(Msg::Replace { file, dir, name }));
            app.confirm(title, why, true, action)
        }
        Msg::Replace { file, dir, name } => vec![effect(Effect::Register { file, dir, name, replace: true })],
        Msg::Unregister(source) => vec![effect(Effect::Unregister(source))],
        Msg::Removed(removed) => {
            let said = text::UNREGISTERED.fill(app.lang(), &[&removed.source.title()]);
            app.say(Level::Good, said);
            app.data.manage.removed.push(removed);
            vec![discover(app)]
        }
        Msg::IsBack(source) => {
            let info = source.dir.join(dataset_info::FILE_NAME);
            let said = text::REGISTERED.fill(app.lang(), &[&source.title(), &info.display()]);
            app.say(Level::Good, said);
            vec![discover(app)]
        }
        Msg::PutBack => {
            let removed = app.data.manage.removed.pop();
            removed.map(|removed| effect(Effect::PutBack(removed))).into_iter().collect()
        }
    }
}

/// Asks for a line of text.
fn ask(app: &mut App, asked: Asked, title: crate::text::T, label: String, value: &str) -> Effects {
    let then: fn(String) -> Action = match asked {
        Asked::Jump => |line| Action::Data(super::Msg::Typed(Asked::Jump, line)),
        Asked::Query => |line| Action::Data(super::Msg::Typed(Asked::Query, line)),
        Asked::CutoffLen => |line| Action::Data(super::Msg::Typed(Asked::CutoffLen, line)),
        Asked::ConvertOut => |line| Action::Data(super::Msg::Typed(Asked::ConvertOut, line)),
        Asked::ConvertName => |line| Action::Data(super::Msg::Typed(Asked::ConvertName, line)),
        Asked::ConvertQuestions => |line| Action::Data(super::Msg::Typed(Asked::ConvertQuestions, line)),
        Asked::RegisterName => |line| Action::Data(super::Msg::Typed(Asked::RegisterName, line)),
        Asked::Repo => |line| Action::Data(super::Msg::Typed(Asked::Repo, line)),
    };
    let title = app.t(title).to_owned();
    app.open(Overlay::Prompt(Prompt { title, label, input: Input::new(value.to_owned()), error: None, then }))
}

/// The same question again, with what was wrong.
fn ask_again(app: &mut App, effects: Effects, error: String) -> Effects {
    if let Some(Overlay::Prompt(prompt)) = app.overlays.last_mut() {
        prompt.error = Some(error);
    }
    effects
}

pub fn ask_jump(app: &mut App) -> Effects {
    let Some(open) = &app.data.open else { return Vec::new() };
    let label = text::JUMP_LABEL.fill(app.lang(), &[&crate::view::words::count(open.len.saturating_sub(1) as u64)]);
    ask(app, Asked::Jump, text::JUMP, label, "")
}

pub fn ask_query(app: &mut App, line: &str, wrong: Option<String>) -> Effects {
    let label = app.t(text::SEARCH_LABEL).to_owned();
    let effects = ask(app, Asked::Query, text::SEARCH, label, line);
    match wrong {
        Some(wrong) => ask_again(app, effects, wrong),
        None => effects,
    }
}

pub fn ask_cutoff(app: &mut App) -> Effects {
    let now = app.data.cutoff_len.map(|n| n.to_string()).unwrap_or_default();
    let label = app.t(text::CUTOFF_LABEL).to_owned();
    ask(app, Asked::CutoffLen, text::CUTOFF, label, &now)
}

pub fn ask_repo(app: &mut App) -> Effects {
    let label = app.t(text::DOWNLOAD_LABEL).to_owned();
    ask(app, Asked::Repo, text::DOWNLOAD, label, "")
}

/// The parquet files behind the set that is chosen or open, if it is one of captioned pictures.
fn convertible(data: &Data) -> Option<(Source, Vec<PathBuf>)> {
    let open = data.open.as_ref().filter(|_| data.focus != Pane::Sets);
    if let Some(open) = open {
        let files = open.parts.iter().filter(|part| part.format == "caption").flat_map(|part| &part.files);
        let files: Vec<PathBuf> = files.map(|file| file.path.clone()).collect();
        return (!files.is_empty()).then(|| (open.source.clone(), files));
    }
    let found = data.set().filter(|found| found.kind == FoundKind::Parquet)?;
    Some((Source::of(found), vec![found.path.clone()]))
}

pub fn can_convert(app: &App) -> bool {
    convertible(&app.data).is_some()
}

pub fn ask_convert(app: &mut App) -> Effects {
    let Some((_, sources)) = convertible(&app.data) else { return Vec::new() };
    app.data.manage.convert = Convert { sources, ..Convert::default() };
    let out = app.here.join("data").display().to_string();
    let label = app.t(text::CONVERT_OUT).to_owned();
    ask(app, Asked::ConvertOut, text::CONVERT, label, &out)
}

/// The file that can be registered: chosen or open, and not yet an entry.
fn registrable(data: &Data) -> Option<PathBuf> {
    let found = data.set().filter(|found| found.kind != FoundKind::Named && data.focus == Pane::Sets);
    // An entry has a name without a folder in it; what was opened by its path has one.
    let open = data.open.as_ref().filter(|open| data.focus != Pane::Sets && open.source.name.contains('/'));
    found.map(|found| found.path.clone()).or_else(|| open.map(|open| PathBuf::from(&open.source.name)))
}

pub fn can_register(app: &App) -> bool {
    registrable(&app.data).is_some()
}

pub fn ask_register(app: &mut App) -> Effects {
    let Some(file) = registrable(&app.data) else { return Vec::new() };
    // Beside the entries that are there; else beside the file.
    let listed = app.data.found.iter().find(|found| found.kind == FoundKind::Named);
    let beside = file.parent().map(PathBuf::from).unwrap_or_default();
    let dir = listed.map_or(beside, |found| found.dataset_dir.clone());
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let info = lightbox_core::safe_text::clean_line(&dir.join(dataset_info::FILE_NAME).display().to_string(), 300);
    app.data.manage.register = Some((file, dir));
    let label = text::REGISTER_LABEL.fill(app.lang(), &[&info]);
    ask(app, Asked::RegisterName, text::REGISTER, label, &name)
}

/// The entry under the cursor.
fn entry(data: &Data) -> Option<Source> {
    data.set().filter(|found| found.kind == FoundKind::Named && data.focus == Pane::Sets).map(Source::of)
}

pub fn can_unregister(app: &App) -> bool {
    entry(&app.data).is_some()
}

pub fn ask_unregister(app: &mut App) -> Effects {
    let Some(source) = entry(&app.data) else { return Vec::new() };
    let info = source.dir.join(dataset_info::FILE_NAME);
    let info = lightbox_core::safe_text::clean_line(&info.display().to_string(), 300);
    let question = text::UNREGISTER_TEXT.fill(app.lang(), &[&source.title(), &info]);
    app.confirm(app.t(text::UNREGISTER), question, true, Action::Data(super::Msg::Manage(Msg::Unregister(source))))
}

pub fn ask_filter(app: &mut App) -> Effects {
    let presets = [
        (text::FILTER_PROBLEMS, "problem:"),
        (text::FILTER_TEXT_ONLY, "pictures:0"),
        (text::FILTER_SEVERAL, "pictures:>1"),
        (text::FILTER_LONG, "len:>1000"),
        (text::FILTER_SHORT, "len:<20"),
    ];
    let mut items: Vec<Item> = presets
        .into_iter()
        .map(|(label, query)| Item {
            label: app.t(label).to_owned(),
            detail: query.to_owned(),
            action: Action::Data(super::Msg::Search(query.to_owned())),
        })
        .collect();
    if app.data.open.as_ref().is_some_and(|open| open.filter.is_some()) {
        let label = app.t(text::FILTER_NONE).to_owned();
        items.insert(0, Item { label, detail: "esc".to_owned(), action: Action::Data(super::Msg::ShowAll) });
    }
    app.choose(app.t(text::FILTER), items)
}

/// A question was answered.
pub fn typed(app: &mut App, asked: Asked, line: String) -> Effects {
    let line = line.trim().to_owned();
    match asked {
        Asked::Jump => jump(app, &line),
        Asked::Query => update_data(app, super::Msg::Search(line)),
        Asked::CutoffLen => match line.parse::<usize>() {
            Ok(n) if n > 0 => cutoff(app, Some(n)),
            _ if line.is_empty() => cutoff(app, None),
            _ => {
                let effects = ask_cutoff(app);
                let wrong = text::NO_NUMBER.fill(app.lang(), &[&line]);
                ask_again(app, effects, wrong)
            }
        },
        Asked::ConvertOut if line.is_empty() => Vec::new(),
        Asked::ConvertOut => {
            app.data.manage.convert.out = app.here.join(crate::input::paste::expand_home(&line));
            let label = app.t(text::CONVERT_NAME).to_owned();
            ask(app, Asked::ConvertName, text::CONVERT, label, DEFAULT_NAME)
        }
        Asked::ConvertName if line.is_empty() => Vec::new(),
        Asked::ConvertName => {
            let folder = if line == DEFAULT_NAME { DEFAULT_FOLDER.to_owned() } else { line.clone() };
            (app.data.manage.convert.name, app.data.manage.convert.folder) = (line, folder);
            let label = app.t(text::CONVERT_QUESTIONS).to_owned();
            ask(app, Asked::ConvertQuestions, text::CONVERT, label, DEFAULT_QUESTION)
        }
        Asked::ConvertQuestions => {
            let mut form = std::mem::take(&mut app.data.manage.convert);
            let questions = line.split('|').map(str::trim).filter(|question| !question.is_empty());
            form.questions = questions.map(str::to_owned).collect();
            let title = text::TASK_CONVERT.fill(app.lang(), &[&form.name]);
            vec![effect(Effect::Convert { form, title })]
        }
        Asked::RegisterName => match app.data.manage.register.take() {
            Some((file, dir)) if !line.is_empty() => {
                vec![effect(Effect::Register { file, dir, name: line, replace: false })]
            }
            _ => Vec::new(),
        },
        Asked::Repo if line.is_empty() => Vec::new(),
        Asked::Repo => {
            let repo = line.trim_start_matches("https://huggingface.co/").trim_start_matches("datasets/");
            let repo = repo.trim_matches('/').to_owned();
            if repo.starts_with('-') || repo.contains(char::is_whitespace) {
                let effects = ask_repo(app);
                let wrong = text::NO_REPO.fill(app.lang(), &[&line]);
                return ask_again(app, effects, wrong);
            }
            let title = text::TASK_DOWNLOAD.fill(app.lang(), &[&repo]);
            vec![effect(Effect::Download { repo, title })]
        }
    }
}

fn jump(app: &mut App, line: &str) -> Effects {
    let Some(open) = &mut app.data.open else { return Vec::new() };
    match parse_place(line, open.len) {
        Some(index) => {
            open.go_to(index);
            app.data.focus = Pane::List;
            super::want(app)
        }
        None => {
            let effects = ask_jump(app);
            let wrong = text::NO_SAMPLE.fill(app.lang(), &[&line]);
            ask_again(app, effects, wrong)
        }
    }
}

fn cutoff(app: &mut App, cutoff_len: Option<usize>) -> Effects {
    app.data.cutoff_len = cutoff_len;
    forget_seen(app);
    super::want(app)
}
