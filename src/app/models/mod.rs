//! The Models screen: what it knows and how that changes. What there is ([`entry`]), what is being done about it
//! ([`work`]: download, export, remove), and what a user can do ([`commands`]).

mod commands;
pub mod entry;
pub mod export;
#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
pub mod work;

pub use commands::COMMANDS;
pub use work::{Effect, Msg};

use super::commands::move_of;
use super::cursor::{Cursor, Move};
use super::{Action, App, Effects, Screen};
use crate::input::Key;
use crossterm::event::{Event, KeyCode, KeyEvent};
use entry::{Disk, Entry};
use export::{Form, Verified};
use lightbox_core::chat::ModelChoice;
use lightbox_core::profile::yaml_value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tui_input::Input;
use tui_input::backend::crossterm::EventHandler;
use work::Job;

/// Names of the lists in [`crate::view::Hits`].
pub const LIST: &str = "models";
pub const DETAILS: &str = "models-details";

#[derive(Debug, Default)]
pub struct Models {
    /// Base models first.
    pub entries: Vec<Entry>,
    pub disk: Option<Disk>,
    /// They were looked for at least once.
    pub known: bool,
    pub scanning: bool,
    /// Over [`Models::rows`].
    pub cursor: Cursor,
    pub filter: Input,
    /// The filter is being typed in.
    pub typing: bool,
    pub focus: Pane,
    /// First row of the details.
    pub top: usize,
    /// Under way, or failed and not yet put away.
    pub jobs: Vec<Job>,
    pub next_job: u64,
    pub form: Option<Form>,
    /// What verifications of this session found.
    pub verified: HashMap<PathBuf, Verified>,
    /// The repository of which the revision is being asked.
    pub repo: String,
    /// Chosen as soon as it is in the list.
    pub wanted: Option<Wanted>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pane {
    #[default]
    List,
    Details,
}

/// A row of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    Bases,
    Adapters,
    /// By index.
    Entry(usize),
    /// Of what is not in the list yet.
    Job(usize),
}

/// What is to be chosen when it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Path(PathBuf),
    /// What a download has left.
    Repo(String, String),
}

impl Wanted {
    fn is(&self, entry: &Entry) -> bool {
        match self {
            Self::Path(path) => entry.path == *path,
            Self::Repo(repo, revision) => entry.hub() == Some((repo.as_str(), revision.as_str())),
        }
    }
}

/// What the cursor is on.
#[derive(Debug, Clone, Copy)]
pub enum Chosen<'a> {
    Entry(&'a Entry),
    Job(&'a Job),
}

impl Models {
    pub fn rows(&self) -> Vec<Row> {
        let query = self.filter.value().trim().to_lowercase();
        let fits = |entry: &Entry| {
            let path = entry.path.to_string_lossy();
            query.is_empty() || entry.name.to_lowercase().contains(&query) || path.to_lowercase().contains(&query)
        };
        let of = |adapters: bool| {
            let all = self.entries.iter().enumerate();
            all.filter(move |(_, entry)| entry.kind.is_adapter() == adapters && fits(entry)).map(|(i, _)| Row::Entry(i))
        };
        let loose = self.jobs.iter().enumerate().filter(|(_, job)| !self.entries.iter().any(|e| job.is_for(e)));
        let bases: Vec<Row> = loose.map(|(i, _)| Row::Job(i)).chain(of(false)).collect();
        let adapters: Vec<Row> = of(true).collect();
        let mut rows = Vec::new();
        for (heading, part) in [(Row::Bases, bases), (Row::Adapters, adapters)] {
            if !part.is_empty() {
                rows.push(heading);
                rows.extend(part);
            }
        }
        rows
    }

    pub fn chosen(&self) -> Option<Chosen<'_>> {
        match self.rows().get(self.cursor.at)? {
            Row::Entry(i) => self.entries.get(*i).map(Chosen::Entry),
            Row::Job(i) => self.jobs.get(*i).map(Chosen::Job),
            Row::Bases | Row::Adapters => None,
        }
    }

    pub fn entry(&self) -> Option<&Entry> {
        match self.chosen() {
            Some(Chosen::Entry(entry)) => Some(entry),
            _ => None,
        }
    }

    /// What is being done about the chosen row.
    pub fn job(&self) -> Option<&Job> {
        match self.chosen()? {
            Chosen::Job(job) => Some(job),
            Chosen::Entry(entry) => self.job_of(entry),
        }
    }

    pub fn job_of(&self, entry: &Entry) -> Option<&Job> {
        self.jobs.iter().find(|job| job.is_for(entry))
    }

    /// After the list has changed: the cursor is on a row that can be chosen, on `keep` if that is there.
    fn settle(&mut self, keep: Option<&Path>) {
        let rows = self.rows();
        let path_of = |row: &Row| match row {
            Row::Entry(i) => self.entries.get(*i).map(|entry| entry.path.as_path()),
            _ => None,
        };
        let at = keep.and_then(|keep| rows.iter().position(|row| path_of(row) == Some(keep)));
        self.cursor.set_len(rows.len());
        self.cursor.at = at.unwrap_or(self.cursor.at);
        self.off_heading(&rows, true);
    }

    fn off_heading(&mut self, rows: &[Row], down: bool) {
        let heading = |at: usize| matches!(rows.get(at), Some(Row::Bases | Row::Adapters));
        // a heading is never the last row, and the first row is one
        if heading(self.cursor.at) {
            self.cursor.at = if down || self.cursor.at == 0 { self.cursor.at + 1 } else { self.cursor.at - 1 };
        }
    }

    fn step(&mut self, to: Move, height: u16) {
        let before = self.cursor.at;
        self.cursor.go(to, height);
        let down = self.cursor.at >= before || to == Move::Home;
        self.off_heading(&self.rows(), down);
        if self.cursor.at != before {
            self.top = 0;
        }
    }
}

