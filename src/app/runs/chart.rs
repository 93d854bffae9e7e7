//! How the chart is looked at: which metric, which part of it, and where the cursor is. Pure arithmetic; nothing here knows
//! a terminal.
use super::series::{Axis, Column, Eval};

/// What the chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    #[default]
    Loss,
    Lr,
    GradNorm,
    Speed,
    Memory,
    /// This and the rest: of the answers at evaluations.
    Bleu4,
    Rouge1,
    Rouge2,
    RougeL,
    ExactMatch,
}

impl Metric {
    pub const ALL: [Self; 10] = [
        Self::Loss,
        Self::Lr,
        Self::GradNorm,
        Self::Speed,
        Self::Memory,
        Self::Bleu4,
        Self::Rouge1,
        Self::Rouge2,
        Self::RougeL,
        Self::ExactMatch,
    ];

    /// Of an update. `None`: it is measured at evaluations alone.
    pub fn column(self) -> Option<Column> {
        Some(match self {
            Self::Loss => Column::Loss,
            Self::Lr => Column::Lr,
            Self::GradNorm => Column::GradNorm,
            Self::Speed => Column::Speed,
            Self::Memory => Column::MemBytes,
            Self::Bleu4 | Self::Rouge1 | Self::Rouge2 | Self::RougeL | Self::ExactMatch => return None,
        })
    }

    /// Of an evaluation, as far as it is measured there.
    pub fn of_eval(self, eval: &Eval) -> Option<f64> {
        let value = match self {
            Self::Loss => eval.loss,
            Self::Bleu4 => eval.answers?.bleu_4,
            Self::Rouge1 => eval.answers?.rouge_1,
            Self::Rouge2 => eval.answers?.rouge_2,
            Self::RougeL => eval.answers?.rouge_l,
            Self::ExactMatch => eval.answers?.exact_match,
            Self::Lr | Self::GradNorm | Self::Speed | Self::Memory => return None,
        };
        Some(value).filter(|x| x.is_finite())
    }
}

/// A part of the axis. While it ends where the data ends, it goes on with the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    pub width: f64,
    /// `None`: at the end of the data.
    pub end: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    pub metric: Metric,
    pub log: bool,
    pub axis: Axis,
    /// `None`: all of it.
    pub window: Option<Window>,
    /// A place on the axis.
    pub cursor: Option<f64>,
    /// Which of [`super::series::WEIGHTS`].
    pub smoothing: usize,
}

impl Chart {
    /// From where to where is shown, of data that reaches so far.
    pub fn visible(&self, full: (f64, f64)) -> (f64, f64) {
        let (from, to) = match self.window {
            None => full,
            Some(Window { width, end }) => {
                let end = end.unwrap_or(full.1).min(full.1).max(full.0 + width.min(full.1 - full.0));
                ((end - width).max(full.0), end)
            }
        };
        // one single update still needs some room
        if to > from { (from, to) } else { (from - 0.5, to + 0.5) }
    }

    /// Nearer (`by` < 1) or further, around the cursor, else around the end.
    pub fn zoom(&mut self, by: f64, full: (f64, f64)) {
        let (from, to) = self.visible(full);
        let all = full.1 - full.0;
        let width = ((to - from) * by).max(f64::min(10.0, all));
        if width >= all {
            self.window = None;
            return;
        }
        let centre = self.cursor.filter(|x| (from..=to).contains(x));
        let end = centre.map(|x| x + width * ((to - x) / (to - from)).clamp(0.0, 1.0)).filter(|end| *end < full.1);
        self.window = Some(Window { width, end });
    }

    /// By so many parts of what is visible; negative is to the left.
    pub fn pan(&mut self, by: f64, full: (f64, f64)) {
        let Some(window) = self.window else { return };
        let end = window.end.unwrap_or(full.1) + by * window.width;
        let end = end.max(full.0 + window.width);
        self.window = Some(Window { end: (end < full.1).then_some(end), ..window });
    }

