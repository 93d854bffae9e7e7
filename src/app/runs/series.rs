//! A run's curves in memory: one row an update, appended to while the run goes on. Zoomed views of 200,000 updates are made
//! from it for each frame, so it is plain columns and binary searches.

/// What is measured at an update; the index into [`Point::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Loss,
    /// [`Column::Loss`] as an exponential mean.
    Smooth,
    Lr,
    GradNorm,
    /// Tokens a second.
    Speed,
    MemBytes,
    /// Milliseconds of the update.
    Ms,
}

const COLUMNS: usize = 7;

/// One update. A value that is not there (or not finite) is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub step: u64,
    /// Seconds of work since the run began; breaks between attempts do not count.
    pub secs: f64,
    /// As they are measured: a loss has 32 bits to begin with.
    pub values: [f32; COLUMNS],
}

impl Point {
    pub fn new(step: u64, secs: f64) -> Self {
        Self { step, secs, values: [f32::NAN; COLUMNS] }
    }

    pub fn get(&self, column: Column) -> Option<f64> {
        Some(f64::from(self.values[column as usize])).filter(|x| x.is_finite())
    }

    pub fn set(&mut self, column: Column, value: Option<f64>) {
        self.values[column as usize] = value.map_or(f32::NAN, |x| x as f32);
    }
}

/// One evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eval {
    pub step: u64,
    pub secs: f64,
    pub loss: f64,
}

/// What is counted from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Axis {
    #[default]
    Step,
    Time,
}

/// All updates that fall into one column of the screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub x: f64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
}

/// News of a run's curves, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Point(Point),
    Eval(Eval),
}

#[derive(Debug, Clone, Default)]
pub struct Series {
    points: Vec<Point>,
    evals: Vec<Eval>,
    weight: f32,
}

/// Weights of the exponential mean that the user can choose from; the first is what LLaMA-Factory's picture of a long run has.
pub const WEIGHTS: [f32; 4] = [0.9, 0.97, 0.99, 0.997];

impl Series {
    pub fn new(weight: f32) -> Self {
        Self { weight, ..Self::default() }
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    pub fn evals(&self) -> &[Eval] {
        &self.evals
    }

    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.evals.is_empty()
    }

