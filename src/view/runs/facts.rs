//! How the chosen run stands: three lines where there is little room, or a panel.
use super::super::ui::Ui;
use super::super::words;
use super::{fact, sign, state_style};
use crate::app::runs::Part;
use crate::app::runs::run::Row;
use crate::app::runs::series::{Column, Point};
use crate::cli::runs::words as cli;
use crate::text::{common, runs as text};
use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::record::Phase;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Updates that the pace is the mean of.
const RECENT: usize = 64;

/// Name and state, numbers or the reason why there are no new ones, progress.
pub fn brief(ui: &mut Ui, area: Rect) {
    let Some(row) = ui.app.runs.row() else {
        return ui.line(area, Line::styled(ui.t(common::LOADING), ui.theme.dim));
    };
    let mut first = vec![Span::raw(" "), Span::styled(clean_line(&row.summary.name, 80), ui.theme.strong)];
    first.push(Span::raw("  "));
    first.extend(state(ui, row));
    let mut lines = vec![Line::from(first)];
    let why = why(row, usize::from(area.width).saturating_sub(2));
    lines.extend(why.into_iter().map(|line| Line::styled(format!(" {line}"), ui.theme.warning)));
    if lines.len() == 1 {
        lines.push(Line::raw(format!(" {}", numbers(ui, row))));
    }
    let (progress, share) = (progress(ui, row), row.share().unwrap_or(0.0));
    ui.lines(area, lines);
    let last = Rect { x: area.x + 1, y: area.bottom() - 1, width: area.width.saturating_sub(2), height: 1 };
    let width = (words::width(&progress) as u16 + 2).min(last.width);
    ui.gauge(Rect { width: last.width - width, ..last }, share);
    let right = Rect { x: last.right() - width + 1, width: width - 1, ..last };
    ui.line(right, Line::raw(progress));
}

/// Lines that [`brief`] wants.
pub fn brief_height(ui: &Ui, width: u16) -> u16 {
    let lines = ui.app.runs.row().map_or(0, |row| why(row, usize::from(width).saturating_sub(2)).len());
    2 + lines.max(1) as u16
}

/// Why the run stands as it does and what to do, wrapped; at most so much that there is room for the rest.
fn why(row: &Row, width: usize) -> Vec<String> {
    let mut text = row.summary.error.clone().unwrap_or_default();
    if let Some(reason) = &row.summary.reason {
        text = reason.hint.iter().fold(reason.text.clone(), |text, hint| format!("{text}; {hint}"));
    }
    let mut lines = words::wrap(&clean_line(&text, 600), width);
    lines.retain(|line| !line.is_empty());
    lines.truncate(5);
    lines
}

pub fn full(ui: &mut Ui, area: Rect) {
    let Some(row) = ui.app.runs.row() else {
        let inner = ui.panel(area, ui.t(text::FACTS), ui.app.runs.focus == Part::Facts);
        return ui.line(inner, Line::styled(ui.t(common::LOADING), ui.theme.dim));
    };
    let name = clean_line(&row.summary.name, 120);
    let inner = ui.panel(area, &name, ui.app.runs.focus == Part::Facts);
    if inner.height < 3 {
        return;
    }
    let share = row.share().unwrap_or(0.0);
    let lines = lines(ui, row, inner.width.into());
    let head = Line::from(state(ui, row));
    ui.line(inner, head);
    let gauge = Rect { y: inner.y + 1, height: 1, ..inner };
    ui.gauge(gauge, share);
    let rest = Rect { y: inner.y + 2, height: inner.height - 2, ..inner };
    ui.lines(rest, lines);
}

fn state(ui: &Ui, row: &Row) -> Vec<Span<'static>> {
    let lang = ui.app.lang();
    let style = state_style(ui, row);
    let mut spans = vec![Span::styled(format!("{} {}", sign(row), text::state_of(&row.summary, lang)), style)];
    if row.is_live() && ui.app.runs.run.phase != Phase::Training && ui.app.runs.run.loaded {
        let run = &ui.app.runs.run;
        let done = run.phase_done.map(|(done, total)| format!(" {done}/{total}")).unwrap_or_default();
        spans.push(Span::styled(format!(" · {}{done}", ui.t(text::phase(run.phase))), ui.theme.dim));
    }
    if row.archived {
        spans.push(Span::styled(format!(" · {}", ui.t(text::ARCHIVED)), ui.theme.dim));
    }
    spans
}

/// `420/1250 · 34 % · 1h 20m left`
fn progress(ui: &Ui, row: &Row) -> String {
    let mut parts = vec![steps(ui, row)];
    parts.extend(left(ui, row));
    parts.join(" · ")
}

fn left(ui: &Ui, row: &Row) -> Option<String> {
    row.summary.seconds_left.map(|s| common::LEFT.fill(ui.app.lang(), &[&short_time(s as f64)]))
}

