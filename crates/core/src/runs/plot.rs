//! `training_loss.png`: the raw curve pale, the smoothed one strong, as LLaMA-Factory draws it (`extras/ploting.py`)
//! with matplotlib.
//!
//! plotters draws at twice the size and the picture is halved, because its thick lines have no smooth edges. The font
//! is built in: a GPU box often has none.
use super::RunDir;
use super::trainer_state::LogEntry;
use image::{ImageFormat, RgbImage, imageops};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, FontTransform, register_font};
use std::io::{self, Cursor};
use std::path::PathBuf;

/// Size of the picture. matplotlib's default is half of this, small on today's screens.
const WIDTH: u32 = 1280;
const HEIGHT: u32 = 960;
/// Drawn pixels per pixel.
const SCALE: i32 = 2;
/// The plot's frame in the picture: left, top, right, bottom (matplotlib's proportions).
const FRAME: [i32; 4] = [150, 80, 1236, 846];
/// matplotlib's first colour, and the same at 40 % on white.
const STRONG: RGBColor = RGBColor(31, 119, 180);
const PALE: RGBColor = RGBColor(165, 201, 225);
/// matplotlib's second colour.
const EVAL: RGBColor = RGBColor(255, 127, 14);
const LINE_WIDTH: i32 = 4;
const FONT: &str = "plot";

/// LLaMA-Factory's smoothing: an exponential mean that starts at the first value and is the slower the more values
/// there are.
pub fn smooth(values: &[f64]) -> Vec<f64> {
    let weight = smoothing_weight(values.len());
    let mut last = values.first().copied().unwrap_or(0.0);
    let mut smoothed = Vec::with_capacity(values.len());
    for value in values {
        last = last * weight + (1.0 - weight) * value;
        smoothed.push(last);
    }
    smoothed
}

/// What the mean so far counts for, in [`smooth`] of so many values.
pub fn smoothing_weight(values: usize) -> f64 {
    1.8 * (1.0 / (1.0 + (-0.05 * values as f64).exp()) - 0.5)
}

/// Draws `training_loss.png` and, after evaluations, `training_eval_loss.png` into the run's folder. A curve without
/// values is left out. Returns the files.
pub fn plot_losses(dir: &RunDir, log_history: &[LogEntry]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for key in ["loss", "eval_loss"] {
        let value = |entry: &LogEntry| if key == "loss" { entry.loss } else { entry.eval_loss };
        let points: Vec<(f64, f64)> = log_history
            .iter()
            .filter_map(|entry| Some((entry.step as f64, value(entry).filter(|y| y.is_finite())?)))
            .collect();
        if !points.is_empty() {
            let png = curve_png(&format!("training {key} of {}", dir.path().display()), key, &points)?;
            let path = dir.join(&format!("training_{key}.png"));
            crate::fs::write_atomic(&path, &png)?;
            files.push(path);
        }
    }
    Ok(files)
}

/// A PNG of `points` (step, value; finite, at least one), raw and smoothed.
pub fn curve_png(title: &str, y_label: &str, points: &[(f64, f64)]) -> io::Result<Vec<u8>> {
    chart_png(title, y_label, points, &[])
}

/// [`curve_png`] with a third curve over it, `evals`, where there are any.
pub fn chart_png(title: &str, y_label: &str, points: &[(f64, f64)], evals: &[(f64, f64)]) -> io::Result<Vec<u8>> {
    let (w, h) = (WIDTH * SCALE as u32, HEIGHT * SCALE as u32);
    let mut pixels = vec![255; (w * h * 3) as usize];
    draw(&mut pixels, (w, h), title, y_label, points, evals).map_err(io::Error::other)?;
    let large = RgbImage::from_raw(w, h, pixels).ok_or_else(|| io::Error::other("picture buffer of the wrong size"))?;
    let picture = imageops::resize(&large, WIDTH, HEIGHT, imageops::FilterType::Triangle);
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).map_err(io::Error::other)?;
    Ok(png.into_inner())
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

