//! A run in the list ([`Row`]), and what is known of the chosen one beside its curves ([`Run`]).
use super::super::cursor::{Cursor, Move};
use crate::cli::runs::facts::CheckpointFacts;
use lightbox_core::runs::record::{Event, Phase, System};
use lightbox_core::runs::state::Status;
use lightbox_core::runs::view::Summary;
use std::collections::VecDeque;
use std::path::PathBuf;

/// A run as the list shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub path: PathBuf,
    pub summary: Summary,
    pub created_ms: u64,
    pub archived: bool,
    pub notes: String,
    /// Id of the run that it was forked from, and the checkpoint.
    pub parent: Option<(String, String)>,
}

impl Row {
    /// There is, or there is about to be, a worker.
    pub fn is_live(&self) -> bool {
        is_live(self.summary.state)
    }

    /// From 0 to 1.
    pub fn share(&self) -> Option<f64> {
        let total = self.summary.total_steps;
        (total > 0).then(|| (self.summary.step as f64 / total as f64).min(1.0))
    }
}

pub fn is_live(state: Status) -> bool {
    !state.is_terminal() && !matches!(state, Status::Created | Status::Queued)
}

/// What a follower of the chosen run sends: what is new.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// With their times, milliseconds since 1970.
    pub events: Vec<(u64, Event)>,
    /// Answers to evaluation samples, which lie in files of their own.
    pub answers: Vec<Sample>,
    pub log: Vec<String>,
    pub system: Vec<System>,
    /// All of them, if something about them changed.
    pub checkpoints: Option<Vec<CheckpointFacts>>,
    /// Files that cannot be read, in words.
    pub error: Option<String>,
}

impl News {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.answers.is_empty()
            && self.log.is_empty()
            && self.system.is_empty()
            && self.checkpoints.is_none()
            && self.error.is_none()
    }
}

/// What the model wrote when it was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub t: u64,
    pub step: u64,
    pub prompt: String,
    pub images: Vec<String>,
    pub text: String,
    /// What the data says, where it was asked about a sample of it.
    pub label: Option<String>,
}

/// The chosen run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Of its follower: news of another are late and not for this run.
    pub token: u64,
    /// Something has arrived.
    pub loaded: bool,
    pub events: Vec<(u64, Event)>,
    pub event: Cursor,
    pub log: VecDeque<String>,
    pub line: Cursor,
    pub samples: Vec<Sample>,
    pub sample: Cursor,
    pub checkpoints: Vec<CheckpointFacts>,
    pub checkpoint: Cursor,
    /// The last minutes, one a second.
    pub system: VecDeque<System>,
    pub phase: Phase,
    /// How far it is in that, of how much.
    pub phase_done: Option<(u64, u64)>,
    pub error: Option<String>,
}

/// Enough to scroll back through; the files have all of it.
const EVENTS: usize = 5_000;
const LINES: usize = 5_000;
const SAMPLES: usize = 1_000;
/// Ten minutes of history.
pub const SECONDS: usize = 600;

impl Run {
    pub fn hear(&mut self, news: News) {
        self.loaded = true;
        self.error = news.error.or(self.error.take());
        for (t, event) in news.events {
            match event {
                Event::Phase { phase, done, total } => (self.phase, self.phase_done) = (phase, done.zip(total)),
                Event::Sample { step, ref prompt, ref images, ref text, .. } => {
                    let (prompt, images, text) = (prompt.clone(), images.clone(), text.clone());
                    let sample = Sample { t, step, prompt, images, text, label: None };
                    push(&mut self.samples, sample, SAMPLES, &mut self.sample);
                }
                _ => {}
            }
            // those that say nothing to a person are not listed
            if crate::cli::runs::words::event(&event).is_some() {
                push(&mut self.events, (t, event), EVENTS, &mut self.event);
            }
        }
        for sample in news.answers {
            push(&mut self.samples, sample, SAMPLES, &mut self.sample);
        }
        let at_end = self.line.at + 1 >= self.line.len;
        self.log.extend(news.log);
        while self.log.len() > LINES {
            self.log.pop_front();
        }
        follow(&mut self.line, self.log.len(), at_end);
        self.system.extend(news.system);
        while self.system.len() > SECONDS {
            self.system.pop_front();
        }
        if let Some(checkpoints) = news.checkpoints {
            let at_end = self.checkpoint.at + 1 >= self.checkpoint.len;
            self.checkpoints = checkpoints;
            follow(&mut self.checkpoint, self.checkpoints.len(), at_end);
        }
    }
}

/// A list that grows at its end: who looks at the end goes on seeing it.
fn follow(cursor: &mut Cursor, len: usize, at_end: bool) {
    cursor.set_len(len);
    if at_end {
        cursor.go(Move::End, 1);
    }
}

fn push<T>(list: &mut Vec<T>, item: T, most: usize, cursor: &mut Cursor) {
    let at_end = cursor.at + 1 >= cursor.len;
    if list.len() >= most {
        // a tenth at once, so that the rest is not moved for each
        list.drain(..most / 10);
        cursor.at = cursor.at.saturating_sub(most / 10);
    }
    list.push(item);
    follow(cursor, list.len(), at_end);
}
