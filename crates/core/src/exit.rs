//! Exit codes of both programs. Scripts and the supervisor rely on them; the numbers never change.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a program ended. In JSON it is its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
#[repr(u8)]
pub enum Exit {
    /// Done, everything well.
    Finished = 0,
    /// Something failed that has no code of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Stopped on request; can be resumed.
    Stopped = 3,
    /// The profile or its settings are wrong.
    Config = 10,
    /// The data cannot be used, or a check found problems.
    Data = 11,
    /// The model or adapter cannot be used.
    Model = 12,
    OutOfMemory = 20,
    /// A loss or gradient was NaN or infinite; the weights were left as they were.
    NonFinite = 21,
    /// No space, or the run directory cannot be written.
    Disk = 22,
    /// Another process has the run, or writes the same answers or export.
    Locked = 23,
    /// The GPU was lost.
    Device = 24,
    /// A fault in the program itself.
    Internal = 70,
    /// The worker could not be started: it is missing, or its libtorch is.
    CannotStart = 127,
}

impl Exit {
    /// For the end of `--help`.
    pub const HELP: &str = "Exit codes: 0 done · 1 failed · 2 wrong command line · 3 stopped, can be resumed · 10 a setting, name or path does not fit · \
        11 problems in the data · 12 the model or adapter cannot be used · 20 out of memory · 21 loss or gradient not finite · 22 disk · \
        23 another process works there · 24 GPU · 70 internal · 127 the worker or its libtorch is missing · \
        130 left by Ctrl-C, the run goes on";

    /// What the exit code of one of our programs says; a code that none of them gives is a failure.
    pub fn from_code(code: u8) -> Self {
        const ALL: [Exit; 14] = [
            Exit::Finished,
            Exit::Usage,
            Exit::Stopped,
            Exit::Config,
            Exit::Data,
            Exit::Model,
            Exit::OutOfMemory,
            Exit::NonFinite,
            Exit::Disk,
            Exit::Locked,
            Exit::Device,
            Exit::Internal,
            Exit::CannotStart,
            Exit::Failed,
        ];
        ALL.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Exit::Failed)
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit as Self
    }
}

impl From<u8> for Exit {
    fn from(code: u8) -> Self {
        Self::from_code(code)
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
struct Coded {
    exit: Exit,
    error: anyhow::Error,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl std::error::Error for Coded {}

/// Gives errors an exit code where the reason is known.
pub trait Because<T> {
    fn because(self, exit: Exit) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Because<T> for Result<T, E> {
    fn because(self, exit: Exit) -> anyhow::Result<T> {
        self.map_err(|e| coded(e, exit))
    }
}

/// Gives one error its exit code.
pub fn coded(error: impl Into<anyhow::Error>, exit: Exit) -> anyhow::Error {
    anyhow::Error::new(Coded { exit, error: error.into() })
}

/// The exit code of an error: the outermost one that was given, else [`Exit::Failed`].
pub fn code(error: &anyhow::Error) -> Exit {
    error.chain().find_map(|e| e.downcast_ref::<Coded>()).map_or(Exit::Failed, |c| c.exit)
}

/// All causes of an error, those inside a coded one included.
pub fn causes(error: &anyhow::Error) -> Box<dyn Iterator<Item = &(dyn std::error::Error + 'static)> + '_> {
    Box::new(error.chain().flat_map(|cause| match cause.downcast_ref::<Coded>() {
        Some(coded) => causes(&coded.error),
        None => Box::new(std::iter::once(cause)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_code_survives_context_and_the_text_stays_whole() {
        let error = Err::<(), _>(anyhow::anyhow!("no such file"))
            .context("reading a.json")
            .because(Exit::Data)
            .context("training")
            .unwrap_err();
        assert_eq!(code(&error), Exit::Data);
        assert_eq!(format!("{error:#}"), "training: reading a.json: no such file");
        assert_eq!(code(&anyhow::anyhow!("plain")), Exit::Failed);
    }

    #[test]
    fn the_first_cause_is_found_inside_a_coded_error() {
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let error = Err::<(), _>(pipe).context("writing").because(Exit::Data).context("encoding").unwrap_err();
        let io = causes(&error).find_map(|c| c.downcast_ref::<std::io::Error>());
        assert_eq!(io.map(std::io::Error::kind), Some(std::io::ErrorKind::BrokenPipe));
    }
}
