//! The workbench itself in real pseudo-terminals: the terminal is given back, a quiet screen is silent, and neither
//! windows, texts nor keys can break it. What the terminal layer alone does is tested in `tests/terminal`.

#[path = "../hostile_text/corpus.rs"]
mod corpus;
mod endings;
mod hostile;
mod looks;
#[allow(dead_code, reason = "tests/terminal uses the rest")]
#[path = "../terminal/pty.rs"]
mod pty;
mod quiet;
mod rig;
mod storms;
#[path = "../hostile_text/told.rs"]
mod told;
