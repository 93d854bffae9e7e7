//! What lies over a screen: help, palette, questions, pickers. Each is plain data; the one on top gets the keys.
//!
//! Screens open the general ones with [`Confirm`], [`Prompt`], [`Choose`], [`Files`] and [`Page`]: each holds the action
//! that follows.

use super::commands::{self, Command};
use super::cursor::{Cursor, Move};
use super::settings::{ImageChoice, ThemeChoice, next};
use super::{Action, App, Effects};
use crate::input::paste;
use crate::text::Lang;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use tui_input::Input;
use tui_input::backend::crossterm::EventHandler;

#[derive(Debug, Clone)]
pub enum Overlay {
    /// The keys that work here.
    Help(Filtered),
    /// All commands that can be run now.
    Palette(Filtered),
    Messages(Cursor),
    Tasks(Cursor),
    Settings(Cursor),
    Confirm(Confirm),
    Prompt(Prompt),
    Choose(Choose),
    Files(Files),
    Page(Page),
}

/// A list with a line to type in.
#[derive(Debug, Clone, Default)]
pub struct Filtered {
    pub input: Input,
    pub cursor: Cursor,
}

/// A question with yes and no; enter says what is harmless.
#[derive(Debug, Clone)]
pub struct Confirm {
    pub title: String,
    /// What will happen, in sentences.
    pub text: String,
    /// Something is lost: enter means no.
    pub danger: bool,
    pub action: Action,
}

/// One line of text.
#[derive(Debug, Clone)]
pub struct Prompt {
    pub title: String,
    /// What to type, and in which form.
    pub label: String,
    pub input: Input,
    /// What was wrong with the last try.
    pub error: Option<String>,
    pub then: fn(String) -> Action,
}

/// One of several.
#[derive(Debug, Clone)]
pub struct Choose {
    pub title: String,
    pub items: Vec<Item>,
    pub filter: Filtered,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub label: String,
    pub detail: String,
    pub action: Action,
}

/// Files or folders of this machine.
#[derive(Debug, Clone)]
pub struct Files {
    pub title: String,
    pub want: Want,
    /// Several can be marked.
    pub many: bool,
    pub dir: PathBuf,
    /// `None` while they are read.
    pub entries: Option<Result<Vec<Entry>, String>>,
    /// Filters the entries; with a `/` in it, a path to go to.
    pub filter: Filtered,
    pub marked: Vec<PathBuf>,
    pub then: fn(Vec<PathBuf>) -> Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    Pictures,
    Profiles,
    Folders,
    Any,
}

