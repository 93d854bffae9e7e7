//! The Chat screen's side of `lightbox-engine answer`: starts the worker, hands requests to it and replies to the screen, and
//! notices when it dies. The words are in [`lightbox_core::chat`].
//!
//! ```text
//! send ──► channel ─ "to worker" ─► stdin │        │ stdout ─ "from worker" ─► on_event(Reply … Died)
//!                                         │ worker │ stderr ─ "worker's stderr": the last lines, for Died
//! ```
//! Threads, not tokio: this is three blocking pipes, and what the screen calls returns at once. The worker keeps nothing that
//! could be lost, so it is never asked twice to go.

use crate::cli::worker;
use anyhow::{Context, Result, anyhow};
use lightbox_core::chat::{Reply, Request};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::safe_text::clean;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a worker that was told to go may take before it is killed, and whoever drops it waits at most.
const MOMENT: Duration = Duration::from_millis(250);
/// How long one may live that has closed its stdout, which only the dying do.
const LAST_BREATH: Duration = Duration::from_secs(2);
/// What is kept of stderr: enough for the loader's or libtorch's last words.
const STDERR_BYTES: usize = 8 << 10;
const STDERR_LINES: usize = 20;

/// What the screen hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Reply(Reply),
    /// The last event: every open question is lost. Start another worker to ask again.
    Died(Died),
}

/// How the worker ended when nobody wanted it to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Died {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// As it was written; at most [`STDERR_LINES`] lines.
    pub last_stderr: Vec<String>,
}

impl fmt::Display for Died {
    /// For people, cleaned: what happened, then the worker's own last words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.signal, self.code) {
            (_, Some(code)) if code == Exit::CannotStart as i32 => f.write_str(worker::NO_LIBTORCH)?,
            (Some(libc::SIGKILL), _) => {
                f.write_str("the worker was killed (signal 9), most often because memory ran out")?
            }
            (Some(signal), _) => write!(f, "the worker was ended by signal {signal}")?,
            (None, Some(0)) => f.write_str("the worker ended by itself")?,
            (None, Some(code)) => write!(f, "the worker ended with exit code {code}")?,
            (None, None) => f.write_str("the worker has ended")?,
        }
        self.last_stderr.iter().try_for_each(|line| write!(f, "\n{}", clean(line)))
    }
}

/// A worker that answers. Dropping it ends the worker.
pub struct Answerer {
    requests: Option<Sender<String>>,
    child: Arc<Mutex<Child>>,
    /// Its end is wanted, so it is no news.
    leaving: Arc<AtomicBool>,
    /// Closed when the worker is gone.
    gone: Receiver<()>,
}

impl Answerer {
    /// Starts `lightbox-engine answer`; `num_threads`: the model's on a CPU. `on_event` is called from a thread of its own,
    /// and should only hand on.
    ///
    /// # Errors
    /// The program is not there or cannot be started. A libtorch that is missing shows later, as [`Event::Died`].
    pub fn start(num_threads: Option<usize>, on_event: impl Fn(Event) + Send + 'static) -> Result<Self> {
        let mut command = worker::command()?;
        command.arg("answer");
        if let Some(n) = num_threads {
            command.args(["--num-threads", &n.to_string()]);
        }
        Self::start_as(command, on_event)
    }

    fn start_as(mut command: Command, on_event: impl Fn(Event) + Send + 'static) -> Result<Self> {
        let program = command.get_program().display().to_string();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C and Ctrl-Z of the terminal are the screen's; the worker follows its stdin.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", clean(&program)))
            .because(Exit::CannotStart)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(anyhow!("{}: started without its pipes", clean(&program)));
        };
        let child = Arc::new(Mutex::new(child));
        let leaving = Arc::new(AtomicBool::new(false));
        let (requests, to_send) = channel::<String>();
        let (gone_when_dropped, gone) = channel::<()>();
        let (last_words, stderr_ended) = channel();
        let answerer = Self { requests: Some(requests), child: child.clone(), leaving: leaving.clone(), gone };

        thread::Builder::new().name("to worker".into()).spawn(move || {
            // Ends with the channel or the pipe; dropping stdin tells the worker to go.
            while let Ok(line) = to_send.recv() {
                if stdin.write_all(line.as_bytes()).is_err() {
                    break;
                }
            }
        })?;
        thread::Builder::new().name("worker's stderr".into()).spawn(move || {
            let _ = last_words.send(last_lines(stderr));
        })?;
        thread::Builder::new().name("from worker".into()).spawn(move || {
            hear(stdout, &on_event);
            let status = wait(&child);
            // Not for ever: a grandchild may hold the pipe.
            let last_stderr = stderr_ended.recv_timeout(MOMENT).unwrap_or_default();
            drop(gone_when_dropped);
            if !leaving.load(Ordering::Acquire) {
                let (code, signal) = (status.and_then(|s| s.code()), status.and_then(|s| s.signal()));
                on_event(Event::Died(Died { code, signal, last_stderr }));
            }
        })?;
        Ok(answerer)
    }

    /// Hands a request over; never waits.
    ///
    /// # Errors
    /// The worker is gone ([`Event::Died`] says why), or a path is not UTF-8, which JSON cannot carry.
    pub fn send(&self, request: &Request) -> Result<()> {
        let line = serde_json::to_string(request).context("the request cannot be written as JSON; it was not sent")?;
        let requests = self.requests.as_ref().filter(|requests| requests.send(line + "\n").is_ok());
        requests.map(drop).ok_or_else(|| anyhow!("the worker has ended; start it again to ask"))
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Release);
        self.requests = None;
        if self.gone.recv_timeout(MOMENT) == Err(RecvTimeoutError::Timeout) {
            // Reaped by the thread that waits for it.
            let _ = lock(&self.child).kill();
        }
    }
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replies until stdout ends.
fn hear(stdout: impl Read, on_event: &impl Fn(Event)) {
    for line in BufReader::new(stdout).split(b'\n') {
        let Ok(line) = line else { break };
        let reply = serde_json::from_slice(&line).unwrap_or_else(|error| Reply::Failed {
            id: None,
            error: format!("the worker said something that is no reply ({error}); it was left out"),
            hint: Some(
                "lightbox and lightbox-engine may be of different versions: build both with `make build`".into(),
            ),
            code: Exit::Model,
        });
        on_event(Event::Reply(reply));
    }
}

/// The child's end. The lock is held for instants only, so that [`Answerer::drop`] can kill meanwhile.
fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
    let deadline = Instant::now() + LAST_BREATH;
    loop {
        // Bound first: in the `match` itself the lock would be held through its arms.
        let ended = lock(child).try_wait();
        match ended {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => {}
            Ok(None) => {
                let _ = lock(child).kill();
                return lock(child).wait().ok();
            }
            Err(_) => return None,
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn last_lines(mut stderr: impl Read) -> Vec<String> {
    let (mut kept, mut chunk) = (Vec::new(), [0; 1024]);
    while let Ok(n @ 1..) = stderr.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..n]);
        kept.drain(..kept.len().saturating_sub(STDERR_BYTES));
    }
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(STDERR_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests;
