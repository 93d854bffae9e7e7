//! What happens to a question: it becomes a turn of each side, is sent, answered piece by piece, stopped, asked again.
use super::{Chat, Effect, Focus};
use crate::app::messages::Level;
use crate::app::{App, Effects};
use crate::text::chat as text;
use lightbox_core::chat::{Ask, Conversation, Done, Message, ModelChoice, Request, Role};
use lightbox_core::profile::Profile;
use ratatui_textarea::{CursorMove, TextArea};
use std::collections::VecDeque;
use std::path::PathBuf;

/// A conversation with one model.
#[derive(Debug, Default)]
pub struct Side {
    pub model: Option<ModelChoice>,
    pub turns: Vec<Turn>,
    /// Rows that the view is scrolled up from the end.
    pub up: usize,
    /// Questions still to be put, one after the other: those that the other side has had already.
    to_ask: VecDeque<(String, Vec<PathBuf>)>,
}

/// A question and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub question: String,
    pub images: Vec<PathBuf>,
    pub model: ModelChoice,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Sent; the model may still be loading.
    Waiting {
        id: u64,
        since_ms: u64,
    },
    /// The pictures and the question go through the model.
    Reading {
        id: u64,
        since_ms: u64,
    },
    Speaking {
        id: u64,
        text: String,
    },
    Done(Done),
    Failed {
        error: String,
        hint: Option<String>,
    },
}

impl Turn {
    pub fn id(&self) -> Option<u64> {
        match self.answer {
            Answer::Waiting { id, .. } | Answer::Reading { id, .. } | Answer::Speaking { id, .. } => Some(id),
            Answer::Done(_) | Answer::Failed { .. } => None,
        }
    }

    /// What the model has said so far.
    pub fn said(&self) -> &str {
        match &self.answer {
            Answer::Speaking { text, .. } | Answer::Done(Done { text, .. }) => text,
            _ => "",
        }
    }
}

impl Side {
    /// The id of the answer that has not ended.
    pub fn open(&self) -> Option<u64> {
        self.turns.last().and_then(Turn::id)
    }

    /// All that was said and answered, then the question.
    fn conversation(&self, system: Option<String>, question: &str, images: &[PathBuf]) -> Conversation {
        let mut messages = Vec::new();
        for turn in &self.turns {
            // an answer that failed was never said
            if let Answer::Done(Done { text, .. }) = &turn.answer {
                messages.push(Message {
                    role: Role::User,
                    content: turn.question.clone(),
                    images: turn.images.clone(),
                });
                messages.push(Message { role: Role::Assistant, content: text.clone(), images: Vec::new() });
            }
        }
        messages.push(Message { role: Role::User, content: question.to_owned(), images: images.to_vec() });
        Conversation { system, messages }
    }
}

impl Chat {
    /// The turn of an answer, and its side.
    pub fn turn_mut(&mut self, id: u64) -> Option<(usize, &mut Turn)> {
        self.sides
            .iter_mut()
            .enumerate()
            .find_map(|(n, side)| side.turns.iter_mut().find(|turn| turn.id() == Some(id)).map(|turn| (n, turn)))
    }

    fn put(&mut self, side: usize, question: String, images: Vec<PathBuf>, now_ms: u64) -> Option<Effect> {
        let model = self.sides[side].model.clone()?;
        let id = self.next_id;
        self.next_id += 1;
        let conversation = self.sides[side].conversation(self.system.clone(), &question, &images);
        let side = &mut self.sides[side];
        side.up = 0;
        side.turns.push(Turn {
            question,
            images,
            model: model.clone(),
            answer: Answer::Waiting { id, since_ms: now_ms },
        });
        Some(Effect::Send(Request::Ask(Ask { id, model, conversation, options: self.options.clone() })))
    }

    /// The next of the questions that a side still has to be put.
    pub fn go_on(&mut self, side: usize, now_ms: u64) -> Option<Effect> {
        if self.sides[side].open().is_some() {
            return None;
        }
        let (question, images) = self.sides[side].to_ask.pop_front()?;
        self.put(side, question, images, now_ms)
    }

    fn write(&mut self, question: &str) {
        let mut composer = TextArea::new(question.lines().map(str::to_owned).collect());
        composer.set_wrap_mode(ratatui_textarea::WrapMode::WordOrGlyph);
        composer.set_cursor_line_style(ratatui::style::Style::new());
        composer.move_cursor(CursorMove::Bottom);
        composer.move_cursor(CursorMove::End);
        self.composer = composer;
    }
}

fn chat(effects: impl IntoIterator<Item = Effect>) -> Effects {
    effects.into_iter().map(crate::app::Effect::Chat).collect()
}

