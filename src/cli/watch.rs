//! Watching a run: what its worker prints and where it stands, read from its folder a few times a second. The worker knows
//! nothing of it: a watcher can come, hang, or die at any time.

mod keys;
pub mod log;
mod pace;
mod screen;

use super::worker;
use crate::launch;
use anyhow::Result;
use keys::{Answer, Keys};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::commands::{self, Command, Stop};
use lightbox_core::runs::lock::Liveness;
use lightbox_core::runs::progress::is_progress_line;
use lightbox_core::runs::record::Event;
use lightbox_core::runs::state::Status;
use lightbox_core::runs::tail::Tail;
use lightbox_core::runs::view::RunView;
use log::LogLines;
use pace::Pace;
use screen::Screen;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

/// Files are looked at so often.
const EVERY: Duration = Duration::from_millis(250);
/// The watcher was left; the run goes on. Not 0: a script must not take the run for finished.
const LEFT: u8 = 130;
/// The terminal is gone.
const HUNG_UP: u8 = 128 + libc::SIGHUP as u8;

/// Starts a run that is ready and watches it until it ends, or is left alone. `started` is called with its supervisor.
///
/// # Errors
/// As [`launch::spawn`].
pub fn from_the_start(dir: &RunDir, name: &str, started: impl FnOnce(&mut Child) -> Result<()>) -> Result<ExitCode> {
    let log = LogLines::new_ones(dir);
    let mut supervisor = launch::spawn(dir)?;
    started(&mut supervisor)?;
    let mut screen = Screen::new();
    let run = dir.path().display();
    screen
        .line(&format!("{name} trains in {run}, also without this terminal; `lightbox runs attach {run}` comes back"));
    Watch { dir, screen, log, end: End::of_own(supervisor), stopping: None }.run()
}

/// `lightbox runs attach`: where the run stands, at once, and then what happens. Ends as the run ends.
pub fn attach(dir: &RunDir) -> Result<ExitCode> {
    const LINES_BEFORE: usize = 12;
    let view = RunView::open(dir).because(Exit::Config)?;
    let mut screen = Screen::new();
    screen.line(&header(&view));
    let log = LogLines::last_ones(dir, LINES_BEFORE);
    Watch { dir, screen, log, end: End::of_another(dir), stopping: None }.run()
}

/// Name, state, progress and newest checkpoint in a line; then why it stands so, if there is something to say.
fn header(view: &RunView) -> String {
    let state = &view.written;
    // The name by which it stands in the files.
    let status = serde_json::to_value(view.state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let mut line = format!("{} · {status} · step {}/{}", view.info.name, state.step, state.total_steps);
    line.extend(state.loss.map(|loss| format!(" · loss {loss:.4}")));
    line.extend(state.checkpoint.as_ref().map(|checkpoint| format!(" · {checkpoint}")));
    line.push_str(&format!(" · in {}", view.path.display()));
    if let Some(reason) = &view.reason {
        line.push_str(&format!("\n{}", reason.text));
        line.extend(reason.hint.as_ref().map(|hint| format!("; {hint}")));
    }
    if view.suspended {
        line.push_str("\nThe worker is suspended (kill -CONT lets it go on)");
    } else if let Some(ms) = view.stalled_ms {
        line.push_str(&format!("\nThe worker is alive, but has made no progress for {} min", ms / 60_000));
    }
    line
}

struct Watch<'a> {
    dir: &'a RunDir,
    screen: Screen,
    log: LogLines,
    end: End,
    /// Since when the run has been told to stop, and whether it was said what takes so long.
    stopping: Option<(Instant, bool)>,
}

