//! What lies over a screen.
use super::ui::{ListActions, Ui};
use super::words;
use crate::app::Action;
use crate::app::commands::{self, Command};
use crate::app::cursor::{Cursor, Move};
use crate::app::messages::Level;
use crate::app::overlay::{self, Choose, Confirm, Files, Filtered, LIST, Msg, Overlay, Page, Prompt};
use crate::app::settings::{ImageChoice, ThemeChoice};
use crate::app::tasks::State;
use crate::input::Key;
use crate::text::{Lang, common};
use lightbox_core::data::ImageRef;
use lightbox_core::runs::progress::short_time;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

pub fn draw(ui: &mut Ui, area: Rect) {
    let Some(top) = ui.app.overlays.last() else { return };
    match top {
        Overlay::Help(filter) => help(ui, area, filter),
        Overlay::Palette(filter) => palette(ui, area, filter),
        Overlay::Messages(cursor) => messages(ui, area, cursor),
        Overlay::Tasks(cursor) => tasks(ui, area, cursor),
        Overlay::Settings(cursor) => settings(ui, area, cursor),
        Overlay::Confirm(question) => confirm(ui, area, question),
        Overlay::Prompt(question) => prompt(ui, area, question),
        Overlay::Choose(list) => choose(ui, area, list),
        Overlay::Files(list) => files(ui, area, list),
        Overlay::Page(text) => page(ui, area, text),
    }
}

const ROWS: ListActions = ListActions {
    click: |i| Action::Overlay(Msg::Pick(i)),
    open: None,
    wheel: |n| Action::Overlay(Msg::Move(Move::By(n))),
};

/// For lists in which a click only chooses.
const LOOK: ListActions = ListActions { click: |i| Action::Overlay(Msg::Move(Move::To(i))), ..ROWS };

/// In the middle, at most so large.
fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

/// The line to type in, and the rest.
fn with_input(ui: &mut Ui, inner: Rect, filter: &Filtered, hint: &str) -> Rect {
    let [input, gap, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    ui.input(input, &filter.input, true);
    if filter.input.value().is_empty() {
        let after = Rect { x: input.x + 1, width: input.width.saturating_sub(1), ..input };
        ui.line(after, Line::styled(words::cut(hint, after.width.into()), ui.theme.dim.patch(ui.theme.field)));
    }
    ui.line(gap, Line::styled("─".repeat(gap.width.into()), ui.theme.border));
    rest
}

fn command_row(ui: &Ui, command: &Command, width: u16) -> Line<'static> {
    let keys: Vec<String> =
        command.keys.iter().filter_map(|word| Key::parse(word)).map(|key| key.to_string()).collect();
    let (keys, title) = (words::pad(&keys.join(" "), 12), words::pad(ui.t(command.title), 18));
    let enabled = (command.enabled)(ui.app);
    let room = usize::from(width).saturating_sub(12 + 18 + 2);
    Line::from(vec![
        Span::styled(keys, if enabled { ui.theme.key } else { ui.theme.dim }),
        Span::styled(title, if enabled { ui.theme.strong } else { ui.theme.dim }),
        Span::styled(words::cut(ui.t(command.doc), room), ui.theme.dim),
    ])
}

fn help(ui: &mut Ui, area: Rect, filter: &Filtered) {
    let commands = commands::help(ui.app, filter.input.value());
    let title = format!("{} · {}", ui.t(common::HELP), ui.t(ui.app.screen.title()));
    command_list(ui, area, &title, common::HELP_FILTER.get(ui.app.lang()), filter, &commands);
}

fn palette(ui: &mut Ui, area: Rect, filter: &Filtered) {
    let commands = commands::palette(ui.app, filter.input.value());
    let (title, hint) = (ui.t(common::PALETTE).to_owned(), ui.t(common::PALETTE_HINT));
    command_list(ui, area, &title, hint, filter, &commands);
}

