//! A folder of this machine as a repository gets it: which of its files, and that they stay what they are.
//!
//! Never sent: hidden files, temporary ones and locks, and links that lead out of the folder. What only serves to go on
//! with a training (checkpoints, optimizer, states, and logs that tell paths of this machine) is sent if a pattern names it.

use super::HubError;
use super::hash::{Hash, Hasher};
use super::progress::Meter;
use super::repo::{Filters, Patterns, is_plain_path};
use crate::runs::{RunDir, checkpoints, report};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a folder holds for a repository.
#[derive(Debug, Clone)]
pub struct Folder {
    /// In the order of their paths.
    pub files: Vec<LocalFile>,
    /// What is not sent though it is there, by the reason. Hidden and temporary files are not told.
    pub left_out: BTreeMap<&'static str, Vec<String>>,
}

/// A file as it was when the folder was looked at.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// In the repository: relative, with `/`.
    pub path: String,
    pub bytes: u64,
    at: PathBuf,
    stamp: Stamp,
}

/// What changes when a file is replaced or written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        let modified = (meta.mtime(), meta.mtime_nsec());
        Self { device: meta.dev(), inode: meta.ino(), bytes: meta.len(), modified }
    }
}

const LINK: &str = "a link out of the folder, or to a folder";
const NO_FILE: &str = "no plain file";
const NAME: &str = "a name that a repository cannot have";
const TRAINING: &str = "only for going on with the training; --include sends it";

impl Folder {
    /// Looks at names and sizes, not into files.
    ///
    /// # Errors
    /// No such folder, one that cannot be read, a pattern that is none, or nothing to send.
    pub fn read(dir: &Path, filters: &Filters) -> Result<Self, HubError> {
        let root = dir.canonicalize().map_err(|e| looking(dir, &e))?;
        if !root.is_dir() {
            return Err(HubError::Wrong(format!("{} is a file; a folder is pushed", dir.display())));
        }
        let trained = [RunDir::INFO, RunDir::TRAINER_STATE].iter().any(|name| root.join(name).is_file());
        let folder = Self { files: Vec::new(), left_out: BTreeMap::new() };
        let mut walk = Walk { root: &root, patterns: filters.read()?, trained, folder };
        walk.enter(&root, "")?;
        let mut folder = walk.folder;
        if folder.files.is_empty() {
            let why: Vec<String> =
                folder.left_out.iter().map(|(why, names)| format!("; {} is {why}", names[0])).collect();
            let what = "has no file to send with these patterns";
            return Err(HubError::Wrong(format!("{} {what}{}", dir.display(), why.concat())));
        }
        folder.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(folder)
    }

    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

struct Walk<'a> {
    root: &'a Path,
    patterns: Patterns,
    /// A training wrote this folder.
    trained: bool,
    folder: Folder,
}

impl Walk<'_> {
    fn enter(&mut self, dir: &Path, prefix: &str) -> Result<(), HubError> {
        let entries = std::fs::read_dir(dir).map_err(|e| looking(dir, &e))?;
        let mut entries = entries.collect::<io::Result<Vec<_>>>().map_err(|e| looking(dir, &e))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (at, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str() else {
                self.leave_out(NAME, format!("{prefix}{}", name.to_string_lossy()));
                continue;
            };
            if is_passing(name) {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(|e| looking(&at, &e))?;
            let for_training = self.trained && prefix.is_empty() && serves_training(name);
            if kind.is_dir() {
                if for_training && !self.patterns.name_some() {
                    self.leave_out(TRAINING, format!("{path}/"));
                } else {
                    // What lies in it is for going on as well: only patterns that name it get it out.
                    self.enter(&at, &format!("{path}/"))?;
                }
            } else if !self.patterns.want(&path) {
                // not asked for
            } else if for_training && !self.patterns.name(&path) {
                self.leave_out(TRAINING, path);
            } else if kind.is_symlink() && !self.is_within(&at) {
                self.leave_out(LINK, path);
            } else if !is_plain_path(&path) || path.chars().any(char::is_control) {
                self.leave_out(NAME, path);
            } else {
                let meta = at.metadata().map_err(|e| looking(&at, &e))?;
                match meta.is_file() {
                    true => self.folder.files.push(LocalFile { path, bytes: meta.len(), at, stamp: Stamp::of(&meta) }),
                    false => self.leave_out(NO_FILE, path),
                }
            }
        }
        Ok(())
    }

    /// A link that leads to a file of the folder.
    fn is_within(&self, link: &Path) -> bool {
        link.canonicalize().is_ok_and(|to| to.starts_with(self.root) && to.is_file())
    }

    fn leave_out(&mut self, why: &'static str, path: String) {
        self.folder.left_out.entry(why).or_default().push(path);
    }
}

