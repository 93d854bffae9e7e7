//! `lightbox runs logs`, and the last lines of logs for other reports.

use super::{Run, words};
use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::record::{Event, Line, Metric, SystemRecord};
use lightbox_core::runs::tail::Tail;
use lightbox_core::runs::view::RunView;
use lightbox_core::safe_text::clean_line;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

/// Longest line that is shown, in characters.
const WIDEST: usize = 4000;
/// What is looked at for the last lines of a file.
const LAST_BYTES: u64 = 4 << 20;

#[derive(Args)]
#[command(group(ArgGroup::new("which").args(["worker", "events", "metrics", "system"])))]
pub struct LogsArgs {
    #[command(flatten)]
    run: Run,
    /// What the worker printed (the default)
    #[arg(long)]
    worker: bool,
    /// What happened: states, checkpoints, warnings, commands
    #[arg(long)]
    events: bool,
    /// Every update and evaluation
    #[arg(long)]
    metrics: bool,
    /// GPU, memory and disk, once a second
    #[arg(long)]
    system: bool,
    /// Only so many lines from the end
    #[arg(short, value_name = "N", default_value_t = 100)]
    n: usize,
    /// Go on with what comes, until the run ends
    #[arg(long, short)]
    follow: bool,
    /// Lines as they are in the file; those of the worker as {"line": …}
    #[arg(long)]
    json: bool,
}

pub fn run(args: &LogsArgs) -> Result<Exit> {
    let dir = args.run.find()?;
    let (name, words): (_, fn(&str) -> Option<String>) = match () {
        () if args.events => (RunDir::EVENTS, |line| sentence::<Event>(line, words::event)),
        () if args.metrics => (RunDir::METRICS, |line| sentence::<Metric>(line, words::metric)),
        () if args.system => (RunDir::SYSTEM, |line| sentence::<SystemRecord>(line, words::system)),
        () => (RunDir::WORKER_LOG, |line| Some(line.to_owned())),
    };
    let print = |lines: &[String]| -> Result<()> {
        let mut out = io::stdout().lock();
        for line in lines {
            writeln!(out, "{line}").context("printing the log")?;
        }
        out.flush().context("printing the log")
    };
    let shown = |raw: Vec<String>| -> Vec<String> {
        if args.json && name != RunDir::WORKER_LOG {
            return raw;
        }
        if args.json {
            return raw.iter().map(|line| serde_json::json!({"line": line}).to_string()).collect();
        }
        raw.iter().filter_map(|line| words(line)).map(|line| clean_line(&line, WIDEST)).collect()
    };
    let mut log = RawLines::new(dir.join(name));
    let lines = shown(log.poll().because(Exit::Disk)?);
    print(&lines[lines.len().saturating_sub(args.n)..])?;
    let mut follows = args.follow;
    while follows {
        // First whether it is alive: what it says last is then read in any case.
        follows = RunView::open_lenient(&dir).is_alive();
        print(&shown(log.poll().because(Exit::Disk)?))?;
        if follows {
            std::thread::sleep(Duration::from_millis(250));
        }
    }
    Ok(Exit::Finished)
}

