//! What is beside the form: the chosen key in full, the estimate, the command.
use crate::app::Action;
use crate::app::train::figures::{self, Figure, Tone};
use crate::app::train::form::{self, From, Row};
use crate::app::train::{board, preview};
use crate::text::{problems_zh, train as text};
use crate::view::ui::Ui;
use crate::view::words;
use lightbox_core::profile::{Key, yaml_value};
use lightbox_core::safe_text::clean_line;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Rows that the help of the chosen key takes, with its frame.
pub fn help_height(ui: &Ui, width: u16) -> u16 {
    about(ui, usize::from(width.saturating_sub(4))).len() as u16 + 2
}

pub fn help(ui: &mut Ui, area: Rect) {
    let row = ui.app.train.row().filter(|_| ui.app.train.yaml.is_none());
    let title = row.map_or_else(|| ui.t(text::CHECK).to_owned(), |row| clean_line(row.name(), 60));
    let inner = ui.panel(area, &title, false).inner(Margin::new(1, 0));
    let lines = about(ui, inner.width.into());
    ui.lines(inner, lines);
}

/// Problems first, then what the key does, then what may be written and where the value came from: what matters most is
/// there even in three rows.
fn about(ui: &Ui, width: usize) -> Vec<Line<'static>> {
    let train = &ui.app.train;
    let lang = ui.app.lang();
    let mut lines = Vec::new();
    let mut add = |text: &str, style: Style| {
        lines.extend(words::wrap(text, width).into_iter().map(|line| Line::styled(line, style)));
    };
    if train.yaml.is_some() {
        for found in train.draft.problems() {
            let line = found.line.map(|line| text::YAML_LINE.fill(lang, &[&line])).unwrap_or_default();
            add(&(line + &problems_zh::message(lang, found)), ui.theme.error);
        }
        if train.draft.problems().is_empty() {
            add(ui.t(text::NO_PROBLEMS), ui.theme.good);
        }
        add(ui.t(text::YAML_KEYS), ui.theme.dim);
        return lines;
    }
    // what concerns the text as a whole has no row
    for found in train.draft.problems().iter().filter(|found| found.key.is_none()) {
        add(&problems_zh::message(lang, found), ui.theme.error);
    }
    let Some(row) = train.row() else { return lines };
    if let Some(field) = &train.field {
        let hint = match Key::find(field.key).is_some_and(crate::app::train::edit::can_pick) {
            true => text::PICK_HINT,
            false => text::TYPE_HINT,
        };
        match &field.error {
            Some(error) => add(error, ui.theme.error),
            None => add(ui.t(hint), ui.theme.dim),
        }
    }
    for found in train.draft.problems_of(row.name()) {
        add(&problems_zh::message(lang, found), ui.theme.error);
    }
    let key = match row {
        Row::Key(key) => key,
        Row::Other(name) => {
            add(&form::about_other(lang, &name), ui.theme.dim);
            return lines;
        }
    };
    add(&form::doc(lang, key), Style::new());
    if let Some(note) = form::note(lang, key) {
        add(&note, ui.theme.warning);
    }
    let default = yaml_value(&key.default());
    let colon = if lang == crate::text::Lang::En { ": " } else { "：" };
    let said = |label: crate::text::T, value: &str| format!("{}{colon}{value}", label.get(lang));
    let allowed = form::allowed(lang, key);
    add(&format!("{} · {}", said(text::DEFAULT, &default), said(text::ALLOWED, &allowed)), ui.theme.dim);
    add(&said(text::ORIGIN, &origin(ui, key)), ui.theme.dim);
    if let Some(label) = board::label(key.name) {
        add(&text::BOARD_LABEL.fill(lang, &[&label.get(lang)]), ui.theme.dim);
    }
    lines
}

fn origin(ui: &Ui, key: &Key) -> String {
    let lang = ui.app.lang();
    match ui.app.train.from(key.name) {
        From::Default => ui.t(text::FROM_DEFAULT).to_owned(),
        From::File(line) => text::FROM_FILE.fill(lang, &[&line]),
        From::Here(None) if ui.app.train.file.is_none() => ui.t(text::FROM_NEW).to_owned(),
        From::Here(None) => ui.t(text::FROM_HERE).to_owned(),
        From::Here(Some((was, line))) => text::FROM_HERE_WAS.fill(lang, &[&clean_line(&was, 100), &line]),
        From::Removed(was, line) => text::FROM_REMOVED.fill(lang, &[&clean_line(&was, 100), &line]),
    }
}

