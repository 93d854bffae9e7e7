//! The Runs screen: what it knows and how that changes. A run is its folder; followers ([`crate::link::runs`]) read it and
//! send what is new, and whatever a run is told goes out as an [`Effect`].
//!
//! Read next: `state` (what is known), [`series`] (curves), [`chart`] (how they are looked at), [`keys`] (the table of commands), [`steer`] (what a
//! run can be told).

pub mod chart;
#[cfg(test)]
pub mod fixture;
mod keys;
pub mod run;
pub mod series;
mod state;
pub mod steer;
#[cfg(test)]
mod tests;

pub use keys::COMMANDS;
pub use state::{Curve, MARKS, Part, Room, Runs};
pub use steer::{Asked, Label, QueueItem, QueueOrder, Removal};

use super::cursor::Move;
use super::messages::Level;
use super::{App, Effects, Screen};
use crate::text::{Lang, common, runs as text};
use crossterm::event::{Event as TermEvent, KeyCode, KeyEvent};
use lightbox_core::runs::commands::Command as Told;
use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::state::Status;
use lightbox_core::runs::system::Machine;
use run::{News, Row, Run};
use series::{Entry, Series};
use std::path::PathBuf;
use tui_input::backend::crossterm::EventHandler;

#[derive(Debug, Clone)]
pub enum Msg {
    /// Rows that are new or changed, and those that are gone.
    List {
        changed: Vec<Row>,
        gone: Vec<PathBuf>,
    },
    Curve {
        path: PathBuf,
        token: u64,
        entries: Vec<Entry>,
        reset: bool,
        whole: bool,
        damaged: u64,
    },
    News(u64, Box<News>),
    Machine(Box<Machine>),
    /// Shows this run, which may not be in the list yet.
    Chosen(PathBuf),
    Move(Part, Move),
    Open(usize),
    Focus(Part),
    ChartAt(u16),
    Zoom(isize),
    Tell(PathBuf, Told),
    /// What was typed at a question.
    Typed(Asked, String),
    /// Ask for the value of a setting.
    SetKey(usize),
    /// What would be lost.
    Removal(Box<Removal>),
    Remove(PathBuf, bool),
    Queue(Vec<QueueItem>),
    QueueItem(Box<QueueItem>),
    QueueDo(String, QueueOrder),
    Export(bool),
    Resume(PathBuf),
}

#[derive(Debug)]
pub enum Effect {
    /// Whether the screen is seen: how often the list is looked at, and whether followers read at all.
    Seen(bool),
    /// Looks at the list at once.
    Look,
    /// These, and no others, are followed; each with a token that its news carry.
    Follow {
        curves: Vec<(PathBuf, u64)>,
        run: Option<(PathBuf, u64)>,
    },
    /// Whether this machine is measured.
    Monitor(bool),
    /// Into the run's drop-box; says what came of it.
    Tell {
        run: PathBuf,
        command: Told,
        lang: Lang,
    },
    /// `lightbox runs resume` or `fork` in a process of its own.
    Program {
        args: Vec<String>,
        lang: Lang,
    },
    Label {
        run: PathBuf,
        label: Label,
        lang: Lang,
    },
    Pin {
        run: PathBuf,
        step: u64,
        pinned: bool,
        lang: Lang,
    },
    /// What removing would cost.
    Measure(PathBuf),
    Remove {
        run: PathBuf,
        force: bool,
        lang: Lang,
    },
    ReadQueue,
    Queue {
        id: String,
        order: QueueOrder,
        lang: Lang,
    },
    /// The run's loss as a picture, or all its numbers.
    Export {
        png: bool,
        run: PathBuf,
        file: PathBuf,
        lang: Lang,
    },
}

fn effect(effect: Effect) -> super::Effect {
    super::Effect::Runs(effect)
}

/// The screen is shown.
pub fn enter(app: &mut App) -> Effects {
    app.runs.visible = true;
    let mut effects = vec![effect(Effect::Seen(true))];
    effects.extend(monitor(app));
    effects
}

