//! A run's curves in memory: one row an update, appended to while the run goes on. Zoomed views of 200,000 updates are made
//! from it for each frame, so it is plain columns and binary searches.

use lightbox_core::runs::record::Answers;

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
        self.values[column as usize] = value.filter(|x| x.is_finite()).map_or(f32::NAN, |x| x as f32);
    }
}

/// One evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eval {
    pub step: u64,
    pub secs: f64,
    pub loss: f64,
    /// `predict_with_generate`.
    pub answers: Option<Answers>,
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

/// By columns: a frame looks at two of them and at nothing else, and what lies side by side is looked at fast.
#[derive(Debug, Clone, Default)]
pub struct Series {
    steps: Vec<u64>,
    secs: Vec<f64>,
    columns: [Vec<f32>; COLUMNS],
    evals: Vec<Eval>,
    weight: f32,
}

/// Weights of the exponential mean that the user can choose from; the first is what LLaMA-Factory's picture of a long run has.
pub const WEIGHTS: [f32; 4] = [0.9, 0.97, 0.99, 0.997];

impl Series {
    pub fn new(weight: f32) -> Self {
        Self { weight, ..Self::default() }
    }

    /// Updates.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn evals(&self) -> &[Eval] {
        &self.evals
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.evals.is_empty()
    }

    /// Update `i`, from 0.
    pub fn point(&self, i: usize) -> Option<Point> {
        let mut values = [f32::NAN; COLUMNS];
        values
            .iter_mut()
            .zip(&self.columns)
            .for_each(|(value, column)| *value = column.get(i).copied().unwrap_or(f32::NAN));
        Some(Point { step: *self.steps.get(i)?, secs: *self.secs.get(i)?, values })
    }

    pub fn last(&self) -> Option<Point> {
        self.point(self.len().checked_sub(1)?)
    }

    /// Appends. An update that is made again, after a crash, takes the place of the first, and what came after that goes.
    pub fn push(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match entry {
                Entry::Point(point) => self.push_point(&point),
                Entry::Eval(eval) => {
                    self.evals.truncate(self.evals.partition_point(|e| e.step < eval.step));
                    self.evals.push(eval);
                }
            }
        }
    }

    fn push_point(&mut self, point: &Point) {
        if self.steps.last().is_some_and(|last| *last >= point.step) {
            let n = self.steps.partition_point(|step| *step < point.step);
            self.steps.truncate(n);
            self.secs.truncate(n);
            self.columns.iter_mut().for_each(|column| column.truncate(n));
            self.evals.truncate(self.evals.partition_point(|e| e.step < point.step));
        }
        self.steps.push(point.step);
        self.secs.push(point.secs);
        let smooth = self.smoothed(self.columns[Column::Smooth as usize].last(), point.values[Column::Loss as usize]);
        for (column, value) in self.columns.iter_mut().zip(point.values) {
            column.push(value);
        }
        if let Some(last) = self.columns[Column::Smooth as usize].last_mut() {
            *last = smooth;
        }
    }

    fn smoothed(&self, before: Option<&f32>, loss: f32) -> f32 {
        match before.filter(|last| !last.is_nan()) {
            None => loss,
            // a loss that is not finite leaves the mean where it was
            Some(last) if loss.is_nan() => *last,
            Some(last) => last * self.weight + (1.0 - self.weight) * loss,
        }
    }

    /// Smooths all of it anew.
    pub fn smooth(&mut self, weight: f32) {
        self.weight = weight;
        let mut smooth: Vec<f32> = Vec::with_capacity(self.len());
        for loss in &self.columns[Column::Loss as usize] {
            smooth.push(self.smoothed(smooth.last(), *loss));
        }
        self.columns[Column::Smooth as usize] = smooth;
    }

    fn x(&self, axis: Axis, i: usize) -> f64 {
        match axis {
            Axis::Step => self.steps[i] as f64,
            Axis::Time => self.secs[i],
        }
    }

    /// The first update that is not left of `x`.
    fn first_from(&self, axis: Axis, x: f64) -> usize {
        match axis {
            Axis::Step => self.steps.partition_point(|step| (*step as f64) < x),
            Axis::Time => self.secs.partition_point(|secs| *secs < x),
        }
    }

    /// From the first to the last update or evaluation.
    pub fn extent(&self, axis: Axis) -> Option<(f64, f64)> {
        let last = self.len().checked_sub(1);
        let first = [last.map(|_| self.x(axis, 0)), self.evals.first().map(|e| x_of_eval(e, axis))];
        let last = [last.map(|i| self.x(axis, i)), self.evals.last().map(|e| x_of_eval(e, axis))];
        let first = first.into_iter().flatten().min_by(f64::total_cmp)?;
        Some((first, last.into_iter().flatten().max_by(f64::total_cmp)?))
    }

    /// The range in so many buckets; buckets without a value are left out. With few updates each is its own.
    pub fn downsample(&self, column: Column, axis: Axis, (from, to): (f64, f64), columns: usize) -> Vec<Bucket> {
        // one more on either side, so that a line goes on to the edge
        let start = self.first_from(axis, from).saturating_sub(1);
        let end = (self.first_from(axis, to.next_up()) + 1).min(self.len());
        if start >= end {
            return Vec::new();
        }
        let few = end - start <= columns * 2;
        let pieces = if few { end - start } else { columns };
        let mut buckets = Vec::with_capacity(pieces);
        let mut begin = start;
        for i in 1..=pieces {
            let stop = match i {
                _ if few => start + i,
                i if i == pieces => end,
                i => self.first_from(axis, from + (to - from) * i as f64 / columns as f64).clamp(begin, end),
            };
            let values = &self.columns[column as usize][begin..stop];
            if let Some((min, max, mean)) = spread(values) {
                buckets.push(Bucket { x: self.x(axis, begin), min, max, mean });
            }
            begin = stop;
        }
        buckets
    }

    /// The update at this place, or the nearest.
    pub fn nearest(&self, axis: Axis, x: f64) -> Option<Point> {
        let after = self.first_from(axis, x);
        let near = after.saturating_sub(1)..(after + 1).min(self.len());
        let distance = |i: &usize| (self.x(axis, *i) - x).abs();
        self.point(near.min_by(|a, b| distance(a).total_cmp(&distance(b)))?)
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
        spread(&self.columns[column as usize][self.len().saturating_sub(n)..]).map(|(_, _, mean)| mean)
    }
}

