//! The cache on disk, as Python's huggingface_hub lays it out, so that both find each other's files:
//!
//! ```text
//! models--Qwen--Qwen2-VL-2B-Instruct/
//!   blobs/HASH              contents; HASH.incomplete while they come
//!   refs/main               the commit that a branch stood for
//!   snapshots/COMMIT/PATH   relative symlinks into blobs/
//!   .lightbox/COMMIT.json   ours: the files that were asked for, so that a half snapshot is known as one
//!   .lightbox/COMMIT.revision   ours: the branch or tag by which it was asked for
//!   .lightbox/COMMIT.files  ours, of a data set: all its files on the Hub, so that a part of it is known as one
//! .locks/…/HASH.lock        whoever loads a blob holds this, Python too
//! ```

use super::HubError;
use super::repo::{Kind, RemoteFile, Repo};
use crate::fs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A snapshot in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cached {
    pub kind: Kind,
    pub id: String,
    /// The branch or tag that leads there (`main` before others) or was asked for, else the commit.
    pub revision: String,
    pub commit: String,
    pub path: PathBuf,
    /// Of the files that are whole.
    pub bytes: u64,
    /// Of the contents that are half, whichever snapshot of the repository they are for.
    pub half_bytes: u64,
    /// Of all files that were asked for, where that is known.
    pub asked_bytes: Option<u64>,
    /// All that was asked for is there. Of what Python loaded nothing is noted; there it means that no file is half.
    pub complete: bool,
}

/// Where Hub files lie: HF_HUB_CACHE, else `hub` in HF_HOME, else `~/.cache/huggingface/hub`.
///
/// # Errors
/// There is neither one of these nor a home.
pub fn cache_dir() -> Result<PathBuf, HubError> {
    let set = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(var);
    match set {
        Some(dir) => Ok(expand(&dir)),
        None => Ok(home()?.join("hub")),
    }
}

/// HF_HOME: the cache and the stored token.
pub(super) fn home() -> Result<PathBuf, HubError> {
    if let Some(home) = var("HF_HOME") {
        return Ok(expand(&home));
    }
    let cache = var("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cache")));
    let cache = cache.ok_or_else(|| HubError::Wrong("neither HOME nor HF_HOME is set: where is the cache?".into()))?;
    Ok(cache.join("huggingface"))
}

/// A variable that is set to something.
pub(super) fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// `~/…` as Python takes it: variables in a job file are often not expanded by a shell.
pub(super) fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// The name on the Hub of a model folder that lies in a cache, wherever that is: `Qwen/Qwen2-VL-2B-Instruct`.
pub fn cached_name(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let repo = dir.iter().rev().find_map(|part| part.to_str()?.strip_prefix("models--"))?;
    Some(repo.replacen("--", "/", 1))
}

/// What the cache holds. Asks nobody; what is no repository, or cannot be read, is passed over.
pub fn cached() -> Vec<Cached> {
    cache_dir().map(|dir| cached_in(&dir)).unwrap_or_default()
}

/// [`cached`] of another folder.
pub fn cached_in(cache: &Path) -> Vec<Cached> {
    let mut found: Vec<Cached> =
        names(cache).iter().filter_map(|name| RepoDir::named(cache, name)).flat_map(snapshots).collect();
    found.sort_by(|a, b| (a.kind, &a.id, &a.revision).cmp(&(b.kind, &b.id, &b.revision)));
    found
}

fn snapshots((dir, kind, id): (RepoDir, Kind, String)) -> Vec<Cached> {
    let refs = dir.refs();
    let half_bytes = dir.half().iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum();
    let commits = names(&dir.root.join("snapshots"));
    let one = |commit: String| {
        let path = dir.snapshot(&commit);
        let revision = refs.get(&commit).cloned().or_else(|| dir.asked_revision(&commit)).unwrap_or(commit.clone());
        let (bytes, _) = held(&path);
        let complete = dir.is_whole(&commit);
        let asked_bytes = dir.asked_for(&commit).map(|files| files.values().sum());
        Cached { kind, id: id.clone(), revision, commit, path, bytes, half_bytes, asked_bytes, complete }
    };
    commits.into_iter().map(one).collect()
}

/// Bytes of the files of a folder, and whether none of its links leads nowhere.
fn held(dir: &Path) -> (u64, bool) {
    let (mut bytes, mut whole) = (0, true);
    for name in names(dir) {
        let path = dir.join(name);
        let is_folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
        match path.metadata() {
            _ if is_folder => {
                let (more, rest_whole) = held(&path);
                (bytes, whole) = (bytes + more, whole && rest_whole);
            }
            Ok(meta) => bytes += meta.len(),
            Err(_) => whole = false,
        }
    }
    (bytes, whole)
}

pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A repository's folder in the cache.
#[derive(Debug, Clone)]
pub(super) struct RepoDir {
    cache: PathBuf,
    name: String,
    pub(super) root: PathBuf,
}

impl RepoDir {
    /// The repository's name was checked.
    pub fn of(cache: &Path, repo: &Repo) -> Self {
        let name = format!("{}--{}", repo.kind.plural(), repo.id.replace('/', "--"));
        Self { cache: cache.to_owned(), root: cache.join(&name), name }
    }

    fn named(cache: &Path, name: &str) -> Option<(Self, Kind, String)> {
        let (plural, id) = name.split_once("--")?;
        let kind = [Kind::Model, Kind::Dataset].into_iter().find(|kind| kind.plural() == plural)?;
        let repo = Repo::new(kind, &id.replacen("--", "/", 1));
        repo.check().ok()?;
        Some((Self::of(cache, &repo), kind, repo.id))
    }

    /// The commit that a branch, tag or commit stands for here.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        let named = std::fs::read_to_string(self.root.join("refs").join(revision)).ok();
        let commit = named.map_or_else(|| revision.to_owned(), |text| text.trim().to_owned());
        let is_one = !commit.is_empty() && commit.bytes().all(|b| b.is_ascii_alphanumeric());
        Some(commit).filter(|commit| is_one && self.snapshot(commit).is_dir())
    }

    /// All that was asked for of a commit is there. Of what Python loaded nothing is noted; there it means that no file is
    /// half.
    pub fn is_whole(&self, commit: &str) -> bool {
        let path = self.snapshot(commit);
        match self.asked_for(commit) {
            Some(files) => {
                files.iter().all(|(file, bytes)| path.join(file).metadata().is_ok_and(|m| m.len() == *bytes))
            }
            None => {
                let (bytes, whole) = held(&path);
                whole && bytes > 0 && self.half().is_empty()
            }
        }
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    pub fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.root.join("blobs").join(file.hash.hex())
    }

    /// Where its content grows.
    pub fn incomplete(&self, file: &RemoteFile) -> PathBuf {
        self.root.join("blobs").join(format!("{}.incomplete", file.hash.hex()))
    }

    /// Contents that have not come whole.
    pub fn half(&self) -> Vec<PathBuf> {
        let blobs = self.root.join("blobs");
        let half = names(&blobs).into_iter().filter(|name| name.ends_with(".incomplete"));
        half.map(|name| blobs.join(name)).collect()
    }

    /// Where the locks of its blobs lie.
    pub fn locks(&self) -> PathBuf {
        self.cache.join(".locks").join(&self.name)
    }

    /// The names of branches and tags that stand for a commit, as files.
    pub fn refs_to(&self, commit: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.root.join("refs")];
        while let Some(dir) = todo.pop() {
            for path in names(&dir).into_iter().map(|name| dir.join(name)) {
                if path.is_dir() {
                    todo.push(path);
                } else if std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == commit) {
                    found.push(path);
                }
            }
        }
        found
    }

    /// Its content is here. A blob gets its name when its hash is verified; one of another size was damaged later.
    pub fn has(&self, file: &RemoteFile) -> bool {
        self.blob(file).metadata().is_ok_and(|meta| meta.is_file() && meta.len() == file.bytes)
    }

    /// Bytes that are still to come.
    pub fn missing(&self, file: &RemoteFile) -> u64 {
        if self.has(file) {
            return 0;
        }
        file.bytes - self.incomplete(file).metadata().map_or(0, |meta| meta.len()).min(file.bytes)
    }

    /// Makes the folders.
    pub fn prepare(&self, commit: &str) -> io::Result<()> {
        fs::create_dir_all(&self.root.join("blobs"))?;
        fs::create_dir_all(&self.snapshot(commit))
    }

    /// The lock that whoever loads this blob holds, Python too (its `filelock` also takes flock(2)); `None` while it is
    /// another's. Where the file system has no locks, as on some networks, one does without, as Python does.
    pub fn try_lock(&self, file: &RemoteFile) -> io::Result<Option<File>> {
        let dir = self.locks();
        fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{}.lock", file.hash.hex()));
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.map_err(|e| io::Error::new(e.kind(), format!("opening {}: {e}", path.display())))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(_)) => Ok(Some(lock)),
        }
    }

    /// Shows a blob under its path in the snapshot.
    pub fn link(&self, commit: &str, file: &RemoteFile) -> io::Result<()> {
        let path = self.snapshot(commit).join(&file.path);
        // From snapshots/COMMIT/ two folders up, and one more for each folder of the path.
        let up = "../".repeat(2 + file.path.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", file.hash.hex()));
        if std::fs::read_link(&path).is_ok_and(|there| there == target) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::replace_link(&target, &path)
    }

    /// Notes that a branch or tag stands for this commit.
    pub fn point(&self, revision: &str, commit: &str) -> io::Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == commit) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write_atomic(&path, commit.as_bytes())
    }

    /// Names of commits; `main` wins over others.
    fn refs(&self) -> BTreeMap<String, String> {
        let mut refs = BTreeMap::new();
        let mut todo = vec![String::new()];
        while let Some(prefix) = todo.pop() {
            // Names of branches never begin with a dot; those of temporary files do.
            for name in names(&self.root.join("refs").join(&prefix)).iter().filter(|name| !name.starts_with('.')) {
                let name = format!("{prefix}{name}");
                let path = self.root.join("refs").join(&name);
                if path.is_dir() {
                    todo.push(format!("{name}/"));
                } else if let Ok(commit) = std::fs::read_to_string(&path) {
                    let known = refs.entry(commit.trim().to_owned()).or_insert_with(|| name.clone());
                    if name == "main" || (*known != "main" && name < *known) {
                        *known = name;
                    }
                }
            }
        }
        refs
    }

    /// Notes which files of a commit were asked for, besides those of earlier times, and by which name. That name leads
    /// there (`refs/`) only when all are here.
    pub fn ask_for(&self, commit: &str, revision: &str, files: &[&RemoteFile]) -> io::Result<()> {
        let before = self.asked_for(commit);
        let mut all = before.clone().unwrap_or_default();
        all.extend(files.iter().map(|file| (file.path.clone(), file.bytes)));
        fs::create_dir_all(&self.root.join(".lightbox"))?;
        if revision != commit && self.asked_revision(commit).as_deref() != Some(revision) {
            fs::write_atomic(&self.revision_note(commit), revision.as_bytes())?;
        }
        if before.as_ref() == Some(&all) {
            return Ok(());
        }
        fs::write_atomic(&self.note(commit), &serde_json::to_vec(&all).map_err(io::Error::other)?)
    }

    /// Notes what the repository holds on the Hub.
    pub fn note_files(&self, commit: &str, files: &[RemoteFile]) -> io::Result<()> {
        let all: BTreeMap<&str, u64> = files.iter().map(|file| (file.path.as_str(), file.bytes)).collect();
        fs::create_dir_all(&self.root.join(".lightbox"))?;
        fs::write_atomic(&self.files_note(commit), &serde_json::to_vec(&all).map_err(io::Error::other)?)
    }

    /// All files of the repository with their sizes, where that was noted.
    pub fn known_files(&self, commit: &str) -> Option<BTreeMap<String, u64>> {
        let files: BTreeMap<String, u64> =
            serde_json::from_slice(&std::fs::read(self.files_note(commit)).ok()?).ok()?;
        // It may have been written by anybody.
        files.keys().all(|path| super::repo::is_plain_path(path)).then_some(files)
    }

    /// The files that are shown of a commit, relative.
    pub fn shown_files(&self, commit: &str) -> Vec<String> {
        let snapshot = self.snapshot(commit);
        let (mut found, mut todo) = (Vec::new(), vec![String::new()]);
        while let Some(folder) = todo.pop() {
            for name in names(&snapshot.join(&folder)) {
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let is_folder = snapshot.join(&path).symlink_metadata().is_ok_and(|meta| meta.is_dir());
                if is_folder { todo.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }

    fn asked_for(&self, commit: &str) -> Option<BTreeMap<String, u64>> {
        let bytes = std::fs::read(self.note(commit)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn asked_revision(&self, commit: &str) -> Option<String> {
        std::fs::read_to_string(self.revision_note(commit)).ok().filter(|revision| !revision.is_empty())
    }

    pub fn revision_note(&self, commit: &str) -> PathBuf {
        self.root.join(".lightbox").join(format!("{commit}.revision"))
    }

    pub fn files_note(&self, commit: &str) -> PathBuf {
        self.root.join(".lightbox").join(format!("{commit}.files"))
    }

    pub fn note(&self, commit: &str) -> PathBuf {
        self.root.join(".lightbox").join(format!("{commit}.json"))
    }
}
