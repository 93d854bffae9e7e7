//! What the fuzz targets share: a limit on memory, and a file to put an input into.

use std::path::PathBuf;
use std::sync::LazyLock;

#[path = "../../crates/core/tests/meter/mod.rs"]
mod meter;

/// Runs `read` on an input and ends the program if that took more memory than [`meter::allowed`], plus `extra` bytes.
pub fn bounded(input: &[u8], extra: usize, read: impl FnOnce()) {
    let ((), peak) = meter::peak(read);
    let allowed = meter::allowed(input.len()) + extra;
    assert!(peak <= allowed, "an input of {} bytes cost {peak} bytes of memory; {allowed} are allowed", input.len());
}

/// A folder of this process, in memory where that is possible.
pub fn folder() -> PathBuf {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder for inputs")
    });
    FOLDER.path().to_owned()
}

/// The input as a file of that folder.
pub fn file(name: &str, input: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, input).expect("writing an input");
    path
}