pub fn estimate(ui: &mut Ui, area: Rect) {
    let lang = ui.app.lang();
    let inner = ui.panel(area, ui.t(text::ESTIMATE), false).inner(Margin::new(1, 0));
    ui.click(area, Action::Run("train-estimate"));
    let train = &ui.app.train;
    let mut figures = figures::all(&train.estimate, lang);
    if figures.len() > inner.height.into() {
        figures.retain(|figure| !figure.minor);
    }
    if figures.is_empty() {
        let why = figures::why_none(train, lang);
        ui.text(inner, &why, ui.theme.dim);
        return;
    }
    if !train.draft.problems().is_empty() {
        ui.panel_note(area, ui.t(text::OUTDATED));
    } else if train.estimate.reading {
        ui.panel_note(area, ui.t(text::ESTIMATING));
    }
    // blank rows between the parts only where all of it fits
    let heads = figures.iter().filter(|figure| figure.tone == Tone::Head).count();
    let airy = figures.len() + heads <= inner.height.into();
    let mut y = inner.y;
    for (i, figure) in figures.iter().enumerate() {
        if airy && i > 0 && figure.tone == Tone::Head {
            y += 1;
        }
        if y >= inner.bottom() {
            break;
        }
        let left = figures.len() - i - 1;
        let room = usize::from(inner.bottom() - y).saturating_sub(left).max(1);
        y += self::figure(ui, Rect { y, height: room as u16, ..inner }, figure);
    }
}

/// One figure, in more than one row where there is room for it; says how many rows it took.
fn figure(ui: &mut Ui, area: Rect, figure: &Figure) -> u16 {
    const LABEL: usize = 18;
    let style = match figure.tone {
        Tone::Head => ui.theme.strong,
        Tone::Plain | Tone::Bar(_) => Style::new(),
        Tone::Dim => ui.theme.dim,
        Tone::Good => ui.theme.good,
        Tone::Warning => ui.theme.warning,
        Tone::Error => ui.theme.error,
    };
    if figure.label.is_empty() {
        return ui.text(area, &figure.value, style);
    }
    let (label_style, indent) = if figure.tone == Tone::Head { (ui.theme.accent, 0) } else { (ui.theme.dim, 2) };
    let label = words::pad(&format!("{}{}", " ".repeat(indent), figure.label), LABEL);
    let width = usize::from(area.width).saturating_sub(LABEL + 1);
    let mut rows = match figure.tone {
        // its bar stands in the same row
        Tone::Bar(_) => vec![figure.value.clone()],
        _ => words::wrap(&figure.value, width),
    };
    if rows.len() > area.height.into() {
        rows = vec![figure.value.clone()];
    }
    for (i, row) in rows.iter().enumerate() {
        let label = if i == 0 { label.clone() } else { " ".repeat(LABEL) };
        let line = vec![Span::styled(label, label_style), Span::raw(" "), Span::styled(row.clone(), style)];
        ui.line(Rect { y: area.y + i as u16, height: 1, ..area }, Line::from(line));
    }
    if let Tone::Bar(share) = figure.tone {
        let x = area.x + LABEL as u16 + 11;
        if x + 4 < area.right() {
            ui.gauge(Rect { x, width: area.right() - x, height: 1, ..area }, f64::from(share) / 1000.0);
        }
    }
    rows.len() as u16
}

/// Rows that the command takes, with its frame.
pub fn command_height(ui: &Ui, width: u16) -> u16 {
    wrapped(ui, usize::from(width.saturating_sub(4))).len() as u16 + 2
}

fn wrapped(ui: &Ui, width: usize) -> Vec<String> {
    // without a file the command would have to name every key, and no file to name them for
    if ui.app.train.file.is_none() {
        return words::wrap(ui.t(text::SAVE_FIRST), width);
    }
    words::wrap(&clean_line(&preview::lightbox(&ui.app.train, &ui.app.here), 2_000), width)
}

pub fn command(ui: &mut Ui, area: Rect) {
    let title = format!("{} · y", ui.t(text::COMMAND));
    let inner = ui.panel(area, &title, false).inner(Margin::new(1, 0));
    ui.click(area, Action::Run("train-copy"));
    let style = if ui.app.train.file.is_some() { Style::new() } else { ui.theme.dim };
    let lines = wrapped(ui, inner.width.into());
    ui.lines(inner, lines.into_iter().map(|line| Line::styled(line, style)));
}
