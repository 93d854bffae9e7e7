//! What screens draw with: the buffer, the theme, and the notes about what was drawn where.
use super::hits::{Hits, Region, Seen, Wish};
use super::theme::Theme;
use super::words;
use crate::app::cursor::{self, Cursor, Move};
use crate::app::settings::ImageChoice;
use crate::app::{Action, App};
use crate::image::{Picture, PictureId, fit, half};
use crate::term::caps::Caps;
use crate::text::T;
use lightbox_core::data::ImageRef;
use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Widget};
use tui_input::Input;

pub struct Ui<'a> {
    pub app: &'a App,
    pub buf: &'a mut Buffer,
    pub theme: Theme,
    hits: Hits,
}

impl<'a> Ui<'a> {
    pub fn new(app: &'a App, buf: &'a mut Buffer) -> Self {
        let theme = Theme::of(app.settings.theme, &app.caps);
        Self { app, buf, theme, hits: Hits { clicked: app.hits.clicked, ..Hits::default() } }
    }

    pub fn finish(self) -> Hits {
        self.hits
    }

    /// A text in the user's language.
    pub fn t(&self, text: T) -> &'static str {
        self.app.t(text)
    }

    pub fn render(&mut self, widget: impl Widget, area: Rect) {
        widget.render(area.intersection(self.buf.area), self.buf);
    }

    pub fn fill(&mut self, area: Rect, style: Style) {
        self.buf.set_style(area.intersection(self.buf.area), style);
    }

    /// One line, cut at the end of the area's first row.
    pub fn line<'l>(&mut self, area: Rect, line: impl Into<Line<'l>>) {
        let row = Rect { height: area.height.min(1), ..area };
        self.render(line.into(), row);
    }

    /// Lines from the top of the area; what does not fit is left out.
    pub fn lines<'l>(&mut self, area: Rect, lines: impl IntoIterator<Item = Line<'l>>) {
        for (row, line) in area.rows().zip(lines) {
            self.render(line, row);
        }
    }

    /// A text wrapped into the area; says how many rows it took.
    pub fn text(&mut self, area: Rect, text: &str, style: Style) -> u16 {
        let lines = words::wrap(text, area.width.into());
        let rows = lines.len().min(area.height.into()) as u16;
        self.lines(area, lines.into_iter().map(|line| Line::styled(line, style)));
        rows
    }

    /// A framed part of the screen; returns the room inside.
    pub fn panel(&mut self, area: Rect, title: &str, focused: bool) -> Rect {
        let style = if focused { self.theme.border_focus } else { self.theme.border };
        let title_style = if focused { self.theme.strong } else { self.theme.dim };
        let room = usize::from(area.width.saturating_sub(4));
        let mut block = Block::bordered().border_type(BorderType::Rounded).border_style(style);
        if !title.is_empty() && room > 0 {
            block = block.title(Span::styled(format!(" {} ", words::cut(title, room.saturating_sub(2))), title_style));
        }
        let inner = block.inner(area);
        self.render(block, area);
        inner
    }

    /// Text on the lower edge of a panel, on the right: a count, a place.
    pub fn panel_note(&mut self, area: Rect, note: &str) {
        let note = words::cut(note, usize::from(area.width.saturating_sub(6)));
        let w = words::width(&note) as u16 + 2;
        if area.height > 1 && area.width > w + 2 {
            let at = Rect { x: area.right() - w - 2, y: area.bottom() - 1, width: w, height: 1 };
            self.line(at, Line::styled(format!(" {note} "), self.theme.dim));
        }
    }

    /// A window over everything: what is below gets no clicks, and shows no pixels.
    pub fn window(&mut self, area: Rect, title: &str) -> Rect {
        self.cover();
        self.render(Clear, area);
        self.fill(area, self.theme.base);
        self.panel(area, title, true)
    }

    /// From here on only what is drawn next can be clicked.
    pub fn cover(&mut self) {
        self.hits.regions.clear();
        self.hits.pictures.clear();
        self.hits.cursor = None;
    }

    pub fn click(&mut self, rect: Rect, action: Action) {
        self.region(Region { rect, click: Some(action), double: None, wheel: None, point: None });
    }

    pub fn wheel(&mut self, rect: Rect, action: fn(isize) -> Action) {
        self.region(Region { rect, click: None, double: None, wheel: Some(action), point: None });
    }

    /// Clicks and drags that mean a place inside the rectangle, e.g. on a chart.
    pub fn point(&mut self, rect: Rect, action: fn(u16, u16) -> Action) {
        self.region(Region { rect, click: None, double: None, wheel: None, point: Some(action) });
    }

    pub fn region(&mut self, region: Region) {
        if region.rect.area() > 0 {
            self.hits.regions.push(region);
        }
    }

    /// Where the cursor of a text field blinks.
    pub fn cursor(&mut self, x: u16, y: u16) {
        self.hits.cursor = Some((x, y));
    }

    /// A list of any length: only the visible rows are made. `row(i)` gives row `i`; `moved` is what the wheel and a click
    /// mean, `opened` a double click. The list's `name` keeps its place from frame to frame.
    pub fn list<'l>(
        &mut self,
        area: Rect,
        name: &'static str,
        cursor: &Cursor,
        focused: bool,
        actions: ListActions,
        mut row: impl FnMut(&Self, usize) -> Line<'l>,
    ) {
        let height = usize::from(area.height);
        let offset = cursor::offset(self.app.hits.offset(name), cursor.at, cursor.len, height);
        self.hits.lists.insert(name, Seen { area, offset, rows: cursor.len });
        self.wheel(area, actions.wheel);
        let bar = cursor.len > height && area.width > 2;
        for (i, at) in (offset..cursor.len).zip(area.rows()) {
            let line = row(self, i);
            let text_area = Rect { width: at.width - u16::from(bar), ..at };
            self.render(line, text_area);
            if i == cursor.at {
                self.fill(text_area, if focused { self.theme.selected } else { self.theme.selected_dim });
            }
            let double = actions.open.map(|open| open(i));
            self.region(Region {
                rect: at,
                click: Some((actions.click)(i)),
                double,
                wheel: Some(actions.wheel),
                point: None,
            });
        }
        if bar {
            self.scrollbar(area, offset, cursor.len);
        }
    }

    /// Notes where a text that scrolls by itself was drawn, so that keys and wheel can page in it.
    pub fn note_list(
        &mut self,
        area: Rect,
        name: &'static str,
        offset: usize,
        rows: usize,
        wheel: fn(isize) -> Action,
    ) {
        self.hits.lists.insert(name, Seen { area, offset, rows });
        self.wheel(area, wheel);
    }

    /// On the last column of an area.
    pub fn scrollbar(&mut self, area: Rect, offset: usize, rows: usize) {
        let height = usize::from(area.height);
        if rows <= height || height == 0 {
            return;
        }
        let size = (height * height / rows).clamp(1, height);
        let top = (offset as u128 * (height - size) as u128 / (rows - height) as u128) as u16;
        for y in 0..area.height {
            let on = y >= top && usize::from(y) < usize::from(top) + size;
            let (symbol, style) = if on { ("┃", self.theme.accent) } else { ("│", self.theme.border) };
            self.buf.set_string(area.right() - 1, area.y + y, symbol, style);
        }
    }

    /// A field of one line with its cursor, scrolled so that the cursor is visible.
    pub fn input(&mut self, area: Rect, input: &Input, focused: bool) {
        let row = Rect { height: 1, ..area };
        self.fill(row, self.theme.field);
        let room = usize::from(area.width.saturating_sub(1));
        let scroll = input.visual_scroll(room);
        let shown = skip_columns(input.value(), scroll);
        self.line(row, Line::styled(words::cut(shown, usize::from(area.width)), self.theme.field));
        if focused && area.width > 0 {
            let x = input.visual_cursor().saturating_sub(scroll).min(room) as u16;
            self.cursor(area.x + x, area.y);
        }
    }

    /// How far something is.
    pub fn gauge(&mut self, area: Rect, share: f64) {
        let row = Rect { height: 1, ..area };
        let width = f64::from(row.width) * share.clamp(0.0, 1.0);
        let full = width.floor() as u16;
        const PARTS: [&str; 8] = [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        for x in 0..row.width {
            let symbol = match x.cmp(&full) {
                std::cmp::Ordering::Less => "█",
                std::cmp::Ordering::Equal => PARTS[((width - width.floor()) * 8.0) as usize % 8],
                std::cmp::Ordering::Greater => " ",
            };
            self.buf.set_string(row.x + x, row.y, symbol, self.theme.accent.patch(self.theme.selected_dim));
        }
    }

    /// A picture, fitted into the area: half blocks at once when it is decoded, pixels over them where the terminal can.
    pub fn picture(&mut self, area: Rect, source: &ImageRef) {
        if area.area() == 0 || self.app.settings.images == ImageChoice::Off {
            return;
        }
        let id = picture_id(source);
        self.hits.pictures.push(Wish { id, source: source.clone(), area });
        if let Some(picture) = self.app.pictures.peek(id, (area.width, area.height)) {
            half::draw(picture, fitted(picture, area, &self.app.caps), self.buf, self.theme.colours);
        } else if let Some(why) = self.app.pictures.failure(id) {
            let text = lightbox_core::safe_text::clean_line(why, 300);
            self.text(area.inner(Margin::new(1, 0)), &text, self.theme.error);
        } else {
            let loading = Line::styled(self.t(crate::text::common::LOADING), self.theme.dim);
            self.line(area.inner(Margin::new(1, 0)), loading);
        }
    }

    /// What an empty part of a screen says: what is missing, and what to do next.
    pub fn empty(&mut self, area: Rect, title: &str, next: &str) {
        let area = area.inner(Margin::new(2, 1));
        let rows = self.text(area, title, self.theme.strong);
        let below = Rect { y: area.y + rows + 1, height: area.height.saturating_sub(rows + 1), ..area };
        self.text(below, next, self.theme.dim);
    }
}

