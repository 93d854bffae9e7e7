//! What the commands of the Hub share: kinds of repositories, the progress line, exit codes.

use super::runs::words::size;
use anyhow::Result;
use clap::ValueEnum;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::hub::{HubError, Kind, Phase, Progress};
use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::say::{on_terminal, say, say_progress};
use lightbox_core::safe_text::clean_line;
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use unicode_width::UnicodeWidthChar;

#[derive(Clone, Copy, ValueEnum)]
pub enum KindArg {
    Model,
    Dataset,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Model => Self::Model,
            KindArg::Dataset => Self::Dataset,
        }
    }
}

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Line<'a, T> {
    Progress(&'a Progress),
    Done(T),
}

/// `1 file`, `12 files`
pub fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// Does `work` and shows how it goes; Ctrl-C stops it.
pub fn watched<T>(
    json: bool,
    work: impl FnOnce(&mut dyn FnMut(&Progress) -> ControlFlow<()>) -> Result<T, HubError>,
) -> Result<T> {
    let stop = super::stop_flag()?;
    let mut shown = Shown { json, last: None, told: Progress::default() };
    let mut failed = None;
    let outcome = work(&mut |progress| {
        failed = failed.take().or(shown.show(progress).err());
        if stop.load(Relaxed) || failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if !json && on_terminal() {
        say_progress("");
    }
    match failed {
        Some(error) => Err(error.into()), // the reader of --json went away
        None => coded(outcome),
    }
}

/// Says how it goes, not too often.
struct Shown {
    json: bool,
    last: Option<Instant>,
    told: Progress,
}

impl Shown {
    fn show(&mut self, progress: &Progress) -> std::io::Result<()> {
        let every = match (self.json, on_terminal()) {
            (true, _) | (_, true) => Duration::from_millis(200),
            // Logs stay short, and nothing is said of what is quick.
            (false, false) => Duration::from_secs(5),
        };
        if self.last.is_none() && !self.json && !on_terminal() {
            self.last = Some(Instant::now());
        }
        let due = self.last.is_none_or(|last| last.elapsed() >= every);
        let (is_news, cannot_wait) = match self.json {
            true => (self.is_news(progress), self.turns(progress)),
            false => (*progress != self.told, progress.note != self.told.note && progress.note.is_some()),
        };
        if !is_news || !(due || cannot_wait) {
            return Ok(());
        }
        (self.last, self.told) = (Some(Instant::now()), progress.clone());
        match self.json {
            true => print_json(&Line::<()>::Progress(progress)),
            false if on_terminal() => {
                // A terminal that does not know its size says 0.
                let columns = crossterm::terminal::size().map_or(0, |(columns, _)| usize::from(columns));
                let columns = if columns == 0 { 80 } else { columns };
                say_progress(&fit(&line(progress), columns.saturating_sub(1)));
                Ok(())
            }
            false => {
                say(&line(progress));
                Ok(())
            }
        }
    }

    /// More than the speed is another one, or nothing moves any more.
    fn is_news(&self, progress: &Progress) -> bool {
        let stands = progress.bytes_per_second == 0.0 && self.told.bytes_per_second != 0.0;
        stands || Progress { bytes_per_second: self.told.bytes_per_second, ..progress.clone() } != self.told
    }

    /// A phase begins or ends: whoever reads JSON lines sees each from its beginning to its end, however quick it is.
    fn turns(&self, progress: &Progress) -> bool {
        let is_whole = |p: &Progress| p.files_done == p.files;
        progress.phase != self.told.phase || is_whole(progress) && !is_whole(&self.told)
    }
}

/// ` 27%  1.2 of 4.4 GB  85 MB/s  38s left  3/12 model-00001-of-00002.safetensors`, of an upload with its phase
fn line(p: &Progress) -> String {
    // Rounded down: 100 % means done.
    let percent = if p.total_bytes == 0 { 100 } else { u128::from(p.done_bytes) * 100 / u128::from(p.total_bytes) };
    let speed = match p.seconds_left() {
        Some(left) => format!("{}/s  {} left", size(p.bytes_per_second as u64), short_time(left)),
        None => "…".to_owned(),
    };
    let phase = match p.phase {
        Phase::Loading => "",
        Phase::Comparing => "comparing ",
        Phase::Sending => "sending ",
    };
    let now = match &p.note {
        Some(note) => clean_line(note, 400),
        None => format!("{phase}{}/{} {}", (p.files_done + 1).min(p.files), p.files, clean_line(&p.file, 400)),
    };
    format!("{percent:>3}%  {} of {}  {speed}  {now}", size(p.done_bytes), size(p.total_bytes))
}

/// As much as fits into the columns of a line.
fn fit(text: &str, columns: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    text.chars().take_while(fits).collect()
}

pub fn print_json<T: Serialize>(line: &Line<T>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    writeln!(out)?;
    out.flush()
}

/// Gives the Hub's errors their exit codes.
pub fn coded<T>(result: Result<T, HubError>) -> Result<T> {
    use HubError::{BadToken, Cancelled, Gated, Io, NoSpace, NotFound, ReadOnly, Wrong};
    let exit = match &result {
        Ok(_) => Exit::Finished,
        Err(Cancelled) => Exit::Stopped,
        Err(NoSpace { .. }) => Exit::Disk,
        Err(Io(e)) if lightbox_core::fs::is_full(e) => Exit::Disk,
        Err(Wrong(_) | NotFound { .. } | Gated { .. } | BadToken { .. } | ReadOnly { .. }) => Exit::Config,
        Err(_) => Exit::Failed,
    };
    result.because(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_and_hostile_names_stay_text() {
        let progress = Progress {
            file: "模型/\u{1b}[2J.safetensors".into(),
            done_bytes: 1_200_000_000,
            total_bytes: 4_400_000_000,
            files: 12,
            files_done: 2,
            bytes_per_second: 85e6,
            ..Progress::default()
        };
        let text = line(&progress);
        assert_eq!(text, " 27%  1.2 GB of 4.4 GB  85.0 MB/s  38s left  3/12 模型/\\u{1b}[2J.safetensors");
        let sending = line(&Progress { phase: Phase::Sending, ..progress });
        assert!(sending.ends_with("38s left  sending 3/12 模型/\\u{1b}[2J.safetensors"), "{sending}");
        let cut = fit(&text, 50);
        assert!(unicode_width::UnicodeWidthStr::width(cut.as_str()) <= 50 && text.starts_with(&cut), "{cut}");
    }
}
