//! The Runs screen: what it knows and how that changes.
use super::commands::Command;
use super::{App, Effects};
use crossterm::event::KeyEvent;

#[derive(Debug, Default)]
pub struct Runs {}

#[derive(Debug, Clone)]
pub enum Msg {}

#[derive(Debug)]
pub enum Effect {}

pub static COMMANDS: &[Command] = &[];

/// The screen is shown.
pub fn enter(_app: &mut App) -> Effects {
    Vec::new()
}

pub fn update(_app: &mut App, msg: Msg) -> Effects {
    match msg {}
}

/// A key before the table of commands gets it; `None`: it is not for a field of this screen.
pub fn key(_app: &mut App, _event: KeyEvent) -> Option<Effects> {
    None
}

/// Time has passed.
pub fn tick(_app: &mut App) -> Effects {
    Vec::new()
}

impl Runs {
    /// When something changes that no event tells of.
    pub fn next_tick(&self, _now_ms: u64) -> Option<u64> {
        None
    }
}

/// What the row of tabs says about runs, on every screen: `2 running · 43 % · 1h 20m left`.
pub fn summary(_app: &App) -> String {
    String::new()
}