    /// Appends. An update that is made again, after a crash, takes the place of the first, and what came after that goes.
    pub fn push(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match entry {
                Entry::Point(point) => self.push_point(point),
                Entry::Eval(eval) => {
                    self.evals.truncate(self.evals.partition_point(|e| e.step < eval.step));
                    self.evals.push(eval);
                }
            }
        }
    }

    fn push_point(&mut self, mut point: Point) {
        if self.points.last().is_some_and(|last| last.step >= point.step) {
            self.points.truncate(self.points.partition_point(|p| p.step < point.step));
            self.evals.truncate(self.evals.partition_point(|e| e.step < point.step));
        }
        point.values[Column::Smooth as usize] = self.smoothed(self.points.last(), &point);
        self.points.push(point);
    }

    fn smoothed(&self, before: Option<&Point>, point: &Point) -> f32 {
        let loss = point.values[Column::Loss as usize];
        let last = before.map_or(f32::NAN, |p| p.values[Column::Smooth as usize]);
        match (last.is_nan(), loss.is_nan()) {
            (true, _) => loss,
            // a loss that is not finite leaves the mean where it was
            (false, true) => last,
            (false, false) => last * self.weight + (1.0 - self.weight) * loss,
        }
    }

    /// Smooths all of it anew.
    pub fn smooth(&mut self, weight: f32) {
        self.weight = weight;
        for i in 0..self.points.len() {
            let before = i.checked_sub(1).map(|i| self.points[i]);
            self.points[i].values[Column::Smooth as usize] = self.smoothed(before.as_ref(), &self.points[i]);
        }
    }

    /// From the first to the last update or evaluation.
    pub fn extent(&self, axis: Axis) -> Option<(f64, f64)> {
        let first = [self.points.first().map(|p| x_of(p, axis)), self.evals.first().map(|e| x_of_eval(e, axis))];
        let last = [self.points.last().map(|p| x_of(p, axis)), self.evals.last().map(|e| x_of_eval(e, axis))];
        let first = first.into_iter().flatten().min_by(f64::total_cmp)?;
        Some((first, last.into_iter().flatten().max_by(f64::total_cmp)?))
    }

    /// The range in so many buckets; buckets without a value are left out. With few updates each is its own.
    pub fn downsample(&self, column: Column, axis: Axis, (from, to): (f64, f64), columns: usize) -> Vec<Bucket> {
        // one more on either side, so that a line goes on to the edge
        let start = self.points.partition_point(|p| x_of(p, axis) < from).saturating_sub(1);
        let end = (self.points.partition_point(|p| x_of(p, axis) <= to) + 1).min(self.points.len());
        let shown = self.points.get(start..end).unwrap_or_default();
        let each = shown.len() <= columns * 2;
        let width = (to - from).max(f64::MIN_POSITIVE);
        let mut buckets: Vec<Bucket> = Vec::with_capacity(shown.len().min(columns + 2));
        let (mut place, mut n) = (i64::MIN, 0.0);
        for point in shown {
            let (x, Some(y)) = (x_of(point, axis), point.get(column)) else { continue };
            let at = ((x - from) / width * columns as f64).floor() as i64;
            match buckets.last_mut() {
                Some(bucket) if !each && at == place => {
                    n += 1.0;
                    bucket.min = bucket.min.min(y);
                    bucket.max = bucket.max.max(y);
                    bucket.mean += (y - bucket.mean) / n;
                }
                _ => {
                    (place, n) = (at, 1.0);
                    buckets.push(Bucket { x, min: y, max: y, mean: y });
                }
            }
        }
        buckets
    }

    /// The update at this place, or the nearest.
    pub fn nearest(&self, axis: Axis, x: f64) -> Option<&Point> {
        let after = self.points.partition_point(|p| x_of(p, axis) < x);
        let candidates = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|i| self.points.get(i));
        candidates.min_by(|a, b| (x_of(a, axis) - x).abs().total_cmp(&(x_of(b, axis) - x).abs()))
    }

    /// The newest evaluation up to this place.
    pub fn eval_before(&self, axis: Axis, x: f64) -> Option<&Eval> {
        self.evals.iter().rev().find(|e| x_of_eval(e, axis) <= x)
    }

    pub fn best(&self) -> Option<&Eval> {
        self.evals.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))
    }

    /// Mean of a column over the last `n` updates.
    pub fn recent(&self, column: Column, n: usize) -> Option<f64> {
        let last = &self.points[self.points.len().saturating_sub(n)..];
        let values: Vec<f64> = last.iter().filter_map(|p| p.get(column)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

pub fn x_of(point: &Point, axis: Axis) -> f64 {
    match axis {
        Axis::Step => point.step as f64,
        Axis::Time => point.secs,
    }
}

pub fn x_of_eval(eval: &Eval, axis: Axis) -> f64 {
    match axis {
        Axis::Step => eval.step as f64,
        Axis::Time => eval.secs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: u64, loss: f64) -> Entry {
        let mut point = Point::new(step, step as f64 * 2.0);
        point.set(Column::Loss, Some(loss));
        Entry::Point(point)
    }

    fn series(losses: &[f64]) -> Series {
        let mut series = Series::new(0.9);
        series.push(losses.iter().enumerate().map(|(i, loss)| point(i as u64 + 1, *loss)).collect());
        series
    }

    #[test]
    fn updates_made_again_take_the_place_of_the_first() {
        let mut series = series(&[3.0, 2.0, 1.0]);
        series.push(vec![Entry::Eval(Eval { step: 3, secs: 6.0, loss: 9.0 }), point(2, 7.0)]);
        let steps: Vec<_> = series.points().iter().map(|p| (p.step, p.get(Column::Loss).unwrap())).collect();
        assert_eq!(steps, [(1, 3.0), (2, 7.0)]);
        assert!(series.evals().is_empty());
    }

    #[test]
    fn smoothing_starts_at_the_first_value_and_a_gap_does_not_break_it() {
        let mut series = series(&[2.0, f64::NAN, 1.0]);
        let smooth = |s: &Series| s.points().iter().map(|p| p.get(Column::Smooth).unwrap()).collect::<Vec<_>>();
        let now = smooth(&series);
        assert_eq!(&now[..2], [2.0, 2.0]);
        assert!((now[2] - 1.9).abs() < 1e-6, "{now:?}");
        series.smooth(0.5);
        assert!((smooth(&series)[2] - 1.5).abs() < 1e-6);
    }

    #[test]
    fn a_column_of_the_screen_keeps_the_extremes_of_what_falls_into_it() {
        let mut losses = vec![1.0; 200_000];
        losses[123_456] = 50.0;
        let series = series(&losses);
        let buckets = series.downsample(Column::Loss, Axis::Step, (1.0, 200_000.0), 150);
        assert!(buckets.len() <= 152, "{}", buckets.len());
        assert_eq!(buckets.iter().filter(|b| b.max == 50.0 && b.min == 1.0).count(), 1);
        let near = series.downsample(Column::Loss, Axis::Time, (246_900.0, 246_920.0), 150);
        assert!(near.iter().any(|b| b.min == 50.0) && near.len() < 20, "{near:?}");
        assert!(series.downsample(Column::Loss, Axis::Step, (5e6, 6e6), 10).len() <= 1);
    }

    #[test]
    fn the_nearest_update_is_found_at_the_edges_and_between() {
        let series = series(&[4.0, 3.0, 2.0]);
        let at = |x| series.nearest(Axis::Step, x).unwrap().step;
        assert_eq!([at(-9.0), at(1.4), at(1.6), at(99.0)], [1, 1, 2, 3]);
        assert_eq!(series.nearest(Axis::Time, 4.1).unwrap().step, 2);
        assert!(Series::new(0.9).nearest(Axis::Step, 1.0).is_none());
        assert_eq!(series.extent(Axis::Time), Some((2.0, 6.0)));
    }
}
