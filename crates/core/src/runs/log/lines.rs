//! A file of lines that is only appended to.
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file of lines that is only appended to.
#[derive(Debug)]
pub struct JsonLines {
    file: File,
    path: PathBuf,
    /// Length up to the last complete line.
    len: u64,
}

impl JsonLines {
    /// Opens the file or makes it. A torn last line, left by a crash, is cut off.
    pub fn open(path: &Path) -> io::Result<Self> {
        let at = |e: io::Error| io::Error::new(e.kind(), format!("opening {}: {e}", path.display()));
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(at)?;
        let len = complete_len(&mut file).map_err(at)?;
        file.set_len(len).map_err(at)?;
        Ok(Self { file, path: path.to_owned(), len })
    }

    /// Adds one line (without its newline). A line that could not be written whole (full disk) is taken back, so that
    /// the next one does not grow together with its beginning.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        debug_assert!(!line.contains('\n'));
        let bytes = format!("{line}\n").into_bytes();
        match self.file.write_all(&bytes) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                Ok(())
            }
            Err(e) => {
                let undone = self
                    .file
                    .set_len(self.len)
                    .err()
                    .map_or(String::new(), |e| format!(" (and the line's beginning stays: {e})"));
                Err(io::Error::new(e.kind(), format!("writing {}: {e}{undone}", self.path.display())))
            }
        }
    }

    /// Waits until what was written is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|e| io::Error::new(e.kind(), format!("writing {}: {e}", self.path.display())))
    }
}

/// Length of a file up to and including its last newline.
fn complete_len(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(newline) = part.iter().rposition(|&b| b == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Where a log stands: of the envelope of its last readable line, what the next one goes on from.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Place {
    pub seq: u64,
    pub t: u64,
    pub mono: u64,
    pub att: u32,
}

impl Place {
    /// Zeros if there is no file or no readable line.
    pub fn last(path: &Path) -> io::Result<Self> {
        // A line is at most 64 KiB of text and its envelope; the last few surely lie in this tail.
        const TAIL: u64 = 256 << 10;
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(io::Error::new(e.kind(), format!("opening {}: {e}", path.display()))),
        };
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let place = tail.split(|&b| b == b'\n').rev().find_map(|line| serde_json::from_slice(line).ok());
        Ok(place.unwrap_or_default())
    }
}
