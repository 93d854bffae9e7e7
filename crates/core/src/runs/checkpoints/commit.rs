//! How a checkpoint comes to be, whole or not at all: files, fsync each, manifest, fsync, fsync of the folder, rename, fsync
//! of the parent, everything read back and compared. Until the rename nobody can take it for a checkpoint; after it
//! nothing of it is missing, whatever happens to the process or the machine.

use super::super::record::VERSION;
use super::super::say::say;
use super::super::{RunDir, now_ms};
use super::manifest::{self, Manifest};
use super::{About, Checkpoint, LATEST, PREFIX, QUARANTINE};
use crate::{fault, fs};
use anyhow::{Context, Result, anyhow};
use std::io;
use std::path::{Path, PathBuf};

/// Prefixes of what an interrupted save or deletion leaves.
const PARTIAL: &str = ".partial-";
/// A checkpoint that is being replaced by one of the same step.
const REPLACED: &str = ".replaced-";
/// One that is being deleted.
const DELETED: &str = ".deleted-";

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
    let old = dir.join(&format!("{REPLACED}{name}"));
    let replaced = path.exists();
    if replaced {
        fs::remove_dir_all(&old)?;
        fs::rename(&path, &old)?;
    }
    if let Err(error) = put_in_place(dir, partial, &path, manifest.about.step) {
        // As if nothing had been tried. A kill in here is set right by `sweep`.
        let _ = fs::remove_dir_all(&path);
        if replaced {
            fs::rename(&old, &path)?;
        }
        return Err(error);
    }
    // From here on it counts; nothing below may take it back.
    fault::io("checkpoint.latest").and_then(|()| tell_latest(dir, &name)).unwrap_or_else(|e| {
        say(&format!("warning: {LATEST}: {e}; the checkpoint itself is whole"));
    });
    let _ = fs::remove_dir_all(&old);
    Ok(bytes)
}

/// Gives the finished folder its name, waits for the disk and reads everything back.
fn put_in_place(dir: &RunDir, partial: &Path, path: &Path, step: u64) -> Result<()> {
    fs::rename(partial, path)?;
    fault::io("checkpoint.parent")?;
    fs::sync_dir(dir.path())?;
    fault::io("checkpoint.verify")?;
    let written = Checkpoint { step, path: path.to_owned() };
    written.check().map_err(|damage| anyhow!("what was written does not read back: {damage}"))
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
        let of = |prefix: &str| name.strip_prefix(prefix).filter(|rest| rest.starts_with(PREFIX));
        match of(REPLACED) {
            Some(checkpoint) if !dir.join(checkpoint).exists() => fs::rename(&entry.path(), &dir.join(checkpoint))?,
            None if of(PARTIAL).or(of(DELETED)).is_none() => {}
            _ => fs::remove_dir_all(&entry.path())?,
        }
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

/// Deletes a checkpoint: first its name goes, so that a kill leaves nothing that could be taken for one.
pub(super) fn delete(dir: &RunDir, checkpoint: &Checkpoint) -> Result<()> {
    let deleted = dir.join(&format!("{DELETED}{}", checkpoint.name()));
    let delete = || -> io::Result<()> {
        fs::remove_dir_all(&deleted)?;
        fault::io("retain.rename")?;
        fs::rename(&checkpoint.path, &deleted)?;
        fs::sync_dir(dir.path())?;
        fault::io("retain.delete")?;
        fs::remove_dir_all(&deleted)
    };
    delete().with_context(|| format!("removing {}", checkpoint.path.display()))
}