fn draw(
    pixels: &mut [u8],
    size: (u32, u32),
    title: &str,
    y_label: &str,
    points: &[(f64, f64)],
    evals: &[(f64, f64)],
) -> Result<(), String> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| "the built-in font is broken".to_owned())?;
    let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
    let smoothed = smooth(&points.iter().map(|p| p.1).collect::<Vec<_>>());
    let smoothed: Vec<(f64, f64)> = points.iter().zip(smoothed).map(|(&(x, _), y)| (x, y)).collect();

    let drawn = || points.iter().chain(evals);
    let x_axis = Axis::new(drawn().map(|p| p.0), 1.0);
    // The smoothed curve lies within the bounds of the raw one.
    let y_axis = Axis::new(drawn().map(|p| p.1), 0.0);
    let [left, top, right, bottom] = FRAME.map(|v| v * SCALE);
    let place = |x: f64, y: f64| (x_axis.place(x, left, right), y_axis.place(y, bottom, top));
    let e = |e: DrawingAreaErrorKind<_>| format!("{e}");

    polyline(&root, PALE, &thin_out(points.iter().map(|&(x, y)| place(x, y)))).map_err(e)?;
    polyline(&root, STRONG, &thin_out(smoothed.iter().map(|&(x, y)| place(x, y)))).map_err(e)?;
    polyline(&root, EVAL, &thin_out(evals.iter().map(|&(x, y)| place(x, y)))).map_err(e)?;

    root.draw(&Rectangle::new([(left, top), (right, bottom)], BLACK.stroke_width(SCALE as u32))).map_err(e)?;
    for x in x_axis.ticks() {
        let at = x_axis.place(x, left, right);
        root.draw(&PathElement::new([(at, bottom), (at, bottom + 7 * SCALE)], BLACK.stroke_width(SCALE as u32)))
            .map_err(e)?;
        text(&root, &x_axis.label(x), (at, bottom + 13 * SCALE), 26, HPos::Center, VPos::Top).map_err(e)?;
    }
    for y in y_axis.ticks() {
        let at = y_axis.place(y, bottom, top);
        root.draw(&PathElement::new([(left - 7 * SCALE, at), (left, at)], BLACK.stroke_width(SCALE as u32)))
            .map_err(e)?;
        text(&root, &y_axis.label(y), (left - 13 * SCALE, at), 26, HPos::Right, VPos::Center).map_err(e)?;
    }
    text(&root, "step", ((left + right) / 2, bottom + 52 * SCALE), 28, HPos::Center, VPos::Top).map_err(e)?;
    let style = style(28, HPos::Center, VPos::Center);
    let turned = TextStyle { font: style.font.clone().transform(FontTransform::Rotate270), ..style };
    root.draw(&Text::new(y_label, (48 * SCALE, (top + bottom) / 2), turned)).map_err(e)?;
    text(&root, &shorten(title, 72), ((left + right) / 2, top - 16 * SCALE), 32, HPos::Center, VPos::Bottom)
        .map_err(e)?;
    legend(&root, right - 232 * SCALE, top + 14 * SCALE, !evals.is_empty()).map_err(e)?;
    root.present().map_err(e)
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

fn legend<'a>(root: &Area<'a>, left: i32, top: i32, evals: bool) -> Drawn<'a> {
    let rows = &[(PALE, "original"), (STRONG, "smoothed"), (EVAL, "evaluation")][..if evals { 3 } else { 2 }];
    let corners = [(left, top), (left + 218 * SCALE, top + (12 + 40 * rows.len() as i32) * SCALE)];
    root.draw(&Rectangle::new(corners, WHITE.filled()))?;
    root.draw(&Rectangle::new(corners, RGBColor(204, 204, 204).stroke_width(SCALE as u32)))?;
    for (row, (colour, name)) in (0..).zip(rows) {
        let y = top + (26 + 40 * row) * SCALE;
        polyline(root, *colour, &[(left + 14 * SCALE, y), (left + 68 * SCALE, y)])?;
        text(root, name, (left + 88 * SCALE, y), 26, HPos::Left, VPos::Center)?;
    }
    Ok(())
}

