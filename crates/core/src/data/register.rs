//! Changing dataset_info.json: the one place that writes it. Other entries, their order and the file's indentation stay.
//! Reading it, and what entries mean, is in `dataset_info.rs`.

use super::dataset_info::{DatasetInfo, FILE_NAME};
use super::layout::Layout;
use super::{Dataset, DatasetOptions};
use crate::fs::write_atomic;
use anyhow::{Context, anyhow};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Why an entry was not written or removed; the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(
        "{file} has an entry \"{name}\" for other data ({other}); nothing was written: choose another name, or replace the entry"
    )]
    Taken { file: String, name: String, other: String },
    #[error("{file} has no entry \"{name}\"; nothing was removed")]
    Unknown { file: String, name: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Adds entry `name` to `dir`/dataset_info.json, which is made if it is not there. An entry of that name for the same
/// file is brought up to date; one for other data stays, unless `replace` says otherwise.
///
/// # Errors
/// [`RegisterError::Taken`]; an entry that could not be used; a file that cannot be read or written.
pub fn register(dir: &Path, name: &str, entry: Value, replace: bool) -> Result<(), RegisterError> {
    if name.trim().is_empty() || name.contains(',') || name.chars().any(char::is_control) {
        return Err(anyhow!(
            "\"{}\" is no name for a data set: it must not be empty and have no commas, which part names in a profile",
            name.escape_debug()
        )
        .into());
    }
    // An entry that nobody can open would only be noticed when it is trained on.
    let path = dir.join(FILE_NAME);
    let alone = json!({name: &entry}).to_string();
    let file_name = DatasetInfo::parse(&path, alone.as_bytes())?.entry(name)?.file_name;
    change(dir, |entries| {
        if !replace && is_of_other_data(entries, name, &file_name) {
            let other = entries.get(name).and_then(|e| e.get("file_name")).and_then(Value::as_str);
            let other = other.unwrap_or("no file").to_owned();
            return Err(RegisterError::Taken { file: path.display().to_string(), name: name.to_owned(), other });
        }
        entries.insert(name.to_owned(), entry);
        Ok(())
    })
}

/// Removes entry `name` and returns it, so that it can be put back; the data themselves are not touched.
pub fn unregister(dir: &Path, name: &str) -> Result<Value, RegisterError> {
    let unknown = || RegisterError::Unknown { file: dir.join(FILE_NAME).display().to_string(), name: name.to_owned() };
    change(dir, |entries| entries.shift_remove(name).ok_or_else(unknown))
}

/// The entry for a JSON, JSONL or parquet file, by its keys, for [`register`] in `dir`.
///
/// # Errors
/// A file that cannot be opened, or whose layout is not known; captioned pictures, which have to be converted.
pub fn describe(path: &Path, dir: &Path) -> anyhow::Result<Value> {
    let name = path.to_str().with_context(|| format!("{}: its name is not UTF-8; rename it", path.display()))?;
    let o = DatasetOptions {
        dataset_dir: dir.to_owned(),
        media_dir: None,
        names: vec![name.to_owned()],
        max_samples: None,
        seed: 0,
        mix: Default::default(),
    };
    let dataset = Dataset::open(&o)?;
    let layout = dataset.layout().with_context(|| format!("{name} holds no data set"))?;
    let (file, folder) = (std::path::absolute(path)?, std::path::absolute(dir)?);
    let file_name = file.strip_prefix(&folder).unwrap_or(&file).to_str().unwrap_or(name);
    entry_of(layout, file_name).with_context(|| {
        format!(
            "{name} holds captioned pictures, which dataset_info.json cannot describe; open it as it is, or convert it"
        )
    })
}

/// The entry for a file with this layout; `None` for captioned pictures, which an entry cannot describe.
pub(super) fn entry_of(layout: &Layout, file_name: &str) -> Option<Value> {
    let (columns, tags) = match layout {
        Layout::Caption(_) => return None,
        Layout::Alpaca(c) => {
            let own = [("prompt", &c.prompt), ("query", &c.query), ("response", &c.response), ("history", &c.history)];
            (named(own.into_iter().chain(common(c))), None)
        }
        Layout::Sharegpt(c, tags) | Layout::Openai(c, tags) => {
            let (role, content) = (Some(tags.role.clone()), Some(tags.content.clone()));
            let tags = [
                ("role_tag", &role),
                ("content_tag", &content),
                ("user_tag", &tags.user),
                ("assistant_tag", &tags.assistant),
                ("observation_tag", &tags.observation),
                ("function_tag", &tags.function),
                ("system_tag", &tags.system),
            ];
            (named([("messages", &c.messages)].into_iter().chain(common(c))), Some(named(tags)))
        }
    };
    let mut entry = json!({"file_name": file_name, "formatting": layout.name(), "columns": columns});
    if let Some(tags) = tags {
        entry["tags"] = tags;
    }
    Some(entry)
}

fn common(c: &super::dataset_info::Columns) -> [(&'static str, &Option<String>); 5] {
    [("system", &c.system), ("tools", &c.tools), ("images", &c.images), ("videos", &c.videos), ("audios", &c.audios)]
}

fn named<'a>(list: impl IntoIterator<Item = (&'static str, &'a Option<String>)>) -> Value {
    let given = list.into_iter().filter_map(|(key, name)| Some((key.to_owned(), Value::from(name.as_deref()?))));
    Value::Object(given.collect())
}

/// All entries of `dir`/dataset_info.json; none if there is no such file.
pub(super) fn entries(dir: &Path) -> anyhow::Result<Map<String, Value>> {
    Ok(read(dir)?.0)
}

/// Is there an entry `name` that names another file?
pub(super) fn is_of_other_data(entries: &Map<String, Value>, name: &str, file_name: &str) -> bool {
    entries.get(name).is_some_and(|entry| entry.get("file_name").and_then(Value::as_str) != Some(file_name))
}

/// Adds or replaces an entry.
pub(super) fn put(dir: &Path, name: &str, entry: Value) -> anyhow::Result<()> {
    change(dir, |entries| {
        entries.insert(name.to_owned(), entry);
        Ok(())
    })
}

/// Nobody else changes files of `folder` while the result lives; with `wait`, after the other has finished, else `None`
/// while another holds it. The lock lies on the folder itself and ends with the process, however it ends.
pub(crate) fn lock(folder: &Path, wait: bool) -> anyhow::Result<Option<File>> {
    let dir = File::open(folder).with_context(|| format!("opening folder {}", folder.display()))?;
    // SAFETY: flock on a descriptor that is open; it touches no memory.
    if unsafe { libc::flock(dir.as_raw_fd(), libc::LOCK_EX | if wait { 0 } else { libc::LOCK_NB }) } != 0
        && std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock
    {
        return Ok(None);
    }
    // Some network file systems know no locks: go on without.
    Ok(Some(dir))
}

/// Reads, changes and replaces the file, while nobody else does; an error of `f` leaves it as it is.
fn change<T, E: From<anyhow::Error>>(
    dir: &Path,
    f: impl FnOnce(&mut Map<String, Value>) -> Result<T, E>,
) -> Result<T, E> {
    let _ours = lock(dir, true)?;
    let (mut entries, indent) = read(dir)?;
    let result = f(&mut entries)?;
    let mut text = crate::python_json::unicode_indented(&entries, indent).map_err(anyhow::Error::from)?;
    text.push('\n');
    write_atomic(&dir.join(FILE_NAME), text.as_bytes()).map_err(anyhow::Error::from)?;
    Ok(result)
}

/// All entries, and by how many blanks the file is indented.
fn read(dir: &Path) -> anyhow::Result<(Map<String, Value>, usize)> {
    let path = dir.join(FILE_NAME);
    match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok((Map::new(), 2)),
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
        Ok(bytes) => {
            let second = bytes.split(|&b| b == b'\n').nth(1).unwrap_or_default();
            let indent = second.iter().take_while(|&&b| b == b' ').count();
            let indent = if (1..=8).contains(&indent) { indent } else { 2 };
            Ok((DatasetInfo::parse(&path, &bytes)?.into_entries(), indent))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::test_data::{captions, chat, jsonl, open};

    fn text(dir: &Path) -> String {
        std::fs::read_to_string(dir.join(FILE_NAME)).unwrap()
    }

    #[test]
    fn other_entries_keep_order_and_indentation_and_can_be_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let before =
            "{\n    \"z\": {\n        \"file_name\": \"z.json\",\n        \"x\": 1.5\n    },\n    \"甲\": 7\n}\n";
        std::fs::write(dir.path().join(FILE_NAME), before).unwrap();
        register(dir.path(), "m", json!({"file_name": "m.json"}), false).unwrap();
        let names: Vec<String> = DatasetInfo::load(dir.path()).unwrap().names().map(str::to_owned).collect();
        assert_eq!(names, ["z", "甲", "m"]);
        let entry = unregister(dir.path(), "m").unwrap();
        assert_eq!(entry, json!({"file_name": "m.json"}));
        assert_eq!(text(dir.path()), before);
        assert!(matches!(unregister(dir.path(), "m"), Err(RegisterError::Unknown { .. })));
    }

    #[test]
    fn an_entry_for_other_data_is_only_replaced_on_demand() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |file: &str| json!({"file_name": file});
        register(dir.path(), "a", entry("a.json"), false).unwrap();
        register(dir.path(), "a", entry("a.json"), false).unwrap();
        let before = text(dir.path());
        let e = register(dir.path(), "a", entry("b.json"), false).unwrap_err();
        assert!(e.to_string().contains("a.json") && matches!(e, RegisterError::Taken { .. }), "{e}");
        assert_eq!(text(dir.path()), before);
        register(dir.path(), "a", entry("b.json"), true).unwrap();
        assert!(text(dir.path()).contains("b.json"));
    }

    #[test]
    fn what_could_not_be_used_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        for (name, entry) in [
            ("", json!({"file_name": "a.json"})),
            ("a,b", json!({"file_name": "a.json"})),
            ("a", json!({})),
            ("a", json!(3)),
        ] {
            assert!(register(dir.path(), name, entry, true).is_err(), "{name}");
        }
        assert!(!dir.path().join(FILE_NAME).exists());
        std::fs::write(dir.path().join(FILE_NAME), "{ broken").unwrap();
        assert!(register(dir.path(), "a", json!({"file_name": "a.json"}), true).is_err());
        assert_eq!(text(dir.path()), "{ broken", "a file that cannot be read is not overwritten");
    }

    #[test]
    fn a_described_and_registered_file_gives_the_samples_it_gives_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = jsonl(dir.path(), &[chat("q", "a")]);
        for (row, formatting) in [
            (chat("q", "a"), "openai"),
            (
                json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"}),
                "sharegpt",
            ),
            (json!({"instruction": "q", "input": "", "output": "a", "system": "s"}), "alpaca"),
        ] {
            jsonl(dir.path(), &[row]);
            let entry = describe(&path, dir.path()).unwrap();
            assert_eq!(
                (entry["formatting"].as_str(), entry["file_name"].as_str()),
                (Some(formatting), Some("d.jsonl"))
            );
            register(dir.path(), "d", entry, true).unwrap();
            let names = vec!["d".to_owned()];
            let o = DatasetOptions {
                dataset_dir: dir.path().into(),
                media_dir: None,
                names,
                max_samples: None,
                seed: 0,
                mix: Default::default(),
            };
            let sample = Dataset::open(&o).unwrap().get(0).unwrap();
            assert_eq!(sample.conversation, open(&path).get(0).unwrap().conversation);
        }
        let parquet = dir.path().join("c.parquet");
        captions(&parquet, 3, 3);
        assert!(describe(&parquet, dir.path()).unwrap_err().to_string().contains("convert"));
    }
}
