//! The Data screen: what it knows and how that changes. The set that is open is in [`open`], what the model sees of a
//! sample in [`seen`], what changes sets (convert, register, download) in [`manage`], the keys in [`commands`].

mod commands;
pub mod manage;
pub mod open;
pub mod seen;
#[cfg(test)]
pub(crate) mod tests;

pub use commands::COMMANDS;
pub use manage::Asked;

use super::cursor::{Cursor, Move};
use super::messages::Level;
use super::tasks::{Task, TaskId, Tasks};
use super::{Action, App, Effects, commands::move_of, tour};
use crate::input::{Key, paste as pasted};
use crate::text::data as text;
use crossterm::event::KeyEvent;
use lightbox_core::data::query::Query;
use lightbox_core::data::{Found, PartInfo, Problem};
use lightbox_core::safe_text::clean_line;
use open::{Check, Filter, Mode, Open, Row, Shown, Statistics, Unseen};
use seen::{SeenBy, SeenMode, SeenView};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Tells what belongs to the set that is open now from what comes late for one before.
pub type SetId = u64;

/// The ids of the screen's lists in [`crate::view::Hits`].
pub const SETS: &str = "data-sets";
pub const LIST: &str = "data-list";
pub const DETAIL: &str = "data-detail";

/// What can be opened: a name in a folder's dataset_info.json, or a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Source {
    pub dir: PathBuf,
    pub name: String,
}

impl Source {
    pub fn of(found: &Found) -> Self {
        Self { dir: found.dataset_dir.clone(), name: found.name.clone() }
    }

    /// A short name for people, clean.
    pub fn title(&self) -> String {
        let path = Path::new(&self.name);
        let last = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let short = match (path.parent().and_then(last), last(path)) {
            // Files are often called alike (`train-00000-of-00001.parquet`): the folder tells them apart.
            (Some(folder), Some(file)) => format!("{folder}/{file}"),
            (None, Some(file)) => file,
            _ => self.name.clone(),
        };
        clean_line(&short, 200)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Pane {
    #[default]
    Sets,
    List,
    Detail,
}

/// What is learnt about a set while the program runs.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub samples: usize,
    pub format: String,
    /// Found by the check, once it came to its end.
    pub problems: Option<usize>,
}

#[derive(Debug, Default)]
pub struct Data {
    pub found: Vec<Found>,
    /// What could not be read while looking for sets.
    pub notes: Vec<String>,
    /// The folder has more in it than was looked at.
    pub more: bool,
    pub looking: bool,
    pub sets: Cursor,
    pub known: HashMap<Source, Known>,
    pub open: Option<Open>,
    pub opening: Option<(SetId, Source)>,
    /// What could not be opened, and why.
    pub failed: Option<(Source, String)>,
    pub focus: Pane,
    pub sets_hidden: bool,
    /// The pane with the focus has all the room.
    pub zoom: bool,
    pub seen: SeenMode,
    pub cutoff_len: Option<usize>,
    /// The newest task of each work; whether it still runs, the tasks know ([`Self::task`]).
    pub newest: HashMap<Work, TaskId>,
    pub manage: manage::Manage,
    next_id: SetId,
}

/// What can be going on; one of each at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    Open,
    Search,
    Check,
    Stats,
}

impl Work {
    pub const ALL: [Self; 4] = [Self::Open, Self::Search, Self::Check, Self::Stats];
}

#[derive(Debug, Clone)]
pub enum Msg {
    /// The sets of the folders that were looked into.
    Found {
        found: Vec<Found>,
        notes: Vec<String>,
        complete: bool,
    },
    /// The user wants this set.
    Open(Source),
    /// The user wants what lies there.
    OpenPath(PathBuf),
    Opened(SetId, Result<(usize, Vec<PartInfo>), String>),
    Working(Work, TaskId),
    Rows(SetId, Vec<(usize, Row)>),
    Shown(SetId, Arc<Shown>),
    Seen(SetId, usize, Result<Arc<SeenView>, Unseen>),
    /// Found by search `number`; how many samples were looked at.
    Matches(SetId, u64, Vec<u32>, usize),
    Searched(SetId, u64, Result<(), String>),
    Problems(SetId, Vec<Problem>, usize),
    /// Whether the check came to its end.
    Checked(SetId, bool),
    Measured(SetId, Result<Arc<open::Measured>, String>),
    Manage(manage::Msg),
    /// A line of text was typed in answer to a question.
    Typed(Asked, String),
    /// The model folder that tokens are made with.
    Model(PathBuf),
    Search(String),
    ShowAll,
    Pick(Pane, usize),
    Enter(Pane, usize),
    Move(Pane, Move),
    /// A click on the scroll bar of the list, so many rows from its top.
    Bar(u16),
    Focus(Pane),
}

