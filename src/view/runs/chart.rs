//! The chart: raw values pale, smoothed ones strong, evaluations as marks; several runs over each other; a cursor with the
//! values of all of them.
use super::super::ui::Ui;
use super::super::words;
use crate::app::Action;
use crate::app::runs::chart::Metric;
use crate::app::runs::series::{Axis, Bucket, Column, Point, Series, WEIGHTS, x_of, x_of_eval};
use crate::app::runs::{Msg, Part};
use crate::term::caps::Colours;
use crate::text::runs as text;
use lightbox_core::runs::progress::short_time;
use lightbox_core::safe_text::clean_line;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::{Canvas, Context, Line as Stroke, Points};

/// Where there is no colour, curves differ by what they are drawn with.
const MARKERS: [(Marker, &str); 6] = [
    (Marker::Braille, "⠶"),
    (Marker::Dot, "•"),
    (Marker::Custom('+'), "+"),
    (Marker::Custom('x'), "x"),
    (Marker::Custom('o'), "o"),
    (Marker::Block, "█"),
];

/// A curve, ready to be drawn.
struct Curve<'a> {
    name: String,
    series: &'a Series,
    color: Color,
    marker: Marker,
    symbol: &'static str,
    raw: Vec<Bucket>,
    /// Empty for what is not smoothed.
    strong: Vec<Bucket>,
    evals: Vec<(f64, f64)>,
}

pub fn draw(ui: &mut Ui, area: Rect) {
    let chart = &ui.app.runs.chart;
    let mut title = vec![ui.t(text::metric(chart.metric)).to_owned()];
    if chart.log {
        title.push(ui.t(text::LOG).into());
    }
    title.push(ui.t(if chart.axis == Axis::Step { text::BY_STEP } else { text::BY_TIME }).into());
    if chart.metric == Metric::Loss {
        title.push(format!("{} {}", ui.t(text::SMOOTHED), WEIGHTS[chart.smoothing]));
    }
    let inner = ui.panel(area, &title.join(" · "), ui.app.runs.focus == Part::Chart);
    if let Some(note) = note(ui) {
        ui.panel_note(area, &note);
    }
    if inner.height < 4 || inner.width < 20 {
        return;
    }
    let full = ui.app.runs.extent();
    let range = ui.app.runs.chart.visible(full);
    // two dots of braille a column
    let curves = curves(ui, range, usize::from(inner.width) * 2);
    if curves.iter().all(|curve| curve.series.is_empty()) {
        let whole = ui.app.runs.chosen.as_ref().and_then(|path| ui.app.runs.curves.get(path)).is_some_and(|c| c.whole);
        let text = ui.t(if whole { text::NO_CURVE } else { text::READING });
        return ui.line(inner, Line::styled(format!(" {text}"), ui.theme.dim));
    }
    let log = ui.app.runs.chart.log;
    let Some(bounds) = bounds(&curves, log) else {
        return ui.line(inner, Line::styled(format!(" {}", ui.t(text::NO_VALUES)), ui.theme.dim));
    };
    let metric = ui.app.runs.chart.metric;
    let label = |y: f64| value(metric, if log { 10f64.powf(y) } else { y });
    let legend = Rect { height: 1, ..inner };
    self::legend(ui, legend, &curves);
    let height = inner.height.saturating_sub(3);
    let ticks: Vec<(u16, String)> = y_ticks(height, bounds).map(|(row, y)| (row, label(y))).collect();
    let left = ticks.iter().map(|(_, text)| words::width(text)).max().unwrap_or(0).max(5) as u16 + 1;
    let plot = Rect { x: inner.x + left, y: inner.y + 1, width: inner.width.saturating_sub(left), height };
    y_axis(ui, Rect { x: inner.x, width: left - 1, ..plot }, &ticks);
    x_axis(ui, Rect { y: plot.bottom(), height: 1, ..plot }, range);
    strokes(ui, plot, &curves, range, bounds);
    cursor(ui, plot, range);
    readout(ui, Rect { y: inner.bottom() - 1, height: 1, ..inner });
    ui.note_list(plot, Part::Chart.list(), 0, 0, |n| Action::Runs(Msg::Zoom(n)));
    ui.point(plot, |column, _| Action::Runs(Msg::ChartAt(column)));
}

