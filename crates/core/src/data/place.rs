//! Where a data set lies that is known by its name: in the files of an entry of dataset_info.json, at a path, or in a
//! repository of a Hub.

use super::DatasetOptions;
use super::dataset_info::{DatasetInfo, Entry, EntrySource, FILE_NAME};
use crate::hub::{DataPart, NotHere, Repo, Wanted, What};
use anyhow::anyhow;
use std::path::Path;

/// `dataset_dir` of LLaMA-Factory that says: every name is one of a Hub.
const ONLINE: &str = "ONLINE";

#[derive(Debug)]
pub(super) enum Place {
    /// In dataset_info.json.
    Entry(Box<Entry>),
    /// A file, a folder, or a pattern.
    Path,
    /// A repository of this name.
    Hub(Wanted),
}

/// The names that one `dataset_dir` knows.
pub(super) struct Places<'a> {
    dir: &'a Path,
    /// Read when the first name is asked for: a path can be opened where there is no dataset_info.json at all.
    info: Option<anyhow::Result<DatasetInfo>>,
}

impl<'a> Places<'a> {
    pub fn of(dir: &'a Path) -> Self {
        Self { dir, info: None }
    }

    /// # Errors
    /// Nothing is called so; an entry that cannot be used.
    pub fn find(&mut self, name: &str) -> anyhow::Result<Place> {
        let info = self.info.get_or_insert_with(|| DatasetInfo::load(self.dir));
        if let Ok(info) = info
            && info.contains(name)
        {
            return Ok(Place::Entry(Box::new(info.entry(name)?)));
        }
        if Path::new(name).exists() || name.contains('*') {
            return Ok(Place::Path);
        }
        // A list that cannot be read may well have it.
        let broken = info.is_err() && self.dir.as_os_str() != ONLINE && self.dir.join(FILE_NAME).exists();
        if let Some(wanted) = repository(name).filter(|_| !broken) {
            return Ok(Place::Hub(wanted));
        }
        match info {
            Ok(info) => Ok(Place::Entry(Box::new(info.entry(name)?))),
            Err(e) => Err(anyhow!("data set \"{name}\": {e:#}")),
        }
    }
}

/// Something is called so in this `dataset_dir`, here or on a Hub. Opens nothing.
///
/// # Errors
/// As opening it would fail at once.
pub fn find(dataset_dir: &Path, name: &str) -> anyhow::Result<()> {
    Places::of(dataset_dir).find(name).map(drop)
}

/// `ORG/NAME` or `ORG/NAME:CONFIG`. What ends as a file does is one that is not there.
fn repository(name: &str) -> Option<Wanted> {
    let (id, config) = name.split_once(':').map_or((name, None), |(id, config)| (id, Some(config)));
    let ending = Path::new(id).extension().map(std::ffi::OsStr::to_ascii_lowercase).unwrap_or_default();
    let is_file = ["json", "jsonl", "parquet", "csv", "arrow", "txt"].iter().any(|known| ending == *known);
    let part = DataPart { subset: config.map(str::to_owned), ..DataPart::default() };
    (!is_file && Repo::is_name(id)).then(|| Wanted::at(id, What::Data(part), None, None))
}

/// What of the named sets has to be loaded from a Hub before they can be opened. Names that lead nowhere are none of that:
/// opening them says what is wrong.
///
/// # Errors
/// A repository without the part that is asked for, or with several where none is named.
pub fn missing(o: &DatasetOptions) -> Result<Vec<Wanted>, NotHere> {
    let mut places = Places::of(&o.dataset_dir);
    let mut found = Vec::new();
    for name in &o.names {
        let wanted = match places.find(name) {
            Ok(Place::Hub(wanted)) => wanted,
            Ok(Place::Entry(entry)) => match entry.source {
                EntrySource::Hub(wanted) => wanted,
                EntrySource::File(_) => continue,
            },
            Ok(Place::Path) | Err(_) => continue,
        };
        match wanted.data() {
            Ok(_) => {}
            Err(NotHere::Missing(wanted)) => {
                if !found.contains(&*wanted) {
                    found.push(*wanted);
                }
            }
            Err(other) => return Err(other),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_is_a_repository_unless_it_is_something_here() {
        let dir = tempfile::tempdir().unwrap();
        let find = |name: &str| Places::of(dir.path()).find(name);
        let hub = |name: &str| match find(name).unwrap() {
            Place::Hub(wanted) => wanted.command(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(hub("a/b"), "lightbox download dataset a/b --rows");
        assert_eq!(hub("a/b:25M_demo"), "lightbox download dataset a/b --subset 25M_demo");
        for gone in ["b", "data/train.jsonl", "/gone/b", "a/b/c"] {
            let said = find(gone).unwrap_err().to_string();
            assert!(said.contains(FILE_NAME) && said.contains(gone), "{said}");
        }
        std::fs::write(dir.path().join(FILE_NAME), r#"{"a/b": {"file_name": "x.json"}}"#).unwrap();
        assert!(matches!(find("a/b").unwrap(), Place::Entry(_)));
        assert!(find("c").unwrap_err().to_string().contains("it has: a/b"));
        assert!(matches!(find(dir.path().to_str().unwrap()).unwrap(), Place::Path));
        std::fs::write(dir.path().join(FILE_NAME), "{ broken").unwrap();
        assert!(find("a/b").unwrap_err().to_string().contains("not JSON"), "it may be in there");
        assert!(matches!(Places::of(Path::new(ONLINE)).find("a/b").unwrap(), Place::Hub(_)));
    }
}
