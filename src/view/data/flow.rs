//! Texts of several styles, wrapped together into lines.
use crate::view::words;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation;

/// Lines of at most `columns`; they break between words, between letters where a word is too long, and at line ends.
pub struct Flow {
    columns: usize,
    lines: Vec<Line<'static>>,
    spans: Vec<Span<'static>>,
    used: usize,
}

impl Flow {
    pub fn new(columns: u16) -> Self {
        Self { columns: usize::from(columns).max(1), lines: Vec::new(), spans: Vec::new(), used: 0 }
    }

    /// A clean text, going on where the last one ended.
    pub fn text(&mut self, text: &str, style: Style) {
        for (i, paragraph) in text.split('\n').enumerate() {
            if i > 0 {
                self.end_line();
            }
            self.paragraph(paragraph, style);
        }
    }

    /// Atoms that fit into a line go there together: long texts are laid out at each frame.
    fn paragraph(&mut self, text: &str, style: Style) {
        let (mut start, mut end, mut width) = (0, 0, 0);
        for atom in words::atoms(text) {
            let w = words::width(atom);
            if !atom.contains('\t') && self.used + width + w <= self.columns {
                (end, width) = (end + atom.len(), width + w);
                continue;
            }
            self.push(&text[start..end], width, style);
            self.word(&atom.replace('\t', "    "), style);
            end += atom.len();
            (start, width) = (end, 0);
        }
        self.push(&text[start..end], width, style);
    }

    /// A piece that is not broken unless it is longer than a line.
    pub fn word(&mut self, word: &str, style: Style) {
        let w = words::width(word);
        if self.used + w > self.columns && self.used > 0 {
            self.end_line();
            if word.trim().is_empty() {
                return;
            }
        }
        if w <= self.columns {
            return self.push(word, w, style);
        }
        for letter in word.graphemes(true) {
            let w = words::width(letter);
            if self.used + w > self.columns && self.used > 0 {
                self.end_line();
            }
            self.push(letter, w, style);
        }
    }

    pub fn end_line(&mut self) {
        self.lines.push(Line::from(std::mem::take(&mut self.spans)));
        self.used = 0;
    }

    fn push(&mut self, text: &str, width: usize, style: Style) {
        if text.is_empty() {
            return;
        }
        self.used += width;
        match self.spans.last_mut().filter(|last| last.style == style) {
            Some(last) => last.content.to_mut().push_str(text),
            None => self.spans.push(Span::styled(text.to_owned(), style)),
        }
    }

    pub fn done(mut self) -> Vec<Line<'static>> {
        if !self.spans.is_empty() {
            self.end_line();
        }
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Color;

    fn text(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.spans.iter().map(|span| span.content.as_ref()).collect()).collect()
    }

    #[test]
    fn texts_of_several_styles_share_lines_and_break_between_words() {
        let red = Style::new().fg(Color::Red);
        let mut flow = Flow::new(10);
        flow.text("the quick ", Style::new());
        flow.text("brown 图片中的诊断\n\nend", red);
        let lines = flow.done();
        assert_eq!(text(&lines), ["the quick ", "brown 图片", "中的诊断", "", "end"]);
        assert!(lines.iter().all(|line| line.width() <= 10));
        assert_eq!(lines[1].spans.len(), 1);
    }

    #[test]
    fn a_word_longer_than_a_line_is_broken_between_letters() {
        let mut flow = Flow::new(3);
        flow.text("abcdefgh", Style::new());
        assert_eq!(text(&flow.done()), ["abc", "def", "gh"]);
        let mut flow = Flow::new(1);
        flow.text("图", Style::new());
        assert_eq!(text(&flow.done()), ["图"], "too wide, and still no endless loop");
    }
}
