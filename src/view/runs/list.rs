//! The list of runs.
use super::super::ui::{ListActions, Ui, by};
use super::super::words;
use super::{sign, state_style};
use crate::app::Action;
use crate::app::cursor::Move;
use crate::app::runs::run::Row;
use crate::app::runs::{Msg, Part};
use crate::text::{common, runs as text};
use lightbox_core::runs::progress::short_time;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

const ROWS: ListActions = ListActions {
    click: |i| Action::Runs(Msg::Move(Part::List, Move::To(i))),
    open: Some(|i| Action::Runs(Msg::Open(i))),
    wheel: |n| Action::Runs(Msg::Move(Part::List, by(n))),
};

pub fn draw(ui: &mut Ui, area: Rect) {
    let runs = &ui.app.runs;
    let focused = runs.focus == Part::List;
    let title = format!("{} · {}", ui.t(text::TITLE), runs.shown.len());
    let mut inner = ui.panel(area, &title, focused);
    if runs.typing || !runs.filter.value().is_empty() {
        let row = Rect { height: inner.height.min(1), ..inner };
        let label = format!("{} ", ui.t(common::FILTER));
        let width = words::width(&label) as u16;
        ui.line(row, Line::styled(label, ui.theme.dim));
        let field = Rect { x: row.x + width, width: row.width.saturating_sub(width), ..row };
        ui.input(field, &ui.app.runs.filter, ui.app.runs.typing);
        inner = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
    }
    let runs = &ui.app.runs;
    if runs.shown.is_empty() {
        let (title, next) = match (runs.loaded, runs.rows.is_empty()) {
            (false, _) => (text::LOOKING, None),
            (true, true) => (text::NO_RUNS, Some(text::NO_RUNS_NEXT)),
            (true, false) => (text::NOTHING_FITS, Some(text::NOTHING_FITS_NEXT)),
        };
        let (title, next) = (ui.t(title), next.map_or("", |next| ui.t(next)));
        return ui.empty(inner, title, next);
    }
    let cursor = runs.list;
    let width = usize::from(inner.width) - usize::from(cursor.len > usize::from(inner.height));
    ui.list(inner, Part::List.list(), &cursor, focused, ROWS, |ui, i| {
        let runs = &ui.app.runs;
        let row = &runs.rows[runs.shown[i]];
        line(ui, row, width)
    });
}

/// Mark, sign, name, then as many columns as there is room for.
fn line(ui: &Ui, row: &Row, width: usize) -> Line<'static> {
    let lang = ui.app.lang();
    let mark = ui.app.runs.marked.iter().find(|(_, path)| *path == row.path).map(|(colour, _)| *colour);
    let mut spans = vec![match mark {
        Some(colour) => Span::styled("●", Style::new().fg(ui.theme.series[colour % ui.theme.series.len()])),
        None => Span::raw(" "),
    }];
    let style = state_style(ui, row);
    spans.push(Span::styled(format!("{} ", sign(row)), style));
    let summary = &row.summary;
    let percent = row.share().map_or(String::new(), |share| format!("{:.0} %", share * 100.0));
    let loss = crate::cli::runs::words::loss(summary.loss);
    let time = match summary.seconds_left {
        Some(left) => common::LEFT.fill(lang, &[&short_time(left as f64)]),
        None => words::age(ui.app.wall_ms, row.created_ms),
    };
    let state = text::state_of(summary, lang);
    // what is least wanted goes first
    let mut columns: Vec<(String, usize, Style)> = Vec::new();
    if width >= 56 {
        columns.push((state, if width >= 74 { 21 } else { 18 }, style));
    }
    if width >= 92 {
        columns.push((bar(row, 16), 16, ui.theme.accent));
    }
    columns.push((percent, 5, ui.theme.base));
    if width >= 92 {
        columns.push((crate::cli::runs::words::steps(summary.step, summary.total_steps), 15, ui.theme.dim));
    }
    columns.push((loss, 8, ui.theme.base));
    if width >= 46 {
        columns.push((time, if width >= 92 { 14 } else { 11 }, ui.theme.dim));
    }
    let taken: usize = columns.iter().map(|(_, width, _)| width + 1).sum();
    let name = clean_line(&summary.name, 200) + if row.archived { " ⌫" } else { "" };
    let room = width.saturating_sub(3 + taken);
    spans.push(Span::styled(words::pad(&name, room), ui.theme.base));
    for (i, (value, width, style)) in columns.into_iter().enumerate() {
        let left = i == 0 && value == text::state_of(summary, lang);
        let cell = if left { words::pad(&value, width) } else { words::pad_left(&value, width) };
        spans.push(Span::raw(" "));
        spans.push(Span::styled(cell, style));
    }
    Line::from(spans)
}

fn bar(row: &Row, width: usize) -> String {
    let full = (row.share().unwrap_or(0.0) * width as f64).round() as usize;
    "█".repeat(full) + &"░".repeat(width - full.min(width))
}
