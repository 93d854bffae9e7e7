//! One line for each request on stderr, when its last byte is out or its client is gone:
//!
//! ```text
//! 2026-11-26T11:28:34Z 200 POST /v1/chat/completions scans 231+18 tokens 0.84 s
//! ```

use lightbox_core::runs::say::say;
use lightbox_core::safe_text::clean_line;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// What is known of a request so far. The line is written when the last one who holds this lets go.
#[derive(Clone)]
pub struct Line(Arc<Entry>);

struct Entry {
    started: Instant,
    what: String,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    status: Option<u16>,
    model: Option<String>,
    /// Of prompt and answer.
    tokens: Option<(usize, usize)>,
    note: Option<String>,
}

impl Line {
    /// `what`: method and path, as they came.
    pub fn new(what: &str) -> Self {
        Self(Arc::new(Entry { started: Instant::now(), what: clean_line(what, 120), found: Mutex::default() }))
    }

    pub fn status(&self, status: u16) {
        self.change(|found| found.status = Some(status));
    }

    pub fn model(&self, name: &str) {
        self.change(|found| found.model = Some(clean_line(name, 100)));
    }

    pub fn tokens(&self, prompt: usize, answer: usize) {
        self.change(|found| found.tokens = Some((prompt, answer)));
    }

    /// Why it is not as it should be.
    pub fn note(&self, text: &str) {
        self.change(|found| found.note = Some(clean_line(text, 300)));
    }

    fn change(&self, change: impl FnOnce(&mut Found)) {
        change(&mut self.0.found.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let found = self.found.get_mut().unwrap_or_else(PoisonError::into_inner);
        // nginx's number for a client that went away before there was an answer.
        let mut line = format!("{} {} {}", now(), found.status.unwrap_or(499), self.what);
        if let Some(model) = &found.model {
            line += &format!(" {model}");
        }
        if let Some((prompt, answer)) = found.tokens {
            line += &format!(" {prompt}+{answer} tokens");
        }
        line += &format!(" {:.2} s", self.started.elapsed().as_secs_f64());
        if let Some(note) = &found.note {
            line += &format!(": {note}");
        }
        say(&line);
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn now() -> String {
    let time = i64::try_from(unix_seconds()).ok().and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
    time.map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}
