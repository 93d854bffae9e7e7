//! Our own logs: `events.jsonl` (what happened) and `metrics.jsonl` (one line per update). Only appended to; a reader
//! takes complete lines and skips, but counts, what it cannot read. What the lines hold is in [`super::record`].
use super::record::{Event, Header, Line, Metric, VERSION};
use super::{RunDir, now_ms};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A file of lines that is only appended to.
#[derive(Debug)]
pub struct JsonLines {
    file: File,
    path: PathBuf,
    /// Length up to the last complete line.
    len: u64,
}

impl JsonLines {
    /// Opens the file or makes it. A torn last line, left by a crash, is cut off.
    pub fn open(path: &Path) -> io::Result<Self> {
        let at = |e: io::Error| io::Error::new(e.kind(), format!("opening {}: {e}", path.display()));
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(at)?;
        let len = complete_len(&mut file).map_err(at)?;
        file.set_len(len).map_err(at)?;
        Ok(Self { file, path: path.to_owned(), len })
    }

    /// Adds one line (without its newline). A line that could not be written whole (full disk) is taken back, so that
    /// the next one does not grow together with its beginning.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        debug_assert!(!line.contains('\n'));
        let bytes = format!("{line}\n").into_bytes();
        match self.file.write_all(&bytes) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                Ok(())
            }
            Err(e) => {
                let undone = self
                    .file
                    .set_len(self.len)
                    .err()
                    .map_or(String::new(), |e| format!(" (and the line's beginning stays: {e})"));
                Err(io::Error::new(e.kind(), format!("writing {}: {e}{undone}", self.path.display())))
            }
        }
    }

    /// Waits until what was written is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|e| io::Error::new(e.kind(), format!("writing {}: {e}", self.path.display())))
    }
}

/// Length of a file up to and including its last newline.
fn complete_len(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(newline) = part.iter().rposition(|&b| b == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Both logs of a run, written by the worker.
#[derive(Debug)]
pub struct RunLog {
    events: JsonLines,
    metrics: JsonLines,
    /// One counter over both files, so that they can be put in order.
    seq: u64,
    attempt: u32,
    started: Instant,
}

impl RunLog {
    /// Opens the logs for a new attempt (1 for a new run, one more for each resume) and writes `header` as its first
    /// line in both. The header's `attempt` is filled in.
    pub fn open(dir: &RunDir, header: Header) -> io::Result<Self> {
        let (events, metrics) = (dir.join(RunDir::EVENTS), dir.join(RunDir::METRICS));
        let last = [last_place(&events)?, last_place(&metrics)?];
        let seq = last.iter().map(|place| place.0).max().unwrap_or(0);
        let attempt = last.iter().map(|place| place.1).max().unwrap_or(0).saturating_add(1);
        let mut log = Self {
            events: JsonLines::open(&events)?,
            metrics: JsonLines::open(&metrics)?,
            seq,
            attempt,
            started: Instant::now(),
        };
        let header = Header { attempt, ..header };
        log.metric(&Metric::Header(header.clone()))?;
        log.event(&Event::Header(header))?;
        Ok(log)
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Appends to `events.jsonl`; what must survive a power cut (states, checkpoints) is waited for.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        let line = self.line(event)?;
        self.events.append(&line)?;
        if event.is_durable() { self.events.sync() } else { Ok(()) }
    }

    /// Appends to `metrics.jsonl`.
    pub fn metric(&mut self, metric: &Metric) -> io::Result<()> {
        let line = self.line(metric)?;
        self.metrics.append(&line)
    }

    fn line<T: Serialize>(&mut self, record: &T) -> io::Result<String> {
        self.seq += 1;
        let mono = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(serde_json::to_string(&Line {
            v: VERSION,
            seq: self.seq,
            t: now_ms(),
            mono,
            att: self.attempt,
            rank: 0,
            record,
        })?)
    }
}

/// `seq` and `att` of the last readable line; zeros if there is none.
fn last_place(path: &Path) -> io::Result<(u64, u32)> {
    #[derive(serde::Deserialize)]
    struct Place {
        seq: u64,
        att: u32,
    }
    // A line is at most 64 KiB of text and its envelope; the last few surely lie in this tail.
    const TAIL: u64 = 256 << 10;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(e) => return Err(io::Error::new(e.kind(), format!("opening {}: {e}", path.display()))),
    };
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let places = tail.split(|&b| b == b'\n').rev().find_map(|line| serde_json::from_slice::<Place>(line).ok());
    Ok(places.map_or((0, 0), |place| (place.seq, place.att)))
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
    let bytes =
        std::fs::read(path).map_err(|e| io::Error::new(e.kind(), format!("reading {}: {e}", path.display())))?;
    let complete = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let mut records = Records { lines: Vec::new(), damaged: 0 };
    for line in bytes[..complete].split_inclusive(|&b| b == b'\n') {
        match serde_json::from_slice(line) {
            Ok(line) => records.lines.push(line),
            Err(_) => records.damaged += 1,
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::super::record::{Phase, Step};
    use super::*;

    fn open(dir: &RunDir) -> RunLog {
        RunLog::open(dir, Header::new("test")).unwrap()
    }

    #[test]
    fn one_counter_runs_over_both_logs_and_all_attempts() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        for attempt in 1..=3 {
            let mut log = open(&dir);
            assert_eq!(log.attempt(), attempt);
            log.event(&Event::Phase { phase: Phase::Training, done: None, total: None }).unwrap();
            log.metric(&Metric::Step(Step::new(u64::from(attempt), 1.5, 0.5))).unwrap();
        }
        let events = read::<Event>(&dir.join(RunDir::EVENTS)).unwrap();
        let metrics = read::<Metric>(&dir.join(RunDir::METRICS)).unwrap();
        assert_eq!((events.damaged, metrics.damaged), (0, 0));
        let mut seq: Vec<u64> = events.lines.iter().map(|l| l.seq).chain(metrics.lines.iter().map(|l| l.seq)).collect();
        seq.sort_unstable();
        assert_eq!(seq, (1..=12).collect::<Vec<_>>());
        assert!(matches!(&events.lines[2].record, Event::Header(header) if header.attempt == 2));
    }

    #[test]
    fn a_torn_line_is_cut_off_and_a_damaged_one_skipped_and_counted() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        let path = dir.join(RunDir::METRICS);
        open(&dir).metric(&Metric::Step(Step::new(1, 1.0, 1.0))).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\0\0\0 not json\n{\"v\":1,\"seq\":99,\"ty").unwrap();
        let seen = read::<Metric>(&path).unwrap();
        assert_eq!((seen.lines.len(), seen.damaged), (2, 1));
        open(&dir).metric(&Metric::Step(Step::new(2, 1.0, 1.0))).unwrap();
        let seen = read::<Metric>(&path).unwrap();
        assert_eq!((seen.lines.len(), seen.damaged), (4, 1));
        assert!(seen.lines.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    }

    #[test]
    fn records_of_a_newer_version_are_kept_as_unknown() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("events.jsonl");
        std::fs::write(
            &path,
            "{\"v\":1,\"seq\":1,\"t\":0,\"mono\":0,\"att\":1,\"rank\":0,\"type\":\"from_the_future\",\"x\":[1]}\n",
        )
        .unwrap();
        let seen = read::<Event>(&path).unwrap();
        assert_eq!(seen.damaged, 0);
        assert!(matches!(seen.lines[0].record, Event::Unknown));
    }
}
