//! The row above every screen (tabs) and the one below (keys, messages, work in progress).
use super::ui::Ui;
use super::words;
use crate::app::messages::Level;
use crate::app::{Action, Screen, commands};
use crate::input::Key;
use lightbox_core::runs::progress::short_time;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

pub fn tabs(ui: &mut Ui, area: Rect) {
    ui.fill(area, ui.theme.tab);
    let mut x = area.x + 1;
    for (i, screen) in Screen::ALL.into_iter().enumerate() {
        let on = ui.app.screen == screen;
        let text = format!(" {} {} ", i + 1, ui.t(screen.title()));
        let rect = Rect { x, y: area.y, width: words::width(&text) as u16, height: 1 };
        if rect.right() > area.right() {
            break;
        }
        ui.line(rect, Line::styled(text, if on { ui.theme.tab_on } else { ui.theme.tab }));
        ui.click(rect, Action::Go(screen));
        x = rect.right() + 1;
    }
    let right = crate::app::runs::summary(ui.app);
    let width = words::width(&right) as u16;
    if !right.is_empty() && x + width + 2 < area.right() {
        let rect = Rect { x: area.right() - width - 1, y: area.y, width, height: 1 };
        ui.line(rect, Line::styled(right, ui.theme.tab));
        ui.click(rect, Action::Go(Screen::Runs));
    }
}

pub fn line(ui: &mut Ui, area: Rect) {
    ui.fill(area, ui.theme.status);
    let task = task(ui);
    let task_width = (words::width(&task) as u16).min(area.width / 2);
    let left = Rect { width: area.width - task_width - u16::from(task_width > 0), ..area };
    if let Some(message) = ui.app.messages.current(ui.app.now_ms) {
        let style = match message.level {
            Level::Info => ui.theme.strong,
            Level::Good => ui.theme.good,
            Level::Warning => ui.theme.warning,
            Level::Error => ui.theme.error,
        };
        let text = words::cut(&message.text, usize::from(left.width.saturating_sub(1)));
        ui.line(left, Line::from(vec![Span::raw(" "), Span::styled(text, style)]));
        ui.click(left, Action::Run("messages"));
    } else {
        hints(ui, left);
    }
    if task_width > 0 {
        let rect = Rect { x: area.right() - task_width, width: task_width, ..area };
        ui.line(rect, Line::styled(words::cut(&task, task_width.into()), ui.theme.accent));
        ui.click(rect, Action::Run("tasks"));
    }
}

fn hints(ui: &mut Ui, area: Rect) {
    let mut x = area.x + 1;
    for command in commands::hints(ui.app) {
        let Some(key) = command.keys.first().and_then(|word| Key::parse(word)) else { continue };
        let (key, title) = (key.to_string(), ui.t(command.title));
        let width = (words::width(&key) + 1 + words::width(title)) as u16;
        if x + width > area.right() {
            continue;
        }
        let rect = Rect { x, y: area.y, width, height: 1 };
        ui.line(rect, Line::from(vec![Span::styled(key, ui.theme.key), Span::raw(" "), Span::raw(title)]));
        ui.click(rect, Action::Run(command.name));
        x += width + 2;
    }
}

/// The newest work in progress, in a few words.
fn task(ui: &Ui) -> String {
    let running: Vec<_> = ui.app.tasks.running().collect();
    let Some(task) = running.last() else { return String::new() };
    let share = task.share().map(|share| format!(" {:.0} %", share * 100.0)).unwrap_or_default();
    let left = task
        .seconds_left(ui.app.now_ms)
        .map(|s| format!(" · {}", crate::text::common::LEFT.fill(ui.app.lang(), &[&short_time(s)])));
    let more = if running.len() > 1 { format!(" (+{})", running.len() - 1) } else { String::new() };
    format!("{}{share}{}{more} ", task.title, left.unwrap_or_default())
}
