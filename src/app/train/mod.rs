//! The Train screen: a profile as a form and as YAML, its files, the command it stands for, what it will need, and the start
//! of a run. Read in this order: [`draft`] (the text and what it says), [`form`] (the rows), [`edit`] (keys → changes),
//! [`files`], [`start`].

pub mod board;
mod commands;
pub mod draft;
pub mod edit;
pub mod estimate;
pub mod figures;
pub mod files;
pub mod form;
pub mod load;
pub mod pane;
pub mod preview;
pub mod start;
mod step;
pub mod templates;
#[cfg(test)]
mod tests;
pub mod yaml;

pub use commands::COMMANDS;

use super::commands as table;
use super::cursor::{Cursor, Move};
use super::messages::Level;
use super::{Action, App, Effects};
use crate::input::Key as Pressed;
use crate::text::train as text;
use crossterm::event::{Event, KeyCode, KeyEvent};
use draft::Draft;
use edit::Field;
use pane::Yaml;
use std::path::PathBuf;
use tui_input::Input;
use tui_input::backend::crossterm::EventHandler;

/// Names of the lists in [`crate::view::Hits`].
pub const GROUPS: &str = "train-groups";
pub const KEYS: &str = "train-keys";

/// Which part of the form gets the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pane {
    Groups,
    #[default]
    Keys,
}

#[derive(Debug)]
pub struct Train {
    pub draft: Draft,
    /// The file that the draft was loaded from or saved to.
    pub file: Option<files::File>,
    /// What the draft began as where there is no file: a template, a run.
    pub origin: String,
    pub pane: Pane,
    pub groups: Cursor,
    pub keys: Cursor,
    pub search: Input,
    pub searching: bool,
    /// Only keys that are set, from all groups.
    pub only_set: bool,
    /// The value that is being typed.
    pub field: Option<Field>,
    /// The text as a whole is being edited.
    pub yaml: Option<Yaml>,
    /// The key that a list or file picker is open for.
    pub picking: Option<&'static str>,
    pub estimate: estimate::State,
    /// A check or a start is on its way.
    pub starting: Option<start::Way>,
    entered: bool,
}

impl Default for Train {
    fn default() -> Self {
        let mut train = Self {
            draft: Draft::default(),
            file: None,
            origin: String::new(),
            pane: Pane::default(),
            groups: Cursor::default(),
            keys: Cursor::default(),
            search: Input::default(),
            searching: false,
            only_set: false,
            field: None,
            yaml: None,
            picking: None,
            estimate: estimate::State::default(),
            starting: None,
            entered: false,
        };
        train.count();
        train
    }
}

impl Train {
    /// The text is not what the file says, or was never saved.
    pub fn is_changed(&self) -> bool {
        match &self.file {
            Some(file) => file.text != self.draft.text(),
            None => self.draft.can_undo(),
        }
    }
}