/// Another screen is shown.
pub fn leave(app: &mut App) -> Effects {
    app.runs.visible = false;
    let mut effects = vec![effect(Effect::Seen(false))];
    effects.extend(monitor(app));
    effects
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    match msg {
        Msg::List { changed, gone } => list(app, changed, &gone),
        Msg::Curve { path, token, entries, reset, whole, damaged } => {
            if let Some(curve) = app.runs.curves.get_mut(&path).filter(|curve| curve.token == token) {
                if reset {
                    curve.series = Series::new(series::WEIGHTS[app.runs.chart.smoothing]);
                }
                curve.series.push(entries);
                curve.whole |= whole;
                curve.damaged = damaged;
            }
            Vec::new()
        }
        Msg::News(token, news) => {
            if app.runs.run.token == token {
                app.runs.run.hear(*news);
            }
            monitor(app)
        }
        Msg::Machine(machine) => {
            app.runs.machine.push_back(*machine);
            if app.runs.machine.len() > run::SECONDS {
                app.runs.machine.pop_front();
            }
            Vec::new()
        }
        Msg::Chosen(path) => {
            let mut effects = choose(app, Some(path));
            app.runs.focus = Part::Chart;
            effects.push(effect(Effect::Look));
            if app.screen != Screen::Runs {
                effects.extend(app.go(Screen::Runs));
            }
            effects
        }
        Msg::Move(part, to) => step(app, part, to),
        Msg::Open(row) => {
            let effects = step(app, Part::List, Move::To(row));
            app.runs.focus = Part::Chart;
            effects
        }
        Msg::Focus(part) => focus(app, part),
        Msg::ChartAt(column) => {
            let (columns, full) = (chart_columns(app), app.runs.extent());
            app.runs.focus = Part::Chart;
            app.runs.chart.point_at(column, columns, full);
            Vec::new()
        }
        Msg::Zoom(by) => {
            let full = app.runs.extent();
            app.runs.chart.zoom(if by < 0 { 0.8 } else { 1.25 }, full);
            Vec::new()
        }
        other => steer::update(app, other),
    }
}

/// The list was looked at. The first look chooses the run to show: the newest that is live, else the newest.
fn list(app: &mut App, changed: Vec<Row>, gone: &[PathBuf]) -> Effects {
    let mut effects = Vec::new();
    let first = !std::mem::replace(&mut app.runs.loaded, true);
    app.runs.rows.retain(|row| !gone.contains(&row.path));
    for row in changed {
        match app.runs.rows.iter().position(|old| old.path == row.path) {
            Some(i) => {
                let before = std::mem::replace(&mut app.runs.rows[i], row);
                let row = app.runs.rows[i].clone();
                if before.is_live() && row.summary.state.is_terminal() {
                    effects.extend(ended(app, &row));
                }
            }
            None => app.runs.rows.push(row),
        }
    }
    app.runs.rows.sort_by(|a, b| b.created_ms.cmp(&a.created_ms).then_with(|| a.path.cmp(&b.path)));
    app.runs.arrange();
    let lost = app.runs.chosen.as_ref().is_some_and(|path| gone.contains(path));
    if lost || (first && app.runs.chosen.is_none()) {
        let rows = || app.runs.shown.iter().map(|i| &app.runs.rows[*i]);
        let row = if lost { app.runs.under_cursor() } else { rows().find(|r| r.is_live()).or_else(|| rows().next()) };
        let path = row.map(|row| row.path.clone());
        effects.extend(choose(app, path));
    }
    effects.extend(monitor(app));
    effects
}

/// A run that was going on has come to its end.
fn ended(app: &mut App, row: &Row) -> Effects {
    let lang = app.lang();
    let how = row.summary.reason.as_ref().map(|reason| format!(": {}", reason.text)).unwrap_or_default();
    let said = text::RUN_ENDED.fill(lang, &[&row.summary.name, &text::status(row.summary.state, lang)]) + &how;
    let level = match row.summary.state {
        Status::Finished => Level::Good,
        Status::Stopped => Level::Info,
        _ => Level::Error,
    };
    app.say(level, said.clone());
    if app.focused { Vec::new() } else { vec![super::Effect::Notify(lightbox_core::safe_text::clean_line(&said, 200))] }
}

/// Shows another run.
fn choose(app: &mut App, path: Option<PathBuf>) -> Effects {
    if app.runs.chosen == path && path.is_some() {
        return Vec::new();
    }
    app.runs.chosen = path;
    app.runs.chart.reset();
    let token = app.runs.next_token();
    app.runs.run = Run { token, ..Run::default() };
    app.runs.arrange();
    follow(app)
}

/// Tells the followers what is wanted now.
fn follow(app: &mut App) -> Effects {
    let runs = &mut app.runs;
    let wanted: Vec<PathBuf> = runs.overlaid().into_iter().map(|(_, path)| path).collect();
    runs.curves.retain(|path, _| wanted.contains(path));
    let weight = series::WEIGHTS[runs.chart.smoothing];
    let mut curves = Vec::new();
    for path in wanted {
        let token = match runs.curves.get(&path) {
            Some(curve) => curve.token,
            None => {
                let token = runs.next_token();
                runs.curves.insert(path.clone(), Curve { token, series: Series::new(weight), ..Curve::default() });
                token
            }
        };
        curves.push((path, token));
    }
    let run = runs.chosen.clone().map(|path| (path, runs.run.token));
    let mut effects = vec![effect(Effect::Follow { curves, run })];
    effects.extend(monitor(app));
    effects
}

