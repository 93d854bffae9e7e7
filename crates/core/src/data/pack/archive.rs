//! The files of a tar archive, packed by zstd or gzip or not at all, one after the other. Nothing is unpacked to the disk, so
//! a path that leads out, a link or a device file in it harms nobody; they are passed over.

use crate::data::media::{MAX_IMAGE_BYTES, open_regular};
use crate::data::problem::{Fault, kind};
use anyhow::{Context, Result};
use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;

/// A regular file of an archive.
pub struct Member {
    /// As the archive has it; bytes that are no text are replaced.
    pub name: String,
    /// What is in it, or why that is not taken.
    pub bytes: Result<Vec<u8>, Fault>,
}

/// How a walk ended.
pub enum End {
    Whole,
    Stopped,
    /// What lies behind the damage cannot be found.
    Damaged(String),
}

/// Hands the members of the archive to `visit`: how many bytes of the file have been read, the member's number (from 0; all
/// kinds count), and the member if it is a file and not among the first `skip`.
///
/// # Errors
/// The archive cannot be opened; what `visit` returns.
pub fn walk(
    path: &Path,
    skip: u64,
    visit: &mut dyn FnMut(u64, u64, Option<Member>) -> Result<ControlFlow<()>>,
) -> Result<End> {
    let (file, _) = open_regular(path).with_context(|| format!("archive {}", path.display()))?;
    let read = Rc::new(Cell::new(0));
    let counted = BufReader::with_capacity(1 << 20, Counted { inner: file, read: read.clone() });
    let unpacked = unpack(counted).with_context(|| format!("archive {}", path.display()))?;
    let mut archive = tar::Archive::new(unpacked);
    let mut entries = archive.entries().with_context(|| format!("archive {}", path.display()))?;
    for number in 0.. {
        let Some(entry) = entries.next() else { break };
        let member = match entry.and_then(|entry| if number < skip { Ok(None) } else { member(entry) }) {
            Ok(member) => member,
            Err(error) => return Ok(End::Damaged(format!("member {} cannot be read: {error}", number + 1))),
        };
        if visit(read.get(), number, member)?.is_break() {
            return Ok(End::Stopped);
        }
    }
    Ok(End::Whole)
}

/// Told by the first bytes: names lie.
fn unpack(mut file: BufReader<Counted>) -> std::io::Result<Box<dyn Read>> {
    let magic = file.fill_buf()?;
    Ok(match magic {
        // zstd refuses frames that want more than 128 MB for their window.
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Box::new(zstd::Decoder::with_buffer(file)?),
        [0x1F, 0x8B, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    })
}

fn member(mut entry: tar::Entry<'_, Box<dyn Read>>) -> std::io::Result<Option<Member>> {
    if !entry.header().entry_type().is_file() {
        return Ok(None);
    }
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let size = entry.size();
    if size > MAX_IMAGE_BYTES {
        let fault =
            Fault::new(kind::IMAGE_TOO_LARGE, format!("{size} bytes; files above {MAX_IMAGE_BYTES} are not taken"));
        return Ok(Some(Member { name, bytes: Err(fault) }));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    entry.read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < size {
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the archive ends in it"));
    }
    Ok(Some(Member { name, bytes: Ok(bytes) }))
}

/// Counts what is read of a file.
struct Counted {
    inner: std::fs::File,
    read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.set(self.read.get() + n as u64);
        Ok(n)
    }
}
