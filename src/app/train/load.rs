//! Before a run can begin, what its profile names of a Hub has to be here: the user is asked, with sizes, and nothing is
//! loaded before the answer.

use super::{Effect as Of, action, effect, estimate};
use crate::app::cursor::Cursor;
use crate::app::messages::Level;
use crate::app::overlay::Overlay;
use crate::app::{App, Effects};
use crate::text::{models as words, train as text};
use crate::view::words::size;
use lightbox_core::hub::Wanted;
use lightbox_core::safe_text::clean_line;
use std::path::PathBuf;

/// What is not here, and what loading it would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacks {
    pub items: Vec<Item>,
    pub cache: PathBuf,
    /// Room there.
    pub free: Option<u64>,
    /// `hf_hub_token` of the profile.
    pub token: Option<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub wanted: Wanted,
    /// With the part of a data set that was chosen.
    pub name: String,
    pub files: usize,
    pub bytes: u64,
    /// Not here yet.
    pub missing: u64,
}

/// Goes to the Hub and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Debug, Clone)]
pub enum Msg {
    /// The run cannot begin without these.
    Lacks(Lacks),
    /// The user wants them.
    Load(Lacks),
    Loaded,
}

#[derive(Debug)]
pub enum Effect {
    Load { title: String, lacks: Lacks },
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Lacks(lacks) => {
            app.train.starting = None;
            ask(app, lacks)
        }
        Msg::Load(lacks) => {
            let names: Vec<String> = lacks.items.iter().map(|item| clean_line(&item.wanted.repo.id, 100)).collect();
            let title = words::DOWNLOADING.fill(app.lang(), &[&names.join(", ")]);
            // how far it is stands there
            let cursor = Cursor::new(app.tasks.all().len());
            let mut effects = app.open(Overlay::Tasks(cursor));
            effects.push(effect(Of::Load(Effect::Load { title, lacks })));
            effects
        }
        Msg::Loaded => {
            app.say(Level::Good, app.t(text::LOADED));
            // before, there was nothing to estimate from
            estimate::again(app)
        }
    }
}

fn ask(app: &mut App, lacks: Lacks) -> Effects {
    let lang = app.lang();
    let mut lines = vec![app.t(text::LOAD_WHAT).to_owned(), String::new()];
    let line = |item: &Item| format!("{:>9}  {}", size(item.bytes), clean_line(&item.name, 300));
    lines.extend(lacks.items.iter().map(line));
    lines.push(String::new());
    let missing: u64 = lacks.items.iter().map(|item| item.missing).sum();
    if missing < lacks.items.iter().map(|item| item.bytes).sum() {
        lines.push(words::OFFER_REST.fill(lang, &[&size(missing)]));
    }
    let cache = clean_line(&lacks.cache.display().to_string(), 300);
    lines.extend(lacks.free.map(|free| words::OFFER_FREE.fill(lang, &[&size(free), &cache])));
    if lacks.free.is_some_and(|free| free < missing) {
        lines.push(app.t(words::OFFER_NO_ROOM).to_owned());
    }
    lines.push(app.t(text::LOAD_THEN).to_owned());
    app.confirm(app.t(text::LOAD), lines.join("\n"), false, action(super::Msg::Load(Msg::Load(lacks))))
}
