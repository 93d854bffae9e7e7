//! A run's whole `metrics.jsonl` in memory, for charts: columns of numbers that grow as the run does.
//!
//! [`Series::poll`] reads what is new, a bounded portion at a time; everything else is a pure look at what is there, so that
//! drawing never waits. After a resume the repeated updates replace those of the attempt before. A point takes 68 bytes: a
//! run of 200,000 updates 14 MB.
//!
//! Not here: how a chart looks, and what a run is doing now ([`super::view`]). Read next: `export`.

mod export;
#[cfg(test)]
mod tests;

use super::RunDir;
use super::plot::smoothing_weight;
use super::record::{Answers, Eval, Metric, Step};
use super::tail::Tail;
use crate::profile::Profile;
use std::io;
use std::ops::Range;

/// What can be drawn over steps or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column {
    Loss,
    /// As LLaMA-Factory smooths it ([`super::plot::smooth`]).
    SmoothLoss,
    GradNorm,
    SmoothGradNorm,
    LearningRate,
    /// Input tokens of an update, with padding.
    Tokens,
    /// Where an update's time went, in milliseconds.
    DataMs,
    ForwardMs,
    BackwardMs,
    OptimizerMs,
    TotalMs,
    /// Bytes held on the device.
    Memory,
    /// Of each update by itself.
    TokensPerSecond,
}

/// What lies to the right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Axis {
    /// Updates done.
    #[default]
    Step,
    /// Milliseconds since 1970; never falls, whatever the clock does.
    Time,
}

/// One update, as the cursor shows it. `None`: not finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub step: u64,
    pub t: u64,
    pub loss: Option<f64>,
    pub smooth_loss: Option<f64>,
    pub grad_norm: Option<f64>,
    pub lr: f64,
    pub tokens: u64,
    pub total_ms: f64,
    pub mem_bytes: u64,
}

/// One evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    pub step: u64,
    pub t: u64,
    pub loss: Option<f64>,
    pub samples: u64,
    pub dt_ms: u64,
    /// `predict_with_generate`.
    pub answers: Option<Answers>,
}

/// The pace of the newest updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    pub tokens_per_second: f64,
    /// `None` where the profile cannot be read.
    pub samples_per_second: Option<f64>,
    pub seconds_per_update: f64,
    /// Updates that this is the mean of.
    pub updates: usize,
}

/// The columns. NaN stands for a number that is not finite.
#[derive(Debug)]
pub struct Series {
    dir: RunDir,
    tail: Tail<Metric>,
    /// Of an update; read from the profile once.
    samples_per_update: Option<usize>,
    step: Vec<u32>,
    t: Vec<u64>,
    loss: Smoothed,
    grad_norm: Smoothed,
    lr: Vec<f64>,
    tokens: Vec<u32>,
    data: Vec<f32>,
    fwd: Vec<f32>,
    bwd: Vec<f32>,
    opt: Vec<f32>,
    total: Vec<f32>,
    mem: Vec<u64>,
    evaluations: Vec<Evaluation>,
    /// Where the newest attempt begins: another one may have run on another machine.
    attempt: usize,
}

/// Updates that the pace is measured over.
const WINDOW: usize = 64;
/// Lines that one poll reads: some 20 ms of work.
const PORTION: usize = 4096;

impl Series {
    /// Of a run, whose metrics need not be there yet. Reads nothing of them before [`Self::poll`].
    pub fn open(dir: &RunDir) -> Self {
        let no_overrides: &[&str] = &[];
        let profile = Profile::load(&dir.join(RunDir::PROFILE), no_overrides).ok();
        Self {
            dir: dir.clone(),
            tail: Tail::new(dir.join(RunDir::METRICS)),
            samples_per_update: profile.as_ref().map(Profile::samples_per_update),
            step: Vec::new(),
            t: Vec::new(),
            loss: Smoothed::default(),
            grad_norm: Smoothed::default(),
            lr: Vec::new(),
            tokens: Vec::new(),
            data: Vec::new(),
            fwd: Vec::new(),
            bwd: Vec::new(),
            opt: Vec::new(),
            total: Vec::new(),
            mem: Vec::new(),
            evaluations: Vec::new(),
            attempt: 0,
        }
    }

    /// Takes in what was written since, at most a portion. Says whether there was anything: until it says no, there may be
    /// more.
    ///
    /// # Errors
    /// The file cannot be read; what is there stays.
    pub fn poll(&mut self) -> io::Result<bool> {
        let lines = self.tail.poll(PORTION)?;
        let any = !lines.is_empty();
        for line in lines.into_iter().filter(|line| line.rank == 0) {
            match line.record {
                Metric::Header(_) => self.attempt = self.len(),
                Metric::Step(step) => self.push(line.t, &step),
                Metric::Eval(eval) => {
                    self.evaluations.retain(|before| before.step != eval.step);
                    let Eval { step, loss, n: samples, dt_ms, answers } = eval;
                    self.evaluations.push(Evaluation { step, t: line.t, loss, samples, dt_ms, answers });
                }
                Metric::Unknown => {}
            }
        }
        self.loss.smooth();
        self.grad_norm.smooth();
        Ok(any)
    }

