//! Progress on standard error: a bar on a terminal, else a line every few seconds (nothing for quick work), so that
//! logs stay short. Ctrl-C and SIGTERM end the work at its next step.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use lightbox_core::data::Step;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(5);

pub struct Progress {
    what: &'static str,
    start: Instant,
    bar: Option<ProgressBar>,
    last: Instant,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// # Errors
    /// Signals cannot be caught.
    pub fn new(what: &'static str) -> std::io::Result<Self> {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            // The template is a constant; were it wrong, the default style would do.
            if let Ok(style) =
                ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} · {rate} · {eta} left")
            {
                bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = write!(out, "{:.0} a second", state.per_sec());
                }));
            }
            bar.with_message(what)
        });
        Ok(Self { what, start: Instant::now(), bar, last: Instant::now(), stop: super::stop_flag()? })
    }

    /// What is counted from now on.
    pub fn set_what(&mut self, what: &'static str) {
        if self.what != what {
            self.what = what;
            self.bar.iter().for_each(|bar| bar.set_message(what));
        }
    }

    /// `Break` where the work is to stop.
    pub fn set(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        } else if self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            let seconds = self.start.elapsed().as_secs_f64();
            eprintln!("{}: {done}/{total}, {:.0} s, {:.0} a second", self.what, seconds, done as f64 / seconds);
        }
        if self.stop.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// A line of its own, above the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// [`Self::set`] for passes over a data set.
    pub fn step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        self.set(step.done, step.total)
    }

    /// Removes the bar; seconds since the start.
    pub fn finish(self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.start.elapsed().as_secs_f64()
    }
}
