//! What can happen ([`Action`]) and what is to be done about it ([`Effect`]). Intents of the user and results that came
//! back from work are the same kind of thing: both go through [`super::update`], one after the other.

use super::messages::Level;
use super::{Screen, chat, data, models, overlay, runs, tasks, tour, train};
use crate::image::{Picture, PictureId};
use crossterm::event::{KeyEvent, MouseEvent};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub enum Action {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    Resize(u16, u16),
    Focus(bool),
    /// Time has passed ([`super::App::next_tick`]).
    Tick,
    /// A command of the table, by its name.
    Run(&'static str),
    Go(Screen),
    Data(data::Msg),
    Train(train::Msg),
    Runs(runs::Msg),
    Chat(chat::Msg),
    Models(models::Msg),
    Overlay(overlay::Msg),
    Tour(tour::Msg),
    Task(tasks::News),
    /// A picture was decoded for an area of the screen, or why not.
    Picture {
        id: PictureId,
        area: (u16, u16),
        picture: Result<Arc<Picture>, String>,
    },
    Say(Level, String),
    /// Several, one after the other.
    All(Vec<Action>),
    Quit,
}

/// Work that `update` asks for; [`crate::link`] and the loop do it, and what comes of it comes back as an [`Action`].
#[derive(Debug)]
pub enum Effect {
    Data(data::Effect),
    Train(train::Effect),
    Runs(runs::Effect),
    Chat(chat::Effect),
    Models(models::Effect),
    Overlay(overlay::Effect),
    /// To the clipboard of the user's own machine (OSC 52).
    Copy(String),
    /// Tell the user although they look elsewhere (OSC 9).
    Notify(String),
    /// Opens $EDITOR on the file and comes back with the action.
    Edit(PathBuf, Box<Action>),
    /// Writes the demo's model, data and profile into a folder.
    MakeDemo {
        dir: PathBuf,
        title: String,
    },
    CancelTask(tasks::TaskId),
    SaveSettings,
    /// Turns the mouse on or off, as the settings say.
    Mouse,
    /// Ctrl-Z.
    Suspend,
    /// Sends everything again, for a screen that another program wrote over.
    Redraw,
}

pub type Effects = Vec<Effect>;
