//! The models screen: a list on the left, the chosen one on the right, the disk below.
mod details;
mod list;
#[cfg(test)]
mod tests;

use super::ui::Ui;
use super::words;
use crate::text::models as text;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use std::path::Path;

pub fn draw(ui: &mut Ui, area: Rect) {
    let [main, disk] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    // on a narrow screen the list needs names, sizes and states only; the rest is in the details
    let share = if main.width >= 150 { 60 } else { 56 };
    let [left, right] = Layout::horizontal([Constraint::Percentage(share), Constraint::Fill(1)]).areas(main);
    list::draw(ui, left);
    details::draw(ui, right);
    disk_line(ui, disk);
}

fn disk_line(ui: &mut Ui, area: Rect) {
    let Some(disk) = &ui.app.models.disk else { return };
    let (used, free, total) = (words::size(disk.used), words::size(disk.free), words::size(disk.total));
    let text = |dir: &str| text::DISK.fill(ui.app.lang(), &[&used, &free, &total, &dir]);
    let room = usize::from(area.width.saturating_sub(2)).saturating_sub(words::width(&text("")));
    let line = format!(" {}", text(&words::cut_left(&shown(&disk.dir), room)));
    ui.line(area, Line::styled(line, ui.theme.dim));
}

/// A path as a terminal may see it.
fn shown(path: &Path) -> String {
    clean_line(&path.display().to_string(), 500)
}
