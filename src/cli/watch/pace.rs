//! The progress line, from `metrics.jsonl`: every update, not only those that a log line is due for.

use lightbox_core::runs::RunDir;
use lightbox_core::runs::progress::{Progress, progress_line};
use lightbox_core::runs::record::{Metric, Step};
use lightbox_core::runs::state::RunState;
use lightbox_core::runs::tail::Tail;
use std::collections::VecDeque;

pub struct Pace {
    metrics: Tail<Metric>,
    /// The newest updates; speed and time left are their mean.
    steps: VecDeque<Step>,
}

impl Pace {
    const WINDOW: usize = 32;

    pub fn new(dir: &RunDir) -> Self {
        const TAIL: u64 = 32 << 10;
        let path = dir.join(RunDir::METRICS);
        let metrics = Tail::last(path.clone(), TAIL).unwrap_or_else(|_| Tail::new(path));
        Self { metrics, steps: VecDeque::new() }
    }

    /// The line, if there was an update since the last one.
    pub fn line(&mut self, dir: &RunDir) -> Option<String> {
        const LINES: usize = 4096;
        // What cannot be read now is read with the next look.
        let lines = self.metrics.poll(LINES).unwrap_or_default();
        let mut new = false;
        for line in lines {
            match line.record {
                // Another attempt may run on another machine.
                Metric::Header(_) => self.steps.clear(),
                Metric::Step(step) => {
                    new = true;
                    self.steps.push_back(step);
                    if self.steps.len() > Self::WINDOW {
                        self.steps.pop_front();
                    }
                }
                _ => {}
            }
        }
        let step = self.steps.back().filter(|_| new)?;
        let total_steps = RunState::read(dir).map_or(step.step, |s| s.total_steps.max(step.step));
        let seconds = self.steps.iter().map(|s| s.dt_ms.total).sum::<f64>() / 1e3;
        let tokens: u64 = self.steps.iter().map(|s| s.tokens).sum();
        let left = seconds / self.steps.len() as f64 * (total_steps - step.step) as f64;
        Some(progress_line(&Progress {
            step: step.step,
            total_steps,
            loss: step.loss,
            lr: step.lr,
            grad_norm: step.grad_norm,
            tokens_per_second: (seconds > 0.0).then(|| tokens as f64 / seconds),
            mem_bytes: Some(step.mem_bytes),
            seconds_left: Some(left),
        }))
    }
}
