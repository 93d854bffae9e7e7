//! Ctrl-C and signals. Ctrl-C asks what is meant, because it could be any of three things; a second one leaves. Whole lines
//! are read, so the terminal's modes stay as they are and nothing has to be put back.

use super::screen::Screen;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, IsTerminal, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

const QUESTION: &str = "[d]etach (the run goes on) · [s]top with a checkpoint · [c]ontinue watching: ";

/// What Ctrl-C meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Detach,
    Stop,
    Continue,
}

pub struct Keys {
    interrupted: Arc<AtomicBool>,
    /// TERM or HUP.
    end: Arc<AtomicUsize>,
    /// Somebody can be asked.
    terminal: bool,
    asking: bool,
    /// A line, or the end of the input, is there.
    typed: bool,
}

impl Keys {
    pub fn listen() -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let end = Arc::new(AtomicUsize::new(0));
        signal_hook::flag::register(SIGINT, interrupted.clone())?;
        for signal in [SIGTERM, SIGHUP] {
            signal_hook::flag::register_usize(signal, end.clone(), signal as usize)?;
        }
        Ok(Self { interrupted, end, terminal: io::stdin().is_terminal(), asking: false, typed: false })
    }

    /// The signal that ends the watcher.
    pub fn end(&self) -> Option<u8> {
        u8::try_from(self.end.load(Relaxed)).ok().filter(|&signal| signal != 0)
    }

    /// The question stands on the screen; nothing else should be written.
    pub fn asking(&self) -> bool {
        self.asking
    }

    /// Asks after a Ctrl-C, and returns the answer when it is there.
    pub fn answer(&mut self, screen: &mut Screen) -> Option<Answer> {
        if self.interrupted.swap(false, Relaxed) {
            if self.asking {
                screen.ask("\n");
            }
            if self.asking || !self.terminal {
                return Some(Answer::Detach);
            }
            self.asking = true;
            screen.ask(QUESTION);
            return None;
        }
        if !(self.asking && std::mem::take(&mut self.typed)) {
            return None;
        }
        let answer = match read_line().as_deref().map(str::trim) {
            // The input has ended: whoever typed there has gone.
            None | Some("d" | "D") => Answer::Detach,
            Some("s" | "S") => Answer::Stop,
            Some("c" | "C") => Answer::Continue,
            Some(_) => {
                screen.ask(QUESTION);
                return None;
            }
        };
        self.asking = false;
        Some(answer)
    }

    /// Until a signal comes, a line is typed to a question, or `timeout` is over.
    pub fn wait(&mut self, timeout: Duration) {
        // A negative descriptor is left out.
        let fd = if self.asking { libc::STDIN_FILENO } else { -1 };
        let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
        // SAFETY: one descriptor of ours. A signal ends the call early, which is what it is for.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), 1, timeout.as_millis() as libc::c_int) };
        self.typed = ready > 0;
    }
}

/// A line from the terminal, which hands out whole ones; `None` at the end of the input.
fn read_line() -> Option<String> {
    let mut line = [0; 256];
    let read = io::stdin().lock().read(&mut line).ok().filter(|&n| n > 0)?;
    Some(String::from_utf8_lossy(&line[..read]).into_owned())
}