fn style(size: i32, h: HPos, v: VPos) -> TextStyle<'static> {
    TextStyle::from((FONT, size * SCALE).into_font()).color(&BLACK).pos(Pos::new(h, v))
}

fn text<'a>(root: &Area<'a>, text: &str, at: (i32, i32), size: i32, h: HPos, v: VPos) -> Drawn<'a> {
    // plotters centres the line's box, which has more room below the digits than above them.
    let down = if matches!(v, VPos::Center) { size * SCALE / 8 } else { 0 };
    root.draw(&Text::new(text, (at.0, at.1 + down), style(size, h, v)))
}

/// A line through `points` with round joints; a single point becomes a dot.
fn polyline<'a>(root: &Area<'a>, colour: RGBColor, points: &[(i32, i32)]) -> Drawn<'a> {
    let width = LINE_WIDTH * SCALE;
    for pair in points.windows(2) {
        root.draw(&PathElement::new([pair[0], pair[1]], colour.stroke_width(width as u32)))?;
    }
    for &point in points {
        root.draw(&Circle::new(point, width / 2 - 1, colour.filled()))?;
    }
    Ok(())
}

/// Of the points in one column of pixels, only the first, the lowest, the highest and the last are kept: the picture is
/// the same, and a long run's 100,000 points do not take seconds.
fn thin_out(points: impl Iterator<Item = (i32, i32)>) -> Vec<(i32, i32)> {
    let mut kept: Vec<(i32, i32)> = Vec::new();
    let mut column: Vec<(i32, i32)> = Vec::new();
    let mut flush = |column: &mut Vec<(i32, i32)>| {
        if column.len() > 4 {
            let low = (0..column.len()).min_by_key(|&i| column[i].1).unwrap_or(0);
            let high = (0..column.len()).max_by_key(|&i| column[i].1).unwrap_or(0);
            let mut indices = [0, low, high, column.len() - 1];
            indices.sort_unstable();
            kept.extend(indices.map(|i| column[i]));
        } else {
            kept.append(column);
        }
        column.clear();
    };
    for point in points {
        if column.first().is_some_and(|first| first.0 != point.0) {
            flush(&mut column);
        }
        column.push(point);
    }
    flush(&mut column);
    kept
}

/// The end of a title that is too long: that is where a path differs from its neighbours.
fn shorten(title: &str, max: usize) -> String {
    let count = title.chars().count();
    if count <= max {
        title.to_owned()
    } else {
        format!("…{}", title.chars().skip(count - max + 1).collect::<String>())
    }
}

/// One axis: what it spans, and where its ticks are.
struct Axis {
    min: f64,
    max: f64,
    tick: f64,
}

