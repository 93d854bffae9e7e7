//! What plots have in common: a canvas that becomes a PNG or an SVG, and axes with round ticks. The plots themselves are
//! [`crate::runs::plot`] (curves of a run) and [`crate::data::stats`] (histograms of a data set).
//!
//! plotters draws a PNG at twice its size, which is then halved, because its thick lines have no smooth edges. The font
//! is built in: a GPU box often has none. It has no Chinese letters, so labels are English.

use image::{ImageFormat, RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, FontTransform, register_font};
use std::io::{self, Cursor};

/// matplotlib's first colour …
pub const STRONG: RGBColor = RGBColor(31, 119, 180);
/// … the same at 40 % on white …
pub const PALE: RGBColor = RGBColor(165, 201, 225);
/// … and its second colour.
pub const SECOND: RGBColor = RGBColor(255, 127, 14);
pub const GREY: RGBColor = RGBColor(110, 110, 110);

/// The name under which the built-in font is known, and what an SVG asks its viewer for.
const FONT: &str = "sans-serif";

/// A picture that is being drawn, in pixels of the finished one.
pub struct Canvas<DB: DrawingBackend> {
    root: DrawingArea<DB, Shift>,
    /// Drawn pixels per pixel.
    scale: i32,
}

pub type Drawn = Result<(), String>;

fn said<E: std::fmt::Display>(drawn: Result<(), E>) -> Drawn {
    drawn.map_err(|e| e.to_string())
}

/// Draws a PNG of `width` x `height` pixels on white.
pub fn png((width, height): (u32, u32), draw: impl FnOnce(&Canvas<BitMapBackend<'_>>) -> Drawn) -> io::Result<Vec<u8>> {
    let scale = 2;
    let (w, h) = (width * scale, height * scale);
    let mut pixels = vec![255; (w * h * 3) as usize];
    let root = BitMapBackend::with_buffer(&mut pixels, (w, h)).into_drawing_area();
    Canvas { root, scale: scale as i32 }.finish(draw).map_err(io::Error::other)?;
    let large = RgbImage::from_raw(w, h, pixels).ok_or_else(|| io::Error::other("picture buffer of the wrong size"))?;
    let picture = imageops::resize(&large, width, height, imageops::FilterType::Triangle);
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).map_err(io::Error::other)?;
    Ok(png.into_inner())
}

/// Draws an SVG of `width` x `height` pixels on white.
pub fn svg(size: (u32, u32), draw: impl FnOnce(&Canvas<SVGBackend<'_>>) -> Drawn) -> io::Result<Vec<u8>> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
    let canvas = Canvas { root, scale: 1 };
    let whole = (0, 0, size.0 as i32, size.1 as i32);
    canvas.rect(whole, WHITE).and_then(|()| canvas.finish(draw)).map_err(io::Error::other)?;
    Ok(text.into_bytes())
}

impl<DB: DrawingBackend> Canvas<DB> {
    fn finish(self, draw: impl FnOnce(&Self) -> Drawn) -> Drawn {
        register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
            .map_err(|_| "the built-in font is broken".to_owned())?;
        draw(&self)?;
        said(self.root.present())
    }

    fn at(&self, (x, y): (i32, i32)) -> (i32, i32) {
        (x * self.scale, y * self.scale)
    }

    /// A filled rectangle: left, top, right, bottom.
    pub fn rect(&self, (left, top, right, bottom): (i32, i32, i32, i32), colour: RGBColor) -> Drawn {
        said(self.root.draw(&Rectangle::new([self.at((left, top)), self.at((right, bottom))], colour.filled())))
    }

    /// The edge of a rectangle, one pixel wide.
    pub fn frame(&self, (left, top, right, bottom): (i32, i32, i32, i32), colour: RGBColor) -> Drawn {
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        self.line(&corners, colour, 1)
    }

    /// A line with sharp joints, `width` pixels wide.
    pub fn line(&self, points: &[(i32, i32)], colour: RGBColor, width: i32) -> Drawn {
        let points: Vec<(i32, i32)> = points.iter().map(|&p| self.at(p)).collect();
        said(self.root.draw(&PathElement::new(points, colour.stroke_width((width * self.scale) as u32))))
    }

    /// A line of many points with round joints; a single point becomes a dot. Points are in drawn pixels, that is times
    /// [`Self::fine`]: a curve shall not be rounded to pixels.
    pub fn curve(&self, points: &[(i32, i32)], colour: RGBColor, width: i32) -> Drawn {
        let width = width * self.scale;
        for pair in points.windows(2) {
            said(self.root.draw(&PathElement::new([pair[0], pair[1]], colour.stroke_width(width as u32))))?;
        }
        points.iter().try_for_each(|&point| said(self.root.draw(&Circle::new(point, width / 2 - 1, colour.filled()))))
    }

    /// Drawn pixels per pixel.
    pub fn fine(&self) -> i32 {
        self.scale
    }

    /// One line of text, `size` pixels high; `h` and `v` say which of its points lies at `at`.
    pub fn text(&self, text: &str, at: (i32, i32), size: i32, (h, v): (HPos, VPos), colour: RGBColor) -> Drawn {
        let (x, y) = self.at(at);
        // In a bitmap plotters centres the line's box, which has more room below the digits than above them.
        let down = if matches!(v, VPos::Center) && self.scale > 1 { size * self.scale / 8 } else { 0 };
        said(self.root.draw(&Text::new(text.to_owned(), (x, y + down), self.style(size, h, v, colour))))
    }

    /// A text that is read from below, centred at `at`.
    pub fn text_upwards(&self, text: &str, at: (i32, i32), size: i32, colour: RGBColor) -> Drawn {
        let style = self.style(size, HPos::Center, VPos::Center, colour);
        let turned = TextStyle { font: style.font.clone().transform(FontTransform::Rotate270), ..style };
        said(self.root.draw(&Text::new(text.to_owned(), self.at(at), turned)))
    }

    fn style(&self, size: i32, h: HPos, v: VPos, colour: RGBColor) -> TextStyle<'static> {
        let font = (FONT, size * self.scale).into_font();
        TextStyle { font, color: colour.to_backend_color(), pos: Pos::new(h, v) }
    }
}