fn curves<'a>(ui: &Ui<'a>, range: (f64, f64), columns: usize) -> Vec<Curve<'a>> {
    let runs = &ui.app.runs;
    let (chart, colourless) = (&runs.chart, ui.theme.colours == Colours::None);
    let overlaid = runs.overlaid();
    let mut curves = Vec::new();
    for (colour, path) in overlaid {
        let Some(curve) = runs.curves.get(&path) else { continue };
        let series = &curve.series;
        let name = runs.row_of(&path).map_or_else(
            || path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            |row| row.summary.name.clone(),
        );
        let column = chart.metric.column();
        let loss = column == Some(Column::Loss);
        let evals = series.evals().iter().filter_map(|e| Some((x_of_eval(e, chart.axis), chart.metric.of_eval(e)?)));
        let evals: Vec<(f64, f64)> = evals.collect();
        let (marker, symbol) = if colourless { MARKERS[colour % MARKERS.len()] } else { (Marker::Braille, "●") };
        curves.push(Curve {
            name: clean_line(&name, 60),
            series,
            color: ui.theme.series[colour % ui.theme.series.len()],
            marker,
            symbol,
            raw: match column {
                Some(column) => series.downsample(column, chart.axis, range, columns),
                None => between(&evals, range),
            },
            strong: if loss { series.downsample(Column::Smooth, chart.axis, range, columns) } else { Vec::new() },
            evals: evals.into_iter().filter(|(x, _)| (range.0..=range.1).contains(x)).collect(),
        });
    }
    if curves.len() > 1 {
        // raw values of several runs are a cloud: only what is smoothed can be told apart
        curves.iter_mut().filter(|curve| !curve.strong.is_empty()).for_each(|curve| curve.raw.clear());
    }
    curves
}

/// Points of evaluations, which are few, each for itself; one more on either side, so that a line goes on to the edge.
fn between(evals: &[(f64, f64)], (from, to): (f64, f64)) -> Vec<Bucket> {
    let start = evals.partition_point(|(x, _)| *x < from).saturating_sub(1);
    let end = (evals.partition_point(|(x, _)| *x <= to) + 1).min(evals.len());
    evals[start.min(end)..end].iter().map(|&(x, y)| Bucket { x, min: y, max: y, mean: y }).collect()
}

/// The lowest and the highest value, with a little air; on the logarithm where that is wanted.
fn bounds(curves: &[Curve], log: bool) -> Option<(f64, f64)> {
    let buckets = curves.iter().flat_map(|c| c.raw.iter().chain(&c.strong)).flat_map(|b| [b.min, b.max]);
    let evals = curves.iter().flat_map(|c| c.evals.iter().map(|(_, y)| *y));
    let values = buckets.chain(evals).filter_map(|y| scaled(y, log));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)));
    if low > high {
        return None;
    }
    let air = if high > low { (high - low) * 0.03 } else { (high.abs() * 0.05).max(1e-9) };
    // no air below zero, where these values cannot be
    let floor = if !log && low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
    Some(((low - air).max(floor), high + air))
}

/// `None`: it has no place on the axis.
fn scaled(y: f64, log: bool) -> Option<f64> {
    if log { (y > 0.0).then(|| y.log10()) } else { y.is_finite().then_some(y) }
}

fn strokes(ui: &mut Ui, plot: Rect, curves: &[Curve], range: (f64, f64), bounds: (f64, f64)) {
    let log = ui.app.runs.chart.log;
    let pale = ui.theme.dim.fg.unwrap_or(Color::Reset);
    let background = ui.theme.base.bg.unwrap_or(Color::Reset);
    let canvas = Canvas::default()
        .background_color(background)
        .x_bounds([range.0, range.1])
        .y_bounds([bounds.0, bounds.1])
        .paint(|ctx| {
            for curve in curves {
                if curve.strong.is_empty() {
                    ctx.marker(curve.marker);
                    path(ctx, &curve.raw, log, curve.color);
                } else {
                    ctx.marker(Marker::Braille);
                    spread(ctx, &curve.raw, log, pale);
                }
            }
            for curve in curves {
                ctx.marker(curve.marker);
                path(ctx, &curve.strong, log, curve.color);
            }
            for curve in curves {
                let style = Style::new().fg(curve.color);
                for (x, y) in curve.evals.iter().filter_map(|(x, y)| Some((*x, scaled(*y, log)?))) {
                    ctx.print(x, y, Span::styled("◆", style));
                }
            }
        });
    ui.render(canvas, plot);
}

/// A line through the means, and from the lowest to the highest value of each column.
fn path(ctx: &mut Context, buckets: &[Bucket], log: bool, color: Color) {
    spread(ctx, buckets, log, color);
    let points: Vec<(f64, f64)> = buckets.iter().filter_map(|b| Some((b.x, scaled(b.mean, log)?))).collect();
    for pair in points.windows(2) {
        ctx.draw(&Stroke { x1: pair[0].0, y1: pair[0].1, x2: pair[1].0, y2: pair[1].1, color });
    }
}