/// `runs attach --json`: how the run stands, then every event and metric of it as its line is written. Ends as the run ends.
pub fn follow_json(dir: &RunDir) -> Result<std::process::ExitCode> {
    // What is there now is in the files; a watcher wants what comes.
    let mut logs = [RunDir::EVENTS, RunDir::METRICS].map(|name| RawLines::new(dir.join(name)));
    for log in &mut logs {
        log.poll().because(Exit::Disk)?;
    }
    let mut out = io::stdout().lock();
    let stands = RunView::open(dir).because(Exit::Config)?.summary();
    writeln!(out, "{}", serde_json::to_string(&stands)?)?;
    loop {
        // First whether it is alive: what it says last is then read in any case.
        let view = RunView::open_lenient(dir);
        for log in &mut logs {
            for line in log.poll().because(Exit::Disk)? {
                writeln!(out, "{line}")?;
            }
        }
        out.flush()?;
        if !view.is_alive() {
            return Ok(std::process::ExitCode::from(crate::cli::watch::code_of(&view)));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// A record in words, behind its time of day (UTC). A damaged line says so: it is part of what happened.
fn sentence<T: DeserializeOwned>(line: &str, words: fn(&T) -> Option<String>) -> Option<String> {
    match serde_json::from_str::<Line<T>>(line) {
        Ok(line) => {
            let seconds = line.t / 1000 % 86_400;
            let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            Some(format!("{h:02}:{m:02}:{s:02}  {}", words(&line.record)?))
        }
        Err(_) => Some(format!("(damaged line) {line}")),
    }
}

/// The last `n` records of a log that say something. A log that cannot be read has none.
pub fn last_record<T: DeserializeOwned>(
    dir: &RunDir,
    name: &str,
    n: usize,
    words: fn(&T) -> Option<String>,
) -> Vec<String> {
    let lines = Tail::<T>::last(dir.join(name), 64 << 10).and_then(|mut tail| tail.poll(usize::MAX));
    let said: Vec<String> = lines.unwrap_or_default().iter().filter_map(|line| words(&line.record)).collect();
    said[said.len().saturating_sub(n)..].to_vec()
}

/// Follows a file of text over rotations: complete lines only.
struct RawLines {
    path: PathBuf,
    open: Option<File>,
    offset: u64,
    /// A line that has no end yet.
    begun: Vec<u8>,
}

impl RawLines {
    fn new(path: PathBuf) -> Self {
        Self { path, open: None, offset: 0, begun: Vec::new() }
    }

    /// What has come since; the first time the last lines of what is there. A file that is not there has none.
    fn poll(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        self.read(&mut lines).map_err(|e| io::Error::new(e.kind(), format!("reading {}: {e}", self.path.display())))?;
        Ok(lines)
    }

    fn read(&mut self, lines: &mut Vec<String>) -> io::Result<()> {
        let first = self.open.is_none();
        if let Some(file) = self.open.take() {
            self.rest(&file, lines)?;
            let (was, now) = (file.metadata()?, std::fs::metadata(&self.path).ok());
            if now.is_none_or(|now| file_id(&now) == file_id(&was) && now.len() >= self.offset) {
                self.open = Some(file);
                return Ok(());
            }
        }
        // Never seen, rotated, or cut.
        let file = match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let start = if first { file.metadata()?.len().saturating_sub(LAST_BYTES) } else { 0 };
        (self.offset, self.begun) = (start, Vec::new());
        let before = lines.len();
        self.rest(&file, lines)?;
        if start > 0 && lines.len() > before {
            lines.remove(before); // begins in the middle
        }
        self.open = Some(file);
        Ok(())
    }

    fn rest(&mut self, file: &File, lines: &mut Vec<String>) -> io::Result<()> {
        let mut block = vec![0; 64 << 10];
        loop {
            let n = match file.read_at(&mut block, self.offset) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.offset += n as u64;
            for part in block[..n].split_inclusive(|&b| b == b'\n') {
                self.begun.extend_from_slice(part);
                if self.begun.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.begun);
                    lines.push(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
                }
            }
        }
    }
}

fn file_id(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_followed_over_a_rotation_and_half_ones_wait() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("worker.log");
        let mut log = RawLines::new(path.clone());
        assert_eq!(log.poll().unwrap(), Vec::<String>::new());
        std::fs::write(&path, "one\ntw").unwrap();
        assert_eq!(log.poll().unwrap(), ["one"]);
        File::options().append(true).open(&path).unwrap().write_all(b"o\nthree\n").unwrap();
        std::fs::rename(&path, temp.path().join("worker.log.1")).unwrap();
        std::fs::write(&path, "four\n").unwrap();
        assert_eq!(log.poll().unwrap(), ["two", "three", "four"]);
        std::fs::write(&path, "5\n").unwrap();
        assert_eq!(log.poll().unwrap(), ["5"], "a file that was cut begins anew");
    }

    #[test]
    fn a_damaged_line_is_shown_as_one() {
        let line = sentence::<Event>("{\"v\":1,", words::event).unwrap();
        assert_eq!(line, "(damaged line) {\"v\":1,");
    }
}
