//! Follows a log while it grows: only complete lines, a bounded part at a time, over replaced and cut files.
use super::record::{Line, VERSION};
use serde::de::DeserializeOwned;
use std::fs::{File, Metadata};
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A reader of one log. It holds no lock and no line: whatever it has not handed out it reads again from the file.
#[derive(Debug)]
pub struct Tail<T> {
    path: PathBuf,
    open: Option<Open>,
    damaged: u64,
    _record: PhantomData<fn() -> T>,
}

/// The file as it was found under the path.
#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// All before it was handed out, or counted. A line begins here, unless `skipping`.
    offset: u64,
    /// In the middle of a line that is too long; it is counted already.
    skipping: bool,
}

impl<T: DeserializeOwned> Tail<T> {
    /// Longest line that is read. Ours hold 64 KiB of text at most.
    const MAX_LINE: usize = 1 << 20;

    /// From the beginning of the file; it may not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, open: None, damaged: 0, _record: PhantomData }
    }

    /// Only the last `bytes` that are there now, from the first line that begins in them, and what comes.
    pub fn last(path: PathBuf, bytes: u64) -> io::Result<Self> {
        let mut open = Open::at(&path)?;
        if let Some(open) = &mut open {
            let start = open.file.metadata()?.len().saturating_sub(bytes);
            if start > 0 {
                // from the byte before: a line that begins exactly at `start` counts
                (open.offset, open.skipping) = (start - 1, true);
            }
        }
        Ok(Self { open, ..Self::new(path) })
    }

    /// The next complete lines, at most `max_lines` of them; empty if there is nothing new. When the file was replaced, the
    /// rest of the old one comes first; when it was cut, all of it comes again (`seq` tells what was seen).
    ///
    /// # Errors
    /// The disk cannot be read; a file that is not there is empty.
    pub fn poll(&mut self, max_lines: usize) -> io::Result<Vec<Line<T>>> {
        let mut lines = Vec::new();
        self.collect(max_lines, &mut lines)
            .map_err(|e| io::Error::new(e.kind(), format!("reading {}: {e}", self.path.display())))?;
        Ok(lines)
    }

    /// Complete lines that could not be read so far: damaged, longer than 1 MiB, or of a newer major version.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    fn collect(&mut self, max_lines: usize, lines: &mut Vec<Line<T>>) -> io::Result<()> {
        loop {
            if let Some(open) = &mut self.open {
                if open.file.metadata()?.len() < open.offset {
                    (open.offset, open.skipping) = (0, false);
                }
                open.read(max_lines, lines, &mut self.damaged)?;
                if lines.len() >= max_lines || !open.is_replaced(&self.path)? {
                    return Ok(());
                }
            }
            self.open = Open::at(&self.path)?;
            if self.open.is_none() {
                return Ok(());
            }
        }
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = found(File::open(path))? else { return Ok(None) };
        let identity = identity(&file.metadata()?);
        Ok(Some(Self { file, identity, offset: 0, skipping: false }))
    }

    /// Another file has its name now.
    fn is_replaced(&self, path: &Path) -> io::Result<bool> {
        Ok(found(std::fs::metadata(path))?.is_some_and(|now| identity(&now) != self.identity))
    }

    /// Goes on to the end of the last complete line.
    fn read<T: DeserializeOwned>(
        &mut self,
        max_lines: usize,
        lines: &mut Vec<Line<T>>,
        damaged: &mut u64,
    ) -> io::Result<()> {
        let mut block = vec![0; 64 << 10];
        // what was read from `offset` on and is not a complete line yet
        let mut begun = Vec::new();
        while lines.len() < max_lines {
            let n = match self.file.read_at(&mut block, self.offset + begun.len() as u64) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            for part in block[..n].split_inclusive(|&b| b == b'\n') {
                if lines.len() >= max_lines {
                    return Ok(());
                }
                let complete = part.ends_with(b"\n");
                if self.skipping {
                    self.offset += part.len() as u64;
                    self.skipping = !complete;
                    continue;
                }
                begun.extend_from_slice(part);
                if complete {
                    match parse(&begun) {
                        Some(line) => lines.push(line),
                        None => *damaged += 1,
                    }
                } else if begun.len() > Tail::<T>::MAX_LINE {
                    *damaged += 1;
                    self.skipping = true;
                } else {
                    continue;
                }
                self.offset += begun.len() as u64;
                begun.clear();
            }
        }
        Ok(())
    }
}

