//! The train screen: groups, keys, what the chosen key does, and what the run would need. [`form`] draws the lists, [`side`]
//! what is beside or below them, [`yaml`] the profile as text.

mod form;
mod side;
#[cfg(test)]
mod tests;
mod yaml;

use super::ui::Ui;
use super::words;
use crate::app::Action;
use crate::app::train::{Pane, figures};
use crate::text::train as text;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

pub fn draw(ui: &mut Ui, area: Rect) {
    let [head, main] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    header(ui, head);
    if area.width >= 110 && area.height >= 26 {
        wide(ui, main);
    } else {
        narrow(ui, main);
    }
}

/// Which profile it is, and how it stands.
fn header(ui: &mut Ui, area: Rect) {
    let train = &ui.app.train;
    let lang = ui.app.lang();
    let name = match &train.file {
        Some(file) => crate::app::train::edit::shortened(&ui.app.here, &file.path),
        None if train.origin.is_empty() => ui.t(text::NEW_PROFILE).to_owned(),
        None => text::FROM_ORIGIN.fill(lang, &[&train.origin]),
    };
    let mut right = Vec::new();
    if train.starting.is_some() {
        right.push(Span::styled(ui.t(text::CHECKING), ui.theme.accent));
    }
    if train.file.as_ref().is_some_and(|file| file.changed_on_disk) {
        right.push(Span::styled(ui.t(text::ON_DISK_CHANGED), ui.theme.warning));
    }
    match (&train.file, train.is_changed()) {
        (Some(_), true) => right.push(Span::styled(format!("● {}", ui.t(text::CHANGED)), ui.theme.warning)),
        (None, _) => right.push(Span::styled(ui.t(text::NOT_SAVED), ui.theme.dim)),
        _ => {}
    }
    let problems = train.draft.problems().len();
    right.push(match problems {
        0 => Span::styled(ui.t(text::ALL_WELL), ui.theme.good),
        n => Span::styled(text::PROBLEMS_N.fill(lang, &[&n]), ui.theme.error),
    });
    let width: usize = right.iter().map(|span| words::width(&span.content) + 3).sum();
    let room = usize::from(area.width).saturating_sub(width + 2);
    let name = words::cut_left(&clean_line(&name, 300), room);
    let left = Rect { width: room as u16, ..area };
    ui.line(left, Line::from(vec![Span::raw(" "), Span::styled(name, ui.theme.strong)]));
    let mut x = area.right().saturating_sub(width as u16);
    for (i, span) in right.into_iter().enumerate() {
        let w = words::width(&span.content) as u16;
        if i > 0 {
            ui.line(Rect { x, width: 3, ..area }, Line::styled(" · ", ui.theme.dim));
        }
        ui.line(Rect { x: x + 3, width: w, ..area }, Line::from(span));
        x += w + 3;
    }
    if problems > 0 {
        ui.click(
            Rect { x: left.right(), width: area.right() - left.right(), ..area },
            Action::Run("train-next-problem"),
        );
    }
}

fn wide(ui: &mut Ui, area: Rect) {
    let side_width = (area.width * 7 / 18).clamp(42, 72);
    let [left, side] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(side_width)]).areas(area);
    main(ui, left, 18);
    let help = side::help_height(ui, side.width).max(8).min(side.height / 2);
    let command = if side.height >= 30 { side::command_height(ui, side.width).min(9) } else { 0 };
    let [help, estimate, command] =
        Layout::vertical([Constraint::Length(help), Constraint::Fill(1), Constraint::Length(command)]).areas(side);
    side::help(ui, help);
    side::estimate(ui, estimate);
    if command.height > 0 {
        side::command(ui, command);
    }
}

fn narrow(ui: &mut Ui, area: Rect) {
    let help = side::help_height(ui, area.width).clamp(5, (area.height * 3 / 7).max(5));
    let [top, help, summary] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(help), Constraint::Length(1)]).areas(area);
    main(ui, top, 16);
    side::help(ui, help);
    let lang = ui.app.lang();
    let mut line = figures::summary(&ui.app.train.estimate, lang);
    let mut style =
        if figures::warning(&ui.app.train.estimate, lang).is_empty() { ui.theme.dim } else { ui.theme.warning };
    if line.is_empty() {
        (line, style) = (figures::why_none(&ui.app.train, lang), ui.theme.dim);
    }
    let shown = words::cut(&line, usize::from(summary.width.saturating_sub(2)));
    ui.line(summary, Line::from(vec![Span::raw(" "), Span::styled(shown, style)]));
    ui.click(summary, Action::Run("train-estimate"));
}

/// The lists, or the text.
fn main(ui: &mut Ui, area: Rect, groups: u16) {
    if ui.app.train.yaml.is_some() {
        return yaml::draw(ui, area);
    }
    let [left, right] = Layout::horizontal([Constraint::Length(groups), Constraint::Fill(1)]).areas(area);
    form::groups(ui, left, ui.app.train.pane == Pane::Groups);
    form::keys(ui, right, ui.app.train.pane == Pane::Keys);
}