/// The end of a title that is too long: that is where a path differs from its neighbours.
pub fn shorten(title: &str, max: usize) -> String {
    let count = title.chars().count();
    if count <= max {
        title.to_owned()
    } else {
        format!("…{}", title.chars().skip(count - max + 1).collect::<String>())
    }
}

/// One axis: what it spans, and where its ticks are.
pub struct Axis {
    min: f64,
    max: f64,
    tick: f64,
}

impl Axis {
    /// Spans `values` and 5 % around them; ticks are at least `min_tick` apart.
    pub fn new(values: impl Iterator<Item = f64>, min_tick: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        // A flat line needs some room, too; the smallest one keeps the ticks apart in f64.
        let margin =
            ((high - low) * 0.05).max(if high - low > low.abs() * 1e-9 { 0.0 } else { low.abs().max(1.0) * 0.05 });
        Self::spanning(low - margin, high + margin, min_tick, 10.0)
    }

    /// From `min` to `max`, which lies above it, with about `ticks` ticks that are at least `min_tick` apart.
    pub fn spanning(min: f64, max: f64, min_tick: f64, ticks: f64) -> Self {
        let rough = (max - min) / ticks;
        let power = 10f64.powf(rough.log10().floor());
        let round = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| (m * power).max(min_tick));
        // Ticks of steps are whole: none at 2.5.
        let tick =
            round.into_iter().find(|&tick| tick >= rough && (min_tick == 0.0 || tick.fract() == 0.0)).unwrap_or(rough);
        Self { min, max, tick }
    }

    pub fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let first = (self.min / self.tick).ceil();
        (0..20).map(move |i| (first + f64::from(i)) * self.tick).take_while(|&v| v <= self.max)
    }

    pub fn label(&self, value: f64) -> String {
        if !(1e-4..1e7).contains(&self.tick) {
            return format!("{value:e}");
        }
        let decimals = (0..6).find(|&d| (self.tick * 10f64.powi(d)).fract().abs() < 1e-9).unwrap_or(6);
        // No "-0.0".
        let value = if value.abs() < self.tick / 2.0 { 0.0 } else { value };
        format!("{value:.*}", decimals as usize)
    }

    /// Pixel of a value, between the pixels of the axis's ends.
    pub fn place(&self, value: f64, from: i32, to: i32) -> i32 {
        let share = (value - self.min) / (self.max - self.min);
        from.saturating_add((share * f64::from(to - from)).round() as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_steps_whole() {
        let steps = Axis::new([1.0, 9.0].into_iter(), 1.0);
        assert_eq!(
            steps.ticks().map(|x| steps.label(x)).collect::<Vec<_>>(),
            ["1", "2", "3", "4", "5", "6", "7", "8", "9"]
        );
        let loss = Axis::new([11.59, 12.24].into_iter(), 0.0);
        assert_eq!(
            loss.ticks().map(|y| loss.label(y)).collect::<Vec<_>>(),
            ["11.6", "11.7", "11.8", "11.9", "12.0", "12.1", "12.2"]
        );
        let few = Axis::spanning(0.0, 331_000.0, 1.0, 4.0);
        assert_eq!(few.ticks().map(|y| few.label(y)).collect::<Vec<_>>(), ["0", "100000", "200000", "300000"]);
    }

    #[test]
    fn what_is_drawn_is_in_both_kinds_of_picture_and_no_text_becomes_markup() {
        fn draw<DB: DrawingBackend>(canvas: &Canvas<DB>, text: &str) -> Drawn {
            canvas.rect((10, 10, 30, 30), STRONG)?;
            canvas.text(text, (40, 40), 12, (HPos::Left, VPos::Top), BLACK)
        }
        let picture =
            image::load_from_memory(&png((60, 60), |canvas| draw(canvas, "<b>&")).unwrap()).unwrap().to_rgb8();
        assert_eq!((picture.dimensions(), picture.get_pixel(20, 20).0), ((60, 60), [31, 119, 180]));
        let text = String::from_utf8(svg((60, 60), |canvas| draw(canvas, "<b>&")).unwrap()).unwrap();
        assert!(text.starts_with("<svg") && text.contains("#1F77B4") && text.trim_end().ends_with("</svg>"), "{text}");
        assert!(text.contains("&lt;b&gt;&amp;") && !text.contains("<b>"), "{text}");
    }
}
