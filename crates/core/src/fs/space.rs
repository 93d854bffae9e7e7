//! Room on a file system: how much there is, and which errors say that there is none.
use super::naming;
use crate::fault;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// For us (without what is reserved for root).
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// `u64::MAX` where files need no inodes of a fixed number (btrfs).
    pub free_inodes: u64,
}

/// What the file system of `dir` says about itself; a quota may leave less ([`try_reserve`]).
///
/// # Errors
/// Names the folder.
pub fn space(dir: &Path) -> io::Result<Space> {
    let ask = || {
        let path = CString::new(dir.as_os_str().as_bytes())?;
        // SAFETY: all zeros are a valid statvfs; the call only fills it in, and `path` ends with a NUL.
        let (failed, found) = unsafe {
            let mut found: libc::statvfs = std::mem::zeroed();
            (libc::statvfs(path.as_ptr(), &mut found) != 0, found)
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(found) }
    };
    let found = ask().map_err(|e| naming("asking for the free space of", dir, e))?;
    Ok(Space {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        free_inodes: if found.f_files == 0 { u64::MAX } else { found.f_favail },
    })
}

/// Really takes `bytes` in `dir` for a moment: quotas and thin file systems are found out, too. The file has no name (or
/// loses it at once), so it goes even if we are killed.
///
/// # Errors
/// As a write would fail; names the folder.
pub fn try_reserve(dir: &Path, bytes: u64) -> io::Result<()> {
    let reserve = || {
        fault::io("fs")?;
        fault::io("fs.reserve")?;
        let mut file = tempfile::tempfile_in(dir)?;
        match allocate(&file, bytes) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => fill(&mut file, bytes),
            other => other,
        }
    };
    reserve().map_err(|e| naming("reserving space in", dir, e))
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(bytes).map_err(|_| io::Error::from(ErrorKind::FileTooLarge))?;
    if len == 0 {
        return Ok(()); // fallocate(2) takes no lengths of nothing
    }
    loop {
        // SAFETY: a plain system call on an open file.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Where nothing can be reserved, writing shows it. Not zeros, which some file systems do not store.
fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let block: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut left = bytes;
    while left > 0 {
        let part = left.min(block.len() as u64);
        file.write_all(&block[..part as usize])?;
        left -= part;
    }
    file.sync_all()
}

/// No space, no quota, no inodes, a read-only or too small file system (ENOSPC, EDQUOT, EROFS, EFBIG): the user can mend
/// it, and then it works. Anything else (EIO, EACCES, EMFILE) stays wrong however long one waits.
pub fn is_full(error: &io::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_plausible_and_a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let space = space(dir.path()).unwrap();
        assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes && space.free_inodes > 0, "{space:?}");
        let error = super::space(&dir.path().join("missing")).unwrap_err();
        assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("missing"), "{error}");
    }

    #[test]
    fn a_reservation_leaves_nothing_and_an_impossible_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        try_reserve(dir.path(), 0).unwrap();
        try_reserve(dir.path(), 3 << 20).unwrap();
        let error = try_reserve(dir.path(), 1 << 60).unwrap_err();
        assert!(is_full(&error), "{error}");
        assert!(!is_full(&try_reserve(&dir.path().join("missing"), 1).unwrap_err()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut file = tempfile::tempfile_in(dir.path()).unwrap();
        fill(&mut file, (1 << 20) + 7).unwrap();
        assert_eq!(file.metadata().unwrap().len(), (1 << 20) + 7);
    }

    #[test]
    fn an_error_stays_full_when_it_is_given_a_name() {
        for (errno, full) in [
            (libc::ENOSPC, true),
            (libc::EDQUOT, true),
            (libc::EROFS, true),
            (libc::EFBIG, true),
            (libc::EIO, false),
            (libc::EACCES, false),
            (libc::EMFILE, false),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!((is_full(&error), is_full(&naming("writing", Path::new("x"), error))), (full, full), "{errno}");
        }
    }
}
