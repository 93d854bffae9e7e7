//! What the data screen needs from outside.
use super::Back;
use super::tasks::Runner;
use crate::app::data::Effect;

#[derive(Debug)]
pub struct Link {
    _back: Back,
    _tasks: Runner,
}

impl Link {
    pub fn new(back: Back, tasks: Runner) -> Self {
        Self { _back: back, _tasks: tasks }
    }

    pub fn run(&mut self, effect: Effect) {
        match effect {}
    }
}
