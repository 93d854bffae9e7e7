//! From the form to a run: what stands in the way is told with its key, then what will happen is asked about, then the run is
//! started so that nothing here can end it, or put into the queue.

use super::{Effect as Of, Pane, action, effect, figures, preview};
use crate::app::messages::Level;
use crate::app::overlay::{Item, Overlay, Page};
use crate::app::{Action, App, Effects};
use crate::text::{Lang, problems_zh, train as text};
use lightbox_core::profile::yaml_value;
use lightbox_core::safe_text::clean_line;
use serde_yaml::Value;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Now,
    Queue,
}

/// A run to be.
#[derive(Debug, Clone)]
pub struct Request {
    pub way: Way,
    /// The profile as its user sees it.
    pub text: String,
    /// Replace what an older run has left in the folder.
    pub fresh: bool,
    /// Keys that are not as in the file.
    pub set: Vec<String>,
    /// Of the task, in the user's language.
    pub title: String,
    pub lang: Lang,
}

/// Something that has to be put right first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub key: String,
    pub message: String,
}

/// What happens to the run's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    New,
    /// There was a run without checkpoints: it begins again.
    Again,
    /// From the checkpoint after so many updates; the run had reached its end.
    GoesOn {
        step: u64,
        ended: bool,
    },
    /// `overwrite_output_dir`: so many checkpoints are deleted.
    Overwrites(usize),
    /// A finished run without checkpoints: only over it, or elsewhere.
    Finished,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub output_dir: PathBuf,
    pub fate: Fate,
    /// A free name beside it.
    pub free: PathBuf,
    /// What the user should know about keys that change nothing.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone)]
pub enum Msg {
    Checked(Way, Result<Plan, Vec<Obstacle>>),
    /// `true`: over an older run.
    Go(Way, bool),
    /// The same after a question.
    AskFresh(Way),
    /// In another folder.
    Elsewhere(Way, String),
}

#[derive(Debug)]
pub enum Effect {
    Check(Request),
    Go(Request),
}

fn act(msg: Msg) -> Action {
    action(super::Msg::Start(msg))
}

/// Looks whether the run can be started.
pub fn begin(app: &mut App, way: Way) -> Effects {
    let problems = app.train.draft.problems().len();
    if problems > 0 {
        // to the first one, wherever the cursor is
        let key = app.train.draft.problems().first().and_then(|found| found.key.clone());
        let effects = match key {
            Some(key) => {
                app.train.show(&key);
                app.train.pane = Pane::Keys;
                Vec::new()
            }
            None => super::edit::next_problem(app, true),
        };
        let first = app.train.draft.problems().first().map(|f| problems_zh::message(app.lang(), f)).unwrap_or_default();
        let text = text::MEND_FIRST.fill(app.lang(), &[&problems, &first]);
        app.say(Level::Error, text);
        return effects;
    }
    app.train.starting = Some(way);
    vec![effect(Of::Start(Effect::Check(request(app, way, false))))]
}

fn request(app: &App, way: Way, fresh: bool) -> Request {
    let title = match way {
        Way::Now => text::STARTING,
        Way::Queue => text::QUEUEING,
    };
    let set = preview::differences(&app.train).into_iter().map(|difference| difference.key).collect();
    let text = app.train.draft.text().to_owned();
    Request { way, text, fresh, set, title: app.t(title).to_owned(), lang: app.lang() }
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::Checked(_, Err(obstacles)) => {
            app.train.starting = None;
            refuse(app, &obstacles)
        }
        Msg::Checked(way, Ok(plan)) => {
            app.train.starting = None;
            ask(app, way, &plan)
        }
        Msg::Go(way, fresh) => vec![effect(Of::Start(Effect::Go(request(app, way, fresh))))],
        Msg::AskFresh(way) => app.confirm(title(app, way), app.t(text::FRESH_SURE), true, act(Msg::Go(way, true))),
        Msg::Elsewhere(way, dir) => {
            let effects = super::edit::set(app, "output_dir", &yaml_value(&Value::from(dir)));
            effects.into_iter().chain(begin(app, way)).collect()
        }
    }
}