#[derive(Debug)]
pub enum Effect {
    Discover(Vec<PathBuf>),
    /// Says what lies at a path, and opens it. The sets of the other folders are listed, too.
    LookAt(PathBuf, Vec<PathBuf>),
    Open {
        id: SetId,
        source: Source,
        title: String,
        /// Also if it is open already: the files may have changed.
        fresh: bool,
    },
    /// These rows, the most urgent first, instead of those asked for before.
    Rows(SetId, Vec<usize>),
    Sample(SetId, usize),
    Seen(SetId, usize, SeenBy),
    Search {
        id: SetId,
        number: u64,
        query: Query,
        title: String,
    },
    Check {
        id: SetId,
        by: SeenBy,
        title: String,
    },
    Stats {
        id: SetId,
        by: SeenBy,
        title: String,
    },
    Manage(manage::Effect),
}

/// Opens a folder with a dataset_info.json, a file of samples, or a folder of parquet files.
pub fn open_path(path: &Path) -> Action {
    Action::Data(Msg::OpenPath(path.to_owned()))
}

/// Opens the set `name` of the dataset_info.json in `dir`.
pub fn open_named(dir: &Path, name: &str) -> Action {
    Action::Data(Msg::Open(Source { dir: dir.to_owned(), name: name.to_owned() }))
}

fn effect(effect: Effect) -> super::Effect {
    super::Effect::Data(effect)
}

impl Data {
    /// The task that does this work now.
    pub fn task<'t>(&self, work: Work, tasks: &'t Tasks) -> Option<&'t Task> {
        let newest = self.newest.get(&work)?;
        tasks.running().find(|task| task.id == *newest)
    }

    /// Samples of the set that is open.
    pub fn samples(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.len)
    }

    /// The set under the cursor of the list of sets.
    pub fn set(&self) -> Option<&Found> {
        self.found.get(self.sets.at)
    }

    /// The panes that are there now, in the order of the Tab key.
    pub fn panes(&self) -> Vec<Pane> {
        let sets = (!self.sets_hidden || self.open.is_none()).then_some(Pane::Sets);
        let rest: &[Pane] = match self.open.as_ref().map(|open| open.mode) {
            None => &[],
            Some(Mode::Statistics) => &[Pane::Detail],
            Some(_) => &[Pane::List, Pane::Detail],
        };
        sets.into_iter().chain(rest.iter().copied()).collect()
    }

    /// Something else stands in the place of the samples: what is being opened, or why it could not be.
    pub fn covered(&self) -> bool {
        self.opening.is_some() || self.failed.is_some()
    }

    fn now(&mut self, id: SetId) -> Option<&mut Open> {
        self.open.as_mut().filter(|open| open.id == id)
    }
}

/// The screen is shown: looks for sets, without touching what is open.
pub fn enter(app: &mut App) -> Effects {
    let mut effects = vec![discover(app)];
    effects.extend(want(app));
    effects
}

fn discover(app: &mut App) -> super::Effect {
    app.data.looking = true;
    effect(Effect::Discover(folders(app)))
}

/// Where sets are looked for.
fn folders(app: &App) -> Vec<PathBuf> {
    let mut dirs = vec![app.here.clone(), app.here.join(tour::DIR)];
    dirs.extend(app.settings.last.dataset_dir.iter().map(|dir| app.here.join(dir)));
    dirs
}

/// How samples become tokens here.
fn seen_by(app: &App) -> SeenBy {
    let demo = app.here.join(tour::DIR);
    let models = app.settings.last.model.iter().map(|dir| app.here.join(dir)).chain([demo.join("model")]).collect();
    let (profile, cutoff_len) = (app.settings.last.profile.clone(), app.data.cutoff_len);
    SeenBy { models, profile, here: app.here.clone(), demo, cutoff_len }
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    let mut effects = act(app, msg);
    effects.extend(want(app));
    effects
}

