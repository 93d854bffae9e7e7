//! The Chat screen: questions with pictures to one model, or the same question to two side by side.
//!
//! A side is a conversation with one model. Both sides ask the same worker, which keeps the base model loaded and exchanges
//! adapters; answers come one after the other. Read next: [`talk`] (what happens to a question), then [`commands`].

mod commands;
mod events;
pub mod options;
pub mod save;
mod talk;
#[cfg(test)]
mod tests;

pub use commands::COMMANDS;
pub use talk::{Answer, Side, Turn};

use super::commands::move_of;
use super::cursor::Move;
use super::messages::Level;
use super::overlay::Want;
use super::{Action, App, Effects};
use crate::input::{Key, paste};
use crate::text::chat as text;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use lightbox_core::chat::{AskOptions, Loading, ModelChoice, Reply, Request};
use lightbox_core::generation::ModelDefaults;
use ratatui_textarea::TextArea;
use std::path::PathBuf;

#[derive(Debug)]
pub struct Chat {
    /// The second is shown while comparing.
    pub sides: [Side; 2],
    pub compare: bool,
    pub focus: Focus,
    /// The question that is being written.
    pub composer: TextArea<'static>,
    /// Pictures of the question that is being written.
    pub attached: Vec<PathBuf>,
    pub system: Option<String>,
    pub options: AskOptions,
    pub worker: Worker,
    pub loaded: Option<Loaded>,
    pub loading: Option<(ModelChoice, Loading)>,
    /// Of the next question.
    next_id: u64,
    /// The conversations that "new" put away, for undo.
    put_away: Option<[Vec<Turn>; 2]>,
    asked_for_models: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Focus {
    #[default]
    Composer,
    Side(usize),
}

/// The process that answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Worker {
    /// It is started with the first question.
    #[default]
    Off,
    Starting,
    Ready {
        version: String,
    },
    /// Why it ended; the next question starts another.
    Died(String),
}

/// What is in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub model: ModelChoice,
    pub device: String,
    pub dtype: String,
    pub memory_bytes: u64,
}

/// A model that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub label: String,
    pub detail: String,
    pub choice: ModelChoice,
}

#[derive(Debug, Clone)]
pub enum Msg {
    /// What can be asked here; with a side, the user wants to choose for it.
    Models {
        side: Option<usize>,
        found: Vec<Candidate>,
    },
    Choose {
        side: usize,
        choice: ModelChoice,
    },
    Reply(Reply),
    /// The worker ended by itself, or could not be started.
    Died(String),
    /// Paths that were pasted or picked: the pictures, and those that cannot be read, with the reason.
    Attach {
        pictures: Vec<PathBuf>,
        refused: Vec<String>,
    },
    Picked(Vec<PathBuf>),
    Option(usize, String),
    /// What the model says about its answers, for the list of options.
    Options(ModelDefaults),
    System(String),
    SaveTo(save::Format, String),
    AddTo(String),
    /// A file was written.
    Saved(Result<String, String>),
    Clear,
    Scroll(usize, Move),
    Focus(Focus),
    Detach(usize),
}

#[expect(clippy::large_enum_variant, reason = "an effect is made and done at once; none are kept")]
#[derive(Debug)]
pub enum Effect {
    /// Finds models and adapters; `side` as in [`Msg::Models`].
    FindModels {
        side: Option<usize>,
        known: Vec<PathBuf>,
    },
    Send(Request),
    /// What does this model's own file say about its answers? Comes back as [`Msg::Options`].
    ReadDefaults(PathBuf),
    /// Ends the worker and frees all that it holds.
    End,
    /// Are these readable pictures?
    CheckPictures(Vec<PathBuf>),
    Save {
        path: PathBuf,
        text: String,
    },
    AddToDataSet {
        dir: PathBuf,
        name: String,
        row: String,
    },
}

