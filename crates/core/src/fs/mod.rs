//! How files are written here, and which paths are safe.
//!
//! [`write_atomic`] is the only way a file that others read is replaced; [`Appender`] and [`append_line`] the only ways a
//! log grows. [`resolve_under`] and [`safe_file_name`] stand between names that come from data and the disk.
//!
//! What reaches the disk when: a file's bytes with [`OutFile::finish`] or [`Appender::sync`], a name (new, renamed or
//! removed) with [`sync_dir`] of its folder. Before that a power cut may undo each of them by itself, in any order; tests
//! replay what is left then. Every operation comes by a fault point ([`crate::fault`]), so faults can be tried at each.
mod append;
mod names;
mod op;
#[cfg(test)]
mod power_loss;
mod space;

pub use append::{Appender, append_line, append_open};
pub use names::{resolve_under, safe_file_name};
pub use space::{Space, is_full, space, try_reserve};

use op::Writer;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces `path` by `bytes`, whole or not at all, whatever happens to the process or the machine: a temporary file in
/// the same folder, fsync, rename, fsync of the folder. Mode 0644 as far as the umask allows.
///
/// # Errors
/// Names the file. No temporary file is left behind, and the old content is still there; only where the very last wait
/// failed it is the new one.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic_by(path, |file| file.write_all(bytes))
}

/// [`write_atomic`] for what is too large to hold: `fill` writes the content piece by piece.
///
/// # Errors
/// As [`write_atomic`]; an error of `fill` likewise.
pub fn write_atomic_by(path: &Path, fill: impl FnOnce(&mut OutFile) -> io::Result<()>) -> io::Result<()> {
    replace(path, fill, OutFile::finish).and_then(|()| sync_dir(parent(path)))
}

/// As [`write_atomic`] for readers and for a killed process, but without waiting for the disk: after a power cut the file
/// may be old, new, empty or torn. For what can be made anew.
///
/// # Errors
/// Names the file. The old content is still there then, and no temporary file is left behind.
pub fn write_replacing(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, |file| file.write_all(bytes), |mut file| file.flush())
}

/// Copies a file's bytes, whole or not at all ([`write_atomic`]).
///
/// # Errors
/// Names the file that could not be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from).map_err(|e| naming("reading", from, e))?;
    write_atomic_by(to, |file| io::copy(&mut source, file).map(drop)).map_err(|e| naming("copying", from, e))
}

fn replace(
    path: &Path,
    fill: impl FnOnce(&mut OutFile) -> io::Result<()>,
    finish: fn(OutFile) -> io::Result<()>,
) -> io::Result<()> {
    let at = |e| naming("writing", path, e);
    let make = |temp: &Path| OutFile::open(temp, path, OpenOptions::new().create_new(true));
    let made = tempfile::Builder::new().prefix(".tmp-").make_in(parent(path), make).map_err(at)?;
    let (mut file, temp) = made.into_parts(); // removed when dropped, unless it got its place
    fill(&mut file)?;
    finish(file)?;
    op::rename(&temp, path).map_err(at)?;
    temp.keep().map(drop).map_err(|e| at(e.error))
}

/// A new file that is written piece by piece (through a buffer); [`OutFile::finish`] waits until it is on the disk.
/// Mode 0644 as far as the umask allows.
#[derive(Debug)]
pub struct OutFile {
    out: BufWriter<Writer>,
    /// Where it is, or will be.
    path: PathBuf,
}

impl OutFile {
    /// An existing file is replaced by an empty one.
    ///
    /// # Errors
    /// Names the file, like those of all methods.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::open(path, path, OpenOptions::new().create(true).truncate(true)).map_err(|e| naming("writing", path, e))
    }

    fn open(path: &Path, shown: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        let file = op::open(path, options.write(true).mode(0o644))?;
        Ok(Self { out: BufWriter::with_capacity(256 << 10, Writer(file)), path: shown.to_owned() })
    }

    /// Writes what is still in the buffer; fsync.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        op::sync(&self.out.get_ref().0).map_err(|e| naming("writing", &self.path, e))
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|e| naming("writing", &self.path, e))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|e| naming("writing", &self.path, e))
    }
}

/// `rename(2)`; not durable before [`sync_dir`] of the folder.
///
/// # Errors
/// Names both.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    op::rename(from, to).map_err(|e| naming(&format!("renaming {} to", from.display()), to, e))
}

/// Makes `path` a symlink to `target` (relative: from the link's folder), in the place of a file or link that is there.
///
/// # Errors
/// Names the link. What was there is still there then.
pub fn replace_link(target: &Path, path: &Path) -> io::Result<()> {
    let at = |e| naming("linking", path, e);
    match op::symlink(target, path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let made = tempfile::Builder::new().prefix(".tmp-").make_in(parent(path), |temp| op::symlink(target, temp));
            let ((), temp) = made.map_err(at)?.into_parts();
            op::rename(&temp, path).map_err(at)?;
            temp.keep().map_err(|e| at(e.error))?;
        }
        made => made.map_err(at)?, // the usual case leaves nothing, whenever we are killed
    }
    sync_dir(parent(path))
}

/// A second name for a file on the same file system; nothing may have that name yet.
///
/// # Errors
/// Names the new one.
pub fn hard_link(file: &Path, path: &Path) -> io::Result<()> {
    op::hard_link(file, path).map_err(|e| naming("linking", path, e))
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// Names it.
pub fn remove_file(path: &Path) -> io::Result<()> {
    unless_missing(op::unlink(path)).map_err(|e| naming("removing", path, e))
}

/// Removes a folder with all that is in it; one that is not there is no error. Symlinks are removed, not followed.
///
/// # Errors
/// Names what stayed. What comes before it in the folder is gone.
pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    let at = |e| naming("removing", path, e);
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_dir() => return unless_missing(op::unlink(path)).map_err(at),
        Ok(_) => {}
        Err(e) => return unless_missing(Err(e)).map_err(at),
    }
    for entry in std::fs::read_dir(path).map_err(at)? {
        remove_dir_all(&entry.map_err(at)?.path())?;
    }
    unless_missing(op::rmdir(path)).map_err(at)
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// Makes a folder and its parents where they are missing; what it makes survives a power cut.
///
/// # Errors
/// Names the folder that could not be made.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    // The folder of a bare file name is "": the working directory.
    if path.is_dir() || path.as_os_str().is_empty() {
        return Ok(());
    }
    let above = parent(path);
    if above != path {
        create_dir_all(above)?;
    }
    match op::mkdir(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()), // another was quicker
        Err(e) => Err(naming("making the folder", path, e)),
        Ok(()) => sync_dir(above),
    }
}

/// Makes renames and new files in `dir` survive a power cut.
///
/// # Errors
/// Names the folder.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    op::sync_dir(dir).map_err(|e| naming("waiting for the disk of", dir, e))
}

/// Makes a file's content survive a power cut, whoever wrote it.
///
/// # Errors
/// Names the file.
pub fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|file| op::sync(&file)).map_err(|e| naming("waiting for the disk of", path, e))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Says what was done to which file; once, however many functions the error comes through.
fn naming(doing: &str, path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{doing} {}: {e}", path.display()))
}

#[cfg(test)]
mod tests;
