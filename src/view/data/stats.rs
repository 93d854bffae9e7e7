//! Statistics of the set as bar charts, with their percentiles.
use super::flow::Flow;
use super::sample::draw_text;
use crate::app::data::open::Measured;
use crate::app::data::{Pane, Work};
use crate::text::{T, data as text};
use crate::view::ui::Ui;
use crate::view::words;
use lightbox_core::data::Summary;
use lightbox_core::safe_text::clean;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Rows of a chart's bars.
const HIGH: usize = 5;

pub fn draw(ui: &mut Ui, area: Rect) {
    let Some(open) = &ui.app.data.open else { return };
    let title = format!("{} · {}", ui.t(text::STATISTICS), open.source.title());
    let inner = ui.panel(area, &title, ui.app.data.focus == Pane::Detail);
    match open.stats.as_ref().and_then(|stats| stats.result.as_ref()) {
        None => {
            ui.line(inner, Line::styled(ui.t(text::STATS_RUNNING), ui.theme.dim));
            let task = ui.app.data.task(Work::Stats, &ui.app.tasks);
            if let Some(share) = task.and_then(|task| task.share()) {
                let gauge = Rect { y: inner.y + 2, height: 1, width: inner.width.min(60), ..inner };
                ui.gauge(gauge.intersection(inner), share);
            }
        }
        Some(Err(why)) => drop(ui.text(inner, &clean(why), ui.theme.error)),
        Some(Ok(measured)) => {
            let lines = charts(ui, measured, inner.width.saturating_sub(1));
            draw_text(ui, inner, open.stats.as_ref().map_or(0, |stats| stats.scroll), lines);
        }
    }
}

fn charts(ui: &Ui, measured: &Measured, width: u16) -> Vec<Line<'static>> {
    let (lang, s) = (ui.app.lang(), &measured.stats);
    let number = |n: usize| words::count(n as u64);
    let of = match (s.complete, s.samples < measured.of) {
        (true, false) => text::STATS_OF.fill(lang, &[&number(s.samples)]),
        (true, true) => text::STATS_SPREAD.fill(lang, &[&number(s.samples), &number(measured.of)]),
        (false, _) => text::STATS_PART.fill(lang, &[&number(s.samples), &number(measured.of)]),
    };
    let mut facts = vec![of, text::STATS_TEXT_ONLY.fill(lang, &[&number(s.text_only)])];
    if s.samples > s.good {
        facts.push(text::STATS_BAD.fill(lang, &[&number(s.samples - s.good)]));
    }
    match (s.truncated, measured.cutoff_len) {
        (Some(truncated), Some(cutoff)) => {
            facts.push(text::STATS_TRUNCATED.fill(lang, &[&number(cutoff), &number(truncated)]));
        }
        _ => facts.push(ui.t(text::STATS_NO_MODEL).to_owned()),
    }
    let wrapped = words::wrap(&facts.join(" · "), width.into());
    let mut lines: Vec<Line> = wrapped.into_iter().map(|line| Line::styled(line, ui.theme.strong)).collect();
    let all: [(T, Option<&Summary>, Option<usize>); 7] = [
        (text::H_TOKENS, s.tokens.as_ref(), measured.cutoff_len),
        (text::H_LABELS, s.label_tokens.as_ref(), None),
        (text::H_ANSWER, s.answer_characters.as_ref(), None),
        (text::H_WIDTH, s.image_width.as_ref(), None),
        (text::H_HEIGHT, s.image_height.as_ref(), None),
        (text::H_PICTURES, s.images_per_sample.as_ref(), None),
        (text::H_TURNS, s.turns.as_ref(), None),
    ];
    let all: Vec<_> = all.into_iter().filter_map(|(title, summary, mark)| Some((title, summary?, mark))).collect();
    // Two beside each other where there is room.
    let across = if width >= 110 { 2 } else { 1 };
    let each = usize::from(width) / across - usize::from(across > 1);
    for pair in all.chunks(across) {
        lines.push(Line::default());
        let charts: Vec<Vec<Line>> = pair.iter().map(|(title, s, mark)| chart(ui, *title, s, *mark, each)).collect();
        let rows = charts.iter().map(Vec::len).max().unwrap_or_default();
        for row in 0..rows {
            let mut spans = Vec::new();
            for chart in &charts {
                let line = chart.get(row).cloned().unwrap_or_default();
                let blank = (each + 2).saturating_sub(line.width());
                spans.extend(line.spans);
                spans.push(Span::raw(" ".repeat(blank)));
            }
            lines.push(Line::from(spans));
        }
    }
    lines
}

/// A title with the percentiles, bars, and the values at both ends. `mark`: a limit, whose bars beyond it stand out.
fn chart(ui: &Ui, title: T, s: &Summary, mark: Option<usize>, width: usize) -> Vec<Line<'static>> {
    let numbers = [s.min, s.median, s.p90, s.p99, s.max].map(words::count);
    let [min, median, p90, p99, max] = &numbers;
    let said = text::STATS_NUMBERS.fill(ui.app.lang(), &[min, median, p90, p99, max]);
    let mut head = Flow::new(width as u16);
    head.text(ui.t(title), ui.theme.strong);
    if words::width(ui.t(title)) + 2 + words::width(&said) > width {
        head.end_line();
    } else {
        head.text("  ", ui.theme.dim);
    }
    head.text(&said, ui.theme.dim);
    let mut lines = head.done();
    if s.min == s.max {
        return lines;
    }
    let bars = s.histogram(width.min(200));
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(1).max(1);
    // Few values get wide bars.
    let wide = (width / bars.len().max(1)).clamp(1, 8);
    const PARTS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let beyond = |first: u64| mark.is_some_and(|mark| first > mark as u64);
    for row in (0..HIGH).rev() {
        let spans = bars.iter().map(|bar| {
            // Even one sample among thousands shows.
            let eighths = (bar.count * HIGH * 8).div_ceil(most);
            let part = PARTS[eighths.saturating_sub(row * 8).min(8)];
            let style = if beyond(bar.first) { ui.theme.error } else { ui.theme.accent };
            Span::styled(part.repeat(wide), style)
        });
        lines.push(Line::from(spans.collect::<Vec<_>>()));
    }
    let across = bars.len() * wide;
    let blank = across.saturating_sub(words::width(min) + words::width(max));
    lines.push(Line::styled(format!("{min}{}{max}", " ".repeat(blank.max(1))), ui.theme.dim));
    lines
}