impl Default for Chat {
    fn default() -> Self {
        let mut composer = TextArea::default();
        composer.set_wrap_mode(ratatui_textarea::WrapMode::WordOrGlyph);
        composer.set_cursor_line_style(ratatui::style::Style::new());
        Self {
            sides: Default::default(),
            compare: false,
            focus: Focus::default(),
            composer,
            attached: Vec::new(),
            system: None,
            options: AskOptions::default(),
            worker: Worker::default(),
            loaded: None,
            loading: None,
            next_id: 1,
            put_away: None,
            asked_for_models: false,
        }
    }
}

impl Chat {
    /// The sides that are shown.
    pub fn shown(&self) -> usize {
        1 + usize::from(self.compare)
    }

    /// The side that a command is about.
    pub fn side(&self) -> usize {
        match self.focus {
            Focus::Side(side) if side < self.shown() => side,
            _ => 0,
        }
    }

    /// Something is being answered, or waits for it.
    pub fn is_busy(&self) -> bool {
        self.sides.iter().take(self.shown()).any(|side| side.open().is_some())
    }

    pub fn question(&self) -> String {
        self.composer.lines().join("\n").trim().to_owned()
    }

    /// Seconds tick while a model loads or an answer is waited for.
    pub fn next_tick(&self, now_ms: u64) -> Option<u64> {
        (self.loading.is_some() || self.is_busy()).then_some(now_ms + 1_000)
    }
}

/// The screen is shown: which models there are is found out once, and again whenever the user chooses.
pub fn enter(app: &mut App) -> Effects {
    if std::mem::replace(&mut app.chat.asked_for_models, true) {
        return Vec::new();
    }
    find_models(app, None)
}

fn find_models(app: &App, side: Option<usize>) -> Effects {
    let last = &app.settings.last;
    let known = [last.model.clone(), last.adapter.clone()]
        .into_iter()
        .flatten()
        .chain([app.here.join(super::tour::DIR).join("model")]);
    vec![super::Effect::Chat(Effect::FindModels { side, known: known.collect() })]
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Models { side, found } => events::models(app, side, found),
        Msg::Choose { side, choice } => talk::choose(app, side, choice),
        Msg::Reply(reply) => events::reply(app, reply),
        Msg::Died(why) => events::died(app, why),
        Msg::Attach { pictures, refused } => {
            for picture in pictures {
                if !app.chat.attached.contains(&picture) {
                    app.chat.attached.push(picture);
                }
            }
            refused.into_iter().for_each(|why| app.say(Level::Warning, why));
            Vec::new()
        }
        Msg::Picked(paths) => vec![super::Effect::Chat(Effect::CheckPictures(paths))],
        Msg::Options(model) => options::list(app, &model),
        Msg::Option(row, value) => options::set(app, row, &value),
        Msg::System(system) => {
            app.chat.system = Some(system.trim().to_owned()).filter(|system| !system.is_empty());
            Vec::new()
        }
        Msg::SaveTo(format, path) => save::save(app, format, &path),
        Msg::AddTo(name) => save::add_to_data_set(app, &name),
        Msg::Saved(Ok(what)) => {
            app.say(Level::Good, what);
            Vec::new()
        }
        Msg::Saved(Err(why)) => {
            app.say(Level::Error, why);
            Vec::new()
        }
        Msg::Clear => talk::clear(app),
        Msg::Scroll(side, to) => {
            scroll(app, side, to);
            Vec::new()
        }
        Msg::Focus(focus) => {
            app.chat.focus = focus;
            Vec::new()
        }
        Msg::Detach(picture) => {
            if picture < app.chat.attached.len() {
                app.chat.attached.remove(picture);
            }
            Vec::new()
        }
    }
}

/// The ids of the conversations in [`crate::view::Hits`].
pub const LISTS: [&str; 2] = ["chat.left", "chat.right"];

fn scroll(app: &mut App, side: usize, to: Move) {
    let (height, rows) = (app.hits.height(LISTS[side]), app.hits.rows(LISTS[side]));
    let most = rows.saturating_sub(height.into());
    let up = &mut app.chat.sides[side].up;
    // counted from the end, so that what is being said stays visible
    let page = usize::from(height.saturating_sub(1).max(1));
    *up = match to {
        Move::By(n) => up.saturating_add_signed(-n),
        Move::Page(n) => up.saturating_add_signed(-n * page as isize),
        Move::Home => most,
        Move::End => 0,
        Move::To(row) => most.saturating_sub(row),
    }
    .min(most);
}