impl Want {
    /// Whether a file of this name is shown.
    pub fn takes(self, name: &str) -> bool {
        let one_of = |ends: &[&str]| {
            name.rsplit_once('.').is_some_and(|(_, end)| ends.iter().any(|known| end.eq_ignore_ascii_case(known)))
        };
        match self {
            Self::Pictures => one_of(&["png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp", "ppm", "pgm"]),
            Self::Profiles => one_of(&["yaml", "yml", "json"]),
            Self::Folders => false,
            Self::Any => true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Folders first.
    pub is_file: bool,
    pub name: String,
    pub bytes: u64,
}

/// A long text to read.
#[derive(Debug, Clone)]
pub struct Page {
    pub title: String,
    pub text: String,
    pub top: usize,
}

#[derive(Debug, Clone)]
pub enum Msg {
    Open(Box<Overlay>),
    Close,
    Move(Move),
    /// The row was clicked.
    Pick(usize),
    /// A folder was read.
    Dir(PathBuf, Result<Vec<Entry>, String>),
    Answer(bool),
}

#[derive(Debug)]
pub enum Effect {
    ReadDir(PathBuf),
}

/// The id of an overlay's list in [`crate::view::Hits`].
pub const LIST: &str = "overlay";

impl App {
    pub fn open(&mut self, overlay: Overlay) -> Effects {
        let read = match &overlay {
            Overlay::Files(files) => vec![super::Effect::Overlay(Effect::ReadDir(files.dir.clone()))],
            _ => Vec::new(),
        };
        self.overlays.push(overlay);
        read
    }

    /// Asks before something is done.
    pub fn confirm(
        &mut self,
        title: impl Into<String>,
        text: impl Into<String>,
        danger: bool,
        action: Action,
    ) -> Effects {
        self.open(Overlay::Confirm(Confirm { title: title.into(), text: text.into(), danger, action }))
    }

    /// Asks for a line of text.
    pub fn ask(
        &mut self,
        title: impl Into<String>,
        label: impl Into<String>,
        value: &str,
        then: fn(String) -> Action,
    ) -> Effects {
        let prompt =
            Prompt { title: title.into(), label: label.into(), input: Input::new(value.to_owned()), error: None, then };
        self.open(Overlay::Prompt(prompt))
    }

    /// Lets the user choose one of several.
    pub fn choose(&mut self, title: impl Into<String>, items: Vec<Item>) -> Effects {
        let filter = Filtered { cursor: Cursor::new(items.len()), ..Filtered::default() };
        self.open(Overlay::Choose(Choose { title: title.into(), items, filter }))
    }

    /// Lets the user choose files or folders, beginning in `dir`.
    pub fn pick_files(
        &mut self,
        title: impl Into<String>,
        want: Want,
        many: bool,
        dir: &Path,
        then: fn(Vec<PathBuf>) -> Action,
    ) -> Effects {
        self.open(Overlay::Files(Files {
            title: title.into(),
            want,
            many,
            dir: dir.to_owned(),
            entries: None,
            filter: Filtered::default(),
            marked: Vec::new(),
            then,
        }))
    }
}

impl Choose {
    /// The items that fit what was typed, by index.
    pub fn visible(&self) -> Vec<usize> {
        let texts = self.items.iter().map(|item| format!("{} {}", item.label, item.detail));
        commands::fuzzy(self.filter.input.value(), texts)
    }
}

impl Files {
    /// The entries that fit what was typed, and the folder above.
    pub fn visible(&self) -> Vec<Cow<'_, Entry>> {
        let Some(Ok(entries)) = &self.entries else { return Vec::new() };
        let typed = self.filter.input.value();
        let hidden = typed.starts_with('.');
        let shown: Vec<&Entry> = entries
            .iter()
            .filter(|e| (!e.is_file || self.want.takes(&e.name)) && (hidden || !e.name.starts_with('.')))
            .collect();
        let fits = commands::fuzzy(typed, shown.iter().map(|e| &e.name));
        let folder = |name: &str| Cow::Owned(Entry { is_file: false, name: name.into(), bytes: 0 });
        // a folder is chosen from within: then it was seen what is in it
        let this = typed.is_empty() && matches!(self.want, Want::Folders | Want::Any);
        let up = typed.is_empty() && self.dir.parent().is_some();
        let special = [this.then(|| folder(".")), up.then(|| folder(".."))];
        special.into_iter().flatten().chain(fits.into_iter().map(|i| Cow::Borrowed(shown[i]))).collect()
    }

    /// The file or folder under the cursor.
    pub fn chosen(&self) -> Option<(PathBuf, Entry)> {
        let entry = self.visible().into_iter().nth(self.filter.cursor.at)?.into_owned();
        let path = match entry.name.as_str() {
            "." => self.dir.clone(),
            ".." => self.dir.parent()?.to_owned(),
            name => self.dir.join(name),
        };
        Some((path, entry))
    }

    fn enter_dir(&mut self, dir: PathBuf) -> Effects {
        (self.dir, self.entries, self.filter) = (dir.clone(), None, Filtered::default());
        vec![super::Effect::Overlay(Effect::ReadDir(dir))]
    }
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Open(overlay) => app.open(*overlay),
        Msg::Close => {
            app.overlays.pop();
            Vec::new()
        }
        Msg::Move(to) => {
            step(app, to);
            Vec::new()
        }
        Msg::Pick(row) => {
            step(app, Move::To(row));
            enter(app)
        }
        Msg::Answer(yes) => match app.overlays.pop() {
            Some(Overlay::Confirm(confirm)) if yes => super::update(app, confirm.action),
            _ => Vec::new(),
        },
        Msg::Dir(dir, read) => {
            // whoever opened it may have gone on to another folder
            if let Some(Overlay::Files(files)) =
                app.overlays.iter_mut().rev().find(|o| matches!(o, Overlay::Files(f) if f.dir == dir))
            {
                files.entries = Some(read);
                files.filter.cursor = Cursor::new(files.visible().len());
            }
            Vec::new()
        }
    }
}

