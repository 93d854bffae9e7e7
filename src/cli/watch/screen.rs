//! Lines on stderr, and on a terminal a progress line under them. A terminal that has gone away answers with an error, and
//! `eprintln!` would panic on it; here it is noted, and the watcher ends.

use lightbox_core::safe_text::clean;
use std::io::{self, IsTerminal, Write};

pub struct Screen {
    /// Lines can be wiped and written again.
    draws: bool,
    /// A progress line stands under the last line.
    progress: bool,
    gone: bool,
}

impl Screen {
    pub fn new() -> Self {
        let plain = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Self { draws: io::stderr().is_terminal() && !plain, progress: false, gone: false }
    }

    pub fn draws(&self) -> bool {
        self.draws
    }

    /// Nobody can see it any more.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// One or more lines; control characters in them are made visible.
    pub fn line(&mut self, text: &str) {
        let wipe = if std::mem::take(&mut self.progress) { "\r\x1b[K" } else { "" };
        self.write(&format!("{wipe}{}\n", clean(text)));
    }

    /// Replaces the progress line.
    pub fn progress(&mut self, text: &str) {
        self.progress = true;
        self.write(&format!("\r{}\x1b[K", clean(text)));
    }

    /// A question, at the end of which the answer is typed.
    pub fn ask(&mut self, text: &str) {
        self.progress = false;
        // The terminal has shown ^C where the cursor was.
        let wipe = if self.draws { "\r\x1b[K" } else { "" };
        self.write(&format!("{wipe}{text}"));
    }

    fn write(&mut self, text: &str) {
        let mut err = io::stderr();
        self.gone |= err.write_all(text.as_bytes()).and_then(|()| err.flush()).is_err();
    }
}
