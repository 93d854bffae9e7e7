//! Many files: room for them, one after the other into the cache, and out of it into a plain folder.

use super::HubError;
use super::cache::RepoDir;
use super::hash::Hash;
use super::progress::{Meter, Notify, Phase, Progress};
use super::repo::{Filters, Kind, Listing, RemoteFile};
use super::transfer::Transfer;
use crate::fs;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of the chosen files that are not in the cache yet.
///
/// # Errors
/// Those of the filters.
pub fn missing_bytes(listing: &Listing, filters: &Filters) -> Result<u64, HubError> {
    let dir = RepoDir::of(listing.client.cache(), &listing.repo);
    Ok(missing(&dir, &listing.chosen(filters)?))
}

fn missing(dir: &RepoDir, files: &[&RemoteFile]) -> u64 {
    let mut seen = BTreeSet::new(); // equal files are loaded once
    files.iter().filter(|file| seen.insert(file.hash.hex())).map(|file| dir.missing(file)).sum()
}

/// Loads the chosen files into the cache and gives the snapshot's folder. What is there already is not loaded again, a
/// half file is gone on with. `notify` hears of every change and at least ten times a second; its `Break` stops at once,
/// with [`HubError::Cancelled`].
///
/// # Errors
/// Too little room (before anything is loaded), a refusal, a network that stays broken, a file that stays wrong. Whole
/// and half files stay in the cache for the next call; wrong ones do not.
pub fn download(
    listing: &Listing,
    filters: &Filters,
    notify: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<PathBuf, HubError> {
    let chosen = listing.chosen(filters)?;
    let dir = RepoDir::of(listing.client.cache(), &listing.repo);
    dir.prepare(&listing.commit)?;
    let need = missing(&dir, &chosen);
    check_room(listing.client.cache(), need)?;
    if listing.repo.kind == Kind::Dataset {
        dir.note_files(&listing.commit, &listing.files)?;
    }
    dir.ask_for(&listing.commit, &listing.repo.revision, &chosen)?;
    let notify: &mut Notify = notify;
    let mut meter = Meter::new(Phase::Loading, chosen.len(), chosen.iter().map(|file| file.bytes).sum(), notify);
    let transfer = Transfer { client: &listing.client, repo: &listing.repo, commit: &listing.commit, dir: &dir };
    for file in chosen {
        meter.begin(&file.path, file.bytes)?;
        transfer.fetch(file, &mut meter)?;
        dir.link(&listing.commit, file)?;
        meter.finish()?;
    }
    dir.point(&listing.repo.revision, &listing.commit)?;
    Ok(dir.snapshot(&listing.commit))
}

fn check_room(dir: &Path, need: u64) -> Result<(), HubError> {
    let free = fs::space(dir)?.free_bytes;
    if need > free {
        return Err(HubError::NoSpace { dir: dir.to_owned(), need, free });
    }
    Ok(())
}

/// Puts files that were downloaded into `out` as plain files, without links that lead into the cache. Large ones share
/// their blocks with the cache where both are on one file system (hard links); small ones, which people edit, are copied.
///
/// # Errors
/// A file that is there already with another content: nothing is replaced then. Too little room.
pub fn lay_out(listing: &Listing, filters: &Filters, out: &Path) -> Result<(), HubError> {
    let dir = RepoDir::of(listing.client.cache(), &listing.repo);
    let chosen = listing.chosen(filters)?;
    let mut todo = Vec::new();
    for file in chosen {
        let (blob, path) = (dir.blob(file), out.join(&file.path));
        match path.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => todo.push((file, blob, path)),
            Err(e) => return Err(looking(&path, &e).into()),
            Ok(_) if same_content(&blob, &path).map_err(|e| looking(&path, &e))? => {}
            Ok(_) => {
                let what = "is there already and differs from the Hub's. Nothing was replaced: move it away, or name another folder";
                return Err(HubError::Wrong(format!("{} {what}", path.display())));
            }
        }
    }
    fs::create_dir_all(out)?;
    let apart = out.metadata()?.dev() != listing.client.cache().metadata()?.dev();
    if apart {
        check_room(out, todo.iter().map(|(file, ..)| file.bytes).sum())?;
    }
    for (file, blob, path) in todo {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let is_large = matches!(file.hash, Hash::Sha256(_));
        // Some file systems have no hard links.
        if apart || !is_large || fs::hard_link(&blob, &path).is_err() {
            fs::copy(&blob, &path)?;
        }
    }
    Ok(())
}

fn looking(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("looking at {}: {e}", path.display()))
}

fn same_content(a: &Path, b: &Path) -> io::Result<bool> {
    let (meta_a, meta_b) = (a.metadata()?, b.metadata()?);
    if (meta_a.dev(), meta_a.ino()) == (meta_b.dev(), meta_b.ino()) {
        return Ok(true);
    }
    if meta_a.len() != meta_b.len() || !meta_b.is_file() {
        return Ok(false);
    }
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut x, mut y) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut left = meta_a.len();
    while left > 0 {
        let n = left.min(x.len() as u64) as usize;
        a.read_exact(&mut x[..n])?;
        b.read_exact(&mut y[..n])?;
        if x[..n] != y[..n] {
            return Ok(false);
        }
        left -= n as u64;
    }
    Ok(true)
}