/// Lowest, highest and mean of the finite values. Eight lanes side by side, because the order of a sum of floats is fixed and
/// the compiler may not make them itself: 200,000 values for each frame.
fn spread(values: &[f32]) -> Option<(f64, f64, f64)> {
    const LANES: usize = 8;
    let (mut min, mut max) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let (mut sum, mut n) = ([0.0f32; LANES], [0u32; LANES]);
    for chunk in values.chunks(LANES) {
        for (i, value) in chunk.iter().enumerate() {
            // comparisons with what is not a number are false
            min[i] = if *value < min[i] { *value } else { min[i] };
            max[i] = if *value > max[i] { *value } else { max[i] };
            let there = value.is_finite();
            sum[i] += if there { *value } else { 0.0 };
            n[i] += u32::from(there);
        }
    }
    let n: u32 = n.iter().sum();
    let min = min.into_iter().fold(f32::INFINITY, f32::min);
    let max = max.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = sum.iter().map(|sum| f64::from(*sum)).sum();
    (n > 0).then(|| (f64::from(min), f64::from(max), sum / f64::from(n)))
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

    fn points(series: &Series) -> Vec<Point> {
        (0..series.len()).filter_map(|i| series.point(i)).collect()
    }

    fn series(losses: &[f64]) -> Series {
        let mut series = Series::new(0.9);
        series.push(losses.iter().enumerate().map(|(i, loss)| point(i as u64 + 1, *loss)).collect());
        series
    }

    #[test]
    fn updates_made_again_take_the_place_of_the_first() {
        let mut series = series(&[3.0, 2.0, 1.0]);
        series.push(vec![Entry::Eval(Eval { step: 3, secs: 6.0, loss: 9.0, answers: None }), point(2, 7.0)]);
        let steps: Vec<_> = points(&series).iter().map(|p| (p.step, p.get(Column::Loss).unwrap())).collect();
        assert_eq!(steps, [(1, 3.0), (2, 7.0)]);
        assert!(series.evals().is_empty());
    }

    #[test]
    fn smoothing_starts_at_the_first_value_and_a_gap_does_not_break_it() {
        let mut series = series(&[2.0, f64::NAN, 1.0]);
        let smooth = |s: &Series| points(s).iter().map(|p| p.get(Column::Smooth).unwrap()).collect::<Vec<_>>();
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
