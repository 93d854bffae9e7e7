//! `metrics.jsonl` for the chart, fast: a run of 200,000 updates has 80 MB of it, and its curve should be there at once. The
//! envelope is read together with the few values that are drawn; [`lightbox_core::runs::tail`] keeps whole records and takes
//! several times as long.
use crate::app::runs::series::{Column, Entry, Eval, Point};
use lightbox_core::runs::record::{Answers, VERSION};
use serde::Deserialize;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// Follows the file; like a tail it takes complete lines only, over replaced and cut files.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: Option<(File, (u64, u64))>,
    /// All before it was taken.
    offset: u64,
    /// Read from `offset` on, without the end of its line.
    rest: Vec<u8>,
    /// Attempt, seconds of work before it, and seconds at the newest line.
    attempt: u32,
    before: f64,
    now: f64,
    /// Lines that could not be read.
    pub damaged: u64,
}

/// What is new.
#[derive(Debug, Default)]
pub struct Portion {
    pub entries: Vec<Entry>,
    /// The file was replaced or cut: what was sent before does not count.
    pub reset: bool,
    /// There is more at once.
    pub more: bool,
}

/// Bytes of a portion: some 10,000 updates, a few hundredths of a second.
const PORTION: usize = 4 << 20;
/// A line that is longer is none of ours.
const LONGEST: usize = 1 << 20;

/// The values of a line with an update, and of its envelope. Not `flatten`ed: that would buffer every line.
#[derive(Deserialize)]
struct StepLine {
    v: u32,
    mono: u64,
    #[serde(default)]
    att: u32,
    #[serde(default)]
    rank: u32,
    step: u64,
    loss: Option<f64>,
    grad_norm: Option<f64>,
    lr: Option<f64>,
    #[serde(default)]
    tokens: u64,
    #[serde(default)]
    dt_ms: Times,
    #[serde(default)]
    mem_bytes: u64,
}

#[derive(Default, Deserialize)]
struct Times {
    #[serde(default)]
    total: f64,
}

#[derive(Deserialize)]
struct EvalLine {
    v: u32,
    mono: u64,
    #[serde(default)]
    att: u32,
    #[serde(default)]
    rank: u32,
    step: u64,
    loss: Option<f64>,
    #[serde(default)]
    answers: Option<Answers>,
}

impl Metrics {
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, offset: 0, rest: Vec::new(), attempt: 0, before: 0.0, now: 0.0, damaged: 0 }
    }

    /// # Errors
    /// The disk cannot be read; a file that is not there is empty.
    pub fn poll(&mut self) -> io::Result<Portion> {
        let mut portion = Portion::default();
        let named = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(portion),
            Err(e) => return Err(e),
        };
        let seen = self.offset + self.rest.len() as u64;
        let same = self.file.as_ref().is_some_and(|(_, identity)| *identity == self::identity(&named));
        if !same || named.len() < seen {
            portion.reset = self.file.is_some();
            let path = std::mem::take(&mut self.path);
            *self = Self::new(path);
            let file = File::open(&self.path)?;
            let identity = identity(&file.metadata()?);
            self.file = Some((file, identity));
        }
        let Some((file, _)) = &self.file else { return Ok(portion) };
        if named.len() == self.offset + self.rest.len() as u64 {
            return Ok(portion);
        }
        let mut block = vec![0; PORTION];
        let n = file.read_at(&mut block, self.offset + self.rest.len() as u64)?;
        portion.more = n == PORTION;
        block.truncate(n);
        self.take(&block, &mut portion.entries);
        Ok(portion)
    }

    fn take(&mut self, block: &[u8], entries: &mut Vec<Entry>) {
        let mut rest = std::mem::take(&mut self.rest);
        for part in block.split_inclusive(|&b| b == b'\n') {
            if !part.ends_with(b"\n") {
                rest.extend_from_slice(part);
                break;
            }
            self.offset += (rest.len() + part.len()) as u64;
            match rest.is_empty() {
                true => self.line(part, entries),
                false => {
                    rest.extend_from_slice(part);
                    self.line(&rest, entries);
                    rest.clear();
                }
            }
        }
        if rest.len() > LONGEST {
            self.offset += rest.len() as u64;
            self.damaged += 1;
            rest.clear();
        }
        self.rest = rest;
    }

    fn line(&mut self, line: &[u8], entries: &mut Vec<Entry>) {
        let entry = match kind(line) {
            Some(b"step") => serde_json::from_slice(line).ok().map(|line: StepLine| self.step(&line)),
            Some(b"eval") => serde_json::from_slice(line).ok().map(|line: EvalLine| self.eval(&line)),
            Some(_) => return,
            None => None,
        };
        match entry {
            Some(entry) => entries.extend(entry),
            None => self.damaged += 1,
        }
    }

    fn step(&mut self, line: &StepLine) -> Option<Entry> {
        let secs = self.secs(line.v, line.rank, line.att, line.mono)?;
        let mut point = Point::new(line.step, secs);
        let total = Some(line.dt_ms.total).filter(|ms| *ms > 0.0);
        point.set(Column::Loss, line.loss);
        point.set(Column::GradNorm, line.grad_norm);
        point.set(Column::Lr, line.lr);
        point.set(Column::Speed, total.map(|ms| line.tokens as f64 * 1e3 / ms));
        point.set(Column::MemBytes, (line.mem_bytes > 0).then_some(line.mem_bytes as f64));
        point.set(Column::Ms, total);
        Some(Entry::Point(point))
    }

    fn eval(&mut self, line: &EvalLine) -> Option<Entry> {
        let secs = self.secs(line.v, line.rank, line.att, line.mono)?;
        let loss = line.loss.filter(|loss| loss.is_finite())?;
        Some(Entry::Eval(Eval { step: line.step, secs, loss, answers: line.answers }))
    }

    /// Seconds of work up to a line. `None`: the line is not for the chart.
    fn secs(&mut self, v: u32, rank: u32, att: u32, mono_ms: u64) -> Option<f64> {
        if v > VERSION || rank != 0 {
            return None;
        }
        if att != self.attempt {
            (self.attempt, self.before) = (att, self.now);
        }
        self.now = self.before + mono_ms as f64 / 1e3;
        Some(self.now)
    }
}

/// The value of `"type"`. In front of it there are only numbers, so the first one is the line's own.
fn kind(line: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = b"\"type\":\"";
    let start = line.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let len = line[start..].iter().position(|&b| b == b'"')?;
    Some(&line[start..start + len])
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
