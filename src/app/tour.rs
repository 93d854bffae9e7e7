//! The first-start tour: a card below the screens that leads through the demo, one step at a time. It watches what the
//! user does and goes on by itself; nothing is locked, and it can be left at any moment.

use super::action::{Action, Effect, Effects};
use super::{App, Screen};
use crate::text::{T, tour as text};
use lightbox_core::chat::ModelChoice;
use std::path::PathBuf;

#[derive(Debug, Default)]
pub struct Tour {
    /// `None`: it is not shown.
    pub at: Option<Step>,
    /// Of the demo's content, relative to the folder of the workbench as the demo's own profile has it.
    pub dir: PathBuf,
    /// The content is being made.
    pub making: bool,
}

/// In this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Welcome,
    Look,
    Seen,
    Form,
    Train,
    Watch,
    Leave,
    Ask,
    Compare,
    End,
}

#[derive(Debug, Clone)]
pub enum Msg {
    /// The demo's content is there, or why not.
    Made(Result<(), String>),
    /// It lies in this folder already.
    With(PathBuf),
}

impl Step {
    pub const ALL: [Self; 10] = [
        Self::Welcome,
        Self::Look,
        Self::Seen,
        Self::Form,
        Self::Train,
        Self::Watch,
        Self::Leave,
        Self::Ask,
        Self::Compare,
        Self::End,
    ];

    pub fn number(self) -> usize {
        Self::ALL.iter().position(|step| *step == self).unwrap_or_default()
    }

    fn next(self) -> Option<Self> {
        Self::ALL.get(self.number() + 1).copied()
    }

    pub fn text(self) -> T {
        match self {
            Self::Welcome => text::WELCOME,
            Self::Look => text::LOOK,
            Self::Seen => text::SEEN,
            Self::Form => text::FORM,
            Self::Train => text::TRAIN,
            Self::Watch => text::WATCH,
            Self::Leave => text::LEAVE,
            Self::Ask => text::ASK,
            Self::Compare => text::COMPARE,
            Self::End => text::END,
        }
    }
}

/// Where the demo's content lies, as `lightbox demo` has it.
pub const DIR: &str = "lightbox-demo";

/// Shows the tour: from its beginning, or where it was left.
pub fn start(app: &mut App) {
    let at = Step::ALL.get(app.settings.tour_at).copied().unwrap_or(Step::Welcome);
    app.tour = Tour { at: Some(at), dir: PathBuf::from(DIR), making: false };
}

/// From its beginning, with the content of the demo that is in the folder `dir` already.
fn start_with(app: &mut App, dir: PathBuf) -> Effects {
    app.tour = Tour { at: Some(Step::Welcome), dir, making: false };
    update(app, Msg::Made(Ok(())))
}

/// The user wants the next step.
pub fn next(app: &mut App) -> Effects {
    match app.tour.at {
        None => {
            start(app);
            Vec::new()
        }
        Some(Step::Welcome) if !app.tour.making => {
            app.tour.making = true;
            vec![Effect::MakeDemo { dir: app.here.join(&app.tour.dir), title: app.t(text::MAKE_TASK).to_owned() }]
        }
        Some(Step::Welcome) => Vec::new(),
        Some(step) => enter(app, step.next()),
    }
}

/// The user has seen enough.
pub fn stop(app: &mut App) -> Effects {
    app.tour.at = None;
    (app.settings.tour_seen, app.settings.tour_at) = (true, 0);
    vec![Effect::SaveSettings]
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::With(dir) => start_with(app, dir),
        Msg::Made(Ok(())) => {
            app.tour.making = false;
            let mut effects = open_demo(app);
            effects.extend(enter(app, Some(Step::Look)));
            effects
        }
        // the task itself has said why
        Msg::Made(Err(_)) => {
            app.tour.making = false;
            Vec::new()
        }
    }
}

fn enter(app: &mut App, step: Option<Step>) -> Effects {
    let Some(step) = step else { return stop(app) };
    app.tour.at = Some(step);
    app.settings.tour_at = step.number();
    let mut effects = match step {
        Step::Look => super::update(app, Action::Go(Screen::Data)),
        Step::Ask => {
            app.chat.sides[0].model = Some(tuned(app));
            if app.chat.attached.is_empty() {
                app.chat.attached = vec![app.here.join(&app.tour.dir).join("sample.png")];
            }
            Vec::new()
        }
        _ => Vec::new(),
    };
    effects.push(Effect::SaveSettings);
    effects
}

/// Shows the demo's content on every screen.
fn open_demo(app: &mut App) -> Effects {
    let dir = app.tour.dir.clone();
    app.settings.last.model = Some(dir.join("model"));
    app.settings.last.dataset_dir = Some(dir.join("data"));
    app.chat.sides[0].model = Some(base(app));
    app.chat.attached = vec![app.here.join(&dir).join("sample.png")];
    let profile = super::train::files::Msg::Open(super::train::files::What::File(dir.join("demo.yaml")));
    let mut effects = super::update(app, Action::Train(super::train::Msg::Files(profile)));
    effects.extend(super::update(app, super::data::open_named(&dir.join("data"), "phantoms")));
    effects.push(Effect::SaveSettings);
    effects
}

fn base(app: &App) -> ModelChoice {
    let model = app.tour.dir.join("model");
    ModelChoice { model, adapters: Vec::new(), dtype: Default::default(), device: "auto".into() }
}

/// The demo's model with the newest that the chosen run has: its adapter, or its last checkpoint while it goes on.
fn tuned(app: &App) -> ModelChoice {
    let chosen = app.runs.row().map(|row| match (&row.summary.checkpoint, row.is_live()) {
        (Some(checkpoint), true) => row.path.join(checkpoint),
        _ => row.path.clone(),
    });
    ModelChoice { adapters: chosen.into_iter().collect(), ..base(app) }
}

/// After each action: is what the step asks for done?
pub fn follow(app: &mut App) -> Effects {
    let Some(step) = app.tour.at else { return Vec::new() };
    if done(app, step) { enter(app, step.next()) } else { Vec::new() }
}

fn done(app: &App, step: Step) -> bool {
    let answered = |side: usize| {
        app.chat.sides[side].turns.last().is_some_and(|turn| matches!(turn.answer, super::chat::Answer::Done(_)))
    };
    match step {
        Step::Look => app.data.open.as_ref().is_some_and(|open| open.list.at > 1),
        Step::Seen => app.data.seen != super::data::seen::SeenMode::Off,
        Step::Form => app.screen == Screen::Train,
        Step::Train => app.screen == Screen::Runs && app.runs.row().is_some_and(super::runs::run::Row::is_live),
        Step::Ask => app.screen == Screen::Chat && answered(0),
        Step::Compare => app.chat.compare && answered(1),
        // what only the user knows: F8
        Step::Welcome | Step::Watch | Step::Leave | Step::End => false,
    }
}