    fn push(&mut self, t: u64, step: &Step) {
        let Ok(number) = u32::try_from(step.step) else { return };
        if self.step.last().is_some_and(|last| *last >= number) {
            self.cut(number);
        }
        self.step.push(number);
        self.t.push(self.t.last().map_or(t, |last| t.max(*last)));
        self.loss.values.push(step.loss.unwrap_or(f64::NAN) as f32);
        self.grad_norm.values.push(step.grad_norm.unwrap_or(f64::NAN) as f32);
        self.lr.push(step.lr);
        self.tokens.push(u32::try_from(step.tokens).unwrap_or(u32::MAX));
        self.data.push(step.dt_ms.data as f32);
        self.fwd.push(step.dt_ms.fwd as f32);
        self.bwd.push(step.dt_ms.bwd as f32);
        self.opt.push(step.dt_ms.opt as f32);
        self.total.push(step.dt_ms.total as f32);
        self.mem.push(step.mem_bytes);
    }

    /// Forgets `step` and all after it: they are made again.
    fn cut(&mut self, step: u32) {
        let n = self.step.partition_point(|known| *known < step);
        self.step.truncate(n);
        self.t.truncate(n);
        self.loss.truncate(n);
        self.grad_norm.truncate(n);
        self.lr.truncate(n);
        self.tokens.truncate(n);
        for column in [&mut self.data, &mut self.fwd, &mut self.bwd, &mut self.opt, &mut self.total] {
            column.truncate(n);
        }
        self.mem.truncate(n);
        self.evaluations.retain(|evaluation| evaluation.step < u64::from(step));
        self.attempt = self.attempt.min(n);
    }

    /// Updates.
    pub fn len(&self) -> usize {
        self.step.len()
    }

    pub fn is_empty(&self) -> bool {
        self.step.is_empty()
    }

    /// In the order of their steps.
    pub fn evaluations(&self) -> &[Evaluation] {
        &self.evaluations
    }

    /// Lines that could not be read so far.
    pub fn damaged(&self) -> u64 {
        self.tail.damaged()
    }

    /// Update `i`, from 0.
    pub fn point(&self, i: usize) -> Option<Point> {
        let value = |column| Some(self.value(column, i)).filter(|x| x.is_finite());
        Some(Point {
            step: u64::from(*self.step.get(i)?),
            t: self.t[i],
            loss: value(Column::Loss),
            smooth_loss: value(Column::SmoothLoss),
            grad_norm: value(Column::GradNorm),
            lr: self.lr[i],
            tokens: self.tokens[i].into(),
            total_ms: self.total[i].into(),
            mem_bytes: self.mem[i],
        })
    }

    pub fn last(&self) -> Option<Point> {
        self.point(self.len().checked_sub(1)?)
    }

    /// From the first to the last point; `None` without points.
    pub fn extent(&self, axis: Axis) -> Option<(f64, f64)> {
        Some((self.x(axis, 0)?, self.x(axis, self.len().checked_sub(1)?)?))
    }

