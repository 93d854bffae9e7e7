//! `manifest.json`: the commit record of a checkpoint.

use super::About;
use super::super::record::VERSION;
use crate::fs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read};
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

    pub fn is_of_this_version(&self) -> bool {
        self.v <= VERSION
    }

    /// Every file is there, as long as it was, and with `hashes` of the same content. Other files may lie beside them.
    pub(super) fn fits(&self, folder: &Path, hashes: bool) -> Result<(), String> {
        for (name, record) in &self.files {
            let path = folder.join(name);
            let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            if Path::new(name).components().count() != 1 || name.starts_with('.') {
                return Err(at(&"its manifest names a file outside its folder"));
            }
            let found = std::fs::symlink_metadata(&path).map_err(|e| at(&e))?;
            if !found.is_file() {
                return Err(at(&"is no plain file"));
            }
            if found.len() != record.bytes {
                let (kind, by) = if found.len() < record.bytes {
                    ("shorter", record.bytes - found.len())
                } else {
                    ("longer", found.len() - record.bytes)
                };
                return Err(at(&format!("{by} bytes {kind} than its manifest says")));
            }
            if hashes && hash(&path).map_err(|e| at(&e))? != record.blake3 {
                return Err(at(&"its content is not what its manifest says: it was changed or is damaged"));
            }
        }
        if self.files.is_empty() {
            return Err(format!("{}: its manifest names no files", folder.display()));
        }
        Ok(())
    }
}

/// A folder's manifest; `None` if it has none.
///
/// # Errors
/// It is there but cannot be read, or is no manifest.
pub fn manifest(folder: &Path) -> io::Result<Option<Manifest>> {
    let path = folder.join(Manifest::FILE);
    let at = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", Manifest::FILE));
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| at(e.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(at(e)),
    }
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
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            n => hasher.update(&block[..n]),
        };
    }
}
