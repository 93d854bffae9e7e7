//! `manifest.json`: the commit record of a checkpoint.

use super::super::record::VERSION;
use super::About;
use crate::fs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Sizes and hashes of all files, and what the run was when they were written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub v: u32,
    pub created_ms: u64,
    #[serde(flatten)]
    pub about: About,
    /// By name; no file of the folder is left out but the manifest.
    pub files: BTreeMap<String, FileRecord>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    pub bytes: u64,
    /// In hexadecimal.
    pub blake3: String,
}

impl Manifest {
    pub const FILE: &str = "manifest.json";

    /// Every file is there, as long as it was, and with `hashes` of the same content. Other files may lie beside them.
    pub(super) fn fits(&self, folder: &Path, hashes: bool) -> Result<(), Unfit> {
        for (name, record) in &self.files {
            let path = folder.join(name);
            let damaged = |what: &str| Unfit { damaged: true, why: format!("{}: {what}", path.display()) };
            // A disk that stumbles, or too many open files, says nothing about what is on the disk.
            let unread = |e: io::Error| Unfit {
                damaged: e.kind() == io::ErrorKind::NotFound,
                why: format!("{}: {e}", path.display()),
            };
            if Path::new(name).components().count() != 1 || name.starts_with('.') {
                return Err(damaged("its manifest names a file outside its folder"));
            }
            let found = std::fs::symlink_metadata(&path).map_err(unread)?;
            if !found.is_file() {
                return Err(damaged("is no plain file"));
            }
            if found.len() != record.bytes {
                let (kind, by) = if found.len() < record.bytes {
                    ("shorter", record.bytes - found.len())
                } else {
                    ("longer", found.len() - record.bytes)
                };
                return Err(damaged(&format!("{by} bytes {kind} than its manifest says")));
            }
            if hashes && hash(&path).map_err(unread)? != record.blake3 {
                return Err(damaged("its content is not what its manifest says: it was changed or is damaged"));
            }
        }
        if self.files.is_empty() {
            return Err(Unfit { damaged: true, why: format!("{}: its manifest names no files", folder.display()) });
        }
        Ok(())
    }
}

/// Why a checkpoint cannot be used.
#[derive(Debug)]
pub(super) struct Unfit {
    /// It will not get better: not a disk that stumbled, not a newer version's.
    pub damaged: bool,
    pub why: String,
}

/// A folder's manifest; `None` if it has none.
///
/// # Errors
/// It is there but cannot be read, is of a newer version, or is no manifest.
pub fn manifest(folder: &Path) -> io::Result<Option<Manifest>> {
    read(folder).map_err(|unfit| io::Error::new(io::ErrorKind::InvalidData, unfit.why))
}

pub(super) fn read(folder: &Path) -> Result<Option<Manifest>, Unfit> {
    let path = folder.join(Manifest::FILE);
    let unfit =
        |damaged: bool, why: &dyn std::fmt::Display| Unfit { damaged, why: format!("{}: {why}", path.display()) };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unfit(false, &e)),
    };
    // The version comes first: a newer manifest may have another shape.
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| unfit(true, &e))?;
    if json["v"].as_u64().is_some_and(|v| v > u64::from(VERSION)) {
        return Err(unfit(false, &"written by a newer version of Lightbox; update to use it"));
    }
    serde_json::from_value(json).map(Some).map_err(|e| unfit(true, &e))
}

/// What is in the folder now, from the disk.
pub(super) fn records(folder: &Path) -> io::Result<BTreeMap<String, FileRecord>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: not a name in UTF-8", name.display()))
        })?;
        if name != Manifest::FILE {
            fs::sync_file(&entry.path())?;
            let bytes = entry.metadata()?.len();
            files.insert(name, FileRecord { bytes, blake3: hash(&entry.path())? });
        }
    }
    Ok(files)
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    // What the disk has is wanted, not what the system still remembers of writing it. Advice, so it may do nothing.
    // SAFETY: a plain system call on an open file.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            n => hasher.update(&block[..n]),
        };
    }
}