/// The screen is shown.
pub fn enter(app: &mut App) -> Effects {
    scan(app)
}

/// Looks again at what is there; the old list stays until then.
fn scan(app: &mut App) -> Effects {
    if app.models.scanning {
        return Vec::new();
    }
    app.models.scanning = true;
    let last = [&app.settings.last.model, &app.settings.last.adapter];
    let given = last.into_iter().flatten().chain(&app.settings.models).cloned().collect();
    let places = work::Places { here: app.here.clone(), given, exports: app.settings.exports.clone() };
    vec![super::Effect::Models(Effect::Scan(places))]
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Found(entries, disk) => {
            found(app, entries, disk);
            Vec::new()
        }
        Msg::Move(to) => {
            let height = app.hits.height(LIST);
            app.models.focus = Pane::List;
            app.models.step(to, height);
            Vec::new()
        }
        Msg::Scroll(to) => {
            scroll(app, to);
            Vec::new()
        }
        msg => work::update(app, msg),
    }
}

fn found(app: &mut App, entries: Vec<Entry>, disk: Option<Disk>) {
    let models = &mut app.models;
    let wanted = models.wanted.as_ref().and_then(|wanted| entries.iter().rfind(|entry| wanted.is(entry)));
    let keep = wanted.map(|entry| entry.path.clone());
    if keep.is_some() {
        models.wanted = None;
    }
    let keep = keep.or_else(|| models.entry().map(|entry| entry.path.clone()));
    (models.entries, models.disk) = (entries, disk);
    (models.known, models.scanning) = (true, false);
    models.settle(keep.as_deref());
}

fn scroll(app: &mut App, to: Move) {
    let height = app.hits.height(DETAILS);
    let last = app.hits.rows(DETAILS).saturating_sub(usize::from(height));
    let mut cursor = Cursor { at: app.models.top.min(last), len: last + 1 };
    cursor.go(to, height);
    app.models.top = cursor.at;
}

/// A key before the table of commands gets it; `None`: it is not for a field of this screen.
pub fn key(app: &mut App, event: KeyEvent) -> Option<Effects> {
    let key = Key::of(&event);
    if app.models.typing {
        match event.code {
            KeyCode::Esc => close_filter(app),
            KeyCode::Enter => app.models.typing = false,
            KeyCode::Up | KeyCode::Down | KeyCode::PageUp | KeyCode::PageDown => {
                return move_of(key).map(|to| update(app, Msg::Move(to)));
            }
            _ => {
                app.models.filter.handle_event(&Event::Key(event));
                filtered(app);
            }
        }
        return Some(Vec::new());
    }
    if event.code == KeyCode::Esc {
        // one step back
        match (app.models.focus, app.models.filter.value().is_empty()) {
            (Pane::Details, _) => app.models.focus = Pane::List,
            (Pane::List, false) => close_filter(app),
            (Pane::List, true) => return None,
        }
        return Some(Vec::new());
    }
    let to = move_of(key)?;
    match app.models.focus {
        Pane::List => Some(update(app, Msg::Move(to))),
        Pane::Details => {
            scroll(app, to);
            Some(Vec::new())
        }
    }
}

pub fn paste(app: &mut App, text: &str) -> Effects {
    if app.models.typing {
        crate::input::paste::insert(&mut app.models.filter, text);
        filtered(app);
    }
    Vec::new()
}

fn close_filter(app: &mut App) {
    let keep = app.models.entry().map(|entry| entry.path.clone());
    (app.models.typing, app.models.filter) = (false, Input::default());
    app.models.settle(keep.as_deref());
}

fn filtered(app: &mut App) {
    app.models.cursor.at = 0;
    app.models.settle(None);
}

/// Asks this model.
fn chat_with(model: PathBuf, adapters: Vec<PathBuf>) -> Action {
    let choice = ModelChoice { model, adapters, dtype: Default::default(), device: "auto".into() };
    Action::All(vec![Action::Chat(super::chat::Msg::Choose { side: 0, choice }), Action::Go(Screen::Chat)])
}

/// Trains this model: the profile on the Train screen names it now; undo takes that back.
fn train_on(model: PathBuf) -> Action {
    let value = yaml_value(&model.display().to_string().into());
    let set = super::train::Msg::Set("model_name_or_path", value);
    Action::All(vec![Action::Train(set), Action::Go(Screen::Train)])
}