/// Hidden, half or a lock.
fn is_passing(name: &str) -> bool {
    const ENDS: [&str; 7] = [".partial", ".incomplete", ".part", ".tmp", ".temp", ".lock", "~"];
    name.starts_with('.') || ENDS.iter().any(|end| name.ends_with(end))
}

/// Names at the top of an output folder: ours, the HF Trainer's, and those of a checkpoint.
fn serves_training(name: &str) -> bool {
    const NAMES: [&str; 22] = [
        RunDir::STATE,
        RunDir::EVENTS,
        RunDir::METRICS,
        RunDir::TRAINER_STATE,
        RunDir::PROFILE,
        RunDir::PROFILE_SOURCE,
        RunDir::INFO,
        RunDir::ENV,
        RunDir::HEARTBEAT,
        RunDir::WORKER,
        RunDir::COMMANDS,
        RunDir::EDITS,
        RunDir::CRASH,
        RunDir::SAMPLES,
        report::Progress::FILE,
        checkpoints::LATEST,
        checkpoints::PINS,
        checkpoints::QUARANTINE,
        checkpoints::Manifest::FILE,
        "optimizer.safetensors",
        "scheduler.pt",
        "training_args.bin",
    ];
    // `worker.log.1`, `system.jsonl.2`, `rng_state_0.pth`
    const BEGINNINGS: [&str; 5] = [checkpoints::PREFIX, RunDir::WORKER_LOG, RunDir::SYSTEM, "optimizer.", "rng_state"];
    NAMES.contains(&name) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

impl LocalFile {
    /// Where it lies.
    pub(super) fn at(&self) -> &Path {
        &self.at
    }

    pub(super) fn open(&self) -> Result<File, HubError> {
        let file = File::open(&self.at).map_err(|e| reading(&self.at, &e))?;
        self.check(&file)?;
        Ok(file)
    }

    /// It is still what it was, under its name too.
    pub(super) fn check(&self, file: &File) -> Result<(), HubError> {
        let is_same = |meta: io::Result<Metadata>| meta.is_ok_and(|meta| Stamp::of(&meta) == self.stamp);
        if is_same(file.metadata()) && is_same(self.at.metadata()) { Ok(()) } else { Err(self.changed()) }
    }

    pub(super) fn changed(&self) -> HubError {
        HubError::Changed { file: self.at.clone() }
    }

    /// Reads all of it.
    pub(super) fn hash(&self, mut hasher: Hasher, meter: &mut Meter) -> Result<Hash, HubError> {
        let mut file = self.open()?;
        let (mut buffer, mut done) = (vec![0; 1 << 20], 0);
        loop {
            let n = file.read(&mut buffer).map_err(|e| reading(&self.at, &e))?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            done += n as u64;
            meter.at(done)?;
        }
        self.check(&file)?;
        Ok(hasher.finish())
    }

    /// Its first bytes, by which the Hub tells text from others.
    pub(super) fn sample(&self) -> Result<Vec<u8>, HubError> {
        let mut bytes = Vec::new();
        self.open()?.take(512).read_to_end(&mut bytes).map_err(|e| reading(&self.at, &e))?;
        Ok(bytes)
    }

    /// All of it, if that is still what `hash` was made of.
    pub(super) fn content(&self, hash: &Hash) -> Result<Vec<u8>, HubError> {
        let mut bytes = Vec::new();
        self.open()?.take(self.bytes + 1).read_to_end(&mut bytes).map_err(|e| reading(&self.at, &e))?;
        let mut hasher = Hasher::like(hash, self.bytes);
        hasher.update(&bytes);
        if hasher.finish() == *hash { Ok(bytes) } else { Err(self.changed()) }
    }
}

fn looking(path: &Path, e: &io::Error) -> HubError {
    match e.kind() {
        io::ErrorKind::NotFound => HubError::Wrong(format!("there is no {}", path.display())),
        kind => io::Error::new(kind, format!("looking at {}: {e}", path.display())).into(),
    }
}

fn reading(path: &Path, e: &io::Error) -> HubError {
    io::Error::new(e.kind(), format!("reading {}: {e}", path.display())).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        for file in files {
            let path = temp.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        temp
    }

    fn paths(folder: &Folder) -> Vec<&str> {
        folder.files.iter().map(|file| file.path.as_str()).collect()
    }

    fn including(patterns: &[&str]) -> Filters {
        Filters { include: patterns.iter().map(|p| (*p).to_owned()).collect(), exclude: Vec::new() }
    }

    #[test]
    fn hidden_half_and_locked_files_stay_at_home() {
        let temp = folder(&["a.json", "sub/b.txt", ".env", ".cache/x", "c.partial", "d.tmp", "e.lock", "sub/.git/f"]);
        let read = Folder::read(temp.path(), &Filters::default()).unwrap();
        assert_eq!(paths(&read), ["a.json", "sub/b.txt"]);
        assert_eq!(read.total_bytes(), 15);
        let read = Folder::read(temp.path(), &including(&["*"])).unwrap();
        assert_eq!(paths(&read), ["a.json", "sub/b.txt"], "a pattern does not name what is hidden");
    }

    #[test]
    fn of_an_output_folder_only_the_result_is_sent_unless_more_is_named() {
        let result = ["README.md", "adapter_config.json", "adapter_model.safetensors", "trainer_log.jsonl"];
        let state = ["run.json", "state.json", "trainer_state.json", "worker.log", "worker.log.1", "profile.yaml"];
        let more = ["checkpoint-10/adapter_model.safetensors", "checkpoint-10/optimizer.safetensors"];
        let temp = folder(&[&result[..], &state, &more].concat());
        let read = Folder::read(temp.path(), &Filters::default()).unwrap();
        assert_eq!(paths(&read), result);
        let left: Vec<&str> = read.left_out[TRAINING].iter().map(String::as_str).collect();
        assert!(left.contains(&"checkpoint-10/") && left.contains(&"worker.log.1") && left.len() == 7, "{left:?}");
        let read = Folder::read(temp.path(), &including(&["README.md", "checkpoint-10/", "profile.yaml"])).unwrap();
        assert_eq!(paths(&read), ["README.md", more[0], more[1], "profile.yaml"]);
        let checkpoint = temp.path().join("checkpoint-10");
        std::fs::write(checkpoint.join("trainer_state.json"), "{}").unwrap();
        let read = Folder::read(&checkpoint, &Filters::default()).unwrap();
        assert_eq!(paths(&read), ["adapter_model.safetensors"]);
        // The same names elsewhere are a user's own.
        let temp = folder(&["state.json", "optimizer.safetensors"]);
        assert_eq!(Folder::read(temp.path(), &Filters::default()).unwrap().files.len(), 2);
    }

    #[test]
    fn links_are_followed_within_the_folder_only_and_what_is_left_out_is_told() {
        let (temp, elsewhere) = (folder(&["a.txt", "sub/b.txt"]), folder(&["secret", "more/c.txt"]));
        symlink("a.txt", temp.path().join("within")).unwrap();
        symlink(elsewhere.path().join("secret"), temp.path().join("out")).unwrap();
        symlink(elsewhere.path().join("more"), temp.path().join("dir")).unwrap();
        symlink("..", temp.path().join("sub/loop")).unwrap();
        symlink("nowhere", temp.path().join("broken")).unwrap();
        let read = Folder::read(temp.path(), &Filters::default()).unwrap();
        assert_eq!(paths(&read), ["a.txt", "sub/b.txt", "within"]);
        assert_eq!(read.left_out[LINK], ["broken", "dir", "out", "sub/loop"]);
        let error = Folder::read(temp.path(), &including(&["out"])).unwrap_err().to_string();
        assert!(error.contains("out is a link out of the folder"), "{error}");
    }

    #[test]
    fn a_file_that_is_written_to_is_another_one() {
        let temp = folder(&["a.txt"]);
        let file = Folder::read(temp.path(), &Filters::default()).unwrap().files.remove(0);
        let mut hasher = Hasher::git(file.bytes);
        hasher.update(b"a.txt");
        assert_eq!(file.content(&hasher.finish()).unwrap(), b"a.txt");
        let open = file.open().unwrap();
        file.check(&open).unwrap();
        std::fs::write(temp.path().join("new"), "a.txt").unwrap();
        std::fs::rename(temp.path().join("new"), temp.path().join("a.txt")).unwrap();
        for error in [file.check(&open).unwrap_err(), file.open().unwrap_err(), file.sample().unwrap_err()] {
            assert!(matches!(error, HubError::Changed { .. }), "{error}");
        }
    }
}
