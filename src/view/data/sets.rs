//! The sets that can be opened, and below them what is known about the chosen one.
use super::wheel;
use crate::app::Action;
use crate::app::data::{Msg, Pane, SETS, Source};
use crate::text::data as text;
use crate::view::ui::{ListActions, Ui};
use crate::view::words;
use lightbox_core::data::FoundKind;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

pub fn draw(ui: &mut Ui, area: Rect) {
    let data = &ui.app.data;
    let focused = data.focus == Pane::Sets;
    let inner = ui.panel(area, ui.t(text::SETS), focused);
    ui.click(area, Action::Data(Msg::Focus(Pane::Sets)));
    if data.found.is_empty() {
        let word = if data.looking { text::LOOKING } else { text::NO_SETS };
        ui.text(inner, ui.t(word), ui.theme.dim);
        return;
    }
    let facts = facts(ui, usize::from(inner.width));
    let below = (facts.len() as u16).min(inner.height / 2);
    let [list, gap, detail] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(below)]).areas(inner);
    let actions = ListActions {
        click: |i| Action::Data(Msg::Pick(Pane::Sets, i)),
        open: Some(|i| Action::Data(Msg::Enter(Pane::Sets, i))),
        wheel: wheel(Pane::Sets),
    };
    let open = data.open.as_ref().map(|open| &open.source);
    ui.list(list, SETS, &data.sets, focused, actions, |ui, i| {
        let found = &data.found[i];
        let source = Source::of(found);
        let known = data.known.get(&source);
        let mark = if open == Some(&source) { "●" } else { " " };
        let size = match known {
            _ if found.problem.is_some() => "!".to_owned(),
            Some(known) => words::count(known.samples as u64),
            None => words::size(found.bytes),
        };
        let bad = known.and_then(|known| known.problems).filter(|n| *n > 0);
        let size = bad.map_or(size.clone(), |n| format!("{size} !{}", words::count(n as u64)));
        let room = usize::from(list.width).saturating_sub(words::width(&size) + 3);
        let style = if found.problem.is_some() { ui.theme.error } else { ui.theme.base };
        let warned = if bad.is_some() || found.problem.is_some() { ui.theme.warning } else { ui.theme.dim };
        Line::from(vec![
            Span::styled(mark, ui.theme.accent),
            Span::styled(words::pad(&source.title(), room), style),
            Span::styled(format!(" {size}"), warned),
        ])
    });
    ui.line(gap, Line::styled("─".repeat(gap.width.into()), ui.theme.border));
    ui.lines(detail, facts);
}

/// Lines about the chosen set.
fn facts(ui: &Ui, width: usize) -> Vec<Line<'static>> {
    let data = &ui.app.data;
    let Some(found) = data.set() else { return Vec::new() };
    let lang = ui.app.lang();
    let known = data.known.get(&Source::of(found));
    let kind = match found.kind {
        FoundKind::Named => text::KIND_NAMED,
        FoundKind::Parquet => text::KIND_PARQUET,
        FoundKind::Json => text::KIND_JSON,
    };
    let mut lines = Vec::new();
    let mut add = |text: String, style| {
        lines.extend(words::wrap(&text, width).into_iter().take(4).map(|line| Line::styled(line, style)));
    };
    add(ui.t(kind).to_owned(), ui.theme.dim);
    if let Some(known) = known {
        let samples = words::count(known.samples as u64);
        add(text::SET_LINE.fill(lang, &[&samples, &clean_line(&known.format, 40)]), ui.theme.base);
        match known.problems {
            Some(0) => add(ui.t(text::SET_GOOD).to_owned(), ui.theme.good),
            Some(n) => add(text::SET_PROBLEMS.fill(lang, &[&words::count(n as u64)]), ui.theme.warning),
            None => {}
        }
    }
    add(words::size(found.bytes), ui.theme.base);
    // A path below this folder is shorter without it.
    let path = found.path.strip_prefix(&ui.app.here).unwrap_or(&found.path);
    add(words::cut_left(&clean_line(&path.display().to_string(), 500), width * 3), ui.theme.dim);
    if let Some(problem) = &found.problem {
        add(clean_line(problem, 500), ui.theme.error);
    }
    if data.more {
        add(ui.t(text::MORE_SETS).to_owned(), ui.theme.warning);
    }
    if let Some(note) = data.notes.first() {
        add(clean_line(note, 500), ui.theme.warning);
    }
    lines
}
