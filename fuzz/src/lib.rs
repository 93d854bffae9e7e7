//! What the fuzz targets share: limits, and a file to put an input into.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

#[path = "../../crates/core/tests/meter/mod.rs"]
mod meter;

/// Runs `read` on an input and ends the program if that panics, or takes more memory than [`meter::allowed`] plus `extra`
/// bytes. A panic that the library catches counts as little as for its users: decoders of pictures and parquet are known for
/// them and run behind `catch_unwind`.
pub fn bounded(input: &[u8], extra: usize, read: impl FnOnce()) {
    static LAST: Mutex<String> = Mutex::new(String::new());
    static HOOK: LazyLock<()> = LazyLock::new(|| {
        set_hook(Box::new(|info| *LAST.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string()));
    });
    LazyLock::force(&HOOK);
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let ((), peak) = meter::peak(read);
        let allowed = meter::allowed(input.len()) + extra;
        assert!(
            peak <= allowed,
            "an input of {} bytes cost {peak} bytes of memory; {allowed} are allowed",
            input.len()
        );
    }));
    if checked.is_err() {
        eprintln!("{}", LAST.lock().unwrap_or_else(PoisonError::into_inner));
        std::process::abort();
    }
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
