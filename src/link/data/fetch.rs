//! Rows for the list, samples, and what the model sees of them; each from a thread of its own, made clean for a screen.
use super::model::Models;
use super::newest::{Newest, Old};
use crate::app::Action;
use crate::app::data::open::{Row, Shown, Unseen};
use crate::app::data::seen::{SeenBy, SeenView};
use crate::app::data::{Msg, SetId};
use crate::link::Back;
use lightbox_core::data::{Dataset, Peek, Problem};
use lightbox_core::safe_text::{clean, clean_line};
use std::sync::Arc;

#[derive(Debug)]
pub struct Rows {
    pub id: SetId,
    pub set: Arc<Dataset>,
    /// The most urgent first.
    pub indices: Vec<usize>,
}

#[derive(Debug)]
pub struct One {
    pub id: SetId,
    pub set: Arc<Dataset>,
    pub index: usize,
}

#[derive(Debug)]
pub struct Seen {
    pub id: SetId,
    pub set: Arc<Dataset>,
    pub index: usize,
    pub by: SeenBy,
}

/// Rows that are sent together: about as many as a screen shows.
const TOGETHER: usize = 64;

pub fn rows(back: Back) -> Newest<Rows> {
    Newest::new("data rows", move |wish: Rows, old: &Old| {
        for few in wish.indices.chunks(TOGETHER) {
            if old.is_old() {
                return;
            }
            let rows = neighbours(few).flat_map(|range| {
                let first = range.start;
                wish.set.peek_range(range).into_iter().enumerate().map(move |(i, peek)| (first + i, row(peek)))
            });
            back.send(Action::Data(Msg::Rows(wish.id, rows.collect())));
        }
    })
}

/// Runs of indices that follow each other: neighbours share what is decoded.
fn neighbours(indices: &[usize]) -> impl Iterator<Item = std::ops::Range<usize>> {
    indices.chunk_by(|a, b| a + 1 == *b).filter_map(|run| Some(*run.first()?..*run.last()? + 1))
}

fn row(peek: Result<Peek, Problem>) -> Row {
    const CHARS: usize = lightbox_core::data::PEEK_CHARS;
    match peek {
        Ok(peek) => Row::Good {
            question: clean_line(&peek.question, CHARS),
            answer: clean_line(&peek.answer, CHARS),
            turns: peek.turns,
            pictures: peek.pictures,
        },
        Err(problem) => Row::Bad(clean_line(&format!("{}: {}", problem.kind, problem.reason), CHARS)),
    }
}

pub fn samples(back: Back) -> Newest<One> {
    Newest::new("data samples", move |wish: One, _: &Old| {
        let shown = match wish.set.get(wish.index) {
            Ok(sample) => Shown::new(wish.index, sample),
            Err(problem) => Shown::bad(&problem),
        };
        back.send(Action::Data(Msg::Shown(wish.id, Arc::new(shown))));
    })
}

pub fn seen(back: Back, models: Models) -> Newest<Seen> {
    Newest::new("data seen", move |wish: Seen, old: &Old| {
        let seen = look(&wish, &models);
        if !old.is_old() {
            back.send(Action::Data(Msg::Seen(wish.id, wish.index, seen.map(Arc::new))));
        }
    })
}

fn look(wish: &Seen, models: &Models) -> Result<SeenView, Unseen> {
    let because = |why: String| Unseen::Because(clean(&why));
    let model = models.get(&wish.by).map_err(|e| because(format!("{e:#}")))?.ok_or(Unseen::NoModel)?;
    let sample = wish.set.get(wish.index).map_err(|problem| because(problem.to_string()))?;
    let seen = model.encoder().seen(wish.index, &sample).map_err(|problem| because(problem.to_string()))?;
    Ok(SeenView::new(&seen, model.options.cutoff_len, model.name(), model.profile_name()))
}
