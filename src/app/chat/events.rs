//! What the worker says.
use super::talk::Answer;
use super::{Candidate, Loaded, Msg, Worker, label};
use crate::app::messages::Level;
use crate::app::overlay::{Item, Want};
use crate::app::{Action, App, Effect, Effects};
use crate::text::chat as text;
use lightbox_core::chat::{ModelChoice, Reply};

pub fn reply(app: &mut App, reply: Reply) -> Effects {
    let now = app.now_ms;
    match reply {
        Reply::Ready { version, .. } => app.chat.worker = Worker::Ready { version },
        Reply::Loading { model, what } => app.chat.loading = Some((model, what)),
        Reply::Loaded { model, device, dtype, memory_bytes, .. } => {
            app.chat.loading = None;
            let dtype = format!("{dtype:?}").to_lowercase();
            app.chat.loaded = Some(Loaded { model, device, dtype, memory_bytes });
        }
        Reply::Started { id, .. } => {
            if let Some((_, turn)) = app.chat.turn_mut(id) {
                turn.answer = Answer::Reading { id, since_ms: now };
            }
        }
        Reply::Text { id, text } => {
            if let Some((_, turn)) = app.chat.turn_mut(id) {
                match &mut turn.answer {
                    Answer::Speaking { text: said, .. } => *said += &text,
                    answer => *answer = Answer::Speaking { id, text },
                }
            }
        }
        Reply::Done(done) => return end(app, done.id, Answer::Done(done)),
        Reply::Failed { id: Some(id), error, hint, .. } => {
            app.chat.loading = None;
            return end(app, id, Answer::Failed { error, hint });
        }
        Reply::Failed { id: None, error, hint, .. } => {
            app.chat.loading = None;
            app.say(Level::Error, hint.map_or(error.clone(), |hint| format!("{error}; {hint}")));
        }
        Reply::Unloaded => (app.chat.loaded, app.chat.loading) = (None, None),
    }
    Vec::new()
}

fn end(app: &mut App, id: u64, answer: Answer) -> Effects {
    let now = app.now_ms;
    let Some((side, turn)) = app.chat.turn_mut(id) else { return Vec::new() };
    turn.answer = answer;
    let mut effects: Effects = app.chat.go_on(side, now).into_iter().map(Effect::Chat).collect();
    if !app.focused && !app.chat.is_busy() {
        effects.push(Effect::Notify(app.t(text::ANSWERED).to_owned()));
    }
    effects
}

pub fn died(app: &mut App, why: String) -> Effects {
    for side in &mut app.chat.sides {
        for turn in &mut side.turns {
            if turn.id().is_some() {
                turn.answer = Answer::Failed {
                    error: why.clone(),
                    hint: Some(text::ASK_AGAIN.get(app.settings.language.unwrap_or(app.locale)).to_owned()),
                };
            }
        }
    }
    (app.chat.loaded, app.chat.loading) = (None, None);
    app.say(Level::Error, why.clone());
    app.chat.worker = Worker::Died(why);
    Vec::new()
}

/// Models were found: the user chooses, or a side that has none yet takes the likeliest.
pub fn models(app: &mut App, side: Option<usize>, found: Vec<Candidate>) -> Effects {
    let Some(side) = side else {
        if app.chat.sides[0].model.is_none() {
            let last = &app.settings.last;
            let is_last = |c: &&Candidate| {
                Some(&c.choice.model) == last.model.as_ref() && c.choice.adapters.last() == last.adapter.as_ref()
            };
            app.chat.sides[0].model = found.iter().find(is_last).or(found.first()).map(|c| c.choice.clone());
        }
        return Vec::new();
    };
    let mut items: Vec<Item> = found
        .into_iter()
        .map(|c| Item {
            label: c.label,
            detail: c.detail,
            action: Action::Chat(Msg::Choose { side, choice: c.choice }),
        })
        .collect();
    items.push(other_folder(app, side));
    let title = if side == 0 { text::MODEL_TITLE } else { text::SECOND_TITLE };
    app.choose(app.t(title), items)
}

fn other_folder(app: &App, side: usize) -> Item {
    // two functions: what follows a picker is a plain function, so that overlays stay plain data
    let then: fn(Vec<std::path::PathBuf>) -> Action = if side == 0 { |p| folder(0, p) } else { |p| folder(1, p) };
    let files = crate::app::overlay::Files {
        title: app.t(text::MODEL_FOLDER).to_owned(),
        want: Want::Any,
        many: false,
        dir: app.here.clone(),
        entries: None,
        filter: Default::default(),
        marked: Vec::new(),
        then,
    };
    let open = crate::app::overlay::Msg::Open(Box::new(crate::app::overlay::Overlay::Files(files)));
    Item {
        label: app.t(text::OTHER_FOLDER).to_owned(),
        detail: app.t(text::OTHER_FOLDER_HELP).to_owned(),
        action: Action::Overlay(open),
    }
}

/// A file of a model's folder stands for the folder.
fn folder(side: usize, picked: Vec<std::path::PathBuf>) -> Action {
    let Some(path) = picked.into_iter().next() else { return Action::All(Vec::new()) };
    let is_file = path.extension().is_some_and(|end| end == "json" || end == "safetensors");
    let model = if is_file { path.parent().unwrap_or(&path).to_owned() } else { path };
    let choice = ModelChoice { model, adapters: Vec::new(), dtype: Default::default(), device: "auto".into() };
    let said = format!("→ {}", label(&choice));
    Action::All(vec![Action::Chat(Msg::Choose { side, choice }), Action::Say(Level::Info, said)])
}