fn command_list(ui: &mut Ui, area: Rect, title: &str, hint: &str, filter: &Filtered, commands: &[&'static Command]) {
    let rows = (commands.len() as u16).max(3) + 4;
    let inner = ui.window(centred(area, 96, rows.min(area.height.saturating_sub(2))), title);
    let rest = with_input(ui, inner, filter, hint);
    if commands.is_empty() {
        ui.line(rest, Line::styled(ui.t(common::NOTHING_FITS), ui.theme.dim));
    }
    let cursor = Cursor { at: filter.cursor.at, len: commands.len() };
    ui.list(rest, LIST, &cursor, true, ROWS, |ui, i| command_row(ui, commands[i], rest.width));
}

fn messages(ui: &mut Ui, area: Rect, cursor: &Cursor) {
    let inner = ui.window(centred(area, 100, area.height.saturating_sub(4)), ui.t(common::MESSAGES));
    if cursor.len == 0 {
        return ui.line(inner, Line::styled(ui.t(common::NO_MESSAGES), ui.theme.dim));
    }
    // the chosen one in full, below the list
    let all: Vec<_> = ui.app.messages.past().collect();
    let full = all.get(cursor.at).map_or_else(Vec::new, |m| words::wrap(&m.text, inner.width.into()));
    let below = (full.len() as u16).max(1).min(inner.height / 3);
    let [list, gap, detail] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(below)]).areas(inner);
    ui.list(list, LIST, cursor, true, LOOK, |ui, i| {
        let message = all[i];
        let style = match message.level {
            Level::Info => ui.theme.base,
            Level::Good => ui.theme.good,
            Level::Warning => ui.theme.warning,
            Level::Error => ui.theme.error,
        };
        let age = words::pad_left(&words::age(ui.app.wall_ms, message.wall_ms), 7);
        let room = usize::from(list.width).saturating_sub(9);
        Line::from(vec![
            Span::styled(age, ui.theme.dim),
            Span::raw(" "),
            Span::styled(words::cut(&message.text, room), style),
        ])
    });
    ui.line(gap, Line::styled("─".repeat(gap.width.into()), ui.theme.border));
    ui.lines(detail, full.into_iter().map(Line::from));
}

fn tasks(ui: &mut Ui, area: Rect, cursor: &Cursor) {
    let inner = ui.window(centred(area, 100, 16), ui.t(common::TASKS));
    let all: Vec<_> = ui.app.tasks.all().collect();
    if all.is_empty() {
        return ui.line(inner, Line::styled(ui.t(common::NO_TASKS), ui.theme.dim));
    }
    let [list, foot] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(inner);
    let cursor = Cursor { at: cursor.at.min(all.len() - 1), len: all.len() };
    let now = ui.app.now_ms;
    ui.list(list, LIST, &cursor, true, LOOK, |ui, i| {
        let task = all[i];
        let (word, style) = match &task.state {
            State::Running => (ui.t(common::RUNNING).to_owned(), ui.theme.accent),
            State::Stopping => (format!("{}…", ui.t(common::CANCEL)), ui.theme.warning),
            State::Done => (ui.t(common::DONE).to_owned(), ui.theme.good),
            State::Cancelled => (ui.t(common::CANCELLED).to_owned(), ui.theme.dim),
            State::Failed(why) => (format!("{}: {}", ui.t(common::FAILED), clean_line(why, 300)), ui.theme.error),
        };
        let p = &task.progress;
        let amount = |n: u64| if p.bytes { words::size(n) } else { words::count(n) };
        let progress = match task.state {
            State::Running if p.total > 0 => format!(
                "{:>3.0} %  {}  {}",
                task.share().unwrap_or_default() * 100.0,
                common::OF.fill(ui.app.lang(), &[&amount(p.done), &amount(p.total)]),
                task.seconds_left(now)
                    .map_or_else(String::new, |s| common::LEFT.fill(ui.app.lang(), &[&short_time(s)])),
            ),
            State::Running if p.done > 0 => amount(p.done),
            _ => String::new(),
        };
        Line::from(vec![
            Span::styled(words::pad(&clean_line(&task.title, 200), 34), ui.theme.strong),
            Span::raw(" "),
            Span::styled(word, style),
            Span::raw("  "),
            Span::raw(progress),
            Span::styled(format!("  {}", clean_line(&p.note, 200)), ui.theme.dim),
        ])
    });
    ui.line(foot, Line::from(vec![Span::styled("x ", ui.theme.key), Span::styled(ui.t(common::CANCEL), ui.theme.dim)]));
}

