//! Taking a snapshot out of the cache. What other snapshots of the repository share with it stays.

use super::cache::{Cached, RepoDir, names};
use super::{HubError, Repo, cache_dir};
use crate::fs;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Removes a snapshot of the cache, with the contents that no other snapshot shows, and says how many bytes became free.
/// Cut short, it leaves contents that nothing shows; a later download of them finds them again.
///
/// # Errors
/// Somebody loads files of this repository just now; a path outside of the cache; the disk's own.
pub fn remove(cached: &Cached) -> Result<u64, HubError> {
    remove_from(&cache_dir()?, cached)
}

/// [`remove`] from another folder.
pub fn remove_from(cache: &Path, cached: &Cached) -> Result<u64, HubError> {
    let repo = Repo::new(cached.kind, &cached.id);
    repo.check()?;
    let dir = RepoDir::of(cache, &repo);
    let snapshot = dir.snapshot(&cached.commit);
    let plain = !cached.commit.is_empty() && cached.commit.bytes().all(|b| b.is_ascii_alphanumeric());
    if !plain || snapshot != cached.path {
        return Err(HubError::Wrong(format!(
            "{} is no snapshot in the cache {}",
            cached.path.display(),
            cache.display()
        )));
    }
    if let Some(name) = locked(&dir.locks()) {
        return Err(HubError::Wrong(format!("{repo} is being loaded just now ({name}); nothing was removed")));
    }
    let snapshots = dir.root.join("snapshots");
    let others: Vec<String> = names(&snapshots).into_iter().filter(|name| *name != cached.commit).collect();
    let kept: BTreeSet<OsString> = others.iter().flat_map(|name| shown(&snapshots.join(name))).collect();
    for name in dir.refs_to(&cached.commit) {
        fs::remove_file(&name)?;
    }
    fs::remove_dir_all(&snapshot)?;
    let blobs = dir.root.join("blobs");
    let mut freed = 0;
    for name in names(&blobs) {
        // what is half belongs to whoever asked last; without another snapshot nobody goes on with it
        let half = name.ends_with(".incomplete");
        if kept.contains(&OsString::from(&name)) || (half && !others.is_empty()) {
            continue;
        }
        let path = blobs.join(name);
        freed += path.metadata().map_or(0, |meta| meta.len());
        fs::remove_file(&path)?;
    }
    match others.is_empty() {
        true => fs::remove_dir_all(&dir.root)?,
        false => {
            for note in [dir.note(&cached.commit), dir.revision_note(&cached.commit), dir.files_note(&cached.commit)] {
                if note.exists() {
                    fs::remove_file(&note)?;
                }
            }
        }
    }
    Ok(freed)
}

/// A lock that somebody holds.
fn locked(locks: &Path) -> Option<String> {
    names(locks).into_iter().find(|name| {
        let file = std::fs::File::open(locks.join(name));
        file.is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
    })
}

/// The names of the blobs that a snapshot's links lead to.
fn shown(snapshot: &Path) -> Vec<OsString> {
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> = vec![snapshot.to_owned()];
    while let Some(path) = todo.pop() {
        match std::fs::read_link(&path) {
            Ok(target) => found.extend(target.file_name().map(ToOwned::to_owned)),
            Err(_) => todo.extend(names(&path).into_iter().map(|name| path.join(name))),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Kind, cached_in};
    use std::os::unix::fs::symlink;

    fn snapshot(cache: &Path, commit: &str, revision: &str, files: &[(&str, &str)]) {
        let root = cache.join("models--a--b");
        for dir in ["blobs", "refs", &format!("snapshots/{commit}")] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        std::fs::write(root.join("refs").join(revision), commit).unwrap();
        for (name, blob) in files {
            std::fs::write(root.join("blobs").join(blob), blob.repeat(10)).unwrap();
            symlink(format!("../../blobs/{blob}"), root.join("snapshots").join(commit).join(name)).unwrap();
        }
    }

    #[test]
    fn what_another_snapshot_shows_stays_and_the_last_one_takes_all_with_it() {
        let temp = tempfile::tempdir().unwrap();
        let cache = temp.path();
        snapshot(cache, "c1", "main", &[("config.json", "aa"), ("model.safetensors", "bb")]);
        snapshot(cache, "c2", "v2", &[("config.json", "aa"), ("model.safetensors", "dd")]);
        let cached = cached_in(cache);
        assert_eq!(cached.len(), 2);
        assert_eq!(remove_from(cache, cached.iter().find(|c| c.commit == "c1").unwrap()).unwrap(), 20);
        let left = cached_in(cache);
        assert_eq!((left.len(), left[0].revision.as_str(), left[0].complete), (1, "v2", true));
        assert_eq!(remove_from(cache, &left[0]).unwrap(), 40);
        assert_eq!(cached_in(cache), []);
        assert!(!cache.join("models--a--b").exists());
    }

    #[test]
    fn a_repository_that_is_being_loaded_and_a_path_elsewhere_are_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let cache = temp.path();
        snapshot(cache, "c1", "main", &[("config.json", "aa")]);
        let one = cached_in(cache).remove(0);
        let locks = cache.join(".locks/models--a--b");
        std::fs::create_dir_all(&locks).unwrap();
        let lock = std::fs::File::create(locks.join("aa.lock")).unwrap();
        lock.lock().unwrap();
        assert!(remove_from(cache, &one).unwrap_err().to_string().contains("being loaded"));
        drop(lock);
        let elsewhere = Cached { path: temp.path().to_owned(), ..one.clone() };
        assert!(remove_from(cache, &elsewhere).is_err());
        let outside = Cached { id: "../x".into(), kind: Kind::Model, ..one.clone() };
        assert!(remove_from(cache, &outside).is_err());
        assert!(one.path.join("config.json").exists());
    }
}
