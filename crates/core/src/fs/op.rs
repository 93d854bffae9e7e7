//! The operations that change a file system, one function each: what all of [`crate::fs`] is made of. Each comes by the
//! fault points `fs` and `fs.KIND`, and in tests notes what it did ([`super::power_loss`]).
#[cfg(test)]
use super::power_loss::recorder::{Op, note};
use crate::fault;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
#[cfg(test)]
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn come_by(kind: &str) -> io::Result<()> {
    fault::io("fs")?;
    fault::io(kind)
}

/// Opens for writing, which may make the file or empty it.
pub(super) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    come_by("fs.open")?;
    #[cfg(test)]
    let existed = path.exists();
    let file = options.open(path)?;
    #[cfg(test)]
    note(|| {
        let meta = file.metadata().unwrap();
        Op::Open { path: path.to_owned(), inode: meta.ino(), made: !existed, emptied: meta.len() == 0 }
    });
    Ok(file)
}

/// An open file whose every write is one operation. Only for writing at its end.
#[derive(Debug)]
pub(super) struct Writer(pub File);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = fault::write("fs", bytes.len())?;
        let len = fault::write("fs.write", len)?;
        let written = self.0.write(&bytes[..len])?;
        #[cfg(test)]
        note(|| Op::Append { inode: inode(&self.0), bytes: bytes[..written].to_vec() });
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// fsync.
pub(super) fn sync(file: &File) -> io::Result<()> {
    come_by("fs.sync")?;
    file.sync_all()?;
    #[cfg(test)]
    note(|| Op::Sync { inode: inode(file) });
    Ok(())
}

pub(super) fn set_len(file: &File, len: u64) -> io::Result<()> {
    come_by("fs.set_len")?;
    file.set_len(len)?;
    #[cfg(test)]
    note(|| Op::SetLen { inode: inode(file), len });
    Ok(())
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    come_by("fs.rename")?;
    std::fs::rename(from, to)?;
    #[cfg(test)]
    note(|| Op::Rename { from: from.to_owned(), to: to.to_owned() });
    Ok(())
}

/// Links are not replayed by the tests of power cuts: none of a run's files is one.
pub(super) fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    come_by("fs.symlink")?;
    std::os::unix::fs::symlink(target, path)
}

pub(super) fn hard_link(file: &Path, path: &Path) -> io::Result<()> {
    come_by("fs.link")?;
    std::fs::hard_link(file, path)
}

pub(super) fn unlink(path: &Path) -> io::Result<()> {
    come_by("fs.unlink")?;
    std::fs::remove_file(path)?;
    #[cfg(test)]
    note(|| Op::Remove { path: path.to_owned() });
    Ok(())
}

pub(super) fn mkdir(path: &Path) -> io::Result<()> {
    come_by("fs.mkdir")?;
    std::fs::create_dir(path)?;
    #[cfg(test)]
    note(|| Op::MakeDir { path: path.to_owned() });
    Ok(())
}

pub(super) fn rmdir(path: &Path) -> io::Result<()> {
    come_by("fs.rmdir")?;
    std::fs::remove_dir(path)?;
    #[cfg(test)]
    note(|| Op::Remove { path: path.to_owned() });
    Ok(())
}

/// fsync of a folder. Some network and FUSE file systems have none; nothing more can be done there.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    come_by("fs.sync_dir")?;
    match File::open(dir)?.sync_all() {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {}
        other => other?,
    }
    #[cfg(test)]
    note(|| Op::SyncDir { path: dir.to_owned() });
    Ok(())
}

#[cfg(test)]
fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}
