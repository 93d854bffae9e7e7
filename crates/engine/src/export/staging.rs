//! A folder that gets its name last: it is filled beside its place under another name, and a kill at any moment leaves
//! either nothing or all of it there.

use anyhow::{Result, anyhow, bail};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::fs;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// The folder while it is filled; dropped without [`Staging::commit`], it is removed.
pub struct Staging {
    out: PathBuf,
    /// `.NAME.partial`: a later export sweeps what a killed one left.
    partial: PathBuf,
    /// `.NAME.replaced`: what was at `out`, until the new one is there.
    replaced: PathBuf,
    /// Holds the partial folder's lock, so that two exports never fill one folder. Goes with the process.
    _lock: File,
    committed: bool,
}

impl Staging {
    /// `sources`: folders that must stay what they are.
    ///
    /// # Errors
    /// [`Exit::Config`]: `out` is no place for a new folder, or has something in it (with `overwrite`: something other than
    /// a model). [`Exit::Locked`]: another export is writing there.
    pub fn open(out: &Path, overwrite: bool, sources: &[&Path]) -> Result<Self> {
        // Symlinks followed: a rename would replace the link.
        let out = if out.exists() { out.canonicalize() } else { std::path::absolute(out) }.because(Exit::Config)?;
        let (Some(parent), Some(name)) = (out.parent(), out.file_name()) else {
            return Err(anyhow!("{}: not the name of a folder", out.display())).because(Exit::Config);
        };
        let beside = |suffix: &str| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(suffix);
            parent.join(hidden)
        };
        let (partial, replaced) = (beside(".partial"), beside(".replaced"));
        fs::create_dir_all(&partial).because(Exit::Disk)?;
        let lock = File::open(&partial).because(Exit::Disk)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(anyhow!(
                    "{}: another export is writing this folder; wait for it, or choose another --out",
                    out.display()
                ))
                .because(Exit::Locked);
            }
            // File systems without locks: two exports at once are the user's to avoid.
            Err(TryLockError::Error(_)) => {}
        }
        let staging = Self { out, partial, replaced, _lock: lock, committed: false };
        staging.sweep().because(Exit::Disk)?;
        may_stand_at(&staging.out, overwrite, sources).because(Exit::Config)?;
        Ok(staging)
    }

    /// Removes what a killed export left, and undoes its half of a replacement.
    fn sweep(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.partial)? {
            fs::remove_dir_all(&entry?.path())?;
        }
        // Killed between the two renames of `commit`: the old folder gets its name back.
        if self.replaced.exists() && !self.out.exists() {
            fs::rename(&self.replaced, &self.out)?;
        }
        Ok(())
    }

    /// Where to write.
    pub fn dir(&self) -> &Path {
        &self.partial
    }

    /// Gives the folder its name and returns it.
    pub fn commit(mut self) -> Result<PathBuf> {
        fs::sync_dir(&self.partial)?;
        let replaces = self.out.exists();
        if replaces {
            fs::remove_dir_all(&self.replaced)?;
            fs::rename(&self.out, &self.replaced)?;
        }
        if let Err(error) = fs::rename(&self.partial, &self.out) {
            if replaces {
                fs::rename(&self.replaced, &self.out)?;
            }
            return Err(error.into());
        }
        self.committed = true;
        fs::sync_dir(self.out.parent().unwrap_or(Path::new("/")))?;
        fs::remove_dir_all(&self.replaced)?;
        Ok(self.out.clone())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            // The error that led here is the one to tell; what cannot be removed is swept by the next export.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// May a new folder stand at `out`?
fn may_stand_at(out: &Path, overwrite: bool, sources: &[&Path]) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        bail!("{}: is a file; --out names a new folder", out.display());
    }
    if std::fs::read_dir(out)?.next().is_none() {
        return Ok(());
    }
    if !overwrite {
        bail!("{}: is not empty, and nothing was written; choose another --out, or give --overwrite", out.display());
    }
    if let Some(source) = sources.iter().find(|s| s.canonicalize().is_ok_and(|s| s.starts_with(out))) {
        bail!("{}: holds {}, which is read here; choose another --out", out.display(), source.display());
    }
    // A slip of the keyboard must not cost a home folder, nor a run.
    let is_export = out.join("config.json").is_file() || out.join("adapter_config.json").is_file();
    if !is_export || ["run.json", "trainer_state.json"].iter().any(|of_a_run| out.join(of_a_run).exists()) {
        bail!("{}: is not empty and not an exported folder, so --overwrite leaves it alone", out.display());
    }
    Ok(())
}
