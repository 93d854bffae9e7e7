//! How a checkpoint comes to be, whole or not at all: files, fsync each, manifest, fsync, fsync of the folder, rename, fsync
//! of the parent, everything read back and compared. Until the rename nobody can take it for a checkpoint; after it
//! nothing of it is missing, whatever happens to the process or the machine.

use super::manifest::{self, Manifest};
use super::{About, Checkpoint, LATEST, PREFIX, QUARANTINE};
use super::super::record::VERSION;
use super::super::{RunDir, now_ms};
use crate::{fault, fs};
use anyhow::{Context, Result, anyhow};
use std::io;
use std::path::{Path, PathBuf};

/// Prefixes of what an interrupted save or deletion leaves.
const PARTIAL: &str = ".partial-";
pub(super) const TRASH: &str = ".trash-";

/// Writes `checkpoint-N` for `about.step`: `write` fills a folder of another name, which then becomes it. Returns bytes.
///
/// # Errors
/// Older checkpoints are as they were, and nothing is left of this one.
pub fn commit(dir: &RunDir, about: About, write: impl FnOnce(&Path) -> Result<()>) -> Result<u64> {
    let step = about.step;
    let partial = dir.join(&format!("{PARTIAL}{PREFIX}{step}"));
    put(dir, about, &partial, write).inspect_err(|_| {
        // The first error is the one to tell; what cannot be removed now is swept at the next start.
        let _ = fs::remove_dir_all(&partial);
    })
}

fn put(dir: &RunDir, about: About, partial: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<u64> {
    let name = format!("{PREFIX}{}", about.step);
    let path = dir.join(&name);
    fault::io("checkpoint.begin")?;
    fs::remove_dir_all(partial)?;
    fs::create_dir_all(partial)?;
    write(partial)?;
    fault::io("checkpoint.files")?;

    let files = manifest::records(partial)?;
    let bytes = files.values().map(|f| f.bytes).sum();
    let manifest = Manifest { v: VERSION, created_ms: now_ms(), about, files };
    fault::io("checkpoint.manifest")?;
    fs::write_atomic(&partial.join(Manifest::FILE), serde_json::to_string_pretty(&manifest)?.as_bytes())?;
    fault::io("checkpoint.fsync")?;
    fs::sync_dir(partial)?;

    fault::io("checkpoint.rename")?;
    // A folder of this name: an attempt that was resumed from an older checkpoint has come here again, or damage.
    let old = dir.join(&format!("{TRASH}{name}"));
    let replaced = path.exists();
    if replaced {
        fs::remove_dir_all(&old)?;
        fs::rename(&path, &old)?;
    }
    fs::rename(partial, &path)?;
    fault::io("checkpoint.parent")?;
    fs::sync_dir(dir.path())?;

    fault::io("checkpoint.verify")?;
    if let Err(damage) = (Checkpoint { step: manifest.about.step, path: path.clone() }).check() {
        fs::remove_dir_all(&path)?;
        if replaced {
            fs::rename(&old, &path)?;
        }
        return Err(anyhow!("what was written does not read back: {damage}"));
    }
    // From here on it counts; nothing below may take it back.
    fault::io("checkpoint.latest").and_then(|()| tell_latest(dir, &name)).unwrap_or_else(|e| {
        super::super::say::say(&format!("warning: {LATEST}: {e}; the checkpoint itself is whole"));
    });
    let _ = fs::remove_dir_all(&old);
    Ok(bytes)
}

/// `LATEST`: the name, and the hash of the manifest.
fn tell_latest(dir: &RunDir, name: &str) -> io::Result<()> {
    let manifest = std::fs::read(dir.join(name).join(Manifest::FILE))?;
    fs::write_atomic(&dir.join(LATEST), format!("{name}\n{}\n", blake3::hash(&manifest).to_hex()).as_bytes())
}

/// Removes what an interrupted save or deletion left behind. Only for the worker, which holds the lock.
///
/// If a replaced checkpoint's successor never came (the process died between two renames), the replaced one gets its
/// name back.
pub fn sweep(dir: &RunDir) -> io::Result<()> {
    for entry in std::fs::read_dir(dir.path())? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(checkpoint) = name.strip_prefix(TRASH).filter(|rest| rest.starts_with(PREFIX)) {
            let place = dir.join(checkpoint);
            let step = checkpoint[PREFIX.len()..].parse().unwrap_or(0);
            let replaced = Checkpoint { step, path: entry.path() };
            // A deletion begins with the manifest, so what still checks was not being deleted.
            if !place.exists() && replaced.check().is_ok() {
                fs::rename(&entry.path(), &place)?;
                continue;
            }
        } else if !name.starts_with(&format!("{PARTIAL}{PREFIX}")) {
            continue;
        }
        fs::remove_dir_all(&entry.path())?;
    }
    Ok(())
}

/// Moves a damaged checkpoint to `quarantine/`, where it is evidence and in nobody's way. Returns its new place.
pub fn quarantine(dir: &RunDir, checkpoint: &Checkpoint) -> io::Result<PathBuf> {
    let folder = dir.join(QUARANTINE);
    fs::create_dir_all(&folder)?;
    let name = checkpoint.name();
    let mut place = folder.join(&name);
    let mut n = 2;
    while place.exists() {
        place = folder.join(format!("{name}.{n}"));
        n += 1;
    }
    fs::rename(&checkpoint.path, &place)?;
    fs::sync_dir(&folder)?;
    fs::sync_dir(dir.path())?;
    Ok(place)
}

/// Kept for [`super::retention`]: the first error of a deletion names the folder.
pub(super) fn delete(dir: &RunDir, checkpoint: &Checkpoint) -> Result<()> {
    let trash = dir.join(&format!("{TRASH}{}", checkpoint.name()));
    let delete = || -> io::Result<()> {
        fs::remove_dir_all(&trash)?;
        fault::io("retain.rename")?;
        fs::rename(&checkpoint.path, &trash)?;
        fault::io("retain.delete")?;
        // First what makes it a checkpoint: a kill from here on leaves nothing that could be taken for one.
        fs::remove_file(&trash.join(Manifest::FILE))?;
        fs::remove_dir_all(&trash)
    };
    delete().with_context(|| format!("removing {}", checkpoint.path.display()))
}
