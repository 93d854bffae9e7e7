//! The runs screen. How many parts are seen at once depends on the room: the list or one part of the run (80×24); list,
//! facts, chart and one more part (120×40); everything (200×60).

mod chart;
mod facts;
mod list;
mod machine;
mod panes;
#[cfg(test)]
mod tests;

use super::ui::Ui;
use super::words;
use crate::app::Action;
use crate::app::runs::run::Row;
use crate::app::runs::{Msg, Part, Room};
use crate::text::runs as text;
use lightbox_core::runs::state::Status;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

pub fn draw(ui: &mut Ui, area: Rect) {
    let (focus, row) = (ui.app.runs.focus, ui.app.runs.row());
    let list_only = row.is_none() && ui.app.runs.chosen.is_none();
    if list_only {
        return list::draw(ui, area);
    }
    if ui.app.runs.expanded {
        return part(ui, area, focus);
    }
    match Room::of(ui.app.size) {
        Room::Large => large(ui, area),
        Room::Medium => medium(ui, area),
        Room::Small if focus == Part::List => list::draw(ui, area),
        Room::Small => small(ui, area),
    }
}

/// Facts in a few lines, the parts as tabs, and one of them.
fn small(ui: &mut Ui, area: Rect) {
    let height = facts::brief_height(ui, area.width);
    let [top, tabs, rest] =
        Layout::vertical([Constraint::Length(height), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    facts::brief(ui, top);
    tab_row(ui, tabs, &Part::ALL[1..]);
    part(ui, rest, ui.app.runs.focus);
}

fn medium(ui: &mut Ui, area: Rect) {
    let left = (area.width / 3).clamp(36, 50);
    let [list, right] = Layout::horizontal([Constraint::Length(left), Constraint::Fill(1)]).areas(area);
    let [list, facts] = Layout::vertical([Constraint::Fill(1), Constraint::Length(15)]).areas(list);
    let lower = ui.app.runs.below();
    let below = (right.height / 3).max(9);
    let [chart, tabs, rest] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(below)]).areas(right);
    list::draw(ui, list);
    part(ui, facts, Part::Facts);
    part(ui, chart, Part::Chart);
    tab_row(ui, tabs, &Part::ALL[3..]);
    part(ui, rest, lower);
}

fn large(ui: &mut Ui, area: Rect) {
    let left = (area.width / 4).clamp(46, 60);
    let [list, right] = Layout::horizontal([Constraint::Length(left), Constraint::Fill(1)]).areas(area);
    let gpus = machine::gpus(ui);
    // a GPU needs five lines, its processes some more
    let machine_height = (gpus as u16 * 6 + 6).max(9).min(area.height / 2);
    let [list, facts, machine] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(17), Constraint::Length(machine_height)]).areas(list);
    list::draw(ui, list);
    part(ui, facts, Part::Facts);
    part(ui, machine, Part::Machine);
    let [chart, middle, bottom] =
        Layout::vertical([Constraint::Fill(5), Constraint::Fill(3), Constraint::Fill(3)]).areas(right);
    let halves = [Constraint::Fill(1), Constraint::Fill(1)];
    let [events, checkpoints] = Layout::horizontal(halves).areas(middle);
    let [log, samples] = Layout::horizontal(halves).areas(bottom);
    part(ui, chart, Part::Chart);
    part(ui, events, Part::Events);
    part(ui, checkpoints, Part::Checkpoints);
    part(ui, log, Part::Log);
    part(ui, samples, Part::Samples);
}

fn part(ui: &mut Ui, area: Rect, part: Part) {
    ui.click(area, Action::Runs(Msg::Focus(part)));
    match part {
        Part::List => list::draw(ui, area),
        Part::Chart => chart::draw(ui, area),
        Part::Facts => facts::full(ui, area),
        Part::Machine => machine::draw(ui, area),
        Part::Events => panes::events(ui, area),
        Part::Log => panes::log(ui, area),
        Part::Samples => panes::samples(ui, area),
        Part::Checkpoints => panes::checkpoints(ui, area),
    }
}

fn tab_row(ui: &mut Ui, area: Rect, parts: &[Part]) {
    let on = if parts.contains(&ui.app.runs.focus) { ui.app.runs.focus } else { ui.app.runs.below() };
    let mut x = area.x + 1;
    for part in parts {
        let title = match part {
            Part::Chart => ui.t(text::metric(ui.app.runs.chart.metric)),
            other => ui.t(text::part(*other)),
        };
        let label = format!(" {title} ");
        let rect = Rect { x, width: words::width(&label) as u16, ..area };
        if rect.right() > area.right() {
            break;
        }
        ui.line(rect, Line::styled(label, if *part == on { ui.theme.tab_on } else { ui.theme.tab }));
        ui.click(rect, Action::Runs(Msg::Focus(*part)));
        x = rect.right() + 1;
    }
}

/// A sign for how a run stands; colour only underlines it.
fn sign(row: &Row) -> &'static str {
    match row.summary.state {
        _ if row.summary.error.is_some() => "!",
        _ if row.summary.suspended || row.summary.stalled_ms.is_some() => "?",
        Status::Created => "·",
        Status::Queued => "…",
        Status::Starting | Status::Preparing => "◌",
        Status::Running => "▶",
        Status::Paused => "‖",
        Status::Stopping | Status::Finishing => "◐",
        Status::Stopped => "■",
        Status::Finished => "✓",
        Status::Failed | Status::Crashed => "✗",
    }
}

fn state_style(ui: &Ui, row: &Row) -> Style {
    match row.summary.state {
        _ if row.summary.error.is_some() => ui.theme.error,
        _ if row.summary.suspended || row.summary.stalled_ms.is_some() => ui.theme.warning,
        Status::Failed | Status::Crashed => ui.theme.error,
        Status::Running => ui.theme.accent,
        Status::Finished => ui.theme.good,
        Status::Paused | Status::Stopping | Status::Starting | Status::Preparing | Status::Finishing => {
            ui.theme.warning
        }
        Status::Created | Status::Queued | Status::Stopped => ui.theme.dim,
    }
}

/// A name and its value, for lists of facts.
fn fact(ui: &Ui, name: &str, value: Vec<Span<'static>>, width: usize) -> Line<'static> {
    let mut spans = vec![Span::styled(words::pad(name, width), ui.theme.dim), Span::raw(" ")];
    spans.extend(value);
    Line::from(spans)
}