/// Moves the cursor of the overlay on top.
fn step(app: &mut App, to: Move) {
    let height = app.hits.height(LIST);
    let Some(top) = app.overlays.last_mut() else { return };
    match top {
        Overlay::Help(f) | Overlay::Palette(f) => f.cursor.go(to, height),
        Overlay::Messages(cursor) | Overlay::Tasks(cursor) | Overlay::Settings(cursor) => cursor.go(to, height),
        Overlay::Choose(choose) => choose.filter.cursor.go(to, height),
        Overlay::Files(files) => files.filter.cursor.go(to, height),
        Overlay::Page(page) => {
            let last = app.hits.rows(LIST).saturating_sub(usize::from(height));
            let mut cursor = Cursor { at: page.top, len: last + 1 };
            cursor.go(to, height);
            page.top = cursor.at;
            true
        }
        Overlay::Confirm(_) | Overlay::Prompt(_) => false,
    };
}

/// A key for the overlay on top.
pub fn key(app: &mut App, event: KeyEvent) -> Effects {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    let typing = matches!(
        app.overlays.last(),
        Some(Overlay::Help(_) | Overlay::Palette(_) | Overlay::Choose(_) | Overlay::Files(_) | Overlay::Prompt(_))
    );
    let to = match event.code {
        KeyCode::Esc => return update(app, Msg::Close),
        KeyCode::Char('c') if control => return update(app, Msg::Close),
        KeyCode::Up => Move::By(-1),
        KeyCode::Down => Move::By(1),
        KeyCode::Char('p' | 'k') if control => Move::By(-1),
        KeyCode::Char('n' | 'j') if control => Move::By(1),
        KeyCode::Char('k') if !typing => Move::By(-1),
        KeyCode::Char('j') if !typing => Move::By(1),
        KeyCode::PageUp => Move::Page(-1),
        KeyCode::PageDown => Move::Page(1),
        KeyCode::Char(' ') if matches!(app.overlays.last(), Some(Overlay::Page(_))) => Move::Page(1),
        KeyCode::Home if !matches!(app.overlays.last(), Some(Overlay::Prompt(_))) => Move::Home,
        KeyCode::End if !matches!(app.overlays.last(), Some(Overlay::Prompt(_))) => Move::End,
        KeyCode::Char('g') if !typing => Move::Home,
        KeyCode::Char('G') if !typing => Move::End,
        KeyCode::Enter => return enter(app),
        _ => return other_key(app, event),
    };
    step(app, to);
    Vec::new()
}

fn other_key(app: &mut App, event: KeyEvent) -> Effects {
    let Some(mut top) = app.overlays.pop() else { return Vec::new() };
    let mut effects = Vec::new();
    match (&mut top, event.code) {
        (Overlay::Confirm(_), KeyCode::Char('y' | 'Y')) => {
            app.overlays.push(top);
            return update(app, Msg::Answer(true));
        }
        (Overlay::Confirm(_), KeyCode::Char('n' | 'N' | 'q')) => return effects,
        (Overlay::Messages(_) | Overlay::Tasks(_) | Overlay::Settings(_) | Overlay::Page(_), KeyCode::Char('q')) => {
            return effects;
        }
        (Overlay::Page(page), KeyCode::Char('y')) => {
            let text = page.text.clone();
            app.overlays.push(top);
            return app.copy(text);
        }
        (Overlay::Tasks(cursor), KeyCode::Char('x') | KeyCode::Delete) => {
            let id = app.tasks.all().nth(cursor.at).map(|task| task.id);
            if let Some(id) = id.filter(|id| app.tasks.stop(*id)) {
                effects.push(super::Effect::CancelTask(id));
            }
        }
        (Overlay::Prompt(prompt), _) => {
            prompt.error = None;
            prompt.input.handle_event(&Event::Key(event));
        }
        (Overlay::Help(filter) | Overlay::Palette(filter), _) => {
            let changed = filter.input.handle_event(&Event::Key(event)).is_some_and(|change| change.value);
            filter.cursor.at = if changed { 0 } else { filter.cursor.at };
        }
        (Overlay::Choose(choose), _) => {
            choose.filter.input.handle_event(&Event::Key(event));
            choose.filter.cursor = Cursor::new(choose.visible().len());
        }
        (Overlay::Files(files), _) => effects = files_key(files, event),
        _ => {}
    }
    app.overlays.push(top);
    count(app);
    effects
}

