//! The runs of this user: an index of run folders, in `$LIGHTBOX_STATE`, else `$XDG_STATE_HOME/lightbox`, else
//! `~/.local/state/lightbox`. A run's folder can lie anywhere (the profile's `output_dir`), so something has to remember
//! where; the folders themselves are the truth, and the index can be lost without harm.
use super::RunDir;
use std::io;
use std::path::PathBuf;

/// The folder; `None` where there is no home.
pub fn state_dir() -> Option<PathBuf> {
    todo!()
}

/// Remembers a run. No home, or a full disk, is no reason not to train: the caller may ignore the error.
pub fn remember(_dir: &RunDir) -> io::Result<()> {
    todo!()
}

/// All run folders that still exist, the newest first.
pub fn all() -> io::Result<Vec<RunDir>> {
    todo!()
}

/// A run by folder, id, name, or a beginning of id or name that fits only one.
///
/// # Errors
/// In words, with what is near.
pub fn find(_word: &str) -> anyhow::Result<RunDir> {
    todo!()
}
