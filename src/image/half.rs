//! Layer one: a picture as half blocks in ratatui's buffer, two pixels a cell.
//!
//! Of `▀` and `▄` the one is taken whose half is the brighter, and a space where both are the same. In colour that makes no
//! difference; in a copy of the text, a snapshot or a terminal that drops colours, the shapes survive.

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::Color;

use super::Picture;
use crate::term::Colours;

/// Draws the picture over the whole of `area`, scaled to the nearest pixel where it was decoded for another size.
pub fn draw(picture: &Picture, area: Rect, buf: &mut Buffer, colours: Colours) {
    let (cols, rows) = (usize::from(picture.cells.0), 2 * usize::from(picture.cells.1));
    let area = area.intersection(buf.area);
    if picture.blocks.len() < cols * rows || cols * rows == 0 || area.is_empty() {
        return;
    }
    let (width, height) = (usize::from(area.width), 2 * usize::from(area.height));
    let columns: Vec<usize> = (0..width).map(|x| (2 * x + 1) * cols / (2 * width)).collect();
    let line = |y: usize| &picture.blocks[(2 * y + 1) * rows / (2 * height) * cols..][..cols];
    for y in 0..area.height {
        let (upper, lower) = (line(2 * usize::from(y)), line(2 * usize::from(y) + 1));
        let start = buf.index_of(area.x, area.y + y);
        for (cell, &x) in buf.content[start..start + width].iter_mut().zip(&columns) {
            cell.reset();
            paint(cell, upper[x], lower[x], colours);
        }
    }
}

fn paint(cell: &mut Cell, top: [u8; 3], bottom: [u8; 3], colours: Colours) {
    if colours == Colours::None {
        let level = luminance(top).midpoint(luminance(bottom));
        cell.set_char(RAMP[usize::from(level) * RAMP.len() / 256]);
        return;
    }
    let colour = |rgb: [u8; 3]| match colours {
        Colours::True => Color::Rgb(rgb[0], rgb[1], rgb[2]),
        Colours::Ansi256 => Color::Indexed(nearest_256(rgb)),
        _ => GREYS[usize::from(luminance(rgb)) * GREYS.len() / 256],
    };
    let (upper, lower) = (colour(top), colour(bottom));
    if upper == lower {
        cell.set_char(' ').set_bg(upper);
    } else if luminance(top) >= luminance(bottom) {
        cell.set_char('▀').set_fg(upper).set_bg(lower);
    } else {
        cell.set_char('▄').set_fg(lower).set_bg(upper);
    }
}

/// From dark to bright, by the ink of common fonts.
const RAMP: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];

/// The four greys among sixteen colours; their hues are the user's and would be wrong for any picture.
const GREYS: [Color; 4] = [Color::Black, Color::DarkGray, Color::Gray, Color::White];

fn luminance([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 77 + u32::from(g) * 150 + u32::from(b) * 29) >> 8) as u8
}