/// The machine is measured only while its part is seen and no run writes down how it is.
fn monitor(app: &mut App) -> Effects {
    let seen = app.runs.visible && app.runs.sees_machine(app.size);
    let wanted = seen && !app.runs.row().is_some_and(Row::is_live);
    if std::mem::replace(&mut app.runs.monitored, wanted) == wanted {
        return Vec::new();
    }
    vec![effect(Effect::Monitor(wanted))]
}

fn focus(app: &mut App, part: Part) -> Effects {
    app.runs.focus = part;
    // those have places of their own wherever more than one part is seen
    if !matches!(part, Part::List | Part::Chart | Part::Facts) {
        app.runs.lower = part;
    }
    monitor(app)
}

/// Moves in a part.
fn step(app: &mut App, part: Part, to: Move) -> Effects {
    let height = app.hits.height(part.list());
    let effects = focus(app, part);
    let run = &mut app.runs.run;
    match part {
        Part::List => {
            app.runs.list.go(to, height);
            let path = app.runs.under_cursor().map(|row| row.path.clone());
            return match path {
                Some(path) => effects.into_iter().chain(choose(app, Some(path))).collect(),
                None => effects,
            };
        }
        Part::Events => drop(run.event.go(to, height)),
        Part::Log => drop(run.line.go(to, height)),
        Part::Samples => drop(run.sample.go(to, height)),
        Part::Checkpoints => drop(run.checkpoint.go(to, height)),
        Part::Chart | Part::Facts | Part::Machine => {}
    }
    effects
}

/// A key before the table of commands gets it; `None`: it is not for a field of this screen.
pub fn key(app: &mut App, event: KeyEvent) -> Option<Effects> {
    if app.runs.typing {
        return filter_key(app, event);
    }
    if event.code == KeyCode::Esc {
        let runs = &mut app.runs;
        if runs.chart.cursor.is_some() && runs.focus == Part::Chart {
            runs.chart.cursor = None;
        } else if runs.expanded {
            runs.expanded = false;
        } else if runs.focus != Part::List {
            runs.focus = Part::List;
        } else if !runs.filter.value().is_empty() {
            runs.filter.reset();
            runs.arrange();
        } else {
            return None;
        }
        return Some(monitor(app));
    }
    let to = super::commands::move_of(crate::input::Key::of(&event))?;
    let part = app.runs.focus;
    if matches!(part, Part::Chart | Part::Facts | Part::Machine) {
        return None;
    }
    Some(step(app, part, to))
}

fn filter_key(app: &mut App, event: KeyEvent) -> Option<Effects> {
    match event.code {
        KeyCode::Enter => app.runs.typing = false,
        KeyCode::Esc => {
            app.runs.typing = false;
            app.runs.filter.reset();
        }
        KeyCode::Up => return Some(step(app, Part::List, Move::By(-1))),
        KeyCode::Down => return Some(step(app, Part::List, Move::By(1))),
        KeyCode::F(_) => return None,
        _ => drop(app.runs.filter.handle_event(&TermEvent::Key(event))),
    }
    app.runs.arrange();
    Some(Vec::new())
}

/// Time has passed: what the screen shows of it is drawn anew.
pub fn tick(app: &mut App) -> Effects {
    monitor(app)
}

/// Columns of the chart as it was drawn last.
fn chart_columns(app: &App) -> u16 {
    app.hits.lists.get(Part::Chart.list()).map_or(60, |seen| seen.area.width)
}

/// What the row of tabs says about runs, on every screen: `2 running · 43 % · 1h 20m left`.
pub fn summary(app: &App) -> String {
    let live: Vec<&Row> = app.runs.rows.iter().filter(|row| row.is_live()).collect();
    if live.is_empty() {
        return String::new();
    }
    let paused = live.iter().filter(|row| row.summary.state == Status::Paused).count();
    let mut words = Vec::new();
    for (count, said) in [(live.len() - paused, text::COUNT_RUNNING), (paused, text::COUNT_PAUSED)] {
        if count > 0 {
            words.push(said.fill(app.lang(), &[&count]));
        }
    }
    let (done, all) = live.iter().fold((0, 0), |(d, a), row| (d + row.summary.step, a + row.summary.total_steps));
    if all > 0 {
        words.push(format!("{:.0} %", 100.0 * done as f64 / all as f64));
    }
    if let Some(left) = live.iter().filter_map(|row| row.summary.seconds_left).max() {
        words.push(common::LEFT.fill(app.lang(), &[&short_time(left as f64)]));
    }
    words.join(" · ")
}
