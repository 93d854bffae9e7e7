//! The long work of the Models screen, as tasks: asks the Hub, loads from it, exports, removes.
use super::super::tasks::Ctx;
use crate::app::Action;
use crate::app::models::Msg;
use crate::app::models::entry::{Entry, Kind, Origin};
use crate::app::models::export::Verified;
use crate::app::models::work::{End, Offer};
use crate::app::tasks::Progress;
use crate::view::words::size;
use anyhow::{Context, Result, bail};
use lightbox_core::hub::{self, Client, Filters, HubError, Repo};
use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::registry;
use lightbox_core::safe_text::clean_line;
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Files that are named in the question before a download.
const LARGEST: usize = 6;
/// How often a task looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(100);
/// Told to stop, an export removes what it has written; one that does not is killed.
const GRACE: Duration = Duration::from_secs(10);

fn repo(id: &str, revision: &str) -> Repo {
    Repo { revision: revision.to_owned(), ..Repo::new(hub::Kind::Model, id) }
}

fn said(e: &HubError) -> String {
    clean_line(&e.to_string(), 1000)
}

/// What a repository holds, and what of it is still to load.
pub fn list(
    ctx: &mut Ctx,
    job: u64,
    client: Result<Client, HubError>,
    id: &str,
    revision: &str,
) -> Result<Option<Action>> {
    let offer = client.and_then(|client| {
        let listing = hub::list(&repo(id, revision), &client)?;
        let missing = hub::missing_bytes(&listing, &Filters::default())?;
        let mut largest: Vec<(String, u64)> = listing.files.iter().map(|f| (f.path.clone(), f.bytes)).collect();
        largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        largest.truncate(LARGEST);
        let there = client.cache().ancestors().find(|dir| dir.is_dir());
        Ok(Offer {
            repo: id.to_owned(),
            revision: revision.to_owned(),
            files: listing.files.len(),
            bytes: listing.total_bytes(),
            missing,
            free: there.and_then(|dir| lightbox_core::fs::space(dir).ok()).map(|space| space.free_bytes),
            cache: client.cache().to_owned(),
            largest,
        })
    });
    if ctx.is_cancelled() {
        return Ok(Some(Action::Models(Msg::Ended(job, End::Cancelled))));
    }
    let (outcome, failed) = match offer {
        Ok(offer) => (Ok(offer), None),
        Err(e) => (Err(said(&e)), Some(said(&e))),
    };
    let action = Action::Models(Msg::Listed(job, outcome));
    match failed {
        None => Ok(Some(action)),
        Some(why) => {
            ctx.back().send(action);
            bail!(why)
        }
    }
}

/// Loads what is missing. Whatever ends it, what came stays, and the next time goes on there.
pub fn download(
    ctx: &mut Ctx,
    job: u64,
    client: Result<Client, HubError>,
    id: &str,
    revision: &str,
) -> Result<Option<Action>> {
    let outcome = client.and_then(|client| {
        let listing = hub::list(&repo(id, revision), &client)?;
        hub::download(&listing, &Filters::default(), &mut |p| ctx.report(|| told(p)))
    });
    let (end, failed) = match outcome {
        Ok(path) => (End::Downloaded(path), None),
        Err(HubError::Cancelled) => (End::Cancelled, None),
        Err(_) if ctx.is_cancelled() => (End::Cancelled, None),
        Err(e) => (End::Failed(said(&e)), Some(said(&e))),
    };
    finish(ctx, job, end, failed)
}

fn finish(ctx: &Ctx, job: u64, end: End, failed: Option<String>) -> Result<Option<Action>> {
    ctx.back().send(Action::Models(Msg::Ended(job, end)));
    match failed {
        Some(why) => bail!(why),
        None => Ok(None),
    }
}

fn told(p: &hub::Progress) -> Progress {
    let note = match (&p.note, p.seconds_left()) {
        (Some(note), _) => clean_line(note, 300),
        (None, Some(left)) => {
            format!("{}/s · {} · {}", size(p.bytes_per_second as u64), short_time(left), clean_line(&p.file, 200))
        }
        (None, None) => clean_line(&p.file, 200),
    };
    Progress { done: p.done_bytes, total: p.total_bytes, bytes: true, note }
}

