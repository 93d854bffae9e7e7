//! What a transfer tells while it runs, and how it is told to stop.

use super::HubError;
use serde::Serialize;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// What is being done with the files. Each phase counts from the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A download.
    #[default]
    Loading,
    /// The first half of an upload: files are read and compared with the Hub's.
    Comparing,
    /// The second: what the Hub does not have goes there, and is committed.
    Sending,
}

/// How a download or an upload stands. Within a phase neither `done_bytes` nor `files_done` ever falls.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Progress {
    pub phase: Phase,
    /// The file that is being moved.
    pub file: String,
    /// Falls where a file has to be moved anew.
    pub file_done: u64,
    pub file_bytes: u64,
    /// Over all files of the phase, with what was there before. While a file is moved anew this stands still until there is
    /// more of it than there was.
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub files_done: usize,
    /// Of the phase.
    pub files: usize,
    /// What went over the network in the last seconds.
    pub bytes_per_second: f64,
    /// Why nothing moves just now: a broken connection and when it is tried again, another program's lock, a
    /// commit that is made.
    pub note: Option<String>,
}

impl Progress {
    /// At the present speed.
    pub fn seconds_left(&self) -> Option<f64> {
        let left = self.total_bytes.saturating_sub(self.done_bytes) as f64;
        (self.bytes_per_second >= 1.0).then(|| left / self.bytes_per_second)
    }
}

/// The speed is that of so long.
const WINDOW: Duration = Duration::from_secs(5);
/// How often a transfer looks whether it is to stop.
pub(super) const TICK: Duration = Duration::from_millis(100);

pub(super) type Notify<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

/// Keeps a [`Progress`] and tells it. Every method that tells fails with [`HubError::Cancelled`] if it is told to stop.
pub(super) struct Meter<'a> {
    progress: Progress,
    notify: &'a mut Notify<'a>,
    /// Bytes of the files before the present one.
    before: u64,
    /// Moved so far, at these times.
    marks: VecDeque<(Instant, u64)>,
    moved: u64,
}

impl<'a> Meter<'a> {
    pub fn new(phase: Phase, files: usize, total_bytes: u64, notify: &'a mut Notify<'a>) -> Self {
        let progress = Progress { phase, files, total_bytes, ..Progress::default() };
        Self { progress, notify, before: 0, marks: VecDeque::from([(Instant::now(), 0)]), moved: 0 }
    }

    pub fn begin(&mut self, file: &str, bytes: u64) -> Result<(), HubError> {
        (self.progress.file, self.progress.file_bytes) = (file.to_owned(), bytes);
        self.at(0)
    }

    pub fn finish(&mut self) -> Result<(), HubError> {
        self.before += self.progress.file_bytes;
        self.progress.files_done += 1;
        (self.progress.file_done, self.progress.done_bytes) = (self.progress.file_bytes, self.before);
        self.tell()
    }

    /// So much of the present file is here; less than before where it is moved anew.
    pub fn at(&mut self, done: u64) -> Result<(), HubError> {
        self.progress.file_done = done;
        self.progress.done_bytes = self.progress.done_bytes.max(self.before + done);
        self.tell()
    }

    /// Of the present file.
    pub fn file_done(&self) -> u64 {
        self.progress.file_done
    }

    /// So much went over the network.
    pub fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        self.clear_note();
    }

    pub fn note(&mut self, why: String) {
        self.progress.note = Some(why);
    }

    pub fn clear_note(&mut self) {
        self.progress.note = None;
    }

    /// Nothing happened.
    pub fn tell(&mut self) -> Result<(), HubError> {
        let now = Instant::now();
        if self.marks.back().is_none_or(|(last, _)| now - *last >= TICK) {
            self.marks.push_back((now, self.moved));
        }
        while self.marks.len() > 1 && self.marks.front().is_some_and(|(first, _)| now - *first > WINDOW) {
            self.marks.pop_front();
        }
        if let Some((first, moved)) = self.marks.front() {
            let seconds = (now - *first).as_secs_f64();
            // The first moment says nothing about speed.
            let known = seconds >= TICK.as_secs_f64();
            self.progress.bytes_per_second = if known { (self.moved - moved) as f64 / seconds } else { 0.0 };
        }
        match (self.notify)(&self.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(HubError::Cancelled),
        }
    }

    /// Waits, and goes on telling.
    pub fn sleep(&mut self, time: Duration) -> Result<(), HubError> {
        let end = Instant::now() + time;
        loop {
            self.tell()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(TICK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_add_up_and_a_stop_is_heard_while_waiting() {
        let mut seen = Vec::new();
        let mut notify = |progress: &Progress| {
            seen.push(progress.clone());
            if progress.note.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut meter = Meter::new(Phase::Loading, 2, 30, &mut notify);
        meter.begin("a", 10).unwrap();
        meter.moved(10);
        meter.at(10).unwrap();
        meter.finish().unwrap();
        meter.begin("b", 20).unwrap();
        meter.at(5).unwrap();
        meter.note("the connection broke".into());
        let start = Instant::now();
        assert!(matches!(meter.sleep(Duration::from_secs(60)), Err(HubError::Cancelled)));
        assert!(start.elapsed() < Duration::from_secs(30));
        let last = seen.last().unwrap();
        assert_eq!((last.file.as_str(), last.file_done, last.done_bytes, last.files_done), ("b", 5, 15, 1));
    }

    #[test]
    fn a_file_that_is_moved_anew_takes_nothing_back_from_the_sum() {
        let mut seen = Vec::new();
        let mut notify = |progress: &Progress| {
            seen.push((progress.file_done, progress.done_bytes));
            ControlFlow::Continue(())
        };
        let mut meter = Meter::new(Phase::Sending, 2, 30, &mut notify);
        meter.begin("a", 10).unwrap();
        meter.finish().unwrap();
        meter.begin("b", 20).unwrap();
        for done in [15, 0, 12, 18] {
            meter.at(done).unwrap();
        }
        meter.finish().unwrap();
        assert_eq!(seen, [(0, 0), (10, 10), (0, 10), (15, 25), (0, 25), (12, 25), (18, 28), (20, 30)]);
    }
}
