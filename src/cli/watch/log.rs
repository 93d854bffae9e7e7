//! `worker.log`, line by line, while it grows and is replaced.

use lightbox_core::runs::RunDir;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Follows the file. Whatever cannot be read just now is read later.
pub struct LogLines {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

impl LogLines {
    /// A line that is longer is shown in pieces.
    const LONGEST: usize = 64 << 10;

    /// What is written from now on.
    pub fn new_ones(dir: &RunDir) -> Self {
        let mut lines = Self { path: dir.join(RunDir::WORKER_LOG), file: None, rest: Vec::new() };
        lines.file = File::open(&lines.path).ok().filter(|mut file| file.seek(SeekFrom::End(0)).is_ok());
        lines
    }

    /// The last `n` lines that are there, and what follows.
    pub fn last_ones(dir: &RunDir, n: usize) -> Self {
        let mut lines = Self::new_ones(dir);
        if let Some(file) = &mut lines.file {
            // From a place that cannot be found the file is read from its end.
            let _ = start_of_last(file, n).and_then(|start| file.seek(SeekFrom::Start(start)));
        }
        lines
    }

    /// The new complete lines.
    pub fn poll(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        self.read(&mut lines);
        // Rotated: the old file has been read to its end, the new one begins.
        if self.file.as_ref().is_some_and(|file| is_another(file, &self.path)) {
            self.file = File::open(&self.path).ok();
            self.read(&mut lines);
        }
        lines
    }

    fn read(&mut self, lines: &mut Vec<String>) {
        let Some(file) = &mut self.file else { return };
        if let (Ok(len), Ok(at)) = (file.metadata().map(|m| m.len()), file.stream_position())
            && len < at
        {
            let _ = file.rewind(); // cut
        }
        let mut block = [0; 16 << 10];
        while let Ok(n @ 1..) = file.read(&mut block) {
            self.rest.extend_from_slice(&block[..n]);
            while let Some(end) = self.rest.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                lines.push(text(&line[..end]));
            }
            if self.rest.len() > Self::LONGEST {
                lines.push(text(&std::mem::take(&mut self.rest)));
            }
        }
    }
}

/// A library that draws on one line writes `\r` in between: the last version is what it means.
fn text(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\r');
    line.rsplit('\r').next().unwrap_or_default().to_owned()
}

fn is_another(file: &File, path: &std::path::Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) != (named.dev(), named.ino()),
        _ => false,
    }
}

/// Where the last `n` lines of the file begin; at most 64 KiB before its end.
fn start_of_last(file: &mut File, n: usize) -> io::Result<u64> {
    const TAIL: u64 = 64 << 10;
    let len = file.metadata()?.len();
    let from = len.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let ends: Vec<usize> = (0..tail.len().saturating_sub(1)).filter(|&i| tail[i] == b'\n').collect();
    Ok(match ends.len().checked_sub(n) {
        Some(i) => from + ends[i] as u64 + 1,
        None => from,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn log() -> (tempfile::TempDir, RunDir, File) {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        let file = File::options().append(true).create(true).open(dir.join(RunDir::WORKER_LOG)).unwrap();
        (temp, dir, file)
    }

    #[test]
    fn lines_come_when_they_are_complete_and_none_is_lost_when_the_file_is_replaced() {
        let (_temp, dir, mut file) = log();
        file.write_all(b"before\n").unwrap();
        let mut lines = LogLines::new_ones(&dir);
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(lines.poll(), ["one"]);
        file.write_all(b"o\n1%\r2%\r\n").unwrap();
        assert_eq!(lines.poll(), ["two", "2%"]);
        file.write_all(b"last of the old\n").unwrap();
        std::fs::rename(dir.join(RunDir::WORKER_LOG), dir.join("worker.log.1")).unwrap();
        std::fs::write(dir.join(RunDir::WORKER_LOG), "first of the new\n").unwrap();
        assert_eq!(lines.poll(), ["last of the old", "first of the new"]);
        std::fs::write(dir.join(RunDir::WORKER_LOG), "cut\n").unwrap();
        assert_eq!(lines.poll(), ["cut"]);
    }

    #[test]
    fn the_last_lines_are_found_in_short_long_and_missing_files() {
        let (_temp, dir, mut file) = log();
        for n in 0..20_000 {
            writeln!(file, "line {n}").unwrap();
        }
        assert_eq!(LogLines::last_ones(&dir, 2).poll(), ["line 19998", "line 19999"]);
        std::fs::write(dir.join(RunDir::WORKER_LOG), "only\n").unwrap();
        assert_eq!(LogLines::last_ones(&dir, 2).poll(), ["only"]);
        std::fs::remove_file(dir.join(RunDir::WORKER_LOG)).unwrap();
        let mut lines = LogLines::last_ones(&dir, 2);
        assert!(lines.poll().is_empty());
        std::fs::write(dir.join(RunDir::WORKER_LOG), "later\n").unwrap();
        assert_eq!(lines.poll(), ["later"]);
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let (_temp, dir, mut file) = log();
        let mut lines = LogLines::new_ones(&dir);
        file.write_all(&vec![b'x'; 1 << 20]).unwrap();
        let shown = lines.poll();
        assert!(shown.len() > 10 && shown.iter().all(|line| line.len() <= LogLines::LONGEST + (16 << 10)));
    }
}