impl Watch<'_> {
    fn run(mut self) -> Result<ExitCode> {
        let mut keys = Keys::listen()?;
        let mut pace = Pace::new(self.dir);
        loop {
            // Asked before reading: what was written before the end is then read.
            let code = self.end.code(self.dir);
            if let Some(signal) = keys.end() {
                return Ok(ExitCode::from(128 + signal));
            }
            if code.is_some() || !keys.asking() {
                self.show(&mut pace, code.is_some());
            }
            if let Some(code) = code {
                return Ok(ExitCode::from(code));
            }
            match keys.answer(&mut self.screen) {
                Some(Answer::Detach) => {
                    let run = self.dir.path().display();
                    self.screen.line(&format!("the run goes on; `lightbox runs attach {run}` comes back to it"));
                    return Ok(ExitCode::from(LEFT));
                }
                Some(Answer::Stop) => self.stop(),
                Some(Answer::Continue) | None => {}
            }
            if self.screen.is_gone() {
                return Ok(ExitCode::from(HUNG_UP));
            }
            keys.wait(EVERY);
        }
    }

    /// What is new. At the end the last words, and no progress line under them.
    fn show(&mut self, pace: &mut Pace, ended: bool) {
        let draws = self.screen.draws();
        for line in self.log.poll() {
            if !(draws && is_progress_line(&line)) {
                self.screen.line(&line);
            }
        }
        match pace.line(self.dir) {
            Some(line) if draws && !ended => self.screen.progress(&line),
            _ => {}
        }
        if let Some((since, told @ false)) = &mut self.stopping
            && since.elapsed() >= Duration::from_secs(3)
        {
            *told = true;
            self.screen.line("the worker finishes its micro-batch and writes a checkpoint …");
        }
    }

    fn stop(&mut self) {
        match commands::send(self.dir, Command::Stop(Stop::default()), &commands::by()) {
            Ok(_) => {
                self.stopping = Some((Instant::now(), false));
                self.screen.line("stopping …");
            }
            Err(e) => self.screen.line(&format!("error: {e}; the run was not told to stop and goes on")),
        }
    }
}

/// How a watcher learns that a run has ended, and how.
enum End {
    /// By its own supervisor's end.
    Own(Child),
    /// From the files: nobody holds the lock, and the state is a last one.
    Files { events: Tail<Event>, exited: Option<u8>, since: Option<Instant> },
}

impl End {
    /// A supervisor writes down how the worker ended right after its end; one that died itself never does.
    const PATIENCE: Duration = Duration::from_secs(2);

    fn of_own(supervisor: Child) -> Self {
        Self::Own(supervisor)
    }

    fn of_another(dir: &RunDir) -> Self {
        const TAIL: u64 = 256 << 10;
        let path = dir.join(RunDir::EVENTS);
        let events = Tail::last(path.clone(), TAIL).unwrap_or_else(|_| Tail::new(path));
        Self::Files { events, exited: None, since: None }
    }

    /// The run's exit code, once it has ended.
    fn code(&mut self, dir: &RunDir) -> Option<u8> {
        const LINES: usize = 4096;
        match self {
            Self::Own(supervisor) => {
                let status = supervisor.try_wait().transpose()?;
                let code = status.as_ref().ok().filter(|status| status.code().is_some()).map(|s| worker::exit_code(*s));
                if code.is_none() {
                    // Somebody killed the supervisor; the worker goes on, and only the files say how it ends.
                    *self = Self::of_another(dir);
                }
                code
            }
            Self::Files { events, exited, since } => {
                loop {
                    let lines = events.poll(LINES).unwrap_or_default();
                    for line in &lines {
                        match &line.record {
                            Event::Header(_) => *exited = None,
                            Event::Exited { restart: false, code, signal, .. } => {
                                let code = code.or(signal.map(|s| 128 + s)).and_then(|c| u8::try_from(c).ok());
                                *exited = Some(code.unwrap_or(Exit::Failed as u8));
                            }
                            _ => {}
                        }
                    }
                    if lines.len() < LINES {
                        break;
                    }
                }
                let view = RunView::open(dir).ok()?;
                if view.liveness == Liveness::Alive || !view.state.is_terminal() {
                    *since = None;
                    return None;
                }
                // A worker started by hand or by torchrun has no supervisor to wait for.
                let supervised = view.worker.as_ref().is_some_and(|w| w.supervisor.is_some());
                let waited = since.get_or_insert_with(Instant::now).elapsed() >= Self::PATIENCE;
                exited.or_else(|| (waited || !supervised).then(|| code_of(&view)))
            }
        }
    }
}

/// The exit code that belongs to a last state.
pub fn code_of(view: &RunView) -> u8 {
    let exit = match view.state {
        Status::Finished => Exit::Finished,
        Status::Stopped => Exit::Stopped,
        _ => Exit::Failed,
    };
    exit as u8
}
