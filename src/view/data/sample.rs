//! One sample: its pictures, as large as the room allows, and its conversation.
use super::flow::Flow;
use super::wheel;
use crate::app::Action;
use crate::app::data::open::{Open, Shown, Who};
use crate::app::data::{DETAIL, Msg, Pane};
use crate::text::{common, data as text};
use crate::view::ui::Ui;
use crate::view::words;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

pub fn draw(ui: &mut Ui, area: Rect) {
    let Some(open) = &ui.app.data.open else { return };
    let focused = ui.app.data.focus == Pane::Detail;
    let index = open.index();
    let number = index.map(|index| words::count(index as u64)).unwrap_or_default();
    let inner = ui.panel(area, &text::SAMPLE.fill(ui.app.lang(), &[&number]), focused);
    ui.click(area, Action::Data(Msg::Focus(Pane::Detail)));
    let Some(shown) = open.shown.as_ref().filter(|_| index.is_some()) else {
        if index.is_some() {
            ui.line(inner, Line::styled(ui.t(common::LOADING), ui.theme.dim));
        }
        return;
    };
    // The sample before stays until the new one is there: an empty pane at each key would flicker.
    let origin = if Some(shown.index) == index { shown.origin.as_str() } else { ui.t(common::LOADING) };
    let origin = words::cut_left(origin, usize::from(area.width.saturating_sub(6)));
    ui.panel_note(area, &origin);
    let (pictures, text_area) = split(shown, inner);
    if let Some(pictures) = pictures {
        draw_pictures(ui, pictures, open, shown);
    }
    draw_text(ui, text_area, open.scroll, conversation(ui, shown, text_area.width.saturating_sub(1)));
}

/// The pictures' room, and the text's.
fn split(shown: &Shown, area: Rect) -> (Option<Rect>, Rect) {
    if shown.images.is_empty() || area.height < 4 || area.width < 8 {
        return (None, area);
    }
    // A cell is about twice as high as it is wide.
    if area.width > area.height * 3 {
        let width = (area.height * 2 + 2).max(12).min(area.width / 2);
        let [pictures, text] = Layout::horizontal([Constraint::Length(width), Constraint::Fill(1)]).areas(area);
        return (Some(Rect { width: pictures.width.saturating_sub(1), ..pictures }), text);
    }
    // What the text leaves; it gets a third at least, and two fifths at most, for the picture is what people look at.
    let width = usize::from(area.width.max(2)) - 1;
    let rows: usize =
        shown.turns.iter().map(|(_, text)| 2 + words::width(text) / width + text.matches('\n').count()).sum();
    let (least, most) = (area.height / 3, area.height * 2 / 5);
    let height = (rows.min(500) as u16).max(least.max(3)).min(most.max(4));
    let [pictures, text] = Layout::vertical([Constraint::Fill(1), Constraint::Length(height)]).areas(area);
    (Some(pictures), text)
}

fn draw_pictures(ui: &mut Ui, area: Rect, open: &Open, shown: &Shown) {
    let count = shown.images.len();
    // Side by side where each still gets some room.
    let together = usize::from(area.width / 36).min(count).max(1);
    let first = open.picture.min(count - together);
    let (area, caption) = if count > 1 {
        let [area, caption] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
        (area, Some(caption))
    } else {
        (area, None)
    };
    let columns = Layout::horizontal(vec![Constraint::Fill(1); together]).split(area);
    for (image, column) in shown.images[first..].iter().zip(columns.iter()) {
        ui.picture(Rect { width: column.width.saturating_sub(u16::from(together > 1)), ..*column }, image);
    }
    if let Some(caption) = caption {
        let number =
            if together > 1 { format!("{}–{}", first + 1, first + together) } else { (first + 1).to_string() };
        let said = text::PICTURE_OF.fill(ui.app.lang(), &[&number, &count]);
        ui.line(caption, Line::from(vec![Span::styled(said, ui.theme.dim), Span::styled("  , .", ui.theme.key)]));
        ui.click(caption, Action::Run("data-next-picture"));
    }
}

fn conversation(ui: &Ui, shown: &Shown, width: u16) -> Vec<Line<'static>> {
    let mut flow = Flow::new(width);
    if let Some(problem) = &shown.problem {
        flow.text(ui.t(text::CANNOT_USE), ui.theme.strong);
        flow.end_line();
        flow.text(problem, ui.theme.error);
    }
    for (i, (who, said)) in shown.turns.iter().enumerate() {
        let (word, style) = match who {
            Who::System => (text::SYSTEM, ui.theme.dim),
            Who::Tools => (text::TOOLS, ui.theme.dim),
            Who::User => (text::USER, ui.theme.accent),
            Who::Assistant => (text::ASSISTANT, ui.theme.good),
            Who::Observation => (text::OBSERVATION, ui.theme.warning),
            Who::Function => (text::FUNCTION, ui.theme.warning),
        };
        if i > 0 {
            flow.end_line();
        }
        flow.text(ui.t(word), style.add_modifier(ratatui::style::Modifier::BOLD));
        flow.text("  ", ui.theme.base);
        let body = if matches!(who, Who::System | Who::Tools) { ui.theme.dim } else { ui.theme.base };
        for (i, piece) in said.split("<image>").enumerate() {
            if i > 0 {
                flow.word("▣", ui.theme.picture);
                if !piece.starts_with(char::is_whitespace) {
                    flow.text(" ", body);
                }
            }
            flow.text(piece, body);
        }
        flow.end_line();
    }
    if shown.more > 0 {
        flow.end_line();
        flow.text(&text::MORE_TEXT.fill(ui.app.lang(), &[&words::count(shown.more as u64)]), ui.theme.warning);
    }
    flow.done()
}

/// A text that scrolls, for the keys and the wheel of the detail pane.
pub fn draw_text(ui: &mut Ui, area: Rect, scroll: usize, lines: Vec<Line<'static>>) {
    let top = scroll.min(lines.len().saturating_sub(usize::from(area.height)));
    ui.note_list(area, DETAIL, top, lines.len(), wheel(Pane::Detail));
    let rows = lines.len();
    ui.lines(area, lines.into_iter().skip(top));
    ui.scrollbar(area, top, rows);
}
