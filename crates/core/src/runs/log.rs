//! Our own logs: `events.jsonl` (what happened) and `metrics.jsonl` (one line per update). Only appended to; a reader
//! takes complete lines and skips, but counts, what it cannot read. What the lines hold is in [`super::record`].
//!
//! A training step never waits for a log: lines go through a bounded queue to a thread of their own (`writer.rs`). Where
//! the disk cannot keep up, or takes nothing, lines are left out and counted, and a `dropped` event says how many.
mod lines;
mod writer;

use super::record::{Event, Header, Line, Metric, VERSION};
use super::tail::Tail;
use super::{RunDir, now_ms};
use crate::fault;
use crate::safe_text::clean;
pub use lines::JsonLines;
use lines::Place;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use writer::{Class, Job, Losses, Writer};

/// Both logs of a run, written by the worker. Dropping it waits until all is written, at most 10 seconds.
#[derive(Debug)]
pub struct RunLog {
    writer: Writer,
    /// One counter over both files, in the order of the calls. A gap is a line that was left out.
    seq: u64,
    attempt: u32,
    started: Instant,
}

impl RunLog {
    /// Opens the logs for a new attempt (1 for a new run, one more for each resume) and writes `header` as its first
    /// line in both. The header's `attempt` is filled in.
    pub fn open(dir: &RunDir, header: Header) -> io::Result<Self> {
        let last = last_place(dir)?;
        let mut events = JsonLines::open(&dir.join(RunDir::EVENTS))?;
        let mut metrics = JsonLines::open(&dir.join(RunDir::METRICS))?;
        Self::begin(last, header, move |job| {
            let file = if job.class == Class::Event { &mut events } else { &mut metrics };
            fault::io("log.line")?;
            file.append(&job.line)?;
            if job.durable { file.sync() } else { Ok(()) }
        })
    }

    fn begin(
        last: Place,
        header: Header,
        write: impl FnMut(&Job) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let attempt = last.att.saturating_add(1);
        let mut log = Self { writer: Writer::start(write)?, seq: last.seq, attempt, started: Instant::now() };
        let header = Header { attempt, ..header };
        log.metric(&Metric::Header(header.clone()))?;
        log.event(&Event::Header(header))?;
        Ok(log)
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Appends to `events.jsonl`. What must survive a power cut (states, checkpoints) is followed by an fdatasync; to wait
    /// for it, call [`Self::sync`]. Takes at most 50 ms, and that only when thousands of lines wait already.
    ///
    /// # Errors
    /// The disk refused a line, most likely an earlier one; each such error is given once. This event is on its way
    /// all the same.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.put(Class::Event, event, event.is_durable())
    }

    /// Appends to `metrics.jsonl`. Never waits.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn metric(&mut self, metric: &Metric) -> io::Result<()> {
        self.put(Class::Metric, metric, false)
    }

    /// Waits until all is written, at most `deadline`.
    ///
    /// # Errors
    /// What the disk refused, or how many lines are not written.
    pub fn sync(&mut self, deadline: Duration) -> io::Result<()> {
        let until = Instant::now() + deadline;
        self.writer.drain(deadline); // makes room
        self.tell_losses()?;
        let missing = self.writer.drain(until.saturating_duration_since(Instant::now()));
        if let Some(e) = self.writer.take_trouble() {
            return Err(e);
        }
        if missing == 0 {
            return Ok(());
        }
        let what = format!("{missing} records of the log are not written: the disk did not take them in time");
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    }

    fn put<T: Serialize>(&mut self, class: Class, record: &T, durable: bool) -> io::Result<()> {
        self.tell_losses()?;
        self.send(class, record, durable, Losses::of(class, 1))?;
        self.writer.take_trouble().map_or(Ok(()), Err)
    }

    /// Follows lines that were left out by events that say so, once there is room.
    fn tell_losses(&mut self) -> io::Result<()> {
        let losses = self.writer.take_losses();
        for class in Class::ALL {
            let count = losses.count(class);
            if count > 0 {
                let event = Event::Dropped { class: class.name().into(), count };
                self.send(Class::Event, &event, false, Losses::of(class, count))?;
            }
        }
        Ok(())
    }

    fn send<T: Serialize>(&mut self, class: Class, record: &T, durable: bool, stands_for: Losses) -> io::Result<()> {
        self.seq += 1;
        let mono = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = Line { v: VERSION, seq: self.seq, t: now_ms(), mono, att: self.attempt, rank: 0, record };
        self.writer.put(Job { class, line: serde_json::to_string(&line)?, durable, stands_for });
        Ok(())
    }
}

impl Drop for RunLog {
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(10);
        if let Err(e) = self.sync(PATIENCE) {
            // the process may well be ending without a terminal: nothing to do about an error here
            let _ = writeln!(io::stderr(), "warning: the run's log is not complete: {}", clean(&e.to_string()));
        }
    }
}

fn last_place(dir: &RunDir) -> io::Result<Place> {
    let (events, metrics) = (Place::last(&dir.join(RunDir::EVENTS))?, Place::last(&dir.join(RunDir::METRICS))?);
    let last = if events.seq > metrics.seq { events } else { metrics };
    Ok(Place { att: events.att.max(metrics.att), ..last })
}

/// Appends one event to the log of a run whose worker has ended, as part of its last attempt, and waits until it is on
/// the disk. For the supervisor, which sees how the worker ended.
pub fn append_event(dir: &RunDir, event: &Event) -> io::Result<()> {
    let last = last_place(dir)?;
    let t = now_ms();
    let (seq, mono) = (last.seq.saturating_add(1), last.mono.saturating_add(t.saturating_sub(last.t)));
    let line = Line { v: VERSION, seq, t, mono, att: last.att, rank: 0, record: event };
    let mut events = JsonLines::open(&dir.join(RunDir::EVENTS))?;
    fault::io("log.line")?;
    events.append(&serde_json::to_string(&line)?)?;
    events.sync()
}

/// What [`read`] found.
#[derive(Debug)]
pub struct Records<T> {
    pub lines: Vec<Line<T>>,
    /// Complete lines that could not be read; shown to the user as "N damaged records skipped".
    pub damaged: usize,
}

/// Reads all complete lines of a log. A last line that is still being written is not counted as damaged.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Records<T>> {
    std::fs::metadata(path).map_err(|e| io::Error::new(e.kind(), format!("reading {}: {e}", path.display())))?;
    let mut tail = Tail::new(path.to_owned());
    let lines = tail.poll(usize::MAX)?;
    Ok(Records { lines, damaged: usize::try_from(tail.damaged()).unwrap_or(usize::MAX) })
}

#[cfg(test)]
mod tests;
