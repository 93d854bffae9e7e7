//! Data sets that can be opened from a folder: those that a dataset_info.json names, and files that look like data.
//! The walk is bounded, so that it can be asked about a home folder as well.

use super::dataset_info::{DatasetInfo, EntrySource, FILE_NAME};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Folders below the one asked about.
const DEPTH: usize = 3;
/// Files and folders looked at.
const ENTRIES: usize = 5000;
/// Enough for the first keys of a JSON row.
const SNIFF: u64 = 4096;
/// A row has at least one of these keys.
const KEYS: [&str; 3] = ["\"messages\"", "\"conversations\"", "\"instruction\""];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundKind {
    /// An entry of dataset_info.json.
    Named,
    /// A parquet file, or a folder of several.
    Parquet,
    /// A JSON or JSONL file.
    Json,
}

/// One data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What [`super::DatasetOptions::names`] takes: the entry's name, or the path.
    pub name: String,
    /// What [`super::DatasetOptions::dataset_dir`] takes: the folder of dataset_info.json, or the folder asked about.
    pub dataset_dir: PathBuf,
    /// The data.
    pub path: PathBuf,
    pub kind: FoundKind,
    /// Of all its files.
    pub bytes: u64,
    /// Why it cannot be opened, if that is known without opening it.
    pub problem: Option<String>,
}

/// What a folder offers.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// Entries first, then files, each by name.
    pub found: Vec<Found>,
    /// Folders and lists that could not be read, in words.
    pub notes: Vec<String>,
    /// False where the folder has too much in it: there may be more.
    pub complete: bool,
}

