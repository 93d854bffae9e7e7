//! The runs of this user: an index of run folders, in `$LIGHTBOX_STATE`, else `$XDG_STATE_HOME/lightbox`, else
//! `~/.local/state/lightbox`. A run's folder can lie anywhere (the profile's `output_dir`), so something has to remember
//! where; the folders themselves are the truth, and the index can be lost without harm.
use super::info::RunInfo;
use super::{RunDir, now_ms};
use anyhow::bail;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The folder; `None` where there is no home.
pub fn state_dir() -> Option<PathBuf> {
    state_dir_from(|name| std::env::var_os(name))
}

fn state_dir_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("LIGHTBOX_STATE")
        .or_else(|| Some(folder("XDG_STATE_HOME")?.join("lightbox")))
        .or_else(|| Some(folder("HOME")?.join(".local/state/lightbox")))
}

/// Remembers a run. No home, or a full disk, is no reason not to train: the caller may ignore the error.
pub fn remember(dir: &RunDir) -> io::Result<()> {
    let folder = state_dir().ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "no folder to remember runs in: set HOME or LIGHTBOX_STATE")
    })?;
    Index { folder }.remember(dir)
}

/// All run folders that still exist, the newest first.
pub fn all() -> io::Result<Vec<RunDir>> {
    state_dir().map_or(Ok(Vec::new()), |folder| Index { folder }.all())
}

/// A run by folder, id, name, or a beginning of id or name that fits only one. Besides the runs in the index, those under
/// the current folder are known ([`under`]).
///
/// # Errors
/// In words, with what is near.
pub fn find(word: &str) -> anyhow::Result<RunDir> {
    let mut runs = all()?;
    // without a current folder (it was removed) the index has to do
    if let Ok(here) = std::env::current_dir() {
        runs.extend(under(&here));
    }
    find_in(word, runs)
}

/// Whether this folder holds a run.
pub fn is_run(dir: &Path) -> bool {
    [RunDir::INFO, RunDir::STATE].iter().any(|name| dir.join(name).is_file())
}

/// The runs in a folder, as far as [`folders`] looks.
pub fn under(folder: &Path) -> Vec<RunDir> {
    let mut found = Vec::new();
    folders(folder, &mut |folder| {
        let run = is_run(folder);
        if run {
            found.push(RunDir { path: folder.to_owned() });
        }
        !run // its checkpoints are no runs
    });
    found
}

/// `runs` and those under the current folder, each once.
pub fn and_here(mut runs: Vec<RunDir>) -> Vec<RunDir> {
    // without a current folder (it was removed) the index has to do
    if let Ok(here) = std::env::current_dir() {
        runs.extend(under(&here));
    }
    let mut seen = BTreeSet::new();
    runs.retain(|run| seen.insert(run.path().canonicalize().unwrap_or_else(|_| run.path().to_owned())));
    runs
}

/// Visits a folder and those in it, the nearest first, at most three levels down, as long as `look_inside` says so of the
/// one before; links and hidden folders are passed over. Of a folder with very much in it, only the first part is seen.
pub fn folders(folder: &Path, look_inside: &mut dyn FnMut(&Path) -> bool) {
    const DEPTH: usize = 3;
    const MAX_ENTRIES: usize = 20_000;
    let mut seen = 0;
    let mut folders = VecDeque::from([(folder.to_owned(), 0)]);
    while let Some((folder, depth)) = folders.pop_front() {
        if !look_inside(&folder) || depth == DEPTH || seen >= MAX_ENTRIES {
            continue;
        }
        // what may not be read holds nothing for us
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push_back((entry.path(), depth + 1));
            }
        }
    }
}

/// What a person can call a run.
struct Names {
    dir: RunDir,
    names: Vec<String>,
}

impl Names {
    fn of(dir: RunDir) -> Self {
        let mut names = vec![dir.name()];
        if let Ok(info) = RunInfo::read(&dir) {
            names.extend([info.id, info.name]);
        }
        names.retain(|name| !name.is_empty());
        Self { dir, names }
    }
}

