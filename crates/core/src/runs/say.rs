//! Lines for people on stderr. A terminal that has gone away answers with an error, and `eprintln!` then panics: a worker
//! must not die of that, so errors are left alone here.
use std::io::{IsTerminal, Write};

/// A whole line; on a terminal over the progress line.
pub fn say(text: &str) {
    let wipe = if on_terminal() { "\r\x1b[K" } else { "" };
    let _ = writeln!(std::io::stderr(), "{wipe}{text}");
}

/// The progress line: on a terminal it is overwritten by the next one.
pub fn say_progress(text: &str) {
    let mut err = std::io::stderr();
    let _ = if on_terminal() { write!(err, "\r{text}\x1b[K") } else { writeln!(err, "{text}") };
    let _ = err.flush();
}

pub fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}