impl Axis {
    /// Spans `values` and 5 % around them; ticks are at least `min_tick` apart.
    fn new(values: impl Iterator<Item = f64>, min_tick: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        // A flat line needs some room, too; the smallest one keeps the ticks apart in f64.
        let margin =
            ((high - low) * 0.05).max(if high - low > low.abs() * 1e-9 { 0.0 } else { low.abs().max(1.0) * 0.05 });
        let (min, max) = (low - margin, high + margin);
        let rough = (max - min) / 10.0;
        let power = 10f64.powf(rough.log10().floor());
        let round = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| (m * power).max(min_tick));
        // Ticks of steps are whole: none at 2.5.
        let tick =
            round.into_iter().find(|&tick| tick >= rough && (min_tick == 0.0 || tick.fract() == 0.0)).unwrap_or(rough);
        Self { min, max, tick }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let first = (self.min / self.tick).ceil();
        (0..20).map(move |i| (first + f64::from(i)) * self.tick).take_while(|&v| v <= self.max)
    }

    fn label(&self, value: f64) -> String {
        if !(1e-4..1e7).contains(&self.tick) {
            return format!("{value:e}");
        }
        let decimals = (0..6).find(|&d| (self.tick * 10f64.powi(d)).fract().abs() < 1e-9).unwrap_or(6);
        // No "-0.0".
        let value = if value.abs() < self.tick / 2.0 { 0.0 } else { value };
        format!("{value:.*}", decimals as usize)
    }

    /// Pixel of a value, between the pixels of the axis's ends.
    fn place(&self, value: f64, from: i32, to: i32) -> i32 {
        from + ((value - self.min) / (self.max - self.min) * f64::from(to - from)).round() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_equals_llamafactory() {
        // From extras/ploting.py: smooth([12.148408889770508, 12.244701385498047, 11.871713638305664])
        let smoothed = smooth(&[12.148408889770508, 12.244701385498047, 11.871713638305664]);
        let golden = [12.148408889770506, 12.238213801696924, 11.896406118287212];
        for (ours, golden) in smoothed.iter().zip(golden) {
            assert!((ours - golden).abs() < 1e-12, "{ours} {golden}");
        }
        assert!(smooth(&[]).is_empty());
    }

    #[test]
    fn plots_have_both_curves_and_the_evaluations_their_own_file() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        let mut history: Vec<LogEntry> = (1..40)
            .map(|step| LogEntry {
                step,
                loss: Some(2.0 + 1.0 / step as f64 + 0.3 * (step as f64).sin()),
                ..LogEntry::default()
            })
            .collect();
        assert_eq!(plot_losses(&dir, &history).unwrap(), [dir.join("training_loss.png")]);
        history.push(LogEntry { step: 40, eval_loss: Some(1.0), ..LogEntry::default() });
        history.push(LogEntry { step: 41, loss: Some(f64::NAN), ..LogEntry::default() });
        assert_eq!(plot_losses(&dir, &history).unwrap().len(), 2);
        let picture = image::open(dir.join("training_loss.png")).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (WIDTH, HEIGHT));
        for colour in [STRONG, PALE] {
            let count = picture.pixels().filter(|p| p.0 == [colour.0, colour.1, colour.2]).count();
            assert!(count > 1000, "{count} pixels of {colour:?}");
        }
    }

    #[test]
    fn evaluations_are_drawn_over_the_curve_and_named() {
        let count = |evals: &[(f64, f64)]| {
            let png = chart_png("both", "loss", &[(1.0, 2.0), (9.0, 1.0)], evals).unwrap();
            let picture = image::load_from_memory(&png).unwrap().to_rgb8();
            picture.pixels().filter(|p| p.0 == [EVAL.0, EVAL.1, EVAL.2]).count()
        };
        assert_eq!(count(&[]), 0);
        assert!(count(&[(4.0, 2.5), (8.0, 0.5)]) > 1000);
    }

    #[test]
    fn extreme_curves_are_drawn_without_panic() {
        for points in [
            vec![(1.0, 0.0)],
            vec![(1.0, 5.0), (2.0, 5.0)],
            vec![(1.0, 1e-30), (2.0, 3e-30)],
            vec![(1.0, -1e30), (2.0, 1e30)],
            vec![(1e15, 1.0), (1e15 + 1.0, 1.0 + 1e-15)],
        ] {
            assert!(!curve_png("flat", "loss", &points).unwrap().is_empty());
        }
    }

    #[test]
    fn thinning_keeps_the_extremes_of_a_column() {
        let points = (0..1000).map(|i| (i / 100, (i * 7919) % 1000));
        let thin = thin_out(points.clone());
        assert!(thin.len() <= 40);
        for column in 0..10 {
            let bounds = |points: &mut dyn Iterator<Item = (i32, i32)>| {
                let ys: Vec<i32> = points.filter(|p| p.0 == column).map(|p| p.1).collect();
                (ys.iter().min().copied(), ys.iter().max().copied())
            };
            assert_eq!(bounds(&mut thin.iter().copied()), bounds(&mut points.clone()));
        }
    }

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
    }
}
