//! `training_loss.png`: the raw curve pale, the smoothed one strong, as LLaMA-Factory draws it (`extras/ploting.py`)
//! with matplotlib.
use super::RunDir;
use super::trainer_state::LogEntry;
use crate::plot::{self, Axis, Canvas, Drawn, PALE, SECOND, STRONG};
use plotters::backend::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{BLACK, RGBColor, WHITE};
use std::io;
use std::path::PathBuf;

/// Size of the picture. matplotlib's default is half of this, small on today's screens.
const SIZE: (u32, u32) = (1280, 960);
/// The plot's frame in the picture: left, top, right, bottom (matplotlib's proportions).
const FRAME: [i32; 4] = [150, 80, 1236, 846];
const LINE_WIDTH: i32 = 4;

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
    plot::png(SIZE, |canvas| draw(canvas, title, y_label, points, evals))
}

fn draw<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    title: &str,
    y_label: &str,
    points: &[(f64, f64)],
    evals: &[(f64, f64)],
) -> Drawn {
    let smoothed = smooth(&points.iter().map(|p| p.1).collect::<Vec<_>>());
    let smoothed: Vec<(f64, f64)> = points.iter().zip(smoothed).map(|(&(x, _), y)| (x, y)).collect();

    let drawn = || points.iter().chain(evals);
    let x_axis = Axis::new(drawn().map(|p| p.0), 1.0);
    // The smoothed curve lies within the bounds of the raw one.
    let y_axis = Axis::new(drawn().map(|p| p.1), 0.0);
    let [left, top, right, bottom] = FRAME;
    let [fine_left, fine_top, fine_right, fine_bottom] = FRAME.map(|v| v * canvas.fine());
    let curve = |points: &[(f64, f64)], colour| {
        let place =
            |&(x, y): &(f64, f64)| (x_axis.place(x, fine_left, fine_right), y_axis.place(y, fine_bottom, fine_top));
        canvas.curve(&thin_out(points.iter().map(place)), colour, LINE_WIDTH)
    };
    curve(points, PALE)?;
    curve(&smoothed, STRONG)?;
    curve(evals, SECOND)?;

    canvas.frame((left, top, right, bottom), BLACK)?;
    for x in x_axis.ticks() {
        let at = x_axis.place(x, left, right);
        canvas.line(&[(at, bottom), (at, bottom + 7)], BLACK, 1)?;
        canvas.text(&x_axis.label(x), (at, bottom + 13), 26, (HPos::Center, VPos::Top), BLACK)?;
    }
    for y in y_axis.ticks() {
        let at = y_axis.place(y, bottom, top);
        canvas.line(&[(left - 7, at), (left, at)], BLACK, 1)?;
        canvas.text(&y_axis.label(y), (left - 13, at), 26, (HPos::Right, VPos::Center), BLACK)?;
    }
    canvas.text("step", ((left + right) / 2, bottom + 52), 28, (HPos::Center, VPos::Top), BLACK)?;
    canvas.text_upwards(y_label, (48, (top + bottom) / 2), 28, BLACK)?;
    let title = plot::shorten(title, 72);
    canvas.text(&title, ((left + right) / 2, top - 16), 32, (HPos::Center, VPos::Bottom), BLACK)?;
    legend(canvas, right - 232, top + 14, !evals.is_empty())
}

fn legend<DB: DrawingBackend>(canvas: &Canvas<DB>, left: i32, top: i32, evals: bool) -> Drawn {
    let rows = &[(PALE, "original"), (STRONG, "smoothed"), (SECOND, "evaluation")][..if evals { 3 } else { 2 }];
    let edge = (left, top, left + 218, top + 12 + 40 * rows.len() as i32);
    canvas.rect(edge, WHITE)?;
    canvas.frame(edge, RGBColor(204, 204, 204))?;
    for (row, (colour, name)) in (0..).zip(rows) {
        let y = top + 26 + 40 * row;
        let ends = [(left + 14, y), (left + 68, y)].map(|(x, y)| (x * canvas.fine(), y * canvas.fine()));
        canvas.curve(&ends, *colour, LINE_WIDTH)?;
        canvas.text(name, (left + 88, y), 26, (HPos::Left, VPos::Center), BLACK)?;
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
        assert_eq!(picture.dimensions(), SIZE);
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
            picture.pixels().filter(|p| p.0 == [SECOND.0, SECOND.1, SECOND.2]).count()
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
}