fn settings(ui: &mut Ui, area: Rect, cursor: &Cursor) {
    let inner = ui.window(centred(area, 60, overlay::SETTINGS as u16 + 4), ui.t(common::SETTINGS));
    let settings = &ui.app.settings;
    let language = match settings.language {
        None => format!("{} ({})", ui.t(common::SET_AUTO), name(ui.app.locale)),
        Some(lang) => name(lang).to_owned(),
    };
    let theme = match settings.theme {
        ThemeChoice::Auto => common::SET_AUTO,
        ThemeChoice::Terminal => common::SET_TERMINAL,
        ThemeChoice::Dark => common::SET_DARK,
        ThemeChoice::Light => common::SET_LIGHT,
        ThemeChoice::Mono => common::SET_MONO,
    };
    let images = match settings.images {
        ImageChoice::Auto => common::SET_AUTO,
        ImageChoice::Blocks => common::SET_BLOCKS,
        ImageChoice::Off => common::SET_OFF,
    };
    let mouse = if settings.mouse && !ui.app.session_no_mouse { common::SET_ON } else { common::SET_OFF };
    let rows = [
        (common::SET_LANGUAGE, language),
        (common::SET_THEME, ui.t(theme).to_owned()),
        (common::SET_IMAGES, ui.t(images).to_owned()),
        (common::SET_MOUSE, ui.t(mouse).to_owned()),
    ];
    let [list, foot] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(inner);
    ui.list(list, LIST, cursor, true, ROWS, |ui, i| {
        let (label, value) = &rows[i];
        Line::from(vec![Span::raw(words::pad(ui.t(*label), 16)), Span::styled(value.clone(), ui.theme.accent)])
    });
    ui.line(foot, Line::styled(ui.t(common::SETTINGS_HINT), ui.theme.dim));
}

fn name(lang: Lang) -> &'static str {
    match lang {
        Lang::En => "English",
        Lang::Zh => "简体中文",
    }
}

fn confirm(ui: &mut Ui, area: Rect, question: &Confirm) {
    let width = 64.min(area.width.saturating_sub(4));
    let lines = words::wrap(&question.text, usize::from(width.saturating_sub(4)));
    let inner = ui.window(centred(area, width, lines.len() as u16 + 5), &question.title);
    let [text, _, keys] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1)]).areas(inner);
    let text = Rect { x: text.x + 1, width: text.width.saturating_sub(2), ..text };
    ui.lines(text, lines.into_iter().map(Line::from));
    let (yes, no) = (ui.t(common::CONFIRM_YES), ui.t(common::CONFIRM_NO));
    let (yes_key, no_key) = if question.danger { ("y", "n ⏎") } else { ("y ⏎", "n") };
    let mut x = keys.x + 1;
    for (key, word, answer, style) in [
        (yes_key, yes, true, if question.danger { ui.theme.error } else { ui.theme.good }),
        (no_key, no, false, ui.theme.base),
    ] {
        let width = (words::width(key) + 1 + words::width(word)) as u16;
        let rect = Rect { x, width, ..keys };
        ui.line(rect, Line::from(vec![Span::styled(format!("{key} "), ui.theme.key), Span::styled(word, style)]));
        ui.click(rect, Action::Overlay(Msg::Answer(answer)));
        x += width + 4;
    }
}

fn prompt(ui: &mut Ui, area: Rect, question: &Prompt) {
    let width = 72.min(area.width.saturating_sub(4));
    let room = usize::from(width.saturating_sub(4));
    let label = words::wrap(&question.label, room);
    let error = question.error.as_ref().map_or_else(Vec::new, |error| words::wrap(error, room));
    let inner = ui.window(centred(area, width, (label.len() + error.len()) as u16 + 4), &question.title);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let [top, field, below] =
        Layout::vertical([Constraint::Length(label.len() as u16), Constraint::Length(1), Constraint::Fill(1)])
            .areas(inner);
    ui.lines(top, label.into_iter().map(|line| Line::styled(line, ui_dim(&question.error))));
    ui.input(field, &question.input, true);
    let style = ui.theme.error;
    ui.lines(below, error.into_iter().map(|line| Line::styled(line, style)));
}

/// The label steps back when there is an error to read.
fn ui_dim(error: &Option<String>) -> ratatui::style::Style {
    let style = ratatui::style::Style::new();
    if error.is_some() { style.add_modifier(ratatui::style::Modifier::DIM) } else { style }
}