/// What the mouse means in a list.
#[derive(Clone, Copy)]
pub struct ListActions {
    pub click: fn(usize) -> Action,
    pub open: Option<fn(usize) -> Action>,
    pub wheel: fn(isize) -> Action,
}

/// Where a picture lies within the room there is for it: in its shape, in the middle.
pub fn fitted(picture: &Picture, area: Rect, caps: &Caps) -> Rect {
    let (columns, rows) = caps.picture_limit().unwrap_or((u16::MAX, u16::MAX));
    let (width, height) = fit(picture.size, (area.width.min(columns), area.height.min(rows)), caps.cell_px);
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

/// The same picture has the same id, wherever it is shown.
pub fn picture_id(source: &ImageRef) -> PictureId {
    match source {
        ImageRef::Bytes(bytes) => PictureId::of(bytes),
        other => PictureId::of(other.describe()),
    }
}

fn skip_columns(text: &str, columns: usize) -> &str {
    use unicode_segmentation::UnicodeSegmentation;
    let mut skipped = 0;
    for (at, letter) in text.grapheme_indices(true) {
        if skipped >= columns {
            return &text[at..];
        }
        skipped += words::width(letter);
    }
    if columns == 0 { text } else { "" }
}

/// A move of so many rows, for the wheel.
pub fn by(n: isize) -> Move {
    Move::By(n)
}