/// The lists that are made anew at each key: their length follows what was typed.
fn count(app: &mut App) {
    let lengths = app.overlays.last().map(|top| match top {
        Overlay::Help(f) => commands::help(app, f.input.value()).len(),
        Overlay::Palette(f) => commands::palette(app, f.input.value()).len(),
        Overlay::Messages(_) => app.messages.past().len(),
        Overlay::Tasks(_) => app.tasks.all().len(),
        _ => 0,
    });
    if let (
        Some(
            Overlay::Help(Filtered { cursor, .. })
            | Overlay::Palette(Filtered { cursor, .. })
            | Overlay::Messages(cursor)
            | Overlay::Tasks(cursor),
        ),
        Some(len),
    ) = (app.overlays.last_mut(), lengths)
    {
        cursor.set_len(len);
    }
}

fn files_key(files: &mut Files, event: KeyEvent) -> Effects {
    match event.code {
        KeyCode::Char(' ') if files.many => {
            if let Some((path, entry)) = files.chosen()
                && entry.is_file
            {
                match files.marked.iter().position(|marked| *marked == path) {
                    Some(at) => drop(files.marked.remove(at)),
                    None => files.marked.push(path),
                }
                files.filter.cursor.go(Move::By(1), 1);
            }
        }
        KeyCode::Tab => {
            if let Some((path, entry)) = files.chosen() {
                if !entry.is_file {
                    return files.enter_dir(path);
                }
                files.filter.input = Input::new(entry.name);
                files.filter.cursor = Cursor::new(files.visible().len());
            }
        }
        KeyCode::Left if files.filter.input.value().is_empty() => {
            if let Some(up) = files.dir.parent().map(Path::to_owned) {
                return files.enter_dir(up);
            }
        }
        KeyCode::Backspace if files.filter.input.value().is_empty() => {
            if let Some(up) = files.dir.parent().map(Path::to_owned) {
                return files.enter_dir(up);
            }
        }
        _ => {
            files.filter.input.handle_event(&Event::Key(event));
            return typed_path(files);
        }
    }
    Vec::new()
}

/// A `/` at the end of what was typed goes there at once.
fn typed_path(files: &mut Files) -> Effects {
    let typed = files.filter.input.value().to_owned();
    if typed.ends_with('/') || typed == "~" {
        let dir = files.dir.join(paste::expand_home(&typed));
        return files.enter_dir(dir);
    }
    files.filter.cursor = Cursor::new(files.visible().len());
    Vec::new()
}

/// Pasted text for the overlay on top.
pub fn paste(app: &mut App, text: &str) -> Effects {
    if let Some(Overlay::Files(files)) = app.overlays.last_mut()
        && let Some(paths) = paste::paths(text)
    {
        let action = (files.then)(paths);
        app.overlays.pop();
        return super::update(app, action);
    }
    let mut effects = Vec::new();
    match app.overlays.last_mut() {
        Some(Overlay::Prompt(prompt)) => {
            prompt.error = None;
            paste::insert(&mut prompt.input, text);
        }
        Some(Overlay::Help(filter) | Overlay::Palette(filter)) => {
            paste::insert(&mut filter.input, text);
            filter.cursor.at = 0;
        }
        Some(Overlay::Choose(choose)) => {
            paste::insert(&mut choose.filter.input, text);
            choose.filter.cursor = Cursor::new(choose.visible().len());
        }
        Some(Overlay::Files(files)) => {
            paste::insert(&mut files.filter.input, text);
            effects = typed_path(files);
        }
        // what is pasted never answers a question
        _ => {}
    }
    count(app);
    effects
}

