//! What the model sees of the chosen sample: as coloured text, or token by token.
use super::flow::Flow;
use super::sample::draw_text;
use super::wheel;
use crate::app::Action;
use crate::app::data::open::{Open, Unseen};
use crate::app::data::seen::{Look, Part, SeenMode, SeenView};
use crate::app::data::{DETAIL, Msg, Pane};
use crate::text::data as text;
use crate::view::ui::{ListActions, Ui};
use crate::view::words;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

pub fn draw(ui: &mut Ui, area: Rect) {
    let Some(open) = &ui.app.data.open else { return };
    let index = open.index().unwrap_or_default();
    let title = if ui.app.data.seen == SeenMode::Tokens { text::TOKENS } else { text::SEEN };
    let title = title.fill(ui.app.lang(), &[&words::count(index as u64)]);
    let inner = ui.panel(area, &title, ui.app.data.focus == Pane::Detail);
    ui.click(area, Action::Data(Msg::Focus(Pane::Detail)));
    match open.seen.as_ref().map(|(_, seen)| seen) {
        None => ui.line(inner, Line::styled(ui.t(text::LOADING_MODEL), ui.theme.dim)),
        Some(Err(Unseen::NoModel)) => ui.empty(inner, ui.t(text::NO_MODEL), ui.t(text::NO_MODEL_NEXT)),
        Some(Err(Unseen::Because(why))) => ui.empty(inner, ui.t(text::NOT_SEEN), why),
        Some(Ok(seen)) => {
            let by = seen.profile.as_ref().unwrap_or(&seen.model);
            ui.panel_note(area, &words::cut_left(by, usize::from(area.width.saturating_sub(8))));
            draw_seen(ui, inner, open, seen);
        }
    }
}

fn style(ui: &Ui, look: Look) -> Style {
    match look {
        Look::Context => ui.theme.base,
        Look::Special => ui.theme.dim,
        Look::Trained => ui.theme.trained,
        Look::Picture => ui.theme.picture,
        Look::Cut => ui.theme.cut,
    }
}

fn draw_seen(ui: &mut Ui, area: Rect, open: &Open, seen: &SeenView) {
    let head = head(ui, seen, area.width);
    let height = (head.len() as u16).min(area.height / 2);
    let [above, below] = Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(area);
    ui.lines(above, head);
    if ui.app.data.seen == SeenMode::Tokens {
        return tokens(ui, below, open, seen);
    }
    let mut flow = Flow::new(below.width.saturating_sub(1));
    for part in &seen.parts {
        match part {
            Part::Text(text, look) => flow.text(text, style(ui, *look)),
            Part::Picture { number, tokens, across, down, look } => {
                let said = text::PICTURE_TOKENS.fill(ui.app.lang(), &[number, tokens, across, down]);
                flow.word(&said, style(ui, *look));
            }
        }
    }
    draw_text(ui, below, open.scroll, flow.done());
}

/// The counts, and what the colours mean.
fn head(ui: &Ui, seen: &SeenView, width: u16) -> Vec<Line<'static>> {
    let lang = ui.app.lang();
    let [all, pictures, trained] = [seen.n_tokens, seen.n_image, seen.n_target].map(|n| words::count(n as u64));
    let mut flow = Flow::new(width);
    flow.text(&text::COUNTS.fill(lang, &[&all, &pictures, &trained]), ui.theme.strong);
    flow.text(", ", ui.theme.dim);
    let cut = text::COUNT_CUT.fill(lang, &[&words::count(seen.cut as u64)]);
    flow.text(&cut, if seen.cut > 0 { ui.theme.error } else { ui.theme.dim });
    flow.text(&format!(" · {}", text::COUNT_LEN.fill(lang, &[&words::count(seen.cutoff_len as u64)])), ui.theme.dim);
    flow.end_line();
    if let Some(why) = &seen.refused {
        flow.text(&text::REFUSED.fill(lang, &[why]), ui.theme.error);
        flow.end_line();
    }
    for (word, look) in [
        (text::LEGEND_TRAINED, Look::Trained),
        (text::LEGEND_CONTEXT, Look::Context),
        (text::LEGEND_PICTURE, Look::Picture),
        (text::LEGEND_CUT, Look::Cut),
    ] {
        flow.text(&format!("■ {}", ui.t(word)), style(ui, look));
        flow.text("  ", ui.theme.base);
    }
    flow.end_line();
    flow.text(&"─".repeat(width.into()), ui.theme.border);
    flow.done()
}

fn tokens(ui: &mut Ui, area: Rect, open: &Open, seen: &SeenView) {
    let actions =
        ListActions { click: |i| Action::Data(Msg::Pick(Pane::Detail, i)), open: None, wheel: wheel(Pane::Detail) };
    let digits = words::count(seen.tokens.len() as u64).len();
    let focused = ui.app.data.focus == Pane::Detail;
    ui.list(area, DETAIL, &open.tokens, focused, actions, |ui, i| {
        let token = &seen.tokens[i];
        Line::from(vec![
            Span::styled(words::pad_left(&words::count(i as u64), digits), ui.theme.dim),
            Span::styled(words::pad_left(&token.id.to_string(), 8), ui.theme.accent),
            Span::raw("  "),
            Span::styled(token.text.replace(' ', "·"), style(ui, token.look)),
        ])
    });
}
