//! Drawing: `draw(&App, frame) -> Hits`, a pure function of the state. What was drawn where comes back as [`Hits`], for the
//! mouse, for paging and for pictures. Drawing changes nothing, so any state can be drawn in a test.
//!
//! Read next: [`ui`] (what screens draw with), then a screen.

mod chat;
mod data;
mod hits;
mod models;
mod overlays;
mod runs;
mod status;
#[cfg(test)]
pub mod testing;
pub mod theme;
mod tour;
mod train;
pub mod ui;
pub mod words;

pub use hits::{Hits, Region, Seen, Wish};

use crate::app::{App, Screen};
use crate::text::common;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::widgets::Paragraph;
use ui::Ui;

/// Below this nothing useful fits.
const SMALLEST: (u16, u16) = (40, 12);

pub fn draw(app: &App, frame: &mut Frame) -> Hits {
    let area = frame.area();
    let mut ui = Ui::new(app, frame.buffer_mut());
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = common::TOO_SMALL.fill(app.lang(), &[&area.width, &area.height]);
        ui.render(Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true }), area);
    } else {
        let card = tour::height(&ui, area);
        let rows = [Constraint::Length(1), Constraint::Fill(1), Constraint::Length(card), Constraint::Length(1)];
        let [top, main, below, bottom] = Layout::vertical(rows).areas(area);
        ui.fill(area, ui.theme.base);
        status::tabs(&mut ui, top);
        screen(&mut ui, main);
        tour::draw(&mut ui, below);
        status::line(&mut ui, bottom);
        overlays::draw(&mut ui, area);
    }
    let hits = ui.finish();
    if let Some(at) = hits.cursor {
        frame.set_cursor_position(at);
    }
    hits
}

fn screen(ui: &mut Ui, area: Rect) {
    match ui.app.screen {
        Screen::Data => data::draw(ui, area),
        Screen::Train => train::draw(ui, area),
        Screen::Runs => runs::draw(ui, area),
        Screen::Chat => chat::draw(ui, area),
        Screen::Models => models::draw(ui, area),
    }
}
