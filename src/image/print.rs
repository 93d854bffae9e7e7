//! A picture as lines of half blocks for standard output, where no screen of ours is: colours as the environment says.

use std::fmt::Write as _;

use image::RgbImage;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;

use super::{PictureId, decode, fit, half};
use crate::term::caps::TtySize;
use crate::term::probe::ProbeReplies;
use crate::term::{Caps, Colours};

/// The picture in the width of the terminal (80 columns where there is none), a line feed after each line.
pub fn half_blocks(picture: &RgbImage) -> String {
    let caps = Caps::decide(&|name| std::env::var(name).ok(), &ProbeReplies::default(), TtySize::default());
    let cols = crossterm::terminal::size().map_or(80, |(cols, _)| cols).clamp(20, 200);
    lines(picture, cols, caps.colours)
}

fn lines(picture: &RgbImage, cols: u16, colours: Colours) -> String {
    let cells = fit(picture.dimensions(), (cols, 200), Caps::UNKNOWN_CELL);
    let area = Rect::new(0, 0, cells.0, cells.1);
    let mut buffer = Buffer::empty(area);
    half::draw(&decode::picture(picture, cells, Caps::UNKNOWN_CELL, false, PictureId(0)), area, &mut buffer, colours);
    let mut out = String::new();
    for row in buffer.content.chunks(usize::from(cells.0)) {
        let mut last = (Color::Reset, Color::Reset);
        for cell in row {
            if (cell.fg, cell.bg) != last {
                last = (cell.fg, cell.bg);
                // A String takes whatever is written to it.
                let _ = write!(out, "\x1b[{};{}m", code(cell.fg, 30), code(cell.bg, 40));
            }
            out.push_str(cell.symbol());
        }
        out.push_str(if last == (Color::Reset, Color::Reset) { "\n" } else { "\x1b[0m\n" });
    }
    out
}

/// SGR parameters of a colour; `base` is 30 in front, 40 behind.
fn code(colour: Color, base: u8) -> String {
    match colour {
        Color::Rgb(r, g, b) => format!("{};2;{r};{g};{b}", base + 8),
        Color::Indexed(i) => format!("{};5;{i}", base + 8),
        Color::Black => base.to_string(),
        Color::DarkGray => (base + 60).to_string(),
        Color::Gray => (base + 7).to_string(),
        Color::White => (base + 67).to_string(),
        _ => (base + 9).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_wide_as_asked_and_without_colours_plain_text() {
        let picture = RgbImage::from_fn(64, 32, |x, _| image::Rgb([(x * 4) as u8; 3]));
        let plain = lines(&picture, 32, Colours::None);
        assert!(!plain.contains('\x1b'));
        assert!(plain.lines().all(|line| line.chars().count() == 32) && plain.lines().count() == 8, "{plain}");
        let line = plain.lines().next().unwrap();
        assert!(line.starts_with(' ') && line.ends_with('@'), "dark on the left: {line}");
        let coloured = lines(&picture, 32, Colours::True);
        assert!(coloured.lines().all(|line| line.ends_with("\x1b[0m")), "no colour is left on");
    }
}
