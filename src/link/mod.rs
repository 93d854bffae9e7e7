//! Does what `update` asks for: files, data sets, workers, downloads. Everything in here runs beside the loop, never in it;
//! what comes of it goes back as an [`Action`].
//!
//! Each screen has a module with its own lasting things (open data sets, a loaded model); [`tasks`] does work that takes
//! long and can be cancelled.

pub mod answer;
pub mod chat;
mod chat_rows;
pub mod data;
mod demo;
pub mod models;
pub mod overlay;
pub mod runs;
pub mod tasks;
pub mod train;

use crate::app::{Action, action::Effect};
use tokio::sync::mpsc::UnboundedSender;

/// The way back into the loop.
#[derive(Debug, Clone)]
pub struct Back(pub UnboundedSender<Action>);

impl Back {
    /// The loop may be gone already: then nobody needs to know.
    pub fn send(&self, action: Action) {
        let _ = self.0.send(action);
    }

    /// Does `work` on a thread that may wait, and sends what comes of it.
    pub fn spawn(&self, work: impl FnOnce() -> Action + Send + 'static) {
        let back = self.clone();
        tokio::task::spawn_blocking(move || back.send(work()));
    }
}

/// All that lasts from one effect to the next.
#[derive(Debug)]
pub struct Links {
    pub back: Back,
    pub tasks: tasks::Runner,
    pub data: data::Link,
    pub train: train::Link,
    pub runs: runs::Link,
    pub chat: chat::Link,
    pub models: models::Link,
}

impl Links {
    pub fn new(back: Back) -> Self {
        let tasks = tasks::Runner::new(back.clone());
        Self {
            data: data::Link::new(back.clone(), tasks.clone()),
            train: train::Link::new(back.clone(), tasks.clone()),
            runs: runs::Link::new(back.clone(), tasks.clone()),
            chat: chat::Link::new(back.clone(), tasks.clone()),
            models: models::Link::new(back.clone(), tasks.clone()),
            tasks,
            back,
        }
    }

    /// What is made out here and shown as it is, is made in the user's language.
    pub fn set_language(&mut self, lang: crate::text::Lang) {
        self.chat.lang = lang;
    }

    /// Begins what an effect asks for. What only the loop can do (the terminal) comes back.
    pub fn run(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Data(effect) => self.data.run(effect),
            Effect::Train(effect) => self.train.run(effect),
            Effect::Runs(effect) => self.runs.run(effect),
            Effect::Chat(effect) => self.chat.run(effect),
            Effect::Models(effect) => self.models.run(effect),
            Effect::Overlay(effect) => overlay::run(&self.back, effect),
            Effect::MakeDemo { dir, title } => demo::make(&self.tasks, title, dir),
            Effect::CancelTask(id) => self.tasks.cancel(id),
            other => return Some(other),
        }
        None
    }
}
