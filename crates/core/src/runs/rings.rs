//! Logs that may not grow without bound: at 8 MiB a file becomes `.1`, that `.2`, that `.3`, and the oldest goes.
use super::RunDir;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub const MAX_BYTES: u64 = 8 << 20;
pub const OLDER: usize = 3;

/// Moves the file to `.1` and the older ones on, if it is larger than `max` bytes. Says whether it did.
pub fn rotate(path: &Path, max: u64) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > max => {}
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => return Ok(false),
    }
    for n in (1..=OLDER).rev() {
        let newer = if n == 1 { path.to_owned() } else { older(path, n - 1) };
        match crate::fs::rename(&newer, &older(path, n)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(true)
}

/// The `n`-th older file.
fn older(path: &Path, n: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// The worker's own output, if stdout and stderr are this run's `worker.log`.
#[derive(Debug)]
pub struct OwnOutput {
    path: PathBuf,
    /// Those that lead into the file.
    fds: Vec<RawFd>,
}

impl OwnOutput {
    /// `None` if the output goes elsewhere (a terminal, another file).
    pub fn of(dir: &RunDir) -> Option<Self> {
        Self::among(&[libc::STDOUT_FILENO, libc::STDERR_FILENO], dir.join(RunDir::WORKER_LOG))
    }

    fn among(fds: &[RawFd], path: PathBuf) -> Option<Self> {
        let log = std::fs::metadata(&path).ok()?;
        let leads_there = |fd: &RawFd| identity(*fd).is_ok_and(|found| found == (log.dev(), log.ino()));
        let fds: Vec<RawFd> = fds.iter().copied().filter(leads_there).collect();
        (!fds.is_empty()).then_some(Self { path, fds })
    }

    /// Rotates when it is time and points stdout and stderr at the new file. Also when the file is gone (moved, or a
    /// rotation that was cut short): output into a file without a name is seen by nobody.
    pub fn keep_bounded(&self) -> io::Result<()> {
        self.keep_below(MAX_BYTES)
    }

    fn keep_below(&self, max: u64) -> io::Result<()> {
        if !rotate(&self.path, max)? && self.path.exists() {
            return Ok(());
        }
        let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        for fd in &self.fds {
            // SAFETY: both are open descriptors of this process, and nothing of Rust owns the second (stdout or stderr)
            if unsafe { libc::dup2(file.as_raw_fd(), *fd) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// Device and inode of an open file.
fn identity(fd: RawFd) -> io::Result<(u64, u64)> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the borrow ends with this line; a descriptor that is not open gives an error
    let own = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    let metadata = File::from(own).metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_file_moves_on_and_the_oldest_goes() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("system.jsonl");
        assert!(!rotate(&path, 2).unwrap(), "no file");
        for round in 1..=6 {
            std::fs::write(&path, "ab").unwrap();
            assert!(!rotate(&path, 2).unwrap(), "not larger");
            std::fs::write(&path, format!("ab{round}")).unwrap();
            assert!(rotate(&path, 2).unwrap());
        }
        let read = |n| std::fs::read_to_string(older(&path, n)).unwrap();
        assert_eq!((read(1), read(2), read(3)), ("ab6".into(), "ab5".into(), "ab4".into()));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), OLDER);
    }

    #[test]
    fn output_goes_into_the_new_file_after_a_rotation() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("worker.log");
        let mut out = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let mut err = out.try_clone().unwrap();
        let elsewhere = File::create(temp.path().join("other")).unwrap();
        let fds = [out.as_raw_fd(), elsewhere.as_raw_fd(), err.as_raw_fd(), -1];
        let own = OwnOutput::among(&fds, path.clone()).unwrap();
        assert_eq!(own.fds, [out.as_raw_fd(), err.as_raw_fd()]);
        assert!(OwnOutput::among(&[elsewhere.as_raw_fd()], path.clone()).is_none());
        out.write_all(b"first").unwrap();
        own.keep_below(5).unwrap();
        err.write_all(b"!").unwrap();
        own.keep_below(5).unwrap();
        out.write_all(b"second").unwrap();
        err.write_all(b" third").unwrap();
        assert_eq!(std::fs::read(older(&path, 1)).unwrap(), b"first!");
        assert_eq!(std::fs::read(&path).unwrap(), b"second third");
        std::fs::remove_file(&path).unwrap();
        own.keep_below(100).unwrap();
        out.write_all(b"again").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"again");
    }
}