fn choose(ui: &mut Ui, area: Rect, list: &Choose) {
    let visible = list.visible();
    let rows = (list.items.len() as u16).max(1).min(area.height.saturating_sub(8)) + 4;
    let inner = ui.window(centred(area, 84, rows), &list.title);
    let rest = with_input(ui, inner, &list.filter, ui.t(common::FILTER));
    if visible.is_empty() {
        let nothing = if list.items.is_empty() { common::EMPTY_FOLDER } else { common::NOTHING_FITS };
        ui.line(rest, Line::styled(ui.t(nothing), ui.theme.dim));
    }
    let widest = list.items.iter().map(|item| words::width(&item.label)).max().unwrap_or_default();
    let label = widest.min(usize::from(rest.width) / 2) + 2;
    let cursor = Cursor { at: list.filter.cursor.at, len: visible.len() };
    ui.list(rest, LIST, &cursor, true, ROWS, |ui, i| {
        let item = &list.items[visible[i]];
        Line::from(vec![
            Span::raw(words::pad(&item.label, label)),
            Span::styled(words::cut(&item.detail, usize::from(rest.width).saturating_sub(label + 1)), ui.theme.dim),
        ])
    });
}

fn files(ui: &mut Ui, area: Rect, list: &Files) {
    let inner = ui.window(centred(area, 110, area.height.saturating_sub(4)), &list.title);
    let [place, inner] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    let marked = if list.marked.is_empty() { String::new() } else { format!(" ({})", list.marked.len()) };
    let dir = clean_line(&list.dir.display().to_string(), 500);
    let room = usize::from(place.width).saturating_sub(words::width(&marked));
    ui.line(place, Line::styled(words::cut_left(&dir, room) + &marked, ui.theme.accent));
    let rest = with_input(ui, inner, &list.filter, ui.t(common::PICKER_HINT));
    let visible = match &list.entries {
        None => return ui.line(rest, Line::styled(ui.t(common::LOADING), ui.theme.dim)),
        Some(Err(why)) => {
            ui.text(rest, &clean_line(why, 500), ui.theme.error);
            return;
        }
        Some(Ok(_)) => list.visible(),
    };
    let preview =
        list.chosen().filter(|(path, entry)| entry.is_file && overlay::Want::Pictures.takes(&path.to_string_lossy()));
    let (rest, picture) = match preview {
        Some((path, _)) if rest.width >= 60 => {
            let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Percentage(45)]).areas(rest);
            (left, Some((path, right)))
        }
        _ => (rest, None),
    };
    if visible.is_empty() {
        ui.line(rest, Line::styled(ui.t(common::EMPTY_FOLDER), ui.theme.dim));
    }
    let cursor = Cursor { at: list.filter.cursor.at, len: visible.len() };
    ui.list(rest, LIST, &cursor, true, ROWS, |ui, i| {
        let entry = &visible[i];
        let mark = if list.marked.contains(&list.dir.join(&entry.name)) { "● " } else { "  " };
        let name = match entry.name.as_str() {
            "." => ui.t(common::THIS_FOLDER).to_owned(),
            name => clean_line(name, 300) + if entry.is_file { "" } else { "/" },
        };
        let size = if entry.is_file { words::size(entry.bytes) } else { String::new() };
        let room = usize::from(rest.width).saturating_sub(14);
        Line::from(vec![
            Span::styled(mark, ui.theme.good),
            Span::styled(words::pad(&name, room), if entry.is_file { ui.theme.base } else { ui.theme.accent }),
            Span::styled(words::pad_left(&size, 9), ui.theme.dim),
        ])
    });
    if let Some((path, area)) = picture {
        ui.picture(area.inner(ratatui::layout::Margin::new(1, 0)), &ImageRef::File(path));
    }
}

fn page(ui: &mut Ui, area: Rect, text: &Page) {
    let inner = ui.window(centred(area, 110, area.height.saturating_sub(2)), &text.title);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1), ..inner };
    let lines = words::wrap(&text.text, usize::from(inner.width.saturating_sub(2)));
    let cursor = Cursor { at: text.top.min(lines.len()), len: lines.len() };
    ui.note_list(inner, LIST, cursor.at, lines.len(), |n| Action::Overlay(Msg::Move(Move::By(n))));
    ui.lines(inner, lines.iter().skip(cursor.at).map(|line| Line::raw(line.as_str())));
    ui.scrollbar(inner, cursor.at, lines.len());
}