/// Puts the question that was written to every side.
pub fn ask(app: &mut App) -> Effects {
    let question = app.chat.question();
    if question.is_empty() && app.chat.attached.is_empty() {
        return Vec::new();
    }
    if app.chat.is_busy() {
        app.say(Level::Info, app.t(text::STILL_ANSWERING));
        return Vec::new();
    }
    let shown = app.chat.shown();
    if let Some(side) = (0..shown).find(|side| app.chat.sides[*side].model.is_none()) {
        app.say(Level::Info, app.t(text::NO_MODEL));
        return super::find_models(app, Some(side));
    }
    let images = std::mem::take(&mut app.chat.attached);
    app.chat.write("");
    let now = app.now_ms;
    let sent: Vec<Effect> =
        (0..shown).filter_map(|side| app.chat.put(side, question.clone(), images.clone(), now)).collect();
    started(app, sent)
}

/// A worker that is not there is started by the first request.
fn started(app: &mut App, sent: Vec<Effect>) -> Effects {
    if !sent.is_empty() && matches!(app.chat.worker, super::Worker::Off | super::Worker::Died(_)) {
        app.chat.worker = super::Worker::Starting;
    }
    chat(sent)
}

/// Stops every answer, also those that wait.
pub fn stop(app: &mut App) -> Effects {
    for side in &mut app.chat.sides {
        side.to_ask.clear();
    }
    let open: Vec<u64> = app.chat.sides.iter().filter_map(Side::open).collect();
    chat(open.into_iter().map(|id| Effect::Send(Request::Stop { id })))
}

/// The last question once more: with another seed where tokens are drawn, so that another answer can come.
pub fn retry(app: &mut App) -> Effects {
    if app.chat.is_busy() {
        app.say(Level::Info, app.t(text::STILL_ANSWERING));
        return Vec::new();
    }
    let options = &mut app.chat.options;
    if options.do_sample != Some(false) {
        options.seed = Some(options.seed.unwrap_or(Profile::default().seed).wrapping_add(1));
    }
    let (shown, now) = (app.chat.shown(), app.now_ms);
    let mut sent = Vec::new();
    for side in 0..shown {
        if let Some(turn) = app.chat.sides[side].turns.pop() {
            sent.extend(app.chat.put(side, turn.question, turn.images, now));
        }
    }
    started(app, sent)
}

/// Takes the last question back into the composer.
pub fn edit_last(app: &mut App) -> Effects {
    if app.chat.is_busy() {
        app.say(Level::Info, app.t(text::STILL_ANSWERING));
        return Vec::new();
    }
    let last = app.chat.sides.iter_mut().filter_map(|side| side.turns.pop()).next();
    if app.chat.compare {
        app.chat.sides[1].turns.truncate(app.chat.sides[0].turns.len());
    }
    if let Some(turn) = last {
        app.chat.write(&turn.question);
        app.chat.attached = turn.images;
        app.chat.focus = Focus::Composer;
    }
    Vec::new()
}

pub fn choose(app: &mut App, side: usize, choice: ModelChoice) -> Effects {
    if side == 0 {
        (app.settings.last.model, app.settings.last.adapter) =
            (Some(choice.model.clone()), choice.adapters.last().cloned());
    }
    app.chat.sides[side].model = Some(choice);
    vec![crate::app::Effect::SaveSettings]
}

/// Shows a second side: the base model where the first is a tuned one. It is put the questions that the first has had.
pub fn compare(app: &mut App) -> Effects {
    if app.chat.is_busy() {
        app.say(Level::Info, app.t(text::STILL_ANSWERING));
        return Vec::new();
    }
    app.chat.compare = !app.chat.compare;
    app.chat.focus = Focus::Composer;
    if !app.chat.compare {
        return Vec::new();
    }
    let [left, right] = &mut app.chat.sides;
    right.turns.clear();
    right.to_ask = left.turns.iter().map(|turn| (turn.question.clone(), turn.images.clone())).collect();
    if right.model.is_none() {
        right.model = left.model.as_ref().filter(|model| !model.adapters.is_empty()).map(ModelChoice::base);
    }
    if right.model.is_none() {
        return super::find_models(app, Some(1));
    }
    let now = app.now_ms;
    let sent = app.chat.go_on(1, now).into_iter().collect();
    started(app, sent)
}

/// A new conversation; the old one can be brought back.
pub fn clear(app: &mut App) -> Effects {
    let mut effects = stop(app);
    let [left, right] = &mut app.chat.sides;
    app.chat.put_away = Some([std::mem::take(&mut left.turns), std::mem::take(&mut right.turns)]);
    (left.up, right.up) = (0, 0);
    app.say(Level::Info, app.t(text::CLEARED));
    effects.retain(|effect| matches!(effect, crate::app::Effect::Chat(_)));
    effects
}

/// Brings the conversation back that [`clear`] put away.
pub fn undo(app: &mut App) -> Effects {
    if app.chat.is_busy() {
        return Vec::new();
    }
    if let Some([left, right]) = app.chat.put_away.take() {
        app.chat.sides[0].turns = ended(left);
        app.chat.sides[1].turns = ended(right);
    }
    Vec::new()
}

/// Without the answers that were stopped when they were put away: nobody listens to them any more.
fn ended(turns: Vec<Turn>) -> Vec<Turn> {
    turns.into_iter().filter(|turn| turn.id().is_none()).collect()
}
