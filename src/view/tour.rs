//! The tour's card, below the screens.
use super::ui::Ui;
use super::words;
use crate::app::Action;
use crate::app::tour::Step;
use crate::text::tour as text;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Rows that the card needs; 0 if there is none, or no room for one.
pub fn height(ui: &Ui, area: Rect) -> u16 {
    match ui.app.tour.at {
        Some(step) if area.height >= 18 => {
            words::wrap(ui.t(step.text()), usize::from(area.width.saturating_sub(4))).len() as u16 + 2
        }
        _ => 0,
    }
}

pub fn draw(ui: &mut Ui, area: Rect) {
    let Some(step) = ui.app.tour.at else { return };
    if area.height == 0 {
        return;
    }
    let lang = ui.app.lang();
    let title = text::TITLE.fill(lang, &[&(step.number() + 1), &Step::ALL.len()]);
    let inner = ui.panel(area, &title, true);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    if ui.app.tour.making {
        let dir = ui.app.tour.dir.display().to_string();
        ui.line(inner, Line::styled(text::MAKING.fill(lang, &[&dir]), ui.theme.accent));
    } else {
        ui.text(inner, ui.t(step.text()), ui.theme.base);
    }
    ui.panel_note(area, ui.t(text::KEYS));
    ui.click(area, Action::Run("tour-next"));
}
