//! Files that only grow: logs.
use super::op::{self, Writer};
use super::{naming, parent};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that one process appends to. What could not be written whole is taken back, so that the next line does not
/// grow together with its beginning.
#[derive(Debug)]
pub struct Appender {
    out: Writer,
    path: PathBuf,
    /// Length up to the last append that succeeded.
    len: u64,
    /// A part of a later one may still be behind it.
    torn: bool,
}

/// Opens `path` for appending, and for reading what is there; makes it where it is missing, in a way that survives a
/// power cut.
///
/// # Errors
/// Names the file, like those of all methods.
pub fn append_open(path: &Path) -> io::Result<Appender> {
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).append(true);
        let file = match op::open(path, &options) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let file = op::open(path, options.create(true))?;
                op::sync_dir(parent(path))?;
                file
            }
            other => other?,
        };
        let len = file.metadata()?.len();
        Ok(Appender { out: Writer(file), path: path.to_owned(), len, torn: false })
    };
    open().map_err(|e| naming("opening", path, e))
}

impl Appender {
    /// Adds `bytes`, or nothing.
    ///
    /// # Errors
    /// The file is as before, or becomes so before the next append.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.cut(self.len)?;
        }
        match self.out.write_all(bytes) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                Ok(())
            }
            Err(e) => {
                self.torn = true;
                let left = self.cut(self.len).err().map_or(String::new(), |e| format!(" (its beginning stays: {e})"));
                Err(io::Error::new(e.kind(), format!("writing {}: {e}{left}", self.path.display())))
            }
        }
    }

    /// Shortens the file to `len` bytes.
    pub fn cut(&mut self, len: u64) -> io::Result<()> {
        op::set_len(&self.out.0, len).map_err(|e| naming("shortening", &self.path, e))?;
        (self.len, self.torn) = (len, false);
        Ok(())
    }

    /// Waits until what was appended is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        op::sync(&self.out.0).map_err(|e| naming("writing", &self.path, e))
    }

    /// Bytes, without what a failed append may have left.
    #[allow(clippy::len_without_is_empty)] // a length of a file, not of a collection
    pub fn len(&self) -> u64 {
        self.len
    }

    /// For reading; it must not be written to.
    pub fn file(&self) -> &File {
        &self.out.0
    }
}

/// Appends `line` and a newline with one write, so that a reader, or a second writer, never sees half of it. If the file
/// ends in a torn line (a crash, a full disk), a newline goes first: only the torn line is lost.
///
/// # Errors
/// Names the file. A line with a newline in it is refused.
pub fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let append = || {
        if line.contains('\n') {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a line of a log cannot hold a newline"));
        }
        let mut file = op::open(path, OpenOptions::new().read(true).append(true).create(true))?;
        let torn = match file.seek(SeekFrom::End(-1)) {
            Ok(_) => {
                let mut last = [0];
                file.read_exact(&mut last)?;
                last != *b"\n"
            }
            Err(e) if e.kind() == ErrorKind::InvalidInput => false, // empty: nothing is before its end
            Err(e) => return Err(e),
        };
        Writer(file).write_all(format!("{}{line}\n", if torn { "\n" } else { "" }).as_bytes())
    };
    append().map_err(|e| naming("appending to", path, e))
}
