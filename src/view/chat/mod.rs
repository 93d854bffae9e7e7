//! The Chat screen: one or two conversations, the pictures beside them, the question below.
mod talk;
#[cfg(test)]
mod tests;

use super::ui::Ui;
use super::words;
use crate::app::chat::{Focus, Loaded, Msg, Worker, label};
use crate::app::{Action, App};
use crate::text::chat as text;
use lightbox_core::chat::Loading;
use lightbox_core::data::ImageRef;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::text::{Line, Span};
use std::path::PathBuf;

pub fn draw(ui: &mut Ui, area: Rect) {
    let typed = ui.app.chat.composer.lines().len() as u16;
    let composer = (typed + 2).clamp(3, (area.height / 3).max(3));
    let state = u16::from(area.height >= 20);
    let [main, status, below] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(state), Constraint::Length(composer)]).areas(area);
    let pictures = pictures(ui.app);
    let wide = if ui.app.chat.compare { 150 } else { 100 };
    let main = if !pictures.is_empty() && area.width >= wide {
        let [talk, side] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(area.width / 3)]).areas(main);
        picture_panel(ui, side, &pictures);
        talk
    } else {
        main
    };
    if ui.app.chat.compare {
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(main);
        talk::draw(ui, left, 0);
        talk::draw(ui, right, 1);
    } else {
        talk::draw(ui, main, 0);
    }
    worker(ui, status);
    question(ui, below);
}

/// Those of the question that is being written, else of the last one.
fn pictures(app: &App) -> Vec<PathBuf> {
    if !app.chat.attached.is_empty() {
        return app.chat.attached.clone();
    }
    app.chat.sides[0]
        .turns
        .iter()
        .rev()
        .find(|turn| !turn.images.is_empty())
        .map_or_else(Vec::new, |turn| turn.images.clone())
}

fn picture_panel(ui: &mut Ui, area: Rect, pictures: &[PathBuf]) {
    let inner = ui.panel(area, ui.t(text::PICTURES), false);
    let rows = pictures.len().min(4);
    let parts = Layout::vertical(vec![Constraint::Fill(1); rows]).split(inner);
    for (path, part) in pictures.iter().zip(parts.iter()) {
        let [picture, name] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(*part);
        ui.picture(picture, &ImageRef::File(path.clone()));
        let path = clean_line(&path.display().to_string(), 500);
        ui.line(name, Line::styled(words::cut_left(&path, name.width.into()), ui.theme.dim));
    }
    if pictures.len() > rows {
        ui.panel_note(area, &format!("+{}", pictures.len() - rows));
    }
}

/// What the worker does, and what it holds.
fn worker(ui: &mut Ui, area: Rect) {
    if area.height == 0 {
        return;
    }
    let lang = ui.app.lang();
    let chat = &ui.app.chat;
    let room = usize::from(area.width.saturating_sub(2));
    let line = match (&chat.worker, &chat.loading, &chat.loaded) {
        (Worker::Died(why), ..) => Line::styled(words::cut(&clean_line(why, 500), room), ui.theme.error),
        (_, Some((model, what)), _) => {
            let what = match what {
                Loading::Base => text::LOADING_BASE,
                Loading::Adapter => text::LOADING_ADAPTER,
                Loading::Merge => text::LOADING_MERGE,
            };
            Line::from(vec![
                Span::styled(ui.t(what), ui.theme.accent),
                Span::styled(format!(" {}", label(model)), ui.theme.dim),
            ])
        }
        (Worker::Starting, ..) => Line::styled(ui.t(text::STARTING), ui.theme.accent),
        (_, _, Some(Loaded { model, device, dtype, memory_bytes })) => {
            let memory = text::MEMORY.fill(lang, &[&words::size(*memory_bytes), device, dtype]);
            Line::from(vec![
                Span::styled(label(model), ui.theme.dim),
                Span::styled(format!(" · {memory}"), ui.theme.dim),
            ])
        }
        _ => Line::default(),
    };
    ui.line(area.inner(Margin::new(1, 0)), line);
}

fn question(ui: &mut Ui, area: Rect) {
    let focused = ui.app.chat.focus == Focus::Composer;
    let inner = ui.panel(area, ui.t(text::QUESTION), focused);
    ui.click(area, Action::Chat(Msg::Focus(Focus::Composer)));
    let attached: Vec<String> = ui
        .app
        .chat
        .attached
        .iter()
        .map(|path| clean_line(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy(), 40))
        .collect();
    if attached.is_empty() {
        ui.panel_note(area, ui.t(text::QUESTION_KEYS));
    } else {
        ui.panel_note(area, &attached.iter().map(|name| format!("▣ {name}")).collect::<Vec<_>>().join("  "));
    }
    let inner = inner.inner(Margin::new(1, 0));
    let composer = &ui.app.chat.composer;
    if composer.is_empty() {
        ui.line(inner, Line::styled(words::cut(ui.t(text::PLACEHOLDER), inner.width.into()), ui.theme.dim));
        if focused {
            ui.cursor(inner.x, inner.y);
        }
        return;
    }
    ui.render(composer, inner);
    if focused {
        let at = composer.screen_cursor();
        let (top, _) = composer.scroll_offset();
        let row = (at.row as u16).saturating_sub(top).min(inner.height.saturating_sub(1));
        ui.cursor((inner.x + at.col as u16).min(inner.right().saturating_sub(1)), inner.y + row);
    }
}