fn enter(app: &mut App) -> Effects {
    let Some(top) = app.overlays.pop() else { return Vec::new() };
    match top {
        Overlay::Help(f) => run(app, commands::help(app, f.input.value()).get(f.cursor.at).copied()),
        Overlay::Palette(f) => run(app, commands::palette(app, f.input.value()).get(f.cursor.at).copied()),
        Overlay::Confirm(confirm) => {
            if confirm.danger {
                return Vec::new();
            }
            super::update(app, confirm.action)
        }
        Overlay::Prompt(prompt) => super::update(app, (prompt.then)(prompt.input.value().to_owned())),
        Overlay::Choose(choose) => match choose.visible().get(choose.filter.cursor.at) {
            Some(i) => super::update(app, choose.items[*i].action.clone()),
            None => app.open(Overlay::Choose(choose)),
        },
        Overlay::Files(files) => enter_files(app, files),
        Overlay::Settings(cursor) => {
            let effects = change_setting(app, cursor.at);
            app.overlays.push(Overlay::Settings(cursor));
            effects
        }
        Overlay::Messages(_) | Overlay::Tasks(_) | Overlay::Page(_) => Vec::new(),
    }
}

fn run(app: &mut App, command: Option<&'static Command>) -> Effects {
    command.map_or_else(Vec::new, |command| (command.run)(app))
}

fn enter_files(app: &mut App, mut files: Files) -> Effects {
    let typed = files.filter.input.value();
    let is_path = typed.contains('/') || typed.starts_with('~');
    if files.marked.is_empty() && is_path {
        let path = files.dir.join(paste::expand_home(typed));
        return super::update(app, (files.then)(vec![path]));
    }
    match files.chosen() {
        _ if !files.marked.is_empty() => super::update(app, (files.then)(files.marked)),
        Some((path, entry)) if entry.is_file || entry.name == "." => super::update(app, (files.then)(vec![path])),
        Some((path, _)) => {
            let effects = files.enter_dir(path);
            app.overlays.push(Overlay::Files(files));
            effects
        }
        None => {
            app.overlays.push(Overlay::Files(files));
            Vec::new()
        }
    }
}

/// The rows of the settings, in order.
pub const SETTINGS: usize = 4;

fn change_setting(app: &mut App, row: usize) -> Effects {
    let settings = &mut app.settings;
    match row {
        0 => {
            app.session_language = None;
            settings.language = next(&[None, Some(Lang::En), Some(Lang::Zh)], settings.language);
        }
        1 => settings.theme = next(&ThemeChoice::ALL, settings.theme),
        2 => settings.images = next(&ImageChoice::ALL, settings.images),
        _ => {
            settings.mouse = !settings.mouse;
            app.session_no_mouse = false;
            return vec![super::Effect::Mouse, super::Effect::SaveSettings];
        }
    }
    vec![super::Effect::SaveSettings]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paste_into(overlay: impl FnOnce(&mut App) -> Effects, text: &str) -> App {
        let mut app = App::default();
        overlay(&mut app);
        paste(&mut app, text);
        app
    }

    #[test]
    fn what_is_pasted_never_answers_a_question() {
        let app = paste_into(|app| app.confirm("t", "Remove everything?", true, Action::Quit), "yes\ny");
        assert!(!app.quit && matches!(app.overlays[..], [Overlay::Confirm(_)]));
    }

    #[test]
    fn pasted_text_filters_a_list_as_typed_text_does() {
        let item = |label: &str| Item { label: label.into(), detail: String::new(), action: Action::Quit };
        let app = paste_into(|app| app.choose("t", vec![item("one"), item("two")]), "two\n");
        let Some(Overlay::Choose(choose)) = app.overlays.last() else { panic!("{:?}", app.overlays) };
        assert_eq!((choose.visible(), choose.filter.cursor.len), (vec![1], 1));
    }

    #[test]
    fn a_pasted_path_is_taken_by_the_file_picker() {
        fn picked(paths: Vec<PathBuf>) -> Action {
            Action::Say(crate::app::messages::Level::Info, paths[0].display().to_string())
        }
        let open = |app: &mut App| app.pick_files("t", Want::Pictures, true, Path::new("/"), picked);
        let app = paste_into(open, "'/scans/a b.png'\n");
        assert!(app.overlays.is_empty());
        assert_eq!(app.messages.past().next().unwrap().text, "/scans/a b.png");
    }
}
