//! `crash/`: what a developer asks for first, kept where the next attempt does not overwrite it.
use super::{RunDir, now_ms};
use std::io::{self, Read, Seek, SeekFrom};

/// Writes the error and the end of the worker's output to a file of its own.
pub fn write(dir: &RunDir, error: &str) -> io::Result<()> {
    const TAIL: u64 = 32 << 10;
    let mut tail = Vec::new();
    if let Ok(mut log) = std::fs::File::open(dir.join(RunDir::WORKER_LOG)) {
        let len = log.metadata()?.len();
        log.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
        log.take(TAIL).read_to_end(&mut tail)?;
    }
    let folder = dir.join(RunDir::CRASH);
    crate::fs::create_dir_all(&folder)?;
    let text = format!("{error}\n\nThe end of {}:\n{}", RunDir::WORKER_LOG, String::from_utf8_lossy(&tail));
    crate::fs::write_atomic(&folder.join(format!("{}.txt", now_ms())), text.as_bytes())
}
