//! What the workbench knows, as plain data, and how it changes: [`update`] takes an [`Action`] and returns [`Effect`]s.
//! Nothing in here draws, reads a file or waits; so every state can be made, changed and looked at in a test.
//!
//! Read next: [`action`], [`commands`] (everything a user can do, and its keys), then the screen you are interested in.

pub mod action;
pub mod chat;
pub mod commands;
pub mod cursor;
pub mod data;
pub mod messages;
pub mod models;
pub mod overlay;
pub mod runs;
pub mod settings;
pub mod tasks;
pub mod tour;
pub mod train;
mod update;

pub use action::{Action, Effect, Effects};
pub use update::update;

use crate::image::store::Store;
use crate::term::caps::Caps;
use crate::text::{Lang, T, common};
use crate::view::Hits;
use messages::Messages;
use overlay::Overlay;
use settings::Settings;
use std::path::PathBuf;
use tasks::Tasks;

/// One of the five screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Screen {
    #[default]
    Data,
    Train,
    Runs,
    Chat,
    Models,
}

impl Screen {
    pub const ALL: [Self; 5] = [Self::Data, Self::Train, Self::Runs, Self::Chat, Self::Models];

    pub fn title(self) -> T {
        match self {
            Self::Data => common::DATA,
            Self::Train => common::TRAIN,
            Self::Runs => common::RUNS,
            Self::Chat => common::CHAT,
            Self::Models => common::MODELS,
        }
    }
}

/// Everything that is on the screen, or could be.
#[derive(Debug, Default)]
pub struct App {
    pub screen: Screen,
    /// What lies over the screen; the last is on top and gets the keys.
    pub overlays: Vec<Overlay>,
    pub data: data::Data,
    pub train: train::Train,
    pub runs: runs::Runs,
    pub chat: chat::Chat,
    pub models: models::Models,
    pub tour: tour::Tour,
    pub tasks: Tasks,
    pub messages: Messages,
    pub settings: Settings,
    pub caps: Caps,
    /// Decoded pictures, the least recently used go first.
    pub pictures: Store,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// What the last frame showed where: for the mouse, for paging, for pictures.
    pub hits: Hits,
    /// Milliseconds since the program began, and since 1970; set by the loop before each action, so that `update` asks no
    /// clock.
    pub now_ms: u64,
    pub wall_ms: u64,
    /// The folder in which the workbench was opened.
    pub here: PathBuf,
    /// The language of the locale, where the settings leave it open.
    pub locale: Lang,
    /// The command line's language and mouse: for this session, and never saved.
    pub session_language: Option<Lang>,
    pub session_no_mouse: bool,
    /// Whether the terminal's window has the focus; a finished run is told by a notice only if not.
    pub focused: bool,
    pub quit: bool,
    /// Something changed since the last frame.
    pub dirty: bool,
}

impl App {
    pub fn lang(&self) -> Lang {
        self.session_language.or(self.settings.language).unwrap_or(self.locale)
    }

    /// A text in the user's language.
    pub fn t(&self, text: T) -> &'static str {
        text.get(self.lang())
    }

    /// Shows a message that goes away by itself, and keeps it in the list of messages.
    pub fn say(&mut self, level: messages::Level, text: impl Into<String>) {
        self.messages.say(level, text.into(), self.now_ms, self.wall_ms);
    }

    /// When [`Action::Tick`] is wanted next, on the clock of `now_ms`; `None`: nothing is waiting for time to pass.
    pub fn next_tick(&self) -> Option<u64> {
        [
            self.messages.next_change(self.now_ms),
            self.tasks.next_change(self.now_ms),
            self.runs.next_tick(self.now_ms),
            self.chat.next_tick(self.now_ms),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