/// Looks into `folder`: dataset_info.json there and in `data`, and files up to three folders deep.
pub fn discover(folder: &Path) -> Discovery {
    let mut discovery = Discovery { complete: true, ..Discovery::default() };
    for dir in [folder.to_owned(), folder.join("data")] {
        named(&dir, &mut discovery);
    }
    let known: HashSet<PathBuf> = discovery.found.iter().filter_map(|found| found.path.canonicalize().ok()).collect();
    let is_known = |path: &Path| {
        path.canonicalize().is_ok_and(|path| known.contains(&path) || path.parent().is_some_and(|p| known.contains(p)))
    };
    let mut shards: BTreeMap<PathBuf, Vec<(PathBuf, u64)>> = BTreeMap::new();
    let mut files = Vec::new();
    walk(folder, DEPTH, &mut ENTRIES.clone(), &mut discovery, &mut |path, bytes| {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let file = |kind| Found {
            name: path.display().to_string(),
            dataset_dir: folder.to_owned(),
            path: path.to_owned(),
            kind,
            bytes,
            problem: None,
        };
        if extension == "parquet" && !is_known(path) {
            shards.entry(path.parent().unwrap_or(folder).to_owned()).or_default().push((path.to_owned(), bytes));
        } else if (extension == "json" || extension == "jsonl") && looks_like_rows(path) && !is_known(path) {
            files.push(file(FoundKind::Json));
        }
    });
    for (dir, list) in shards {
        let path = if let [(only, _)] = list.as_slice() { only.clone() } else { dir };
        files.push(Found {
            name: path.display().to_string(),
            dataset_dir: folder.to_owned(),
            path,
            kind: FoundKind::Parquet,
            bytes: list.iter().map(|(_, bytes)| bytes).sum(),
            problem: None,
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    discovery.found.extend(files);
    discovery
}

/// The entries of `dir`/dataset_info.json, broken ones too.
fn named(dir: &Path, discovery: &mut Discovery) {
    if !dir.join(FILE_NAME).exists() {
        return;
    }
    let info = match DatasetInfo::load(dir) {
        Ok(info) => info,
        Err(e) => return discovery.notes.push(format!("{e:#}")),
    };
    for name in info.names().take(ENTRIES) {
        let listed = || dir.join(FILE_NAME);
        let (path, problem) = match info.entry(name).map(|entry| entry.source) {
            Ok(EntrySource::File(file)) => (dir.join(file), None),
            // the folder that its files lie in
            Ok(EntrySource::Hub(wanted)) => match wanted.data() {
                Ok(data) => (data.files[0].parent().map_or_else(listed, Path::to_owned), None),
                Err(e) => (listed(), Some(e.to_string())),
            },
            Err(e) => (listed(), Some(format!("{e:#}"))),
        };
        let (bytes, problem) = match (size(&path), problem) {
            (Some(bytes), None) => (bytes, None),
            (None, None) => (0, Some(format!("file {} not found", path.display()))),
            (_, problem) => (0, problem),
        };
        let (name, dataset_dir) = (name.to_owned(), dir.to_owned());
        discovery.found.push(Found { name, dataset_dir, path, kind: FoundKind::Named, bytes, problem });
    }
}

/// Bytes of a file, or of the files in a folder.
fn size(path: &Path) -> Option<u64> {
    let meta = path.metadata().ok()?;
    if !meta.is_dir() {
        return Some(meta.len());
    }
    let files = std::fs::read_dir(path).ok()?.flatten().take(ENTRIES).filter_map(|entry| entry.metadata().ok());
    Some(files.filter(|meta| meta.is_file()).map(|meta| meta.len()).sum())
}

/// Hands out every file below `dir`, `depth` folders deep, until `left` entries were seen. Hidden ones are left out.
fn walk(dir: &Path, depth: usize, left: &mut usize, discovery: &mut Discovery, file: &mut dyn FnMut(&Path, u64)) {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => return discovery.notes.push(format!("folder {} cannot be read: {e}", dir.display())),
    };
    let mut folders = Vec::new();
    for entry in entries.flatten() {
        if *left == 0 {
            discovery.complete = false;
            return;
        }
        *left -= 1;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        // Follows links: data often lie on another disk. Loops end at `DEPTH`.
        match path.metadata() {
            Ok(meta) if meta.is_dir() => folders.push(path),
            Ok(meta) if meta.is_file() => file(&path, meta.len()),
            _ => {}
        }
    }
    folders.sort();
    if depth == 0 {
        discovery.complete &= folders.is_empty();
        return;
    }
    folders.iter().for_each(|folder| walk(folder, depth - 1, left, discovery, file));
}

/// Whether the file begins like a list of rows or like rows, with a key that rows have.
fn looks_like_rows(path: &Path) -> bool {
    // Its entries name columns of the same names.
    if path.file_name().is_some_and(|name| name == FILE_NAME) {
        return false;
    }
    let mut start = Vec::new();
    let Ok((file, _)) = super::media::open_regular(path) else { return false };
    if File::take(file, SNIFF).read_to_end(&mut start).is_err() {
        return false;
    }
    let text = String::from_utf8_lossy(&start);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with(['[', '{']) && KEYS.iter().any(|key| text.contains(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    const ROW: &str = "{\"messages\": []}\n";

    #[test]
    fn named_sets_and_files_that_look_like_data_are_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let info = json!({"known": {"file_name": "known.jsonl", "columns": {"messages": "messages"}}, "hub": {"hf_hub_url": "a/b"}, "gone": {"file_name": "no.json"}});
        write(root, "data/dataset_info.json", &info.to_string());
        write(root, "data/known.jsonl", ROW);
        write(root, "data/other.jsonl", ROW);
        write(root, "model/config.json", "{\"hidden_size\": 3}");
        write(root, "a/b/c/deep.json", ROW);
        write(root, "a/b/c/d/too_deep.json", ROW);
        write(root, ".hidden/x.json", ROW);
        write(root, "one/train.parquet", "x");
        write(root, "two/train-0.parquet", "xx");
        write(root, "two/train-1.parquet", "xxx");
        let discovery = discover(root);
        let list: Vec<_> = discovery
            .found
            .iter()
            .map(|f| (f.path.strip_prefix(root).unwrap().to_str().unwrap(), f.kind, f.bytes, f.problem.is_some()))
            .collect();
        let row = ROW.len() as u64;
        assert_eq!(
            list,
            [
                ("data/known.jsonl", FoundKind::Named, row, false),
                ("data/dataset_info.json", FoundKind::Named, 0, true),
                ("data/no.json", FoundKind::Named, 0, true),
                ("a/b/c/deep.json", FoundKind::Json, row, false),
                ("data/other.jsonl", FoundKind::Json, row, false),
                ("one/train.parquet", FoundKind::Parquet, 1, false),
                ("two", FoundKind::Parquet, 5, false),
            ]
        );
        assert!(!discovery.complete, "there is something deeper");
        let names: Vec<_> = discovery.found.iter().take(3).map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["known", "hub", "gone"]);
        assert!(discovery.found[1].problem.as_ref().unwrap().contains("lightbox download dataset a/b"));
    }

    #[test]
    fn a_broken_list_and_a_folder_that_is_not_there_are_said() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "dataset_info.json", "{ broken");
        let discovery = discover(dir.path());
        assert!(discovery.found.is_empty() && discovery.notes[0].contains("not JSON"), "{:?}", discovery.notes);
        assert!(discover(&dir.path().join("nowhere")).notes[0].contains("nowhere"));
    }

    #[test]
    fn a_folder_of_many_files_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..ENTRIES + 10 {
            File::create(dir.path().join(format!("{i}.txt"))).unwrap();
        }
        assert!(!discover(dir.path()).complete);
    }
}
