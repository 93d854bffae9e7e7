//! The data screen.
use super::ui::Ui;
use ratatui::layout::Rect;

pub fn draw(ui: &mut Ui, area: Rect) {
    let title = ui.t(ui.app.screen.title());
    ui.panel(area, title, true);
}
