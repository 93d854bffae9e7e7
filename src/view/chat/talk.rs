//! One side: its model above, its conversation, the newest at the bottom.
use super::super::ui::Ui;
use super::super::words;
use crate::app::Action;
use crate::app::chat::{Answer, Focus, LISTS, Msg, Turn, label};
use crate::app::cursor::Move;
use crate::text::chat as text;
use lightbox_core::chat::Finish;
use lightbox_core::safe_text::{clean, clean_line};
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};

pub fn draw(ui: &mut Ui, area: Rect, side: usize) {
    let this = &ui.app.chat.sides[side];
    let focused = ui.app.chat.focus == Focus::Side(side);
    let title = this.model.as_ref().map_or_else(|| ui.t(text::NO_MODEL_SHORT).to_owned(), label);
    let inner = ui.panel(area, &title, focused);
    ui.click(area, Action::Chat(Msg::Focus(Focus::Side(side))));
    let header = Rect { height: 1, ..area };
    ui.click(header, Action::All(vec![Action::Chat(Msg::Focus(Focus::Side(side))), Action::Run("chat-model")]));
    let inner = inner.inner(Margin::new(1, 0));
    if this.turns.is_empty() {
        let (title, next) = match this.model {
            Some(_) => (text::EMPTY, text::EMPTY_NEXT),
            None => (text::NO_MODEL, text::NO_MODEL_NEXT),
        };
        return ui.empty(inner, ui.t(title), ui.t(next));
    }
    let width = usize::from(inner.width.saturating_sub(1));
    // From the end upwards, and only as far as is seen is laid out; what is above is counted, for the scroll bar.
    let wanted = this.up + usize::from(inner.height);
    let mut lines: Vec<Line> = Vec::new(); // the newest first
    let mut first = this.turns.len();
    while first > 0 && lines.len() < wanted {
        first -= 1;
        lines.extend(turn(ui, &this.turns[first], width).into_iter().rev());
    }
    let above = this.turns[..first].iter().map(|turn| rows(turn, width)).sum::<usize>();
    let all = above + lines.len();
    let up = this.up.min(all.saturating_sub(inner.height.into()));
    let wheel: fn(isize) -> Action = if side == 0 {
        |n| Action::Chat(Msg::Scroll(0, Move::By(n)))
    } else {
        |n| Action::Chat(Msg::Scroll(1, Move::By(n)))
    };
    let top = all.saturating_sub(up + usize::from(inner.height));
    ui.note_list(inner, LISTS[side], top, all, wheel);
    let shown = lines.into_iter().skip(up).take(inner.height.into()).collect::<Vec<_>>();
    ui.lines(inner, shown.into_iter().rev());
    ui.scrollbar(Rect { width: inner.width + 1, ..inner }, top, all);
}

/// About how many rows a turn takes, without making them: for the scroll bar.
fn rows(turn: &Turn, width: usize) -> usize {
    let of = |text: &str| text.split('\n').map(|line| words::width(line).div_ceil(width.max(1)).max(1)).sum::<usize>();
    of(&turn.question) + of(turn.said()) + turn.images.len() + 4
}

fn turn(ui: &Ui, turn: &Turn, width: usize) -> Vec<Line<'static>> {
    let lang = ui.app.lang();
    let mut lines = vec![Line::styled(ui.t(text::YOU), ui.theme.accent.patch(ui.theme.strong))];
    for image in &turn.images {
        let path = clean_line(&image.display().to_string(), 500);
        lines.push(Line::styled(format!("▣ {}", words::cut_left(&path, width.saturating_sub(2))), ui.theme.dim));
    }
    let plain = |text: &str| words::wrap(&clean(text), width).into_iter().map(Line::from).collect::<Vec<_>>();
    lines.extend(plain(&turn.question));
    lines.push(Line::default());
    lines.push(Line::styled(label(&turn.model), ui.theme.good.patch(ui.theme.strong)));
    let seconds = |since: u64| ui.app.now_ms.saturating_sub(since) / 1000;
    match &turn.answer {
        Answer::Waiting { since_ms, .. } => {
            lines.push(Line::styled(text::WAITING.fill(lang, &[&seconds(*since_ms)]), ui.theme.dim))
        }
        Answer::Reading { since_ms, .. } => {
            lines.push(Line::styled(text::READING.fill(lang, &[&seconds(*since_ms)]), ui.theme.dim))
        }
        Answer::Speaking { text, .. } => {
            lines.extend(plain(text));
            if let Some(last) = lines.last_mut() {
                last.push_span(Span::styled("▌", ui.theme.accent));
            }
        }
        Answer::Done(done) => {
            lines.extend(plain(done.text.trim_end()));
            let first = format!("{:.2}", done.first_token_seconds.unwrap_or(done.seconds));
            let mut line = text::STATS.fill(lang, &[&done.tokens, &format!("{:.0}", done.tokens_per_second), &first]);
            match done.finish {
                Finish::Stop => {}
                Finish::Length => line = format!("{} · {line}", ui.t(text::CUT)),
                Finish::Cancelled => line = format!("{} · {line}", ui.t(text::STOPPED)),
            }
            lines.push(Line::styled(words::cut(&line, width), ui.theme.dim));
        }
        Answer::Failed { error, hint } => {
            let style = ui.theme.error;
            lines.extend(words::wrap(&clean(error), width).into_iter().map(|line| Line::styled(line, style)));
            if let Some(hint) = hint {
                let style = ui.theme.dim;
                lines.extend(words::wrap(&clean(hint), width).into_iter().map(|line| Line::styled(line, style)));
            }
        }
    }
    lines.push(Line::default());
    lines
}