fn refuse(app: &mut App, obstacles: &[Obstacle]) -> Effects {
    let Some(first) = obstacles.first() else { return Vec::new() };
    app.train.show(&first.key);
    app.train.pane = Pane::Keys;
    let line = |o: &Obstacle| format!("{}: {}", o.key, clean_line(&o.message, 400));
    app.say(Level::Error, line(first));
    if obstacles.len() == 1 {
        return Vec::new();
    }
    let text = obstacles.iter().map(line).collect::<Vec<_>>().join("\n\n");
    app.open(Overlay::Page(Page { title: app.t(text::CANNOT_START).to_owned(), text, top: 0 }))
}

fn title(app: &App, way: Way) -> &'static str {
    app.t(match way {
        Way::Now => text::START,
        Way::Queue => text::QUEUE,
    })
}

/// The last question before a run begins.
fn ask(app: &mut App, way: Way, plan: &Plan) -> Effects {
    let lang = app.lang();
    let dir = clean_line(&super::edit::shortened(&app.here, &plan.output_dir), 200);
    let fate = match &plan.fate {
        Fate::New => text::FATE_NEW.fill(lang, &[&dir]),
        Fate::Again => text::FATE_AGAIN.fill(lang, &[&dir]),
        Fate::GoesOn { step, .. } => text::FATE_GOES_ON.fill(lang, &[&dir, step]),
        Fate::Overwrites(n) => text::FATE_OVERWRITES.fill(lang, &[&dir, n]),
        Fate::Finished => text::FATE_FINISHED.fill(lang, &[&dir]),
    };
    if matches!(plan.fate, Fate::GoesOn { .. } | Fate::Finished) {
        return ask_which(app, way, plan, &fate);
    }
    let mut sentences = vec![fate];
    let summary = figures::summary(&app.train.estimate, lang);
    if !summary.is_empty() {
        sentences.push(summary);
    }
    sentences.extend(figures::warning(&app.train.estimate, lang));
    if app.train.is_changed() && app.train.file.is_some() {
        sentences.push(app.t(text::START_UNSAVED).to_owned());
    }
    sentences.extend(plan.notes.iter().map(|note| clean_line(note, 300)));
    let danger = matches!(plan.fate, Fate::Overwrites(n) if n > 0);
    app.confirm(title(app, way), sentences.join("\n\n"), danger, act(Msg::Go(way, false)))
}

/// The folder holds an older run: go on with it, begin again, or elsewhere.
fn ask_which(app: &mut App, way: Way, plan: &Plan, fate: &str) -> Effects {
    let lang = app.lang();
    let mut items = Vec::new();
    let free = super::edit::shortened(&app.here, &plan.free);
    items.push(Item {
        label: text::ELSEWHERE.fill(lang, &[&clean_line(&free, 60)]),
        detail: app.t(text::ELSEWHERE_DETAIL).to_owned(),
        action: act(Msg::Elsewhere(way, free)),
    });
    if let Fate::GoesOn { step, ended } = plan.fate {
        let label = text::GO_ON.fill(lang, &[&step]);
        // first what is most likely wanted: a run that has ended rarely is
        let at = if ended { items.len() } else { 0 };
        items.insert(at, Item { label, detail: fate.to_owned(), action: act(Msg::Go(way, false)) });
    }
    items.push(Item {
        label: app.t(text::FRESH).to_owned(),
        detail: app.t(text::FRESH_DETAIL).to_owned(),
        action: act(Msg::AskFresh(way)),
    });
    let dir = clean_line(&super::edit::shortened(&app.here, &plan.output_dir), 60);
    let title = text::HOLDS_A_RUN.fill(lang, &[&dir]);
    app.choose(title, items)
}