fn act(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Found { found, notes, complete } => sets_found(app, found, notes, complete),
        Msg::Open(source) => return open(app, source, false),
        Msg::OpenPath(path) => return vec![effect(Effect::LookAt(path, folders(app)))],
        Msg::Opened(id, result) => return opened(app, id, result),
        Msg::Working(work, task) => {
            app.data.newest.insert(work, task);
        }
        Msg::Rows(id, rows) => {
            if let Some(open) = app.data.now(id) {
                rows.into_iter().for_each(|(index, row)| open.rows.insert(index, row));
            }
        }
        Msg::Shown(id, shown) => {
            if let Some(open) = app.data.now(id).filter(|open| open.asked == Some(shown.index)) {
                (open.picture, open.scroll) = (0, 0);
                open.shown = Some(shown);
            }
        }
        Msg::Seen(id, index, seen) => {
            if let Some(open) = app.data.now(id).filter(|open| open.seen_asked == Some(index)) {
                open.tokens = Cursor::new(seen.as_ref().map_or(0, |seen| seen.tokens.len()));
                open.seen = Some((index, seen));
                open.scroll = 0;
            }
        }
        Msg::Matches(id, number, found, done) => {
            if let Some(open) = app.data.now(id)
                && let Some(filter) = open.filter.as_mut().filter(|filter| filter.number == number)
            {
                filter.matches.extend(found);
                filter.done = done;
                open.list.set_len(filter.matches.len());
            }
        }
        Msg::Searched(id, number, result) => {
            if let Some(filter) = app.data.now(id).and_then(|open| open.filter.as_mut())
                && filter.number == number
            {
                (filter.running, filter.failed) = (false, result.err());
            }
        }
        Msg::Problems(id, problems, done) => {
            if let Some(check) = app.data.now(id).and_then(|open| open.check.as_mut()) {
                check.add(problems, done);
            }
        }
        Msg::Checked(id, complete) => checked(app, id, complete),
        Msg::Measured(id, result) => {
            if let Some(stats) = app.data.now(id).and_then(|open| open.stats.as_mut()) {
                *stats = Statistics { running: false, result: Some(result), scroll: 0 };
            }
        }
        Msg::Manage(msg) => return manage::update(app, msg),
        Msg::Typed(asked, line) => return manage::typed(app, asked, line),
        Msg::Model(dir) => {
            app.settings.last.model = Some(dir);
            forget_seen(app);
            return vec![super::Effect::SaveSettings];
        }
        Msg::Search(line) => return search(app, &line),
        Msg::ShowAll => {
            let stop = stop(app, Work::Search);
            app.data.open.iter_mut().for_each(Open::show_all);
            return stop;
        }
        Msg::Pick(pane, row) => {
            app.data.focus = pane;
            step(app, Move::To(row));
        }
        Msg::Enter(pane, row) => {
            app.data.focus = pane;
            step(app, Move::To(row));
            return forward(app);
        }
        Msg::Move(pane, to) => {
            let focus = std::mem::replace(&mut app.data.focus, pane);
            step(app, to);
            app.data.focus = focus;
        }
        Msg::Bar(y) => {
            let height = app.hits.height(LIST).saturating_sub(1).max(1);
            let rows = app.hits.rows(LIST).saturating_sub(1) as u128;
            app.data.focus = Pane::List;
            step(app, Move::To((rows * u128::from(y.min(height)) / u128::from(height)) as usize));
        }
        Msg::Focus(pane) => app.data.focus = pane,
    }
    Vec::new()
}

/// What the screen shows and does not have yet.
fn want(app: &mut App) -> Effects {
    // Before the list was drawn its height is not known; it is not higher than the screen.
    let height = app.hits.height(LIST).max(app.size.1);
    let by = (app.data.seen != SeenMode::Off).then(|| seen_by(app));
    let Some(open) = &mut app.data.open else { return Vec::new() };
    let (id, mut effects) = (open.id, Vec::new());
    if let Some(rows) = open.wanted_rows(height) {
        effects.push(effect(Effect::Rows(id, rows)));
    }
    let index = open.index();
    if let Some(index) = index.filter(|_| open.asked != index) {
        open.asked = Some(index);
        effects.push(effect(Effect::Sample(id, index)));
    }
    if let (Some(index), Some(by)) = (index.filter(|_| open.seen_asked != index), by) {
        open.seen_asked = Some(index);
        effects.push(effect(Effect::Seen(id, index, by)));
    }
    effects
}

/// Other settings: what was seen is asked for again.
fn forget_seen(app: &mut App) {
    if let Some(open) = &mut app.data.open {
        (open.seen, open.seen_asked) = (None, None);
    }
}

fn sets_found(app: &mut App, found: Vec<Found>, notes: Vec<String>, complete: bool) {
    let data = &mut app.data;
    // Who looks at a set's samples may have got it just now, by converting or registering: the list follows.
    let opening = data.opening.as_ref().map(|(_, source)| source.clone());
    let open = data.open.as_ref().map(|open| open.source.clone());
    let chosen = match data.focus {
        Pane::Sets => opening.or_else(|| data.set().map(Source::of)).or(open),
        _ => opening.or(open),
    };
    (data.found, data.notes, data.more, data.looking) = (found, notes, !complete, false);
    data.sets.set_len(data.found.len());
    if let Some(at) = data.found.iter().position(|found| Some(Source::of(found)) == chosen) {
        data.sets.at = at;
    }
}