    pub fn reset(&mut self) {
        (self.window, self.cursor) = (None, None);
    }

    /// The cursor by so many of `columns` columns; it begins at the end, and the window goes with it.
    pub fn move_cursor(&mut self, by: isize, columns: u16, full: (f64, f64)) {
        let (from, to) = self.visible(full);
        let column = (to - from) / f64::from(columns.max(1));
        let x = match self.cursor {
            // one column is often less than one update: at least that far
            Some(x) => x + by as f64 * if self.axis == Axis::Step { column.max(1.0) } else { column },
            None => to,
        };
        let x = x.clamp(full.0, full.1);
        self.cursor = Some(x);
        if x < from {
            self.pan((x - from) / (to - from), full);
        } else if x > to {
            self.pan((x - to) / (to - from), full);
        }
    }

    /// Puts the cursor into a column, as a click does.
    pub fn point_at(&mut self, column: u16, columns: u16, full: (f64, f64)) {
        let (from, to) = self.visible(full);
        let share = (f64::from(column) + 0.5) / f64::from(columns.max(1));
        let x = from + share * (to - from);
        self.cursor = Some(if self.axis == Axis::Step { x.round() } else { x }.clamp(full.0, full.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: (f64, f64) = (0.0, 1000.0);

    #[test]
    fn a_window_at_the_end_goes_on_with_the_data_and_one_that_was_moved_stays() {
        let mut chart = Chart::default();
        assert_eq!(chart.visible(FULL), FULL);
        chart.zoom(0.5, FULL);
        assert_eq!(chart.visible(FULL), (500.0, 1000.0));
        assert_eq!(chart.visible((0.0, 1100.0)), (600.0, 1100.0));
        chart.pan(-0.5, FULL);
        assert_eq!(chart.visible(FULL), (250.0, 750.0));
        assert_eq!(chart.visible((0.0, 1100.0)), (250.0, 750.0));
        chart.pan(-9.0, FULL);
        assert_eq!(chart.visible(FULL), (0.0, 500.0), "not before the beginning");
        chart.pan(9.0, FULL);
        assert_eq!(chart.visible((0.0, 2000.0)), (1500.0, 2000.0), "at the end again");
        chart.zoom(4.0, FULL);
        assert_eq!(chart.window, None);
    }

    #[test]
    fn zooming_keeps_the_cursor_where_it_is_on_the_screen() {
        let mut chart = Chart { cursor: Some(250.0), ..Chart::default() };
        chart.zoom(0.5, FULL);
        assert_eq!(chart.visible(FULL), (125.0, 625.0));
        for _ in 0..50 {
            chart.zoom(0.5, FULL);
        }
        let (from, to) = chart.visible(FULL);
        assert!((to - from - 10.0).abs() < 1e-9 && from < 250.0 && to > 250.0, "{from} {to}");
    }

    #[test]
    fn the_cursor_begins_at_the_end_moves_by_columns_and_takes_the_window_along() {
        let mut chart = Chart { window: Some(Window { width: 100.0, end: Some(500.0) }), ..Chart::default() };
        chart.move_cursor(-1, 50, FULL);
        assert_eq!(chart.cursor, Some(500.0));
        chart.move_cursor(-1, 50, FULL);
        assert_eq!(chart.cursor, Some(498.0));
        chart.move_cursor(-100, 50, FULL);
        assert_eq!(chart.cursor, Some(298.0));
        assert_eq!(chart.visible(FULL), (298.0, 398.0));
        chart.move_cursor(-1000, 50, FULL);
        assert_eq!(chart.cursor, Some(0.0));
        chart.point_at(25, 50, FULL);
        assert_eq!(chart.cursor, Some(51.0));
    }

    #[test]
    fn one_update_is_a_chart_too() {
        let chart = Chart::default();
        assert_eq!(chart.visible((1.0, 1.0)), (0.5, 1.5));
    }
}
