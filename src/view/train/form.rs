//! The groups and their keys.
use crate::app::Action;
use crate::app::cursor::Move;
use crate::app::train::form::{self, From, Row};
use crate::app::train::{self, Msg};
use crate::text::train as text;
use crate::view::ui::{ListActions, Ui};
use crate::view::words;
use lightbox_core::profile::{Key, Kind};
use lightbox_core::safe_text::clean_line;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

const GROUPS: ListActions = ListActions {
    click: |i| Action::Train(Msg::Group(Move::To(i))),
    open: None,
    wheel: |n| Action::Train(Msg::Group(Move::By(n))),
};

const KEYS: ListActions = ListActions {
    click: |i| Action::Train(Msg::Key(Move::To(i))),
    open: Some(|i| Action::Train(Msg::Edit(i))),
    wheel: |n| Action::Train(Msg::Key(Move::By(n))),
};

pub fn groups(ui: &mut Ui, area: Rect, focused: bool) {
    let inner = ui.panel(area, ui.t(text::GROUPS), focused);
    let train = &ui.app.train;
    let sections = form::sections(&train.draft);
    let lang = ui.app.lang();
    let room = usize::from(inner.width);
    ui.list(inner, train::GROUPS, &train.groups, focused, GROUPS, |ui, i| {
        let (set, wrong) = form::counts(&ui.app.train.draft, sections[i]);
        let wrong_text = if wrong > 0 { format!(" ✗{wrong}") } else { String::new() };
        let set_text = if set > 0 { format!(" {set}") } else { String::new() };
        let label = room.saturating_sub(words::width(&wrong_text) + words::width(&set_text) + 1);
        Line::from(vec![
            Span::raw(words::pad(sections[i].title().get(lang), label)),
            Span::styled(wrong_text, ui.theme.error),
            Span::styled(set_text, ui.theme.dim),
        ])
    });
}

pub fn keys(ui: &mut Ui, area: Rect, focused: bool) {
    let train = &ui.app.train;
    let lang = ui.app.lang();
    let query = train.search.value();
    let title = if !query.is_empty() || train.searching {
        text::SEARCH_TITLE.fill(lang, &[&query])
    } else if train.only_set {
        ui.t(text::ONLY_SET).to_owned()
    } else {
        train.section().title().get(lang).to_owned()
    };
    let mut inner = ui.panel(area, &title, focused);
    if train.searching {
        let [field, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
        ui.input(field, &train.search, true);
        if query.is_empty() {
            let after = Rect { x: field.x + 1, width: field.width.saturating_sub(1), ..field };
            ui.line(after, Line::styled(ui.t(text::SEARCH_HINT), ui.theme.dim.patch(ui.theme.field)));
        }
        inner = rest;
    }
    let rows = train.rows();
    if rows.is_empty() {
        let nothing = if query.is_empty() { text::NOTHING_SET } else { text::NOTHING_FOUND };
        ui.text(inner, ui.t(nothing), ui.theme.dim);
        return;
    }
    let note = text::ROW_OF.fill(lang, &[&(train.keys.at + 1), &rows.len()]);
    ui.panel_note(area, &note);
    let name_width = rows.iter().map(|row| words::width(row.name())).max().unwrap_or(0).min(30);
    let mut field = None;
    ui.list(inner, train::KEYS, &train.keys, focused, KEYS, |ui, i| {
        let row = &rows[i];
        if ui.app.train.field.is_some() && i == ui.app.train.keys.at {
            field = Some(());
        }
        row_line(ui, row, name_width, usize::from(inner.width))
    });
    // the value that is being typed, over its row
    if let Some(typed) = &train.field {
        let offset = crate::app::cursor::offset(
            ui.app.hits.offset(train::KEYS),
            train.keys.at,
            train.keys.len,
            inner.height.into(),
        );
        let y = inner.y + (train.keys.at.saturating_sub(offset)) as u16;
        let x = inner.x + name_width as u16 + 4;
        if field.is_some() && y < inner.bottom() && x < inner.right() {
            ui.input(Rect { x, y, width: inner.right() - x - 1, height: 1 }, &typed.input, true);
        }
    }
}

/// A mark, the name, the value, and where it came from if there is room.
fn row_line(ui: &Ui, row: &Row, name_width: usize, width: usize) -> Line<'static> {
    let train = &ui.app.train;
    let lang = ui.app.lang();
    let wrong = train.draft.problems_of(row.name()).next().is_some();
    let from = train.from(row.name());
    let (mark, mark_style) = match (&from, wrong) {
        (_, true) => ("✗", ui.theme.error),
        (From::Default, _) => (" ", ui.theme.dim),
        (From::File(_), _) => ("•", ui.theme.dim),
        (From::Here(_), _) => ("●", ui.theme.warning),
        (From::Removed(..), _) => ("○", ui.theme.warning),
    };
    let name = words::pad(&clean_line(row.name(), 60), name_width);
    let (value, style, after) = match row {
        Row::Key(key) => value(ui, key, &from),
        Row::Other(name) => {
            let set = train.draft.entry(name).map(|entry| crate::app::train::draft::written(entry, train.draft.text()));
            (set.unwrap_or_default(), ui.theme.dim, form::about_other(lang, name))
        }
    };
    let room = width.saturating_sub(name_width + 5);
    let after_width = if room > 44 { (room - 24).min(words::width(&after) + 1) } else { 0 };
    let value = words::pad(&clean_line(&value, 300), room.saturating_sub(after_width));
    let mut spans = vec![
        Span::styled(format!("{mark} "), mark_style),
        Span::styled(name, if matches!(row, Row::Key(_)) { Style::new() } else { ui.theme.dim }),
        Span::raw("  "),
        Span::styled(value, style),
    ];
    if after_width > 1 {
        spans.push(Span::styled(words::pad_left(&after, after_width), ui.theme.dim));
    }
    Line::from(spans)
}

/// The value, its look, and a few words behind it.
fn value(ui: &Ui, key: &Key, from: &From) -> (String, Style, String) {
    let train = &ui.app.train;
    let lang = ui.app.lang();
    let shown = train.draft.shown(key);
    let value = train.draft.value(key);
    let shown = match (&value, key.kind) {
        (serde_yaml::Value::Bool(true), Kind::Bool) => format!("[x] {shown}"),
        (serde_yaml::Value::Bool(false), Kind::Bool) => format!("[ ] {shown}"),
        (serde_yaml::Value::Null, _) => "–".to_owned(),
        // without the quotes that YAML wants around `no`
        (value, Kind::Choice(_) | Kind::Device) => format!("‹ {} ›", value.as_str().unwrap_or(&shown)),
        _ => shown,
    };
    let is_default = value == key.default();
    let style = match (from, is_default) {
        (From::Default | From::Removed(..), _) => ui.theme.dim,
        (_, true) => Style::new(),
        (_, false) => ui.theme.accent,
    };
    let after = match from {
        From::Default | From::Removed(..) => String::new(),
        From::File(line) => text::FROM_FILE.fill(lang, &[line]),
        From::Here(_) if train.file.is_none() => ui.t(text::FROM_NEW).to_owned(),
        From::Here(_) => ui.t(text::CHANGED).to_owned(),
    };
    (shown, style, after)
}