fn open(app: &mut App, mut source: Source, fresh: bool) -> Effects {
    // Profiles and the demo name folders as seen from here; the list of sets has them in full.
    source.dir = app.here.join(&source.dir);
    app.data.next_id += 1;
    let id = app.data.next_id;
    app.data.failed = None;
    app.data.opening = Some((id, source.clone()));
    if let Some(at) = app.data.found.iter().position(|found| Source::of(found) == source) {
        app.data.sets.at = at;
    }
    let title = text::TASK_OPEN.fill(app.lang(), &[&source.title()]);
    vec![effect(Effect::Open { id, source, title, fresh })]
}

fn opened(app: &mut App, id: SetId, result: Result<(usize, Vec<PartInfo>), String>) -> Effects {
    let Some((_, source)) = app.data.opening.take_if(|(opening, _)| *opening == id) else { return Vec::new() };
    let (len, parts) = match result {
        Ok(opened) => opened,
        Err(why) => {
            app.data.failed = Some((source, why));
            app.data.focus = Pane::Sets;
            return Vec::new();
        }
    };
    let known = app.data.known.entry(source.clone()).or_default();
    known.samples = len;
    known.format = parts.first().map(|part| part.format.to_owned()).unwrap_or_default();
    let dir = source.dir.clone();
    app.data.open = Some(Open { id, source, parts, len, list: Cursor::new(len), ..Open::default() });
    (app.data.focus, app.data.zoom) = (Pane::List, false);
    if app.settings.last.dataset_dir.as_ref() == Some(&dir) {
        return Vec::new();
    }
    app.settings.last.dataset_dir = Some(dir);
    vec![super::Effect::SaveSettings]
}

fn checked(app: &mut App, id: SetId, complete: bool) {
    let Some(open) = app.data.now(id) else { return };
    let Some(check) = &mut open.check else { return };
    check.running = false;
    let (source, count, len) = (open.source.clone(), check.count, open.len);
    if complete {
        app.data.known.entry(source).or_default().problems = Some(count);
    }
    let say = if count == 0 { text::CHECK_GOOD } else { text::CHECK_BAD };
    let level = if count == 0 { Level::Good } else { Level::Warning };
    if complete {
        app.say(level, say.fill(app.lang(), &[&len, &count]));
    }
}

/// Lists only what fits `line`.
fn search(app: &mut App, line: &str) -> Effects {
    let line = line.trim();
    if line.is_empty() {
        return act(app, Msg::ShowAll);
    }
    let query = match line.parse::<Query>() {
        Ok(query) => query,
        Err(why) => return manage::ask_query(app, line, Some(why.to_string())),
    };
    let title = text::TASK_SEARCH.fill(app.lang(), &[&clean_line(line, 60)]);
    let Some(open) = &mut app.data.open else { return Vec::new() };
    app.data.next_id += 1;
    let (id, number) = (open.id, app.data.next_id);
    open.filter = Some(Filter { number, query: clean_line(line, 200), running: true, ..Filter::default() });
    open.mode = Mode::Samples;
    open.list = Cursor::new(0);
    app.data.focus = Pane::List;
    vec![effect(Effect::Search { id, number, query, title })]
}

/// Checks the set, or shows what the last check found.
fn check(app: &mut App, again: bool) -> Effects {
    let by = seen_by(app);
    let title = text::TASK_CHECK.get(app.lang()).to_owned();
    let Some(open) = &mut app.data.open else { return Vec::new() };
    open.mode = Mode::Problems;
    app.data.focus = Pane::List;
    if open.check.is_some() && !again {
        return Vec::new();
    }
    open.check = Some(Check { running: true, ..Check::default() });
    vec![effect(Effect::Check { id: open.id, by, title })]
}

/// Measures the set, or shows what was measured.
fn statistics(app: &mut App, again: bool) -> Effects {
    let by = seen_by(app);
    let title = text::TASK_STATS.get(app.lang()).to_owned();
    let Some(open) = &mut app.data.open else { return Vec::new() };
    open.mode = Mode::Statistics;
    app.data.focus = Pane::Detail;
    if open.stats.as_ref().is_some_and(|stats| stats.running || matches!(stats.result, Some(Ok(_)))) && !again {
        return Vec::new();
    }
    open.stats = Some(Statistics { running: true, ..Statistics::default() });
    vec![effect(Effect::Stats { id: open.id, by, title })]
}

