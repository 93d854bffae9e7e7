//! Events, log, samples and checkpoints of the chosen run.
use super::super::ui::{ListActions, Ui, by};
use super::super::words;
use crate::app::Action;
use crate::app::cursor::{Cursor, Move};
use crate::app::runs::{Msg, Part};
use crate::cli::runs::facts::CheckpointFacts;
use crate::text::{T, common, runs as text};
use lightbox_core::data::ImageRef;
use lightbox_core::runs::record::{Ack, Event};
use lightbox_core::runs::state::Status;
use lightbox_core::safe_text::{clean, clean_line};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::path::Path;

const EVENTS: ListActions = ListActions {
    click: |i| Action::Runs(Msg::Move(Part::Events, Move::To(i))),
    open: None,
    wheel: |n| Action::Runs(Msg::Move(Part::Events, by(n))),
};
const LOG: ListActions = ListActions {
    click: |i| Action::Runs(Msg::Move(Part::Log, Move::To(i))),
    open: None,
    wheel: |n| Action::Runs(Msg::Move(Part::Log, by(n))),
};
const SAMPLES: ListActions = ListActions {
    click: |i| Action::Runs(Msg::Move(Part::Samples, Move::To(i))),
    open: None,
    wheel: |n| Action::Runs(Msg::Move(Part::Samples, by(n))),
};
const CHECKPOINTS: ListActions = ListActions {
    click: |i| Action::Runs(Msg::Move(Part::Checkpoints, Move::To(i))),
    open: None,
    wheel: |n| Action::Runs(Msg::Move(Part::Checkpoints, by(n))),
};

/// The frame of a part, and its empty state; `None`: there is nothing more to draw.
fn framed(ui: &mut Ui, area: Rect, part: Part, rows: usize, empty: T, next: Option<T>) -> Option<Rect> {
    let title = match rows {
        0 => ui.t(text::part(part)).to_owned(),
        n => format!("{} · {n}", ui.t(text::part(part))),
    };
    let inner = ui.panel(area, &title, ui.app.runs.focus == part);
    if rows > 0 {
        return Some(inner);
    }
    match ui.app.runs.run.loaded {
        false => ui.line(inner, Line::styled(ui.t(common::LOADING), ui.theme.dim)),
        true => {
            let next = next.filter(|_| ui.app.runs.row().is_some_and(|row| row.is_live()));
            let (title, next) = (ui.t(empty), next.map_or("", |next| ui.t(next)));
            if inner.height >= 5 {
                ui.empty(inner, title, next);
            } else {
                ui.line(inner, Line::styled(format!(" {title} {next}"), ui.theme.dim));
            }
        }
    }
    None
}

/// The chosen one in full at the foot, as long as there is room for the list.
fn with_foot(ui: &mut Ui, inner: Rect, full: &str, style: Style) -> Rect {
    let wrapped = words::wrap(full, inner.width.max(1).into());
    if inner.height < 8 || wrapped.len() < 2 {
        return inner;
    }
    let below = (wrapped.len() as u16).min(inner.height / 2);
    let [list, gap, foot] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(below)]).areas(inner);
    ui.line(gap, Line::styled("─".repeat(gap.width.into()), ui.theme.border));
    ui.lines(foot, wrapped.into_iter().map(|line| Line::styled(line, style)));
    list
}

pub fn events(ui: &mut Ui, area: Rect) {
    let run = &ui.app.runs.run;
    let (cursor, lang) = (run.event, ui.app.lang());
    let Some(inner) = framed(ui, area, Part::Events, run.events.len(), text::NO_EVENTS, None) else { return };
    let focused = ui.app.runs.focus == Part::Events;
    let chosen = run.events.get(cursor.at).filter(|_| focused);
    let full = chosen.and_then(|(_, event)| text::event(event, lang)).unwrap_or_default();
    let list = with_foot(ui, inner, &clean_line(&full, 2_000), ui.theme.base);
    let room = usize::from(list.width).saturating_sub(9);
    ui.list(list, Part::Events.list(), &cursor, focused, EVENTS, |ui, i| {
        let (t, event) = &ui.app.runs.run.events[i];
        let words_of = text::event(event, lang).unwrap_or_default();
        Line::from(vec![
            Span::styled(words::pad_left(&words::age(ui.app.wall_ms, *t), 7), ui.theme.dim),
            Span::raw(" "),
            Span::styled(words::cut(&clean_line(&words_of, 500), room), event_style(ui, event)),
        ])
    });
}

fn event_style(ui: &Ui, event: &Event) -> Style {
    match event {
        Event::Warning { .. } | Event::DataIssue { .. } | Event::Dropped { .. } => ui.theme.warning,
        Event::CheckpointFailed { .. } | Event::CheckpointQuarantined { .. } => ui.theme.error,
        Event::CommandAck { status: Ack::Rejected, .. } => ui.theme.warning,
        Event::State { to: Status::Failed | Status::Crashed, .. } => ui.theme.error,
        Event::State { to: Status::Finished, .. } => ui.theme.good,
        Event::Exited { code, .. } if *code != Some(0) && *code != Some(3) => ui.theme.warning,
        Event::CheckpointDeleted { .. } | Event::Header(_) => ui.theme.dim,
        _ => ui.theme.base,
    }
}