fn spread(ctx: &mut Context, buckets: &[Bucket], log: bool, color: Color) {
    for bucket in buckets {
        match (scaled(bucket.min, log), scaled(bucket.max, log)) {
            (Some(low), Some(high)) if high > low => {
                ctx.draw(&Stroke { x1: bucket.x, y1: low, x2: bucket.x, y2: high, color });
            }
            (_, Some(y)) => ctx.draw(&Points { coords: &[(bucket.x, y)], color }),
            _ => {}
        }
    }
}

fn legend(ui: &mut Ui, area: Rect, curves: &[Curve]) {
    let chart = &ui.app.runs.chart;
    let single = curves.len() == 1;
    let mut spans = Vec::new();
    // where there is little room the names are wanted more than the values
    let share = usize::from(area.width) / curves.len().max(1);
    let valued = share >= 24;
    let room = share.saturating_sub(if valued { 12 } else { 4 }).clamp(3, 40);
    for curve in curves {
        let style = Style::new().fg(curve.color);
        if single {
            let loss = !curve.strong.is_empty();
            let what = if loss { ui.t(text::SMOOTHED) } else { ui.t(text::metric(chart.metric)) };
            spans.push(Span::styled(format!(" {} ", curve.symbol), style));
            spans.push(Span::raw(what));
            if loss {
                spans.push(Span::styled(format!("  ⠶ {}", ui.t(text::RAW)), ui.theme.dim));
            }
            if !curve.evals.is_empty() {
                spans.push(Span::styled("  ◆ ", style));
                spans.push(Span::raw(ui.t(text::EVALUATION)));
            }
            continue;
        }
        spans.push(Span::styled(format!(" {} ", curve.symbol), style));
        spans.push(Span::raw(words::cut(&curve.name, room)));
        let column = if curve.strong.is_empty() { chart.metric.column() } else { Some(Column::Smooth) };
        let point = chart.cursor.and_then(|x| curve.series.nearest(chart.axis, x)).or_else(|| curve.series.last());
        let y = match column {
            Some(column) => point.and_then(|point| point.get(column)),
            None => curve
                .series
                .eval_before(chart.axis, chart.cursor.unwrap_or(f64::INFINITY))
                .and_then(|e| chart.metric.of_eval(e)),
        };
        if let Some(y) = y.filter(|_| valued) {
            spans.push(Span::styled(format!(" {}", value(chart.metric, y)), ui.theme.strong));
        }
    }
    ui.line(area, Line::from(spans));
}

/// Rows with a label, from the top, and their values.
fn y_ticks(height: u16, (low, high): (f64, f64)) -> impl Iterator<Item = (u16, f64)> {
    let last = height.saturating_sub(1);
    let steps = (height / 4).clamp(1, 8);
    // weighted ends: `high - (high - low)` would leave a rest of rounding where the axis begins at 0
    let at = move |row: u16| f64::from(row) / f64::from(last.max(1));
    (0..=steps).map(move |i| last * i / steps).map(move |row| (row, high * (1.0 - at(row)) + low * at(row)))
}

fn y_axis(ui: &mut Ui, area: Rect, ticks: &[(u16, String)]) {
    for (row, text) in ticks {
        let text = words::pad_left(text, area.width.into());
        ui.line(Rect { y: area.y + row, height: 1, ..area }, Line::styled(text, ui.theme.dim));
    }
}

fn x_axis(ui: &mut Ui, area: Rect, range: (f64, f64)) {
    let axis = ui.app.runs.chart.axis;
    let label = |x: f64| match axis {
        Axis::Step => words::count(x.max(0.0).round() as u64),
        Axis::Time => short_time(x.max(0.0)),
    };
    let ends = [label(range.0), label((range.0 + range.1) / 2.0), label(range.1)];
    let width = usize::from(area.width);
    let (w0, w1, w2) = (words::width(&ends[0]), words::width(&ends[1]), words::width(&ends[2]));
    let middle = (width / 2).saturating_sub(w1 / 2);
    let mut line = ends[0].clone();
    if middle > w0 && middle + w1 + w2 + 1 < width {
        line += &" ".repeat(middle - w0);
        line += &ends[1];
    }
    let gap = width.saturating_sub(words::width(&line) + w2);
    line += &" ".repeat(gap);
    line += &ends[2];
    ui.line(area, Line::styled(line, ui.theme.dim));
}

