//! `lightbox __supervise RUN`: starts the worker, waits, and writes down how it ended. A process of its own, because the
//! one that dies by a signal or for lack of memory cannot say so, and the terminal that started it may be long gone. No
//! threads, no libtorch, nothing that could fail while the worker lives.
//!
//! It passes signals on to the worker, starts it again when the GPU was lost (at most `max_restarts` times), and ends
//! with the worker's exit code. If it dies itself, the worker goes on; only the cause of death will be missing.

mod end;
mod oom;
mod signals;

use crate::cli::worker;
use anyhow::{Context, Result};
use end::{End, Status};
use lightbox_core::exit::Exit;
use lightbox_core::profile::Profile;
use lightbox_core::runs::drive::resume::ACCEPT_CHANGES;
use lightbox_core::runs::lock::{self, Liveness};
use lightbox_core::runs::record::Event;
use lightbox_core::runs::say::say;
use lightbox_core::runs::state::{self, RunState};
use lightbox_core::runs::{RunDir, checkpoints, log};
use std::process::ExitCode;
use std::time::Instant;

/// Where the worker's output goes, and what Ctrl-C means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In a session of its own, output in `worker.log`.
    Detached,
    /// In this terminal, which sends Ctrl-C to the worker by itself; when it closes, the run stops with a checkpoint.
    Foreground,
}

/// The whole life of one start.
pub fn run(dir: &RunDir, mode: Mode) -> Result<ExitCode> {
    signals::install(mode);
    if mode == Mode::Detached && std::env::current_dir().is_err() {
        // Deleted meanwhile; some libraries insist on a folder that exists.
        std::env::set_current_dir(dir.path())?;
    }
    let no_overrides: [&str; 0] = [];
    let allowed = Profile::load(&dir.join(RunDir::PROFILE), &no_overrides).map_or(0, |p| p.max_restarts);
    let mut restarts = 0;
    let code = loop {
        let end = once(dir);
        let restart = end.code() == Exit::Device as u8 && restarts < allowed && !signals::told_to_end();
        conclude(dir, mode, &end, restart);
        if !restart {
            break end.code();
        }
        restarts += 1;
        if let Err(e) = make_ready_again(dir) {
            tell(dir, mode, &format!("error: the run is not started again: {e:#}"));
            break end.code();
        }
    };
    // What was allowed for this run is not allowed for the next one of the queue.
    // SAFETY: this process has one thread.
    unsafe { std::env::remove_var(ACCEPT_CHANGES) };
    crate::cli::runs::kick();
    Ok(ExitCode::from(code))
}

/// One worker, from start to end.
fn once(dir: &RunDir) -> End {
    let (began, kills) = (Instant::now(), oom::kills());
    let spawn = || -> Result<u32> {
        let mut command = worker::command()?;
        command.arg("train").arg(dir.path()).env("LIGHTBOX_SUPERVISOR", std::process::id().to_string());
        Ok(command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?.id())
    };
    match spawn() {
        Ok(pid) => {
            signals::pass_on_to(pid as i32);
            let (status, max_rss_bytes) = end::wait(pid as i32, signals::nobody_listens);
            let oom_kill = status == Status::Signal(libc::SIGKILL)
                && kills.zip(oom::kills()).is_some_and(|(before, after)| after > before);
            End { status, oom_kill, max_rss_bytes, runtime: began.elapsed() }
        }
        Err(e) => End::not_started(format!("{e:#}")),
    }
}

/// Writes down how the worker ended, and what it could not write itself.
fn conclude(dir: &RunDir, mode: Mode, end: &End, restart: bool) {
    // Another worker has the run; this one found it taken, or was replaced. Its files are not ours to write.
    if lock::liveness(dir) == Liveness::Alive {
        return;
    }
    let mut outcome = log::append_event(dir, &end::event(end, restart));
    let said = RunState::read(dir).is_ok_and(|s| s.state.is_terminal());
    if !said {
        outcome = outcome.and(write_the_truth(dir, mode, end));
    }
    if let Err(e) = outcome {
        tell(dir, mode, &format!("warning: {e}. How the worker ended was not written down"));
    }
    if restart {
        tell(dir, mode, "the GPU was lost; the run is started again from its newest checkpoint");
    }
}

/// The worker ended without a last word: state, event and a line for people.
fn write_the_truth(dir: &RunDir, mode: Mode, end: &End) -> std::io::Result<()> {
    let mut before = RunState::read(dir).unwrap_or_default();
    // It may have died between writing a checkpoint and saying so. Whoever goes on checks it in full.
    let checkpoints = checkpoints::list(dir).unwrap_or_default();
    before.checkpoint = checkpoints.iter().rev().find(|c| c.check_quick().is_ok()).map(|c| c.name());
    // In the foreground its last words went to the terminal.
    let last_words = (mode == Mode::Detached).then(|| end::last_words(dir)).flatten();
    let (to, reason) = end.verdict(dir, &before, last_words, signals::told_to_end());
    if let Some(reason) = &reason
        && !end.has_spoken()
    {
        let hint = reason.hint.iter().fold(String::new(), |_, hint| format!("; {hint}"));
        tell(dir, mode, &format!("error: {}{hint}", reason.text));
    }
    let event = Event::State { from: before.state, to, reason: reason.clone(), step: before.step };
    log::append_event(dir, &event)?;
    RunState::change(dir, |s| (s.state, s.reason, s.pid, s.checkpoint) = (to, reason, None, before.checkpoint))
        .map(drop)
}

/// Before another start: what the worker would do once more must not be done, such as emptying the folder.
fn make_ready_again(dir: &RunDir) -> Result<()> {
    let state = RunState::change(dir, |s| (s.state, s.reason, s.pid) = (state::Status::Starting, None, None))?;
    if state.checkpoint.is_none() {
        return Ok(());
    }
    let (path, no_overrides): (_, [&str; 0]) = (dir.join(RunDir::PROFILE), []);
    let mut profile = Profile::load(&path, &no_overrides)?;
    profile.overwrite_output_dir = false;
    profile.resume_from_checkpoint = None;
    Ok(lightbox_core::fs::write_atomic(&path, profile.to_yaml().as_bytes())?)
}

/// A line for people, where they look: the log file's name, not our own output, which an older, full file may have.
fn tell(dir: &RunDir, mode: Mode, text: &str) {
    let text = lightbox_core::safe_text::clean(text).replace('\n', " ");
    match mode {
        Mode::Foreground => say(&text),
        // If this cannot be written, there is nobody left to tell.
        Mode::Detached => drop(lightbox_core::fs::append_line(&dir.join(RunDir::WORKER_LOG), &text)),
    }
}
