//! The Data screen: sets, samples, and the chosen sample with its pictures. Where things go depends on the room; what is
//! in them is drawn by the modules.

mod flow;
mod list;
mod sample;
mod seen;
mod sets;
mod stats;
#[cfg(test)]
mod tests;

use super::ui::Ui;
use crate::app::data::open::Mode;
use crate::app::data::seen::SeenMode;
use crate::app::data::{Msg, Pane};
use crate::app::{Action, data::Data};
use crate::text::data as text;
use lightbox_core::safe_text::clean;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

pub fn draw(ui: &mut Ui, area: Rect) {
    let data = &ui.app.data;
    let (sets_area, main) = columns(data, area);
    if let Some(sets_area) = sets_area {
        sets::draw(ui, sets_area);
    }
    let Some(main) = main else { return };
    if data.covered() || data.open.is_none() {
        return note(ui, main);
    }
    if data.open.as_ref().is_some_and(|open| open.mode == Mode::Statistics) {
        return stats::draw(ui, main);
    }
    let (list_area, detail_area) = panes(data, main);
    if let Some(list_area) = list_area {
        list::draw(ui, list_area);
    }
    if let Some(detail_area) = detail_area {
        match data.seen {
            SeenMode::Off => sample::draw(ui, detail_area),
            _ => seen::draw(ui, detail_area),
        }
    }
}

/// The list of sets, and the rest.
fn columns(data: &Data, area: Rect) -> (Option<Rect>, Option<Rect>) {
    let zoomed = data.zoom && data.open.is_some() && !data.covered();
    match (zoomed, data.focus) {
        (true, Pane::Sets) => return (Some(area), None),
        (true, _) => return (None, Some(area)),
        _ if data.sets_hidden && data.open.is_some() => return (None, Some(area)),
        _ => {}
    }
    let width = match area.width {
        0..90 => 20,
        90..160 => 25,
        _ => 36,
    };
    let [sets, main] = Layout::horizontal([Constraint::Length(width), Constraint::Fill(1)]).areas(area);
    (Some(sets), Some(main))
}

/// The list of samples, and the chosen one.
fn panes(data: &Data, area: Rect) -> (Option<Rect>, Option<Rect>) {
    match (data.zoom, data.focus) {
        (true, Pane::List) => return (Some(area), None),
        (true, _) => return (None, Some(area)),
        _ => {}
    }
    let [list, detail] = if area.width < 80 {
        Layout::vertical([Constraint::Percentage(38), Constraint::Fill(1)]).areas(area)
    } else {
        Layout::horizontal([Constraint::Percentage(44), Constraint::Fill(1)]).areas(area)
    };
    (Some(list), Some(detail))
}

/// What stands in the place of samples while there are none.
fn note(ui: &mut Ui, area: Rect) {
    let data = &ui.app.data;
    let lang = ui.app.lang();
    let inner = ui.panel(area, ui.t(text::SAMPLES), false);
    if let Some((source, why)) = &data.failed {
        let title = text::NOT_OPENED.fill(lang, &[&source.title()]);
        let next = format!("{}\n\n{}", clean(why), ui.t(text::NOT_OPENED_NEXT));
        return ui.empty(inner, &title, &next);
    }
    if let Some((_, source)) = &data.opening {
        let title = text::OPENING.fill(lang, &[&source.title()]);
        ui.empty(inner, &title, ui.t(text::OPENING_NEXT));
        let task = data.task(crate::app::data::Work::Open, &ui.app.tasks);
        if let Some(share) = task.and_then(|task| task.share()) {
            let gauge =
                Rect { x: inner.x + 2, y: inner.y + 5, width: inner.width.saturating_sub(4).min(60), height: 1 };
            ui.gauge(gauge.intersection(inner), share);
        }
        return;
    }
    let (title, next) = match (data.looking, data.found.is_empty()) {
        (true, true) => return ui.line(inner, Line::styled(ui.t(text::LOOKING), ui.theme.dim)),
        (false, true) => (text::NO_SETS, text::NO_SETS_NEXT),
        _ => (text::CHOOSE, text::CHOOSE_NEXT),
    };
    ui.empty(inner, ui.t(title), ui.t(next));
}

/// What the wheel means over a pane.
fn wheel(pane: Pane) -> fn(isize) -> Action {
    match pane {
        Pane::Sets => |n| Action::Data(Msg::Move(Pane::Sets, super::ui::by(n))),
        Pane::List => |n| Action::Data(Msg::Move(Pane::List, super::ui::by(n))),
        Pane::Detail => |n| Action::Data(Msg::Move(Pane::Detail, super::ui::by(n))),
    }
}