/// A line where the cursor is; curves stay over it.
fn cursor(ui: &mut Ui, plot: Rect, range: (f64, f64)) {
    let Some(x) = ui.app.runs.chart.cursor.filter(|x| (range.0..=range.1).contains(x)) else { return };
    let share = (x - range.0) / (range.1 - range.0);
    let column = plot.x + ((f64::from(plot.width) - 1.0) * share).round() as u16;
    for y in plot.top()..plot.bottom() {
        let style = ui.theme.accent;
        let cell = &mut ui.buf[(column, y)];
        if matches!(cell.symbol(), " " | "\u{2800}") {
            cell.set_symbol("│").set_style(style);
        }
    }
}

/// The exact values at the cursor, or of the newest update.
fn readout(ui: &mut Ui, area: Rect) {
    let runs = &ui.app.runs;
    let Some(series) = runs.series() else { return };
    let axis = runs.chart.axis;
    let point = match runs.chart.cursor {
        Some(x) => series.nearest(axis, x),
        None => series.last(),
    };
    let Some(point) = point else { return };
    let style = if runs.chart.cursor.is_some() { ui.theme.strong } else { ui.theme.dim };
    let parts = values(ui, series, &point);
    // the first ones are the ones that are wanted most: what does not fit is left out
    let mut line = String::new();
    for part in parts {
        if words::width(&line) + words::width(&part) + 4 > usize::from(area.width) {
            break;
        }
        line += if line.is_empty() { " " } else { " · " };
        line += &part;
    }
    ui.line(area, Line::styled(line, style));
}

fn values(ui: &Ui, series: &Series, point: &Point) -> Vec<String> {
    let get = |name, column, metric| point.get(column).map(|y| format!("{} {}", ui.t(name), value(metric, y)));
    let mut parts = vec![format!("{} {}", ui.t(text::BY_STEP), words::count(point.step))];
    let (axis, metric) = (ui.app.runs.chart.axis, ui.app.runs.chart.metric);
    let eval = series.eval_before(axis, x_of(point, axis));
    let at = |step: u64| text::AT_STEP.fill(ui.app.lang(), &[&words::count(step)]);
    if metric.column().is_none()
        && let Some((eval, y)) = eval.and_then(|eval| Some((eval, metric.of_eval(eval)?)))
    {
        parts.push(format!("{} {} {}", ui.t(text::metric(metric)), value(metric, y), at(eval.step)));
    }
    parts.extend(get(text::LOSS, Column::Loss, Metric::Loss));
    parts.extend(get(text::SMOOTHED, Column::Smooth, Metric::Loss));
    if let Some(eval) = eval {
        parts.push(format!("{} {} {}", ui.t(text::EVALUATION), value(Metric::Loss, eval.loss), at(eval.step)));
    }
    parts.extend(get(text::LR, Column::Lr, Metric::Lr));
    parts.extend(get(text::GRAD_NORM, Column::GradNorm, Metric::GradNorm));
    parts.push(short_time(point.secs));
    parts.extend(point.get(Column::Speed).map(|y| text::TOKENS.fill(ui.app.lang(), &[&value(Metric::Speed, y)])));
    parts.extend(get(text::MEMORY, Column::MemBytes, Metric::Memory));
    parts.extend(eval.and_then(|eval| eval.answers).map(|answers| text::answers(&answers, ui.app.lang())));
    parts
}

fn value(metric: Metric, y: f64) -> String {
    match metric {
        Metric::Loss | Metric::GradNorm if y.abs() >= 1_000.0 || (y != 0.0 && y.abs() < 1e-3) => format!("{y:.2e}"),
        Metric::Loss => format!("{y:.4}"),
        Metric::GradNorm => format!("{y:.3}"),
        Metric::Lr => format!("{y:.2e}"),
        Metric::Speed => words::count(y.max(0.0).round() as u64),
        Metric::Memory => words::size(y.max(0.0) as u64),
        Metric::ExactMatch => format!("{y:.1} %"),
        Metric::Bleu4 | Metric::Rouge1 | Metric::Rouge2 | Metric::RougeL => format!("{y:.2}"),
    }
}

/// Where the cursor is in a zoomed chart, and what could not be read.
fn note(ui: &Ui) -> Option<String> {
    let curve = ui.app.runs.curves.get(ui.app.runs.chosen.as_ref()?)?;
    (curve.damaged > 0).then(|| text::DAMAGED_LINES.fill(ui.app.lang(), &[&curve.damaged]))
}