/// The composer takes what is typed; everything with ctrl (but the few keys of a text field) and alt is a command.
pub fn key(app: &mut App, event: KeyEvent) -> Option<Effects> {
    match event.code {
        KeyCode::Tab => return Some(turn_focus(app, 1)),
        KeyCode::BackTab => return Some(turn_focus(app, -1)),
        _ => {}
    }
    if app.chat.focus != Focus::Composer {
        let to = move_of(Key::of(&event))?;
        scroll(app, app.chat.side(), to);
        return Some(Vec::new());
    }
    let (control, alt) = (event.modifiers.contains(KeyModifiers::CONTROL), event.modifiers.contains(KeyModifiers::ALT));
    match event.code {
        KeyCode::Enter if alt || control || event.modifiers.contains(KeyModifiers::SHIFT) => {
            app.chat.composer.insert_newline()
        }
        KeyCode::Char('j') if control => app.chat.composer.insert_newline(),
        KeyCode::Enter => return Some(talk::ask(app)),
        KeyCode::Esc if app.chat.is_busy() => return Some(talk::stop(app)),
        KeyCode::Esc => app.chat.focus = Focus::Side(0),
        KeyCode::PageUp => scroll(app, 0, Move::Page(-1)),
        KeyCode::PageDown => scroll(app, 0, Move::Page(1)),
        KeyCode::Up if app.chat.composer.is_empty() => return Some(talk::edit_last(app)),
        KeyCode::Char('a' | 'e' | 'k' | 'u' | 'w' | 'd' | 'y') if control && !alt => _ = app.chat.composer.input(event),
        KeyCode::F(_) => return None,
        _ if control || alt => return None,
        _ => _ = app.chat.composer.input(event),
    }
    Some(Vec::new())
}

fn turn_focus(app: &mut App, by: isize) -> Effects {
    let sides = app.chat.shown();
    let all: Vec<Focus> = std::iter::once(Focus::Composer).chain((0..sides).map(Focus::Side)).collect();
    let at = all.iter().position(|focus| *focus == app.chat.focus).unwrap_or_default();
    app.chat.focus = all[(at as isize + by).rem_euclid(all.len() as isize) as usize];
    Vec::new()
}

/// A dropped or pasted path becomes a picture of the question; any other text goes into it.
pub fn paste(app: &mut App, pasted: &str) -> Effects {
    if let Some(paths) = paste::paths(pasted) {
        return vec![super::Effect::Chat(Effect::CheckPictures(paths))];
    }
    app.chat.focus = Focus::Composer;
    // Escape sequences have no business in a question; line ends and tabs do.
    let plain: String = pasted
        .replace("\r\n", "\n")
        .replace('\r', "\n")
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    app.chat.composer.insert_str(plain);
    Vec::new()
}

pub fn tick(_app: &mut App) -> Effects {
    Vec::new()
}

/// How a model is called on the screen: `Qwen2-VL-2B-Instruct + run-3/checkpoint-40`.
pub fn label(choice: &ModelChoice) -> String {
    use lightbox_core::safe_text::clean_line;
    let last = |path: &PathBuf| {
        path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
    };
    let adapter = |path: &PathBuf| {
        let name = last(path);
        match path.parent().and_then(|p| p.file_name()) {
            // a checkpoint's own name says nothing without its run's
            Some(run) if name.starts_with("checkpoint-") => format!("{}/{name}", run.to_string_lossy()),
            _ => name,
        }
    };
    let names: Vec<String> = std::iter::once(last(&choice.model)).chain(choice.adapters.iter().map(adapter)).collect();
    clean_line(&names.join(" + "), 200)
}

fn pick_pictures(app: &mut App) -> Effects {
    let dir = app.chat.attached.last().and_then(|path| path.parent()).unwrap_or(&app.here).to_owned();
    app.pick_files(app.t(text::ATTACH_TITLE), Want::Pictures, true, &dir, |paths| Action::Chat(Msg::Picked(paths)))
}