/// The nearest of the 6x6x6 cube (levels 0, 95, 135 … 255) and the 24 greys (8, 18 … 238).
fn nearest_256(rgb: [u8; 3]) -> u8 {
    let level = |v: u8| {
        if v < 48 {
            0
        } else if v < 115 {
            1
        } else {
            (v - 35) / 40
        }
    };
    let value = |l: u8| if l == 0 { 0 } else { 55 + 40 * l };
    let cube = rgb.map(level);
    let grey = (u16::from(rgb[0]) + u16::from(rgb[1]) + u16::from(rgb[2])) / 3;
    let step = (grey.saturating_sub(3) / 10).min(23) as u8;
    let distance = |to: [u8; 3]| -> u32 { rgb.iter().zip(to).map(|(&a, b)| u32::from(a.abs_diff(b)).pow(2)).sum() };
    if distance([8 + 10 * step; 3]) < distance(cube.map(value)) {
        232 + step
    } else {
        16 + 36 * cube[0] + 6 * cube[1] + cube[2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{PictureId, test_picture};
    use std::sync::Arc;
    use std::time::Instant;

    /// A bright disc on a dark ground.
    fn disc(cols: u16, rows: u16) -> Picture {
        let (w, h) = (i32::from(cols), 2 * i32::from(rows));
        let blocks = (0..w * h).map(|i| {
            let (x, y) = (2 * (i % w) - w + 1, 2 * (i / w) - h + 1);
            if x * x + y * y < h * h * 3 / 4 { [250, 200, 40] } else { [10, 20, 40] }
        });
        let blocks = blocks.collect();
        Picture { id: PictureId(1), size: (64, 64), pixels: Arc::default(), cells: (cols, rows), blocks }
    }

    fn text(buf: &Buffer) -> String {
        let line = |y| (0..buf.area.width).map(|x| buf[(x, y)].symbol()).collect::<String>();
        (0..buf.area.height).map(line).collect::<Vec<_>>().join("\n")
    }

    fn drawn(picture: &Picture, width: u16, height: u16, colours: Colours) -> Buffer {
        let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
        draw(picture, buf.area, &mut buf, colours);
        buf
    }

    #[test]
    fn shapes_survive_without_colour() {
        insta::assert_snapshot!(text(&drawn(&disc(12, 6), 12, 6, Colours::True)), @r"
           ▄▄▄▄▄▄   
         ▄        ▄ 
                    
                    
         ▀        ▀ 
           ▀▀▀▀▀▀
        ");
        insta::assert_snapshot!(text(&drawn(&disc(12, 6), 12, 6, Colours::None)), @r"
           ======   
         =########= 
         ########## 
         ########## 
         =########= 
           ======
        ");
    }

    #[test]
    fn each_kind_of_colours_uses_its_own() {
        let picture = disc(12, 6);
        let edge = |colours| {
            let buf = drawn(&picture, 12, 6, colours);
            let cell = &buf[(3, 0)];
            (cell.symbol().to_owned(), cell.fg, cell.bg)
        };
        assert_eq!(edge(Colours::True), ("▄".into(), Color::Rgb(250, 200, 40), Color::Rgb(10, 20, 40)));
        assert_eq!(edge(Colours::Ansi256), ("▄".into(), Color::Indexed(220), Color::Indexed(234)));
        assert_eq!(edge(Colours::Ansi16), ("▄".into(), Color::White, Color::Black));
        let plain = drawn(&picture, 12, 6, Colours::None);
        assert!(
            plain
                .content
                .iter()
                .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset && cell.symbol().is_ascii())
        );
    }

    #[test]
    fn another_size_samples_and_the_buffer_is_never_left() {
        assert_eq!(text(&drawn(&disc(24, 12), 12, 6, Colours::None)).lines().count(), 6);
        let mut buf = Buffer::empty(Rect::new(0, 0, 5, 3));
        draw(&disc(12, 6), Rect::new(3, 2, 12, 6), &mut buf, Colours::True);
        assert_eq!(buf[(0, 0)].bg, Color::Reset);
        assert_ne!(buf[(4, 2)].bg, Color::Reset);
        draw(&disc(12, 6), Rect::new(30, 20, 12, 6), &mut buf, Colours::True);
        let mut broken = disc(12, 6);
        broken.blocks.truncate(3);
        draw(&broken, buf.area, &mut buf, Colours::True);
    }

    #[test]
    fn colours_of_256_are_the_nearest_ones() {
        for (rgb, index) in [
            ([0, 0, 0], 16),
            ([255, 255, 255], 231),
            ([255, 0, 0], 196),
            ([95, 135, 175], 67),
            ([8, 8, 8], 232),
            ([238, 238, 238], 255),
            ([128, 128, 128], 244),
            ([100, 100, 100], 241),
        ] {
            assert_eq!(nearest_256(rgb), index, "{rgb:?}");
        }
    }

    /// `cargo test --release -- --ignored --nocapture drawing_takes`
    #[test]
    #[ignore = "prints a measurement"]
    fn drawing_takes() {
        let picture = test_picture(1, (100, 50), (10, 20));
        let mut buf = Buffer::empty(Rect::new(0, 0, 100, 50));
        for colours in [Colours::True, Colours::Ansi256, Colours::Ansi16, Colours::None] {
            let start = Instant::now();
            (0..100).for_each(|_| draw(&picture, buf.area, &mut buf, colours));
            println!("100x50 cells, {colours:?}: {:?}", start.elapsed() / 100);
        }
    }
}
