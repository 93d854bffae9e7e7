//! The Data screen: what it knows and how that changes.
use super::commands::Command;
use super::{App, Effects};
use crossterm::event::KeyEvent;

#[derive(Debug, Default)]
pub struct Data {}

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

pub fn paste(_app: &mut App, _text: &str) -> Effects {
    Vec::new()
}