    /// The point that lies nearest to `x`.
    pub fn nearest(&self, axis: Axis, x: f64) -> Option<usize> {
        let after = self.first_from(axis, x);
        let distance = |i: &usize| self.x(axis, *i).map_or(f64::INFINITY, |at| (at - x).abs());
        let near = after.saturating_sub(1)..(after + 1).min(self.len());
        near.min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// The curve of `column` between two values of x (both drawn) in `columns` columns of a screen: x of the first point in
    /// each, and the lowest and highest finite value. Columns without one are left out.
    pub fn downsample(&self, column: Column, axis: Axis, range: Range<f64>, columns: usize) -> Vec<(f64, f64, f64)> {
        let first = self.first_from(axis, range.start);
        let end = self.first_from(axis, range.end.next_up()).max(first);
        let width = (range.end - range.start) / columns as f64;
        let mut found = Vec::with_capacity(columns.min(end - first));
        let mut begin = first;
        for i in 1..=columns {
            let stop = match i == columns {
                true => end,
                false => self.first_from(axis, range.start + width * i as f64).clamp(begin, end),
            };
            let part = begin..stop;
            if let (Some(x), Some((low, high))) = (self.x(axis, begin), self.bounds(column, part)) {
                found.push((x, low, high));
            }
            begin = stop;
        }
        found
    }

    /// The lowest and the highest finite value in a range of points.
    pub fn bounds(&self, column: Column, range: Range<usize>) -> Option<(f64, f64)> {
        let range = range.start.min(self.len())..range.end.min(self.len());
        // The branch is taken once for a range, not once for each of 200,000 points.
        let bounds = match self.slice(column) {
            Some(values) => {
                let fold = |(low, high): (f32, f32), value: &f32| (low.min(*value), high.max(*value));
                let (low, high) = values[range].iter().fold((f32::INFINITY, f32::NEG_INFINITY), fold);
                (f64::from(low), f64::from(high))
            }
            None => range
                .map(|i| self.value(column, i))
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value))),
        };
        (bounds.0 <= bounds.1).then_some(bounds)
    }

    /// The mean pace of the newest 64 updates of this attempt. `None` before the first.
    pub fn throughput(&self) -> Option<Throughput> {
        let window = self.attempt.max(self.len().saturating_sub(WINDOW))..self.len();
        let updates = window.len();
        let seconds = self.total[window.clone()].iter().map(|ms| f64::from(*ms)).sum::<f64>() / 1e3;
        let tokens: f64 = self.tokens[window].iter().map(|tokens| f64::from(*tokens)).sum();
        (seconds > 0.0).then(|| Throughput {
            tokens_per_second: tokens / seconds,
            samples_per_second: self.samples_per_update.map(|samples| (samples * updates) as f64 / seconds),
            seconds_per_update: seconds / updates as f64,
            updates,
        })
    }

    /// Seconds until update `total_steps` at this pace; evaluations and checkpoints come on top.
    pub fn seconds_left(&self, total_steps: u64) -> Option<f64> {
        let left = total_steps.saturating_sub(self.step.last().copied().unwrap_or(0).into());
        Some(self.throughput()?.seconds_per_update * left as f64)
    }

    fn x(&self, axis: Axis, i: usize) -> Option<f64> {
        match axis {
            Axis::Step => self.step.get(i).map(|step| f64::from(*step)),
            Axis::Time => self.t.get(i).map(|t| *t as f64),
        }
    }

    /// The first point that is not left of `x`.
    fn first_from(&self, axis: Axis, x: f64) -> usize {
        match axis {
            Axis::Step => self.step.partition_point(|step| f64::from(*step) < x),
            Axis::Time => self.t.partition_point(|t| (*t as f64) < x),
        }
    }

    /// The columns that are kept as they are drawn.
    fn slice(&self, column: Column) -> Option<&[f32]> {
        Some(match column {
            Column::Loss => &self.loss.values,
            Column::SmoothLoss => &self.loss.smoothed,
            Column::GradNorm => &self.grad_norm.values,
            Column::SmoothGradNorm => &self.grad_norm.smoothed,
            Column::DataMs => &self.data,
            Column::ForwardMs => &self.fwd,
            Column::BackwardMs => &self.bwd,
            Column::OptimizerMs => &self.opt,
            Column::TotalMs => &self.total,
            Column::LearningRate | Column::Tokens | Column::Memory | Column::TokensPerSecond => return None,
        })
    }

    /// NaN where there is none.
    fn value(&self, column: Column, i: usize) -> f64 {
        match column {
            Column::LearningRate => self.lr[i],
            Column::Tokens => f64::from(self.tokens[i]),
            Column::Memory => self.mem[i] as f64,
            Column::TokensPerSecond => match f64::from(self.total[i]) {
                ms if ms > 0.0 => f64::from(self.tokens[i]) * 1e3 / ms,
                _ => f64::NAN,
            },
            _ => self.slice(column).and_then(|values| values.get(i)).map_or(f64::NAN, |value| f64::from(*value)),
        }
    }
}

/// A column and its smoothed curve, which goes on where it ended as long as the weight stays the same. It changes with the
/// number of values, but beyond some 700 of them no more, so that a long run's curve is not made anew with each update.
#[derive(Debug, Default)]
struct Smoothed {
    values: Vec<f32>,
    smoothed: Vec<f32>,
    /// Of the curve so far.
    weight: f64,
    last: Option<f64>,
}

impl Smoothed {
    fn truncate(&mut self, n: usize) {
        self.values.truncate(n);
        self.smoothed.clear();
        self.last = None;
    }

    fn smooth(&mut self) {
        let weight = smoothing_weight(self.values.len());
        if weight != self.weight {
            (self.weight, self.last) = (weight, None);
            self.smoothed.clear();
        }
        for value in &self.values[self.smoothed.len()..] {
            if value.is_finite() {
                let value = f64::from(*value);
                self.last = Some(self.last.unwrap_or(value) * weight + (1.0 - weight) * value);
            }
            // over a gap the curve stays where it is
            self.smoothed.push(self.last.map_or(f32::NAN, |last| last as f32));
        }
    }
}