/// A line of a newer major version may mean something else by the same keys, so it is not read.
fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<Line<T>> {
    serde_json::from_slice::<Line<T>>(line).ok().filter(|line| line.v <= VERSION)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn found<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Metric, Step};
    use super::*;
    use proptest::prelude::*;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::time::{Duration, Instant};

    fn line(seq: u64, att: u32) -> String {
        let record = Metric::Step(Step::new(seq, 1.5, 0.5));
        serde_json::to_string(&Line { v: 1, seq, t: 1, mono: 1, att, rank: 0, record }).unwrap() + "\n"
    }

    fn append(path: &Path, bytes: impl AsRef<[u8]>) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes.as_ref()).unwrap();
    }

    fn seqs(tail: &mut Tail<Metric>, max: usize) -> Vec<u64> {
        tail.poll(max).unwrap().iter().map(|line| line.seq).collect()
    }

    struct Log {
        _temp: tempfile::TempDir,
        path: PathBuf,
    }

    fn log() -> Log {
        let temp = tempfile::tempdir().unwrap();
        Log { path: temp.path().join("metrics.jsonl"), _temp: temp }
    }

    #[test]
    fn a_line_comes_when_it_is_complete_and_only_once() {
        let log = log();
        let mut tail = Tail::new(log.path.clone());
        assert!(seqs(&mut tail, 9).is_empty(), "no file yet");
        let text = line(1, 1);
        append(&log.path, &text[..20]);
        assert!(seqs(&mut tail, 9).is_empty(), "half a line");
        append(&log.path, format!("{}{}{}", &text[20..], line(2, 1), line(3, 1)));
        assert_eq!(seqs(&mut tail, 2), [1, 2]);
        assert_eq!(seqs(&mut tail, 2), [3]);
        assert!(seqs(&mut tail, 2).is_empty());
        assert_eq!(tail.damaged(), 0);
    }

    #[test]
    fn a_torn_line_that_the_next_attempt_cuts_off_costs_nothing() {
        let log = log();
        let mut tail = Tail::new(log.path.clone());
        append(&log.path, line(1, 1) + "{\"v\":1,\"seq\":2,\"to");
        assert_eq!(seqs(&mut tail, 9), [1]);
        OpenOptions::new().write(true).open(&log.path).unwrap().set_len(line(1, 1).len() as u64).unwrap();
        append(&log.path, line(2, 2));
        assert_eq!(seqs(&mut tail, 9), [2]);
        assert_eq!(tail.damaged(), 0);
    }

    #[test]
    fn a_replaced_file_is_read_to_its_end_and_then_the_new_one() {
        let log = log();
        append(&log.path, line(1, 1));
        let mut tail = Tail::new(log.path.clone());
        assert_eq!(seqs(&mut tail, 9), [1]);
        append(&log.path, line(2, 1));
        std::fs::rename(&log.path, log.path.with_extension("1")).unwrap();
        assert_eq!(seqs(&mut tail, 9), [2], "its name is free, it is still read");
        append(&log.path, line(3, 1));
        assert_eq!(seqs(&mut tail, 9), [3]);
        std::fs::write(&log.path, "").unwrap();
        append(&log.path, &line(4, 1).as_bytes()[..9]);
        assert!(seqs(&mut tail, 9).is_empty(), "cut");
        append(&log.path, &line(4, 1).as_bytes()[9..]);
        assert_eq!(seqs(&mut tail, 9), [4]);
    }

    #[test]
    fn damage_and_what_is_newer_is_counted_and_the_rest_is_read() {
        let log = log();
        let unknown = r#"{"v":1,"seq":5,"t":0,"mono":0,"att":2,"rank":0,"type":"from_the_future","more":{}}"#;
        let major = r#"{"v":2,"seq":6,"t":0,"mono":0,"att":2,"rank":0,"type":"step","step":"seven"}"#;
        append(&log.path, line(3, 2) + &line(1, 1) + &line(4, 2)); // an old attempt's line between two of the new
        append(&log.path, [0; 4096]);
        append(&log.path, "\n\n\u{feff}\n[]\n");
        append(&log.path, [0xff, b'\n']);
        append(&log.path, format!("{unknown}\n{major}\n"));
        append(&log.path, "x".repeat(3 << 20) + "\n");
        append(&log.path, line(7, 2) + "{\"torn");
        let mut tail = Tail::new(log.path.clone());
        assert_eq!(seqs(&mut tail, 99), [3, 1, 4, 5, 7]);
        assert_eq!(tail.damaged(), 7);
    }

    #[test]
    fn a_line_without_end_is_passed_over_without_being_held() {
        let log = log();
        append(&log.path, "x".repeat((1 << 20) + 5));
        let mut tail = Tail::new(log.path.clone());
        assert!(seqs(&mut tail, 9).is_empty());
        assert_eq!(tail.damaged(), 1);
        append(&log.path, "x".repeat(2 << 20));
        assert!(seqs(&mut tail, 9).is_empty());
        append(&log.path, format!("x\n{}", line(1, 1)));
        assert_eq!(seqs(&mut tail, 9), [1]);
        assert_eq!(tail.damaged(), 1, "once");
    }

    #[test]
    fn the_end_of_a_log_begins_with_a_whole_line() {
        let log = log();
        assert!(seqs(&mut Tail::last(log.path.clone(), 100).unwrap(), 9).is_empty(), "no file yet");
        let lines: Vec<String> = (1..=4).map(|seq| line(seq, 1)).collect();
        append(&log.path, lines.concat());
        let two = (lines[2].len() + lines[3].len()) as u64;
        for (bytes, expected) in
            [(two, &[3, 4][..]), (two - 1, &[4]), (two + 1, &[3, 4]), (1 << 20, &[1, 2, 3, 4]), (0, &[])]
        {
            let mut tail = Tail::last(log.path.clone(), bytes).unwrap();
            assert_eq!((seqs(&mut tail, 9).as_slice(), tail.damaged()), (expected, 0), "{bytes}");
        }
    }

    #[test]
    fn a_million_lines_are_read_in_seconds() {
        let log = log();
        let thousand: String = (1..=1000).map(|seq| line(seq, 1)).collect();
        let mut file = File::create(&log.path).unwrap();
        for _ in 0..1000 {
            file.write_all(thousand.as_bytes()).unwrap();
        }
        let (begun, mut tail, mut seen) = (Instant::now(), Tail::<Metric>::new(log.path.clone()), 0);
        loop {
            let lines = tail.poll(2000).unwrap();
            if lines.is_empty() {
                break;
            }
            seen += lines.len();
        }
        assert_eq!((seen, tail.damaged()), (1_000_000, 0));
        let took = begun.elapsed();
        eprintln!("1 million lines, {} MB, in {took:?}", file.metadata().unwrap().len() >> 20);
        assert!(took < Duration::from_secs(30), "{took:?}"); // a few seconds; a busy machine needs more
    }

    proptest! {
        #[test]
        fn valid_lines_come_out_in_order_whatever_lies_between_them(
            parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200), any::<bool>()), 0..30),
            max in 1usize..5,
        ) {
            let log = log();
            let mut tail = Tail::<Metric>::new(log.path.clone());
            let (mut seen, mut written) = (Vec::new(), Vec::new());
            for (n, (valid, mut bytes, look)) in parts.into_iter().enumerate() {
                if valid {
                    append(&log.path, line(n as u64, 1));
                    written.push(n as u64);
                } else {
                    bytes.push(b'\n');
                    append(&log.path, bytes);
                }
                if look {
                    seen.extend(seqs(&mut tail, max));
                }
            }
            loop {
                let more = seqs(&mut tail, max);
                if more.is_empty() {
                    break;
                }
                seen.extend(more);
            }
            prop_assert_eq!(seen, written);
        }
    }
}
