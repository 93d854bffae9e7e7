//! The profile as text: numbers of the lines, keys and comments in their colours, lines with problems marked.
use crate::app::Action;
use crate::app::cursor;
use crate::app::train::pane::LIST;
use crate::app::train::{Msg, yaml};
use crate::text::train as text;
use crate::view::ui::Ui;
use crate::view::words;
use lightbox_core::safe_text::{clean, clean_line};
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

pub fn draw(ui: &mut Ui, area: Rect) {
    let Some(pane) = &ui.app.train.yaml else { return };
    let lang = ui.app.lang();
    let train = &ui.app.train;
    let name = match &train.file {
        Some(file) => crate::app::train::edit::shortened(&ui.app.here, &file.path),
        None => ui.t(text::NEW_PROFILE).to_owned(),
    };
    let inner = ui.panel(area, &text::YAML_TITLE.fill(lang, &[&clean_line(&name, 200)]), true);
    let lines = pane.area.lines();
    let at = pane.area.cursor();
    let (row, column) = (at.0, at.1);
    ui.panel_note(area, &format!("{}:{}", row + 1, column + 1));
    let height = usize::from(inner.height);
    let offset = cursor::offset(ui.app.hits.offset(LIST), row, lines.len(), height);
    let numbers = lines.len().to_string().len().max(2);
    let left = numbers as u16 + 3;
    let body = Rect { x: inner.x + left.min(inner.width), width: inner.width.saturating_sub(left + 1), ..inner };
    ui.note_list(body, LIST, offset, lines.len(), |n| Action::Train(Msg::YamlBy(n)));
    // a long line is scrolled so that the cursor is in it
    let before: String = lines.get(row).map(|line| line.chars().take(column).collect()).unwrap_or_default();
    let cursor_column = words::width(&shown(&before));
    let skip = cursor_column.saturating_sub(usize::from(body.width).saturating_sub(1));
    let wrong: Vec<usize> = train.draft.problems().iter().filter_map(|found| found.line).collect();
    let selected = pane.area.selection_range();
    for (i, at) in (offset..lines.len()).zip(inner.rows()) {
        let bad = wrong.contains(&(i + 1));
        let number = format!("{}{:>numbers$} ", if bad { "✗" } else { " " }, i + 1);
        let style = match (bad, i == row) {
            (true, _) => ui.theme.error,
            (false, true) => ui.theme.strong,
            _ => ui.theme.dim,
        };
        ui.line(Rect { width: left.min(at.width), ..at }, Line::styled(number, style));
        let line = coloured(ui, &lines[i], bad);
        let line_area = Rect { x: body.x, width: body.width, ..at };
        let skip = if i == row { skip } else { 0 };
        ui.render(skipped(line, skip), line_area);
        if let Some(((from, _), (to, _))) = selected
            && (from..=to).contains(&i)
        {
            ui.fill(line_area, ui.theme.selected_dim);
        }
    }
    ui.scrollbar(inner, offset, lines.len());
    ui.point(body, |x, y| Action::Train(Msg::YamlAt(x, y)));
    if ui.app.overlays.is_empty() && row >= offset {
        let x = body.x + (cursor_column - skip) as u16;
        let y = inner.y + (row - offset) as u16;
        if x < inner.right() && y < inner.bottom() {
            ui.cursor(x, y);
        }
    }
}

/// As it can be shown: what could act on a terminal, which a text from elsewhere may hold, is a dot as wide as a letter.
fn shown(text: &str) -> String {
    let letter = |c: char| match c {
        '\t' => ' ',
        _ if c.is_ascii_graphic() || c.is_alphanumeric() || c == ' ' => c,
        _ if clean(c.encode_utf8(&mut [0; 4])).chars().count() > 1 => '·',
        _ => c,
    };
    text.chars().map(letter).collect()
}

fn coloured(ui: &Ui, line: &str, bad: bool) -> Line<'static> {
    let from = yaml::key_of(line).map_or(0, |(_, colon)| colon + 1);
    let end = yaml::comment(line, from).unwrap_or(line.len());
    let value = if bad { ui.theme.error } else { Style::new() };
    Line::from(vec![
        Span::styled(shown(&line[..from.min(end)]), ui.theme.accent),
        Span::styled(shown(&line[from.min(end)..end]), value),
        Span::styled(shown(&line[end..]), ui.theme.dim),
    ])
}

/// A line without its first columns.
fn skipped(line: Line<'static>, columns: usize) -> Line<'static> {
    if columns == 0 {
        return line;
    }
    let mut left = columns;
    let mut spans = Vec::new();
    for span in line.spans {
        let mut text = String::new();
        for letter in unicode_segmentation::UnicodeSegmentation::graphemes(&*span.content, true) {
            match left.checked_sub(words::width(letter)) {
                Some(rest) if left > 0 => left = rest,
                _ => {
                    left = 0;
                    text += letter;
                }
            }
        }
        spans.push(Span::styled(text, span.style));
    }
    Line::from(spans)
}