/// Has the task that does this stopped.
fn stop(app: &mut App, work: Work) -> Effects {
    let task = app.data.newest.get(&work).copied().filter(|task| app.tasks.stop(*task));
    task.map(super::Effect::CancelTask).into_iter().collect()
}

/// Moves in the pane that has the focus.
fn step(app: &mut App, to: Move) {
    let heights = [SETS, LIST, DETAIL].map(|list| app.hits.height(list));
    let text_rows = app.hits.rows(DETAIL);
    let seen = app.data.seen;
    let scrolled = |at: usize| {
        let mut cursor = Cursor { at, len: text_rows.saturating_sub(usize::from(heights[2])) + 1 };
        cursor.go(to, heights[2]);
        cursor.at
    };
    let pane = if app.data.covered() { Pane::Sets } else { app.data.focus };
    match (pane, &mut app.data.open) {
        (Pane::Sets, _) => drop(app.data.sets.go(to, heights[0])),
        (Pane::List, Some(open)) => match (&open.mode, &mut open.check) {
            (Mode::Problems, Some(check)) => drop(check.cursor.go(to, heights[1])),
            _ => drop(open.list.go(to, heights[1])),
        },
        (Pane::Detail, Some(open)) => match (&open.mode, &mut open.stats) {
            (Mode::Statistics, Some(stats)) => stats.scroll = scrolled(stats.scroll),
            _ if seen == SeenMode::Tokens => drop(open.tokens.go(to, heights[2])),
            _ => open.scroll = scrolled(open.scroll),
        },
        _ => {}
    }
}

/// Enter: one step further in.
fn forward(app: &mut App) -> Effects {
    match (app.data.focus, &mut app.data.open) {
        (Pane::Sets, _) => match app.data.set() {
            Some(found) if found.problem.is_some() => {
                app.data.failed = Some((Source::of(found), found.problem.clone().unwrap_or_default()));
                Vec::new()
            }
            Some(found) => {
                let source = Source::of(found);
                if app.data.open.as_ref().is_some_and(|open| open.source == source) {
                    (app.data.focus, app.data.failed) = (Pane::List, None);
                    return Vec::new();
                }
                open(app, source, false)
            }
            None => Vec::new(),
        },
        (Pane::List, Some(open)) => {
            match (open.mode, open.index()) {
                (Mode::Problems, Some(index)) => open.go_to(index),
                (_, Some(_)) => app.data.focus = Pane::Detail,
                _ => {}
            }
            want(app)
        }
        _ => Vec::new(),
    }
}

/// Esc: one step back.
fn back(app: &mut App) -> Effects {
    if app.data.opening.take().is_some() {
        return stop(app, Work::Open);
    }
    if app.data.failed.take().is_some() {
        return Vec::new();
    }
    let (seen, zoom) = (app.data.seen, app.data.zoom);
    let Some(open) = &mut app.data.open else { return Vec::new() };
    match (app.data.focus, open.mode) {
        (_, Mode::Statistics) => {
            (open.mode, app.data.focus) = (Mode::Samples, Pane::List);
            stop(app, Work::Stats)
        }
        (Pane::Detail, _) if seen != SeenMode::Off => {
            app.data.seen = SeenMode::Off;
            Vec::new()
        }
        (Pane::Detail, _) => {
            app.data.focus = Pane::List;
            Vec::new()
        }
        (Pane::List, Mode::Problems) => {
            open.mode = Mode::Samples;
            want(app)
        }
        (Pane::List, _) if open.filter.is_some() => update(app, Msg::ShowAll),
        _ if zoom => {
            app.data.zoom = false;
            Vec::new()
        }
        (Pane::List, _) => {
            (app.data.focus, app.data.sets_hidden) = (Pane::Sets, false);
            Vec::new()
        }
        (Pane::Sets, _) => Vec::new(),
    }
}

/// A key before the table of commands gets it: moving in the pane that has the focus.
pub fn key(app: &mut App, event: KeyEvent) -> Option<Effects> {
    let to = move_of(Key::of(&event))?;
    step(app, to);
    Some(want(app))
}

/// A pasted or dropped path is opened.
pub fn paste(app: &mut App, line: &str) -> Effects {
    match pasted::paths(line).as_deref() {
        Some([path, ..]) => update(app, Msg::OpenPath(path.clone())),
        _ => {
            app.say(Level::Info, app.t(text::PASTE_PATH));
            Vec::new()
        }
    }
}