fn find_in(word: &str, mut runs: Vec<RunDir>) -> anyhow::Result<RunDir> {
    let path = Path::new(word);
    if is_run(path) {
        return Ok(RunDir::open(path)?);
    }
    if word.is_empty() {
        bail!("which run? `lightbox runs list` shows them");
    }
    for run in &mut runs {
        run.path = std::fs::canonicalize(&run.path).unwrap_or_else(|_| run.path.clone());
    }
    runs.sort_by(|a, b| a.path.cmp(&b.path));
    runs.dedup();
    let runs: Vec<Names> = runs.into_iter().map(Names::of).collect();
    let exact = |name: &str| name == word;
    let begins = |name: &str| name.starts_with(word);
    for fits in [&exact as &dyn Fn(&str) -> bool, &begins] {
        let found: Vec<&Names> = runs.iter().filter(|run| run.names.iter().any(|name| fits(name))).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one.dir.clone()),
            several => {
                let list: String = several.iter().map(|run| format!("\n  {}", run.dir.path().display())).collect();
                bail!("{} runs are called {word}; say which by its folder:{list}", several.len());
            }
        }
    }
    if path.is_dir() {
        bail!("there is no run in {word} (neither {} nor {})", RunDir::INFO, RunDir::STATE);
    }
    let names = runs.iter().flat_map(|run| &run.names);
    let near = names.map(|name| (strsim::jaro_winkler(name, word), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    let near = near
        .filter(|(likeness, _)| *likeness > 0.8)
        .map_or(String::new(), |(_, name)| format!("did you mean {name}? "));
    bail!("there is no run {word}; {near}`lightbox runs list` shows all");
}

/// The index in one state folder.
struct Index {
    folder: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    dir: PathBuf,
    #[serde(default)]
    id: String,
    #[serde(default)]
    added_ms: u64,
}

impl Index {
    fn file(&self) -> PathBuf {
        self.folder.join("runs.json")
    }

    /// A lost or damaged index is an empty one.
    fn entries(&self) -> io::Result<Vec<Entry>> {
        let path = self.file();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(io::Error::new(e.kind(), format!("reading {}: {e}", path.display()))),
        }
    }

    fn remember(&self, dir: &RunDir) -> io::Result<()> {
        let at =
            |e: io::Error| io::Error::new(e.kind(), format!("remembering a run in {}: {e}", self.folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(at)?;
        // Held for milliseconds, and freed when the process dies. A network file system without locks goes without: at
        // worst one of two runs that begin at the same moment is not remembered.
        let lock = File::open(&self.folder).map_err(at)?;
        // SAFETY: a call on a descriptor that `lock` keeps open
        let _ = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) };
        let path = std::fs::canonicalize(dir.path())?;
        let mut entries = self.entries()?;
        // folders that are gone stay: a disk may come back
        entries.retain(|entry| entry.dir != path);
        let id = RunInfo::read(dir).map(|info| info.id).unwrap_or_default();
        entries.push(Entry { dir: path, id, added_ms: now_ms() });
        crate::fs::write_atomic(&self.file(), &serde_json::to_vec_pretty(&entries)?)
    }

    fn all(&self) -> io::Result<Vec<RunDir>> {
        // in the order in which they were added, whatever the clock said
        let entries = self.entries()?.into_iter().rev();
        Ok(entries.filter(|entry| is_run(&entry.dir)).map(|entry| RunDir { path: entry.dir }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn run(root: &Path, folder: &str, id: &str, name: &str) -> RunDir {
        let dir = RunDir::create(root.canonicalize().unwrap().join(folder)).unwrap();
        let info = RunInfo { v: 1, id: id.into(), name: name.into(), ..RunInfo::default() };
        std::fs::write(dir.join(RunDir::INFO), serde_json::to_string(&info).unwrap()).unwrap();
        dir
    }

    fn index(root: &Path) -> Index {
        Index { folder: root.join("state/lightbox") }
    }

    #[test]
    fn the_folder_comes_from_the_first_variable_that_is_set() {
        let from = |set: &[(&str, &str)]| {
            let set: Vec<(String, OsString)> = set.iter().map(|(k, v)| (k.to_string(), v.into())).collect();
            state_dir_from(move |name| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
        };
        let all = [("LIGHTBOX_STATE", "/l"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(from(&all), Some("/l".into()));
        assert_eq!(from(&all[1..]), Some("/x/lightbox".into()));
        assert_eq!(from(&[("LIGHTBOX_STATE", ""), ("HOME", "/h")]), Some("/h/.local/state/lightbox".into()));
        assert_eq!(from(&[]), None);
    }

    #[test]
    fn runs_are_remembered_once_the_newest_first_and_left_out_when_gone() {
        let temp = tempfile::tempdir().unwrap();
        let index = index(temp.path());
        assert!(index.all().unwrap().is_empty());
        let runs = ["a", "b", "c"].map(|name| run(temp.path(), name, name, name));
        for run in [&runs[0], &runs[1], &runs[2], &runs[0]] {
            index.remember(run).unwrap();
        }
        assert_eq!(index.all().unwrap(), [runs[0].clone(), runs[2].clone(), runs[1].clone()]);
        let mode = std::fs::metadata(&index.folder).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700 & mode, "nobody else's business");
        std::fs::rename(runs[2].path(), temp.path().join("away")).unwrap();
        assert_eq!(index.all().unwrap(), [runs[0].clone(), runs[1].clone()]);
        std::fs::rename(temp.path().join("away"), runs[2].path()).unwrap();
        assert_eq!(index.all().unwrap().len(), 3, "it came back");
        std::fs::write(index.file(), "[{").unwrap();
        assert!(index.all().unwrap().is_empty());
        index.remember(&runs[1]).unwrap();
        assert_eq!(index.all().unwrap(), [runs[1].clone()]);
    }

    #[test]
    fn runs_that_begin_at_the_same_time_are_all_remembered() {
        let temp = tempfile::tempdir().unwrap();
        let runs: Vec<RunDir> = (0..16).map(|n| run(temp.path(), &n.to_string(), "", "")).collect();
        std::thread::scope(|scope| {
            for run in &runs {
                scope.spawn(|| index(temp.path()).remember(run).unwrap());
            }
        });
        assert_eq!(index(temp.path()).all().unwrap().len(), 16);
    }

    #[test]
    fn a_run_is_found_by_folder_id_name_and_a_beginning_that_fits_one() {
        let temp = tempfile::tempdir().unwrap();
        let scans = run(temp.path(), "out/scans", "2026-03-01-1432-scans-k3f9", "Scans");
        let scans2 = run(temp.path(), "out/scans2", "2026-03-02-0900-scans-b2b2", "Scans again");
        let known = || under(temp.path());
        let found = |word: &str| find_in(word, known()).map_err(|e| e.to_string());
        assert_eq!(found(scans2.path().to_str().unwrap()), Ok(scans2.clone()));
        for word in ["2026-03-01-1432-scans-k3f9", "2026-03-01", "Scans", "scans"] {
            assert_eq!(found(word), Ok(scans.clone()), "{word}");
        }
        assert_eq!(found("Scans a"), Ok(scans2.clone()));
        let error = found("2026").unwrap_err();
        assert!(
            error.contains("2 runs") && error.contains("/out/scans\n") && error.ends_with("/out/scans2"),
            "{error}"
        );
        let twice = known().into_iter().chain(known()).collect();
        assert_eq!(find_in("Scans", twice).unwrap(), scans, "in the index and under this folder");
        assert!(found("Scanz").unwrap_err().contains("did you mean Scans?"));
        assert!(found("nothing like it").unwrap_err().contains("`lightbox runs list`"));
        assert!(found("").is_err());
        let empty = temp.path().join("out");
        assert!(found(empty.to_str().unwrap()).unwrap_err().contains("there is no run in"));
    }

    #[test]
    fn runs_are_seen_three_levels_down_and_not_inside_runs_links_and_hidden_folders() {
        let temp = tempfile::tempdir().unwrap();
        let three = run(temp.path(), "a/b/c", "", "");
        run(temp.path(), "a/b/c/checkpoint-1", "", "");
        run(temp.path(), "a/b/x/four", "", "");
        run(temp.path(), ".trash/run", "", "");
        std::os::unix::fs::symlink(temp.path(), temp.path().join("loop")).unwrap();
        let root = temp.path().canonicalize().unwrap();
        assert_eq!(under(&root), std::slice::from_ref(&three));
        assert_eq!(under(three.path()), [three]);
        assert!(under(&root.join("not-there")).is_empty());
    }
}
