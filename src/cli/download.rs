//! `lightbox download`

use super::ask::confirmed;
use super::runs::words::size;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::hub::{self, Client, Filters, HubError, Kind, Listing, Progress, Repo};
use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::say::{on_terminal, say, say_progress};
use lightbox_core::safe_text::{clean, clean_line};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use unicode_width::UnicodeWidthChar;

/// From so many bytes on it is asked first.
const LARGE: u64 = 1_000_000_000;

/// Files go into the cache that Python's tools use (HF_HOME, HF_HUB_CACHE); what is there is not loaded again. Every file
/// is verified. After Ctrl-C or a lost connection the same command goes on where it was. HF_ENDPOINT names a mirror;
/// gated and private repositories need HF_TOKEN, or a stored login. Prints the folder.
#[derive(Args)]
pub struct DownloadArgs {
    #[arg(value_enum)]
    kind: KindArg,
    /// Its name on the Hub, like Qwen/Qwen2-VL-2B-Instruct
    #[arg(value_name = "REPO")]
    id: String,
    /// Branch, tag or commit
    #[arg(long, value_name = "R", default_value = "main")]
    revision: String,
    /// Only files whose path matches, like '*.safetensors' (repeatable; `*` also stands for `/`)
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// No files whose path matches
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Also lay the files out here, as a plain folder without links into the cache
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Progress and result as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Do not ask before loading more than 1 GB
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum KindArg {
    Model,
    Dataset,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Progress(&'a Progress),
    Done { folder: &'a Path, commit: &'a str, files: usize, bytes: u64 },
}

pub fn run(args: &DownloadArgs) -> Result<Exit> {
    let kind = match args.kind {
        KindArg::Model => Kind::Model,
        KindArg::Dataset => Kind::Dataset,
    };
    let repo = Repo { kind, id: args.id.clone(), revision: args.revision.clone() };
    let filters = Filters { include: args.include.clone(), exclude: args.exclude.clone() };
    let listing = coded(Client::from_env().and_then(|client| hub::list(&repo, &client)))?;
    let missing = coded(hub::missing_bytes(&listing, &filters))?;
    let chosen = coded(listing.chosen(&filters))?;
    let (files, bytes) = (chosen.len(), chosen.iter().map(|file| file.bytes).sum::<u64>());
    let count = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    if missing > LARGE && !args.yes && std::io::stdin().is_terminal() {
        let here = if missing < bytes { format!(", {} of it still to load", size(missing)) } else { String::new() };
        if !confirmed(&format!("{repo}: {count}, {}{here}. Load?", size(bytes)))? {
            return Ok(Exit::Stopped);
        }
    }
    let started = Instant::now();
    let snapshot = load(&listing, &filters, args.json)?;
    let folder = match &args.out {
        Some(out) => {
            coded(hub::lay_out(&listing, &filters, out))?;
            std::path::absolute(out).context("the folder of --out")?
        }
        None => snapshot,
    };
    if args.json {
        print_json(&Line::Done { folder: &folder, commit: &listing.commit, files, bytes })?;
    } else {
        let loaded = if missing == 0 { "all were here".to_owned() } else { format!("{} loaded", size(missing)) };
        say(&format!("{repo}: {count}, {}; {loaded}, {}", size(bytes), short_time(started.elapsed().as_secs_f64())));
        writeln!(std::io::stdout(), "{}", clean(&folder.display().to_string()))?;
    }
    Ok(Exit::Finished)
}

fn load(listing: &Listing, filters: &Filters, json: bool) -> Result<PathBuf> {
    let stop = Arc::new(AtomicBool::new(false));
    // A second Ctrl-C ends us at once: what is on the disk can be gone on with at any moment.
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, stop.clone())?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let mut shown = Shown { json, last: None, told: Progress::default() };
    let mut failed = None;
    let outcome = hub::download(listing, filters, &mut |progress| {
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
        let news = progress.note != self.told.note && progress.note.is_some();
        let due = self.last.is_none_or(|last| last.elapsed() >= every);
        if *progress == self.told || !(due || (news && !self.json)) {
            return Ok(());
        }
        (self.last, self.told) = (Some(Instant::now()), progress.clone());
        match self.json {
            true => print_json(&Line::Progress(progress)),
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
}

/// ` 27%  1.2 of 4.4 GB  85 MB/s  38s left  3/12 model-00001-of-00002.safetensors`
fn line(p: &Progress) -> String {
    // Rounded down: 100 % means done.
    let percent = if p.total_bytes == 0 { 100 } else { u128::from(p.done_bytes) * 100 / u128::from(p.total_bytes) };
    let speed = match p.seconds_left() {
        Some(left) => format!("{}/s  {} left", size(p.bytes_per_second as u64), short_time(left)),
        None => "…".to_owned(),
    };
    let now = match &p.note {
        Some(note) => clean_line(note, 400),
        None => format!("{}/{} {}", (p.files_done + 1).min(p.files), p.files, clean_line(&p.file, 400)),
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

fn print_json(line: &Line) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    writeln!(out)?;
    out.flush()
}

/// Gives the Hub's errors their exit codes.
fn coded<T>(result: Result<T, HubError>) -> Result<T> {
    use HubError::{BadToken, Cancelled, Gated, Io, NoSpace, NotFound, Wrong};
    let exit = match &result {
        Ok(_) => Exit::Finished,
        Err(Cancelled) => Exit::Stopped,
        Err(NoSpace { .. }) => Exit::Disk,
        Err(Io(e)) if lightbox_core::fs::is_full(e) => Exit::Disk,
        Err(Wrong(_) | NotFound { .. } | Gated { .. } | BadToken { .. }) => Exit::Config,
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
        let cut = fit(&text, 50);
        assert!(unicode_width::UnicodeWidthStr::width(cut.as_str()) <= 50 && text.starts_with(&cut), "{cut}");
    }
}