/// A line of `lightbox export --json`.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Progress { done: u64, total: u64, what: String },
    Done { dir: PathBuf, verify: Option<Verified> },
}

/// Runs `lightbox export … --json` and tells what it says.
pub fn export(ctx: &mut Ctx, job: u64, program: std::io::Result<PathBuf>, args: &[String]) -> Result<Option<Action>> {
    match exported(ctx, program, args) {
        Ok((dir, verified)) => {
            let dir = std::fs::canonicalize(&dir).unwrap_or(dir);
            finish(ctx, job, End::Exported(dir, verified), None)
        }
        Err(_) if ctx.is_cancelled() => finish(ctx, job, End::Cancelled, None),
        Err(e) => {
            let why = clean_line(&format!("{e:#}"), 1000);
            finish(ctx, job, End::Failed(why.clone()), Some(why))
        }
    }
}

fn exported(ctx: &mut Ctx, program: std::io::Result<PathBuf>, args: &[String]) -> Result<(PathBuf, Option<Verified>)> {
    let program = program.context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    let piped = command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // a group of its own, so that the engine, which it starts, can be killed with it
    let mut child = piped.process_group(0).spawn().context("cannot start the export")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (send, lines) = channel();
    std::thread::spawn(move || {
        let all = stdout.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok);
        all.take_while(|line| send.send(line.clone()).is_ok()).for_each(drop);
    });
    // its own thread: an unread pipe that is full would stop the export
    let errors = std::thread::spawn(move || {
        let all = stderr.into_iter().flat_map(|err| BufReader::new(err).lines()).map_while(Result::ok);
        all.filter(|line| !line.trim().is_empty()).last()
    });
    let mut done = None;
    let mut deadline = None;
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Line::Progress { done, total, what }) => {
                    let note = clean_line(&what, 200);
                    let _ = ctx.report(|| Progress { done, total, bytes: true, note });
                }
                Ok(Line::Done { dir, verify }) => done = Some((dir, verify)),
                Err(_) => {}
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if ctx.is_cancelled() {
            stop(&mut child, &mut deadline)?;
        }
    }
    let status = child.wait()?;
    let last = errors.join().ok().flatten();
    match done.filter(|_| status.success()) {
        Some(done) => Ok(done),
        None => {
            let last = last.map(|line| line.trim_start_matches("error: ").to_owned());
            bail!("{}", last.unwrap_or_else(|| format!("the export ended without a result ({status})")))
        }
    }
}

/// SIGTERM first: the export removes what it has written, and passes the signal on to the engine.
fn stop(child: &mut Child, deadline: &mut Option<Instant>) -> std::io::Result<()> {
    match deadline {
        None => {
            *deadline = Some(Instant::now() + GRACE);
            // SAFETY: a plain system call; the child has not been waited for, so its id is its own.
            unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
            Ok(())
        }
        Some(at) if Instant::now() >= *at => {
            // SAFETY: as above; its id is also that of its group.
            unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

/// Removes what a download or an export has written, and nothing else.
pub fn remove(entry: &Entry) -> Result<Option<Action>> {
    let path = &entry.path;
    let bytes = match (&entry.origin, entry.kind) {
        (Origin::Hub(cached), _) => hub::remove(cached)?,
        (Origin::Folder, Kind::Export) => {
            // the question named a model; whatever took its place since then is not meant
            let is_model = path.join("config.json").is_file() && !registry::is_run(path);
            let is_plain = path.symlink_metadata()?.is_dir();
            if !is_model || !is_plain {
                bail!("{} is no exported model any more; nothing was removed", path.display());
            }
            lightbox_core::fs::remove_dir_all(path)?;
            entry.bytes
        }
        _ => bail!("{} was not made by the workbench; nothing was removed", path.display()),
    };
    Ok(Some(Action::Models(Msg::Removed(path.clone(), bytes))))
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