pub fn log(ui: &mut Ui, area: Rect) {
    let run = &ui.app.runs.run;
    let cursor = run.line;
    let Some(inner) = framed(ui, area, Part::Log, run.log.len(), text::NO_LOG, None) else { return };
    let focused = ui.app.runs.focus == Part::Log;
    let chosen = run.log.get(cursor.at).filter(|_| focused).map(|line| clean_line(line, 2_000)).unwrap_or_default();
    let list = with_foot(ui, inner, &chosen, ui.theme.base);
    let room = usize::from(list.width);
    ui.list(list, Part::Log.list(), &cursor, focused, LOG, |ui, i| {
        let line = clean_line(&ui.app.runs.run.log[i], 500);
        let style =
            if line.starts_with("error") || line.starts_with("warning") { ui.theme.warning } else { ui.theme.base };
        Line::styled(words::cut(&line, room), style)
    });
}

pub fn samples(ui: &mut Ui, area: Rect) {
    let run = &ui.app.runs.run;
    let cursor = run.sample;
    let next = Some(text::NO_SAMPLES_NEXT);
    let Some(inner) = framed(ui, area, Part::Samples, run.samples.len(), text::NO_SAMPLES, next) else { return };
    let focused = ui.app.runs.focus == Part::Samples;
    let rows = (run.samples.len() as u16).clamp(1, (inner.height / 3).max(1));
    let [list, gap, detail] =
        Layout::vertical([Constraint::Length(rows), Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    let room = usize::from(list.width).saturating_sub(12);
    ui.list(list, Part::Samples.list(), &cursor, focused, SAMPLES, |ui, i| {
        let sample = &ui.app.runs.run.samples[i];
        let step = words::pad_left(&words::count(sample.step), 10);
        let line = format!("{} → {}", clean_line(&sample.prompt, 200), clean_line(&sample.text, 200));
        Line::from(vec![
            Span::styled(step, ui.theme.dim),
            Span::raw("  "),
            Span::styled(words::cut(&line, room), ui.theme.base),
        ])
    });
    ui.line(gap, Line::styled("─".repeat(gap.width.into()), ui.theme.border));
    sample(ui, detail, cursor.at);
}

/// Pictures on the left, question and answer on the right.
fn sample(ui: &mut Ui, area: Rect, at: usize) {
    let Some(sample) = ui.app.runs.run.samples.get(at) else { return };
    // the follower made whole paths of those that are files
    let (files, others): (Vec<&String>, Vec<&String>) =
        sample.images.iter().partition(|image| Path::new(image).is_absolute());
    let mut right = area;
    if !files.is_empty() && area.width >= 30 && area.height >= 3 {
        let width = (area.width / 3).min(area.height * 3);
        let [picture, _, rest] =
            Layout::horizontal([Constraint::Length(width), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        right = rest;
        let shown = &files[..files.len().min(4)];
        let parts = Layout::horizontal(shown.iter().map(|_| Constraint::Fill(1))).split(picture);
        for (image, place) in shown.iter().zip(parts.iter()) {
            ui.picture(*place, &ImageRef::File(image.into()));
        }
    }
    let mut texts = vec![(clean(&sample.prompt), ui.theme.dim), (clean(&sample.text), ui.theme.base)];
    texts.extend(sample.label.iter().map(|label| (format!("{}: {}", ui.t(text::LABEL), clean(label)), ui.theme.good)));
    texts.extend(others.into_iter().map(|image| (clean_line(image, 300), ui.theme.picture)));
    for (text, style) in texts {
        let rows = ui.text(right, &text, style);
        right = Rect { y: right.y + rows, height: right.height.saturating_sub(rows), ..right };
    }
}

pub fn checkpoints(ui: &mut Ui, area: Rect) {
    let run = &ui.app.runs.run;
    let cursor: Cursor = run.checkpoint;
    let next = Some(text::NO_CHECKPOINTS_NEXT);
    let total: u64 = run.checkpoints.iter().map(|c| c.bytes).sum();
    let len = run.checkpoints.len();
    let Some(inner) = framed(ui, area, Part::Checkpoints, len, text::NO_CHECKPOINTS, next) else { return };
    ui.panel_note(area, &words::size(total));
    let focused = ui.app.runs.focus == Part::Checkpoints;
    let problem = ui.app.runs.run.checkpoints.get(cursor.at).and_then(|c| c.problem.clone()).unwrap_or_default();
    let list = with_foot(ui, inner, &clean_line(&problem, 500), ui.theme.error);
    let room = usize::from(list.width);
    ui.list(list, Part::Checkpoints.list(), &cursor, focused, CHECKPOINTS, |ui, i| {
        checkpoint(ui, &ui.app.runs.run.checkpoints[i], room)
    });
}

fn checkpoint(ui: &Ui, c: &CheckpointFacts, room: usize) -> Line<'static> {
    let mut spans = vec![
        Span::styled(words::pad(&clean_line(&c.name, 60), 20), if c.valid { ui.theme.base } else { ui.theme.error }),
        Span::styled(words::pad_left(&words::size(c.bytes), 9), ui.theme.dim),
    ];
    if c.pinned {
        spans.push(Span::styled(format!("  {}", ui.t(text::PINNED)), ui.theme.accent));
    }
    if c.best {
        spans.push(Span::styled(format!("  ★ {}", ui.t(text::IS_BEST)), ui.theme.good));
    }
    if let Some(label) = &c.label {
        spans.push(Span::raw(format!("  {}", clean_line(label, 80))));
    }
    if let Some(problem) = &c.problem {
        spans.push(Span::styled(format!("  {}", words::cut(&clean_line(problem, 200), room)), ui.theme.error));
    }
    Line::from(spans)
}