#[derive(Debug, Clone)]
pub enum Msg {
    /// In the list of groups, in that of keys.
    Group(Move),
    Key(Move),
    /// The row was opened.
    Edit(usize),
    /// A value was chosen for a key, in one line of YAML.
    Set(&'static str, String),
    /// A name was chosen from a list: into the key's list, or out of it.
    Toggle(&'static str, String),
    /// Files or folders were picked for the key that is waiting.
    Picked(Vec<PathBuf>),
    /// Data sets that there are, for a key.
    Datasets(&'static str, Result<Vec<(String, String)>, String>),
    Files(files::Msg),
    Start(start::Msg),
    Load(load::Msg),
    Estimate(estimate::Msg),
    /// The YAML pane: a place was clicked, the wheel was turned.
    YamlAt(u16, u16),
    YamlBy(isize),
}

#[derive(Debug)]
pub enum Effect {
    /// Names and kinds in `dataset_info.json` of the folder, for a key.
    Datasets(PathBuf, &'static str),
    Files(files::Effect),
    Start(start::Effect),
    Load(load::Effect),
    Estimate(estimate::Effect),
}

pub(super) fn effect(effect: Effect) -> super::Effect {
    super::Effect::Train(effect)
}

/// The screen is shown.
pub fn enter(app: &mut App) -> Effects {
    let mut effects = files::look(app);
    if !std::mem::replace(&mut app.train.entered, true)
        && app.train.file.is_none()
        && let Some(path) = app.settings.last.profile.clone()
    {
        effects.push(effect(Effect::Files(files::Effect::Load { path, quiet: true })));
    }
    effects.extend(estimate::refresh(app));
    effects
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Group(to) => {
            app.train.pane = Pane::Groups;
            go_group(app, to);
            Vec::new()
        }
        Msg::Key(to) => {
            app.train.pane = Pane::Keys;
            go_key(app, to);
            Vec::new()
        }
        Msg::Edit(row) => {
            go_key(app, Move::To(row));
            edit::open(app)
        }
        Msg::Set(key, inline) => edit::set(app, key, &inline),
        Msg::Toggle(key, name) => edit::toggle_name(app, key, &name),
        Msg::Picked(paths) => edit::picked(app, &paths),
        Msg::Datasets(key, names) => edit::choose_dataset(app, key, names),
        Msg::Files(msg) => files::update(app, msg),
        Msg::Start(msg) => start::update(app, msg),
        Msg::Load(msg) => load::update(app, msg),
        Msg::Estimate(msg) => estimate::update(app, msg),
        Msg::YamlAt(x, y) => pane::click(app, x, y),
        Msg::YamlBy(n) => pane::scroll(app, n),
    }
}

fn go_group(app: &mut App, to: Move) {
    let height = app.hits.height(GROUPS);
    let train = &mut app.train;
    train.field = None;
    let moved = train.groups.go(to, height);
    if moved || !train.search.value().is_empty() || train.only_set {
        // whoever chooses a group wants to see it
        (train.search, train.only_set, train.keys.at) = (Input::default(), false, 0);
    }
    train.count();
}

fn go_key(app: &mut App, to: Move) {
    let height = app.hits.height(KEYS);
    app.train.field = None;
    app.train.keys.go(to, height);
}

/// After each change of the text.
pub(crate) fn changed(app: &mut App) -> Effects {
    app.train.count();
    estimate::refresh(app)
}

/// A key before the table of commands gets it; `None`: it is not for a field of this screen.
pub fn key(app: &mut App, event: KeyEvent) -> Option<Effects> {
    if app.train.yaml.is_some() {
        return pane::key(app, event);
    }
    if app.train.field.is_some() {
        return edit::field_key(app, event);
    }
    if app.train.searching {
        return Some(search_key(app, event));
    }
    let pressed = Pressed::of(&event);
    if let Some(to) = table::move_of(pressed) {
        match app.train.pane {
            Pane::Groups => go_group(app, to),
            Pane::Keys => go_key(app, to),
        }
        return Some(Vec::new());
    }
    match event.code {
        KeyCode::Enter | KeyCode::Right if app.train.pane == Pane::Groups => {
            app.train.pane = Pane::Keys;
            Some(Vec::new())
        }
        KeyCode::Esc => back(app).then(Vec::new),
        _ => None,
    }
}

/// One step back; `false`: there is none.
fn back(app: &mut App) -> bool {
    let train = &mut app.train;
    if !train.search.value().is_empty() {
        let name = train.row().map(|row| row.name().to_owned());
        train.search = Input::default();
        // what was found stays under the cursor
        match name {
            Some(name) if lightbox_core::profile::Key::find(&name).is_some() => train.show(&name),
            _ => train.count(),
        }
    } else if train.only_set {
        train.only_set = false;
        train.count();
    } else if train.pane == Pane::Keys && app.messages.current(app.now_ms).is_none() {
        train.pane = Pane::Groups;
    } else {
        return false;
    }
    true
}

fn search_key(app: &mut App, event: KeyEvent) -> Effects {
    let train = &mut app.train;
    match event.code {
        KeyCode::Esc => {
            (train.searching, train.search) = (false, Input::default());
            train.count();
        }
        KeyCode::Enter | KeyCode::Tab => {
            (train.searching, train.pane) = (false, Pane::Keys);
            if train.keys.len == 0 {
                train.search = Input::default();
                train.count();
                let nothing = app.t(text::NOTHING_FOUND);
                app.say(Level::Info, nothing);
            }
        }
        KeyCode::Up => go_key(app, Move::By(-1)),
        KeyCode::Down => go_key(app, Move::By(1)),
        KeyCode::PageUp => go_key(app, Move::Page(-1)),
        KeyCode::PageDown => go_key(app, Move::Page(1)),
        _ => {
            if train.search.handle_event(&Event::Key(event)).is_some_and(|change| change.value) {
                train.keys.at = 0;
            }
            train.count();
        }
    }
    Vec::new()
}

pub fn paste(app: &mut App, pasted: &str) -> Effects {
    if app.train.yaml.is_some() {
        return pane::paste(app, pasted);
    }
    let into = match (&mut app.train.field, app.train.searching) {
        (Some(field), _) => Some(&mut field.input),
        (None, true) => Some(&mut app.train.search),
        (None, false) => None,
    };
    if let Some(input) = into {
        crate::input::paste::insert(input, pasted.trim());
        edit::check_field(app);
        app.train.count();
    }
    Vec::new()
}

/// An action of this screen.
pub fn action(msg: Msg) -> Action {
    Action::Train(msg)
}