/// `loss 1.2345 · evaluation 1.3 · 3,200 tokens/s · 1.2s a step`
fn numbers(ui: &Ui, row: &Row) -> String {
    let lang = ui.app.lang();
    let mut parts = Vec::new();
    parts.extend(loss(ui, row).map(|loss| format!("{} {loss:.4}", ui.t(text::LOSS))));
    if let Some(series) = ui.app.runs.series() {
        parts.extend(series.evals().last().map(|eval| format!("{} {:.4}", ui.t(text::EVALUATION), eval.loss)));
        parts.extend(speed(ui));
        parts.extend(series.recent(Column::Ms, RECENT).map(|ms| text::PER_STEP.fill(lang, &[&pace(ms)])));
    }
    parts.join(" · ")
}

fn speed(ui: &Ui) -> Option<String> {
    let speed = ui.app.runs.series()?.recent(Column::Speed, RECENT)?;
    Some(text::TOKENS.fill(ui.app.lang(), &[&words::count(speed.round() as u64)]))
}

/// `120 ms`, `1.25 s`
fn pace(ms: f64) -> String {
    if ms < 1_000.0 { format!("{ms:.0} ms") } else { format!("{:.2} s", ms / 1e3) }
}

fn lines(ui: &Ui, row: &Row, width: usize) -> Vec<Line<'static>> {
    let lang = ui.app.lang();
    let summary = &row.summary;
    const NAME: usize = 11;
    let room = width.saturating_sub(NAME + 1);
    let mut lines = Vec::new();
    let mut add = |name, value: String| {
        if !value.is_empty() {
            lines.push(fact(ui, ui.t(name), vec![Span::raw(words::cut(&value, room))], NAME));
        }
    };
    add(text::STEP, steps(ui, row));
    add(text::TIME_LEFT, summary.seconds_left.map(|s| short_time(s as f64)).unwrap_or_default());
    let until = if row.is_live() { ui.app.wall_ms } else { summary.updated_ms };
    if summary.started_ms > 0 {
        add(text::ELAPSED, words::age(until, summary.started_ms));
    }
    add(text::LOSS, cli::loss(loss(ui, row)));
    if let Some(series) = ui.app.runs.series() {
        let at = |e: &crate::app::runs::series::Eval| {
            format!("{:.4} {}", e.loss, text::AT_STEP.fill(lang, &[&words::count(e.step)]))
        };
        add(text::EVALUATION, series.evals().last().map(at).unwrap_or_default());
        let answers = |e: &crate::app::runs::series::Eval| Some(text::answers(&e.answers?, lang));
        add(text::ANSWERS, series.evals().last().and_then(answers).unwrap_or_default());
        add(text::BEST, series.best().map(at).unwrap_or_default());
        let per_step = series.recent(Column::Ms, RECENT).map(|ms| text::PER_STEP.fill(lang, &[&pace(ms)]));
        add(text::THROUGHPUT, speed(ui).into_iter().chain(per_step).collect::<Vec<_>>().join(", "));
    }
    if summary.epoch > 0.0 {
        add(text::EPOCH, format!("{:.2}", summary.epoch));
    }
    add(text::CHECKPOINT, summary.checkpoint.as_deref().map(|name| clean_line(name, 80)).unwrap_or_default());
    add(text::TAGS, clean_line(&summary.tags.join(" "), 200));
    add(text::NOTE, clean_line(&row.notes, 300));
    if let Some((run, checkpoint)) = &row.parent {
        add(text::PARENT_OF, text::PARENT.fill(lang, &[&clean_line(run, 80), &clean_line(checkpoint, 40)]));
    }
    add(text::FOLDER, words::cut_left(&clean_line(&row.path.display().to_string(), 500), room));
    let mut wrapped = |name, value: &str, style| {
        for (i, part) in words::wrap(&clean_line(value, 600), room.max(8)).into_iter().enumerate() {
            let name = if i == 0 { ui.t(name) } else { "" };
            lines.insert(i, fact(ui, name, vec![Span::styled(part, style)], NAME));
        }
    };
    if let Some(error) = &summary.error {
        wrapped(text::WHY, error, ui.theme.error);
    }
    if let Some(reason) = &summary.reason {
        // inserted at the top, so the last comes first
        if let Some(hint) = &reason.hint {
            wrapped(text::NEXT, hint, ui.theme.base);
        }
        let style =
            if summary.state == lightbox_core::runs::state::Status::Stopped { ui.theme.base } else { ui.theme.error };
        wrapped(text::WHY, &reason.text, style);
    }
    lines
}

/// `420/1250 · 34 %`. The curve is newer than the list, which is looked at once a second.
fn steps(ui: &Ui, row: &Row) -> String {
    let total = row.summary.total_steps;
    let step = newest(ui).map_or(row.summary.step, |point| point.step.max(row.summary.step));
    let steps = cli::steps(step, total);
    if total == 0 { steps } else { format!("{steps} · {:.0} %", 100.0 * step.min(total) as f64 / total as f64) }
}

fn loss(ui: &Ui, row: &Row) -> Option<f64> {
    newest(ui).and_then(|point| point.get(Column::Loss)).or(row.summary.loss)
}

fn newest(ui: &Ui) -> Option<Point> {
    ui.app.runs.series()?.last()
}
