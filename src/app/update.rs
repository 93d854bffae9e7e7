//! One action in, the changed state and the work to do out.

use super::action::{Action, Effect, Effects};
use super::messages::Level;
use super::{App, Screen, chat, commands, data, models, overlay, runs, tasks, tour, train};
use crate::input::Key;
use crate::term::osc;
use crate::text::common;
use crossterm::event::{KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};

pub fn update(app: &mut App, action: Action) -> Effects {
    app.dirty = true;
    let mut effects = act(app, action);
    effects.extend(tour::follow(app));
    effects
}

fn act(app: &mut App, action: Action) -> Effects {
    match action {
        Action::Key(event) => key(app, event),
        Action::Mouse(event) => mouse(app, event),
        Action::Paste(text) => paste(app, &text),
        Action::Resize(columns, rows) => {
            app.size = (columns, rows);
            Vec::new()
        }
        Action::Focus(focused) => {
            app.dirty = false;
            app.focused = focused;
            // whoever comes back may have changed the profile in another window
            if focused && app.screen == Screen::Train { train::files::look(app) } else { Vec::new() }
        }
        Action::Tick => tick(app),
        Action::Run(name) => commands::find(name).map_or_else(Vec::new, |command| (command.run)(app)),
        Action::Go(screen) => app.go(screen),
        Action::Data(msg) => data::update(app, msg),
        Action::Train(msg) => train::update(app, msg),
        Action::Runs(msg) => runs::update(app, msg),
        Action::Chat(msg) => chat::update(app, msg),
        Action::Models(msg) => models::update(app, msg),
        Action::Overlay(msg) => overlay::update(app, msg),
        Action::Tour(msg) => tour::update(app, msg),
        Action::Task(news) => task(app, news),
        Action::Picture { id, area, picture } => {
            match picture {
                Ok(picture) => app.pictures.insert(area, std::sync::Arc::unwrap_or_clone(picture)),
                Err(why) => app.pictures.fail(id, why),
            }
            Vec::new()
        }
        Action::Say(level, text) => {
            app.say(level, text);
            Vec::new()
        }
        Action::All(actions) => actions.into_iter().flat_map(|action| update(app, action)).collect(),
        Action::Quit => {
            app.quit = true;
            Vec::new()
        }
    }
}

impl App {
    /// Shows a screen; what it needs is loaded when it is first seen.
    pub fn go(&mut self, screen: Screen) -> Effects {
        let left = std::mem::replace(&mut self.screen, screen);
        let mut effects = if left == Screen::Runs && screen != left { runs::leave(self) } else { Vec::new() };
        effects.extend(match screen {
            Screen::Data => data::enter(self),
            Screen::Train => train::enter(self),
            Screen::Runs => runs::enter(self),
            Screen::Chat => chat::enter(self),
            Screen::Models => models::enter(self),
        });
        effects
    }

    /// To the clipboard of the user's own machine, over SSH too.
    pub fn copy(&mut self, text: String) -> Effects {
        if text.len() > osc::COPY_MAX {
            self.say(Level::Warning, common::COPY_TOO_LONG.fill(self.lang(), &[&text.len()]));
            return Vec::new();
        }
        self.say(Level::Info, self.t(common::COPIED));
        vec![Effect::Copy(text)]
    }
}

/// What concerns the terminal works whatever is open: a question on the screen must not keep anyone from their shell.
const TERMINAL: [&str; 2] = ["suspend", "redraw"];

/// Overlays first, then the screen (a field that is being typed in takes what it wants), then the table of commands.
fn key(app: &mut App, event: KeyEvent) -> Effects {
    if event.kind == KeyEventKind::Release {
        app.dirty = false;
        return Vec::new();
    }
    let pressed = Key::of(&event);
    let mut of_terminal = TERMINAL.iter().filter_map(|name| commands::find(name));
    if let Some(command) = of_terminal.find(|c| c.keys.iter().any(|word| Key::parse(word) == Some(pressed))) {
        return (command.run)(app);
    }
    if !app.overlays.is_empty() {
        return overlay::key(app, event);
    }
    let taken = match app.screen {
        Screen::Data => data::key(app, event),
        Screen::Train => train::key(app, event),
        Screen::Runs => runs::key(app, event),
        Screen::Chat => chat::key(app, event),
        Screen::Models => models::key(app, event),
    };
    if let Some(effects) = taken {
        return effects;
    }
    match commands::of_key(app, pressed) {
        Some(command) => (command.run)(app),
        None => {
            if Key::of(&event) == Key::parse("esc").unwrap_or(Key::of(&event)) {
                app.messages.dismiss();
            }
            Vec::new()
        }
    }
}

fn mouse(app: &mut App, event: MouseEvent) -> Effects {
    let at = (event.column, event.row);
    let action = match event.kind {
        MouseEventKind::Down(MouseButton::Left) => {
            let again = app.hits.is_double(at, app.now_ms);
            app.hits.clicked = Some((at, app.now_ms));
            app.hits.click(at, again)
        }
        MouseEventKind::Drag(MouseButton::Left) => app.hits.drag(at),
        MouseEventKind::ScrollUp => app.hits.wheel(at, -3),
        MouseEventKind::ScrollDown => app.hits.wheel(at, 3),
        _ => None,
    };
    match action {
        Some(action) => update(app, action),
        None => {
            app.dirty = false;
            Vec::new()
        }
    }
}

fn paste(app: &mut App, text: &str) -> Effects {
    if !app.overlays.is_empty() {
        return overlay::paste(app, text);
    }
    match app.screen {
        Screen::Data => data::paste(app, text),
        Screen::Train => train::paste(app, text),
        Screen::Runs => Vec::new(),
        Screen::Chat => chat::paste(app, text),
        Screen::Models => models::paste(app, text),
    }
}

fn tick(app: &mut App) -> Effects {
    let mut effects = runs::tick(app);
    effects.extend(chat::tick(app));
    effects
}

fn task(app: &mut App, news: tasks::News) -> Effects {
    if let tasks::News::Ended(id, state) = &news
        && let Some((title, started)) = app.tasks.get(*id).map(|task| (task.title.clone(), task.started_ms))
    {
        // What was done at once has shown itself; saying so would only hide the keys.
        let quick = app.now_ms.saturating_sub(started) < 1_000;
        match state {
            tasks::State::Failed(why) => app.say(Level::Error, format!("{title}: {why}")),
            tasks::State::Cancelled | tasks::State::Done if quick => {}
            tasks::State::Cancelled => app.say(Level::Info, format!("{title}: {}", app.t(common::CANCELLED))),
            // what the task itself has just said is the better news
            tasks::State::Done if app.messages.is_fresh(app.now_ms) => {}
            tasks::State::Done => app.say(Level::Good, format!("{title}: {}", app.t(common::DONE))),
            _ => {}
        }
    }
    app.tasks.hear(news, app.now_ms);
    Vec::new()
}
