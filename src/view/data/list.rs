//! The list of samples, or of problems.
use super::wheel;
use crate::app::Action;
use crate::app::data::open::{Check, Filter, Mode, Open, Row};
use crate::app::data::{LIST, Msg, Pane};
use crate::text::data as text;
use crate::view::ui::{ListActions, Ui};
use crate::view::words;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

const ACTIONS: ListActions = ListActions {
    click: |i| Action::Data(Msg::Pick(Pane::List, i)),
    open: Some(|i| Action::Data(Msg::Enter(Pane::List, i))),
    wheel: |n| Action::Data(Msg::Move(Pane::List, crate::view::ui::by(n))),
};

pub fn draw(ui: &mut Ui, area: Rect) {
    let Some(open) = &ui.app.data.open else { return };
    match (open.mode, &open.check) {
        (Mode::Problems, Some(check)) => problems(ui, area, open, check),
        _ => samples(ui, area, open),
    }
}

/// `17 / 25,000,000`
fn place(at: usize, len: usize) -> String {
    format!("{} / {}", words::count(at as u64), words::count(len as u64))
}

fn samples(ui: &mut Ui, area: Rect, open: &Open) {
    let focused = ui.app.data.focus == Pane::List;
    let inner = ui.panel(area, &format!("{} · {}", ui.t(text::SAMPLES), open.source.title()), focused);
    ui.click(area, Action::Data(Msg::Focus(Pane::List)));
    ui.wheel(area, wheel(Pane::List));
    let inner = match &open.filter {
        Some(filter) => {
            let [line, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
            search_line(ui, line, open, filter);
            rest
        }
        None => inner,
    };
    if open.list.len == 0 {
        if open.filter.as_ref().is_none_or(|filter| !filter.running) {
            let word = if open.filter.is_some() { text::NO_MATCHES } else { text::NO_SAMPLES };
            ui.line(inner, Line::styled(ui.t(word), ui.theme.dim));
        }
        return;
    }
    let digits = words::count(open.len.saturating_sub(1) as u64).len();
    let bar = u16::from(open.list.len > usize::from(inner.height));
    let room = usize::from(inner.width - bar).saturating_sub(digits + 4);
    ui.list(inner, LIST, &open.list, focused, ACTIONS, |ui, row| {
        let Some(index) = open.index_at(row) else { return Line::default() };
        let number = words::pad_left(&words::count(index as u64), digits);
        let mut spans = vec![Span::styled(number, ui.theme.dim)];
        match open.rows.get(index) {
            None => spans.push(Span::styled("    ░░░░░░░░░░░░", ui.theme.dim)),
            Some(Row::Bad(why)) => {
                spans.push(Span::styled("  ! ", ui.theme.error));
                spans.push(Span::styled(words::cut(why, room), ui.theme.error));
            }
            Some(Row::Good { question, answer, turns, pictures }) => {
                let mark = match pictures {
                    0 => "    ".to_owned(),
                    1 => "  ▣ ".to_owned(),
                    n => format!(" {}▣ ", (*n).min(99)),
                };
                spans.push(Span::styled(words::cut(&mark, 5), ui.theme.picture));
                // Questions are often all the same, so answers get most of the room.
                let turns = if *turns > 1 { format!(" ×{turns}") } else { String::new() };
                let asked = words::cut(question, (room * 2 / 5).max(6));
                let rest = room.saturating_sub(words::width(&asked) + 3 + words::width(&turns));
                spans.push(Span::styled(asked, ui.theme.dim));
                spans.push(Span::styled(" › ", ui.theme.border));
                spans.push(Span::styled(words::cut(answer, rest), ui.theme.base));
                spans.push(Span::styled(turns, ui.theme.accent));
            }
        }
        Line::from(spans)
    });
    if bar > 0 {
        let bar = Rect { x: inner.right() - 1, width: 1, ..inner };
        ui.point(bar, |_, y| Action::Data(Msg::Bar(y)));
    }
    ui.panel_note(area, &place(open.index().unwrap_or_default(), open.len));
}

fn search_line(ui: &mut Ui, area: Rect, open: &Open, filter: &Filter) {
    let lang = ui.app.lang();
    let [done, all, found] = [filter.done, open.len, filter.matches.len()].map(|n| words::count(n as u64));
    let (said, style) = match &filter.failed {
        Some(why) => (text::SEARCH_FAILED.fill(lang, &[&clean_line(why, 200)]), ui.theme.error),
        None if filter.running => (text::SEARCHING.fill(lang, &[&done, &all, &found]), ui.theme.accent),
        None if filter.done < open.len => (text::FOUND_PART.fill(lang, &[&found, &done]), ui.theme.warning),
        None => (text::FOUND.fill(lang, &[&found]), ui.theme.good),
    };
    let query = words::cut(&filter.query, usize::from(area.width) / 2);
    let room = usize::from(area.width).saturating_sub(words::width(&query) + 3);
    ui.line(
        area,
        Line::from(vec![
            Span::styled("/", ui.theme.key),
            Span::styled(query, ui.theme.strong),
            Span::raw("  "),
            Span::styled(words::cut(&said, room), style),
        ]),
    );
    ui.click(area, Action::Run("data-search"));
}

fn problems(ui: &mut Ui, area: Rect, open: &Open, check: &Check) {
    let focused = ui.app.data.focus == Pane::List;
    let inner = ui.panel(area, &format!("{} · {}", ui.t(text::PROBLEMS), open.source.title()), focused);
    ui.click(area, Action::Data(Msg::Focus(Pane::List)));
    let kinds: Vec<String> =
        check.by_kind.iter().map(|(kind, n)| format!("{} {kind}", words::count(*n as u64))).collect();
    let kinds = words::wrap(&kinds.join("  "), inner.width.into());
    let above = (kinds.len() as u16).min(3) * u16::from(check.count > 0);
    let [line, counts, list] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(above), Constraint::Fill(1)]).areas(inner);
    let [done, all, count] = [check.done, open.len, check.count].map(|n| words::count(n as u64));
    let lang = ui.app.lang();
    let (said, style) = match (check.running, check.count) {
        (true, _) => (text::CHECK_RUNNING.fill(lang, &[&done, &all, &count]), ui.theme.accent),
        (false, _) if check.done < open.len => (text::CHECK_PART.fill(lang, &[&done, &all]), ui.theme.warning),
        (false, 0) => (ui.t(text::CHECK_DONE_GOOD).to_owned(), ui.theme.good),
        (false, _) => (text::SET_PROBLEMS.fill(lang, &[&count]), ui.theme.warning),
    };
    ui.line(line, Line::styled(words::cut(&said, line.width.into()), style));
    let dim = ui.theme.dim;
    ui.lines(counts, kinds.into_iter().map(|line| Line::styled(line, dim)));
    if check.problems.is_empty() {
        if check.running {
            ui.line(list, Line::styled(ui.t(text::CHECK_NONE), ui.theme.dim));
        }
        return;
    }
    let widest = check.by_kind.keys().map(|kind| kind.len()).max().unwrap_or_default().min(18);
    let digits = words::count(open.len.saturating_sub(1) as u64).len();
    let room = usize::from(list.width).saturating_sub(digits + widest + 4);
    ui.list(list, LIST, &check.cursor, focused, ACTIONS, |ui, i| {
        let problem = &check.problems[i];
        Line::from(vec![
            Span::styled(words::pad_left(&words::count(problem.index as u64), digits), ui.theme.dim),
            Span::styled(format!("  {} ", words::pad(problem.kind, widest)), ui.theme.warning),
            Span::styled(words::cut(&clean_line(&problem.reason, 300), room), ui.theme.base),
        ])
    });
    ui.panel_note(area, &place(check.cursor.at + 1, check.problems.len()));
}
