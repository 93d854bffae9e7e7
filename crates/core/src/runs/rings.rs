//! Logs that may not grow without bound: at 8 MiB a file becomes `.1`, that `.2`, that `.3`, and the oldest goes.
use super::RunDir;
use std::io;
use std::path::{Path, PathBuf};

pub const MAX_BYTES: u64 = 8 << 20;
pub const OLDER: usize = 3;

/// Moves the file to `.1` and the older ones on, if it is larger than `max` bytes. Says whether it did.
pub fn rotate(_path: &Path, _max: u64) -> io::Result<bool> {
    todo!()
}

/// The worker's own output, if stdout and stderr are this run's `worker.log`.
#[derive(Debug)]
pub struct OwnOutput {
    #[allow(dead_code)]
    path: PathBuf,
}

impl OwnOutput {
    /// `None` if the output goes elsewhere (a terminal, another file).
    pub fn of(_dir: &RunDir) -> Option<Self> {
        todo!()
    }

    /// Rotates when it is time and points stdout and stderr at the new file.
    pub fn keep_bounded(&self) -> io::Result<()> {
        todo!()
    }
}
