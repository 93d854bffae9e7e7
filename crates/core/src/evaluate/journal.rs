//! Answers while they are being made: `FILE.partial`, one line each as they come, after a first line with the settings. A
//! process that is killed at any instant loses at most the line it was writing; started again with the same settings it
//! goes on behind the last whole one. [`Journal::finish`] makes the file of it, in the order of the data.
//!
//! One process writes a journal: the file itself is locked (`flock`) until it is finished or its process has ended, however.

use super::predictions::{self, Prediction};
use crate::exit::{Because, Exit};
use crate::fs::{self, Appender};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub struct Journal {
    path: PathBuf,
    /// Locked.
    file: Appender,
    /// By index.
    rows: BTreeMap<usize, Prediction>,
}

impl Journal {
    /// Opens the journal of `output`; `fresh`: without what an earlier process left.
    ///
    /// # Errors
    /// [`Exit::Locked`]: another process is answering into `output`. [`Exit::Config`]: answers made with other settings, and
    /// which differ. [`Exit::Disk`]: a file that cannot be read or written.
    pub fn open(output: &Path, settings: &Map<String, Value>, fresh: bool) -> Result<Self> {
        let path = beside(output, ".partial");
        let mut file = locked(output, &path)?;
        if fresh {
            file.cut(0).because(Exit::Disk)?;
        }
        let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display())).because(Exit::Disk)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut lines = text[..whole].split_inclusive(|b| *b == b'\n');
        let mut rows = BTreeMap::new();
        let mut good = 0;
        if let Some(first) = lines.next() {
            let earlier: Map<String, Value> = serde_json::from_slice(first)
                .with_context(|| format!("{}: the first line is damaged; --fresh begins anew", path.display()))
                .because(Exit::Config)?;
            good += first.len() as u64;
            for line in lines {
                // A machine that lost power may leave a line of zeros in the middle: what is behind it is made again.
                let Ok(row) = serde_json::from_slice::<Prediction>(line) else { break };
                let Some(index) = row.index else { break };
                rows.insert(index, row);
                good += line.len() as u64;
            }
            refuse_other_settings(&path, &earlier, settings, rows.len()).because(Exit::Config)?;
        }
        file.cut(good).because(Exit::Disk)?;
        if good == 0 {
            file.append(format!("{}\n", json!(settings)).as_bytes()).because(Exit::Disk)?;
        }
        Ok(Self { path, file, rows })
    }

    /// Answers that are there, by index.
    pub fn rows(&self) -> &BTreeMap<usize, Prediction> {
        &self.rows
    }

    /// Adds answers that are not there yet.
    ///
    /// # Errors
    /// Writing failed.
    pub fn add(&mut self, rows: impl IntoIterator<Item = Prediction>) -> Result<()> {
        for row in rows {
            let Some(index) = row.index.filter(|i| !self.rows.contains_key(i)) else { continue };
            self.file.append(format!("{}\n", serde_json::to_string(&row)?).as_bytes())?;
            self.rows.insert(index, row);
        }
        Ok(())
    }

    /// Writes `output`, whole or not at all, notes its settings beside it, and removes the journal.
    ///
    /// # Errors
    /// Writing failed; the journal is still there then.
    pub fn finish(self, output: &Path, settings: &Map<String, Value>) -> Result<Vec<Prediction>> {
        let rows: Vec<Prediction> = self.rows.into_values().collect();
        predictions::write(output, &rows)?;
        fs::write_atomic(&beside(output, ".settings.json"), serde_json::to_string_pretty(settings)?.as_bytes())?;
        fs::remove_file(&self.path)?;
        Ok(rows)
    }
}

/// Is `output` there, made with these very settings?
pub fn is_finished(output: &Path, settings: &Map<String, Value>) -> bool {
    let noted = std::fs::read(beside(output, ".settings.json")).ok();
    let noted = noted.and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok());
    output.is_file() && noted.as_ref() == Some(settings)
}

fn beside(output: &Path, ending: &str) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The journal's file, made where it is missing, and nobody else's for as long as it is open.
fn locked(output: &Path, path: &Path) -> Result<Appender> {
    loop {
        let file = fs::append_open(path).because(Exit::Disk)?;
        match file.file().try_lock() {
            // Some network file systems know no locks: two processes at once are the user's to avoid there.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(anyhow!(
                    "another process is answering into {}; nothing was changed. Wait for it, or give another --output or --output-dir",
                    output.display()
                ))
                .because(Exit::Locked);
            }
        }
        // The process before may have finished between the two calls above: then this file has lost its name.
        let own = file.file().metadata().because(Exit::Disk)?;
        if path.metadata().is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
            return Ok(file);
        }
    }
}

fn refuse_other_settings(
    path: &Path,
    earlier: &Map<String, Value>,
    now: &Map<String, Value>,
    answers: usize,
) -> Result<()> {
    let keys = earlier.keys().chain(now.keys().filter(|k| !earlier.contains_key(*k)));
    let word = |settings: &Map<String, Value>, key: &str| settings.get(key).map_or("not set".into(), Value::to_string);
    let differ: Vec<String> = keys
        .filter(|key| earlier.get(*key) != now.get(*key))
        .map(|key| format!("{key}: {} then, {} now", word(earlier, key), word(now, key)))
        .collect();
    if !differ.is_empty() {
        bail!(
            "{} holds {answers} answers that were made with other settings ({}). Nothing was changed. Give the same settings to go on, another --output, or --fresh to begin anew",
            path.display(),
            differ.join("; ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(index: usize) -> Prediction {
        let text = format!("answer {index}\n\u{1b}");
        Prediction {
            prompt: "q".into(),
            predict: text,
            label: "l\n".into(),
            index: Some(index),
            images: vec![],
            loss_sum: Some(0.1 + index as f64),
            n_target_tokens: Some(3),
        }
    }

    fn settings(tokens: u64) -> Map<String, Value> {
        json!({"max_new_tokens": tokens, "model": "m"}).as_object().unwrap().clone()
    }

    #[test]
    fn cut_at_any_byte_it_goes_on_and_the_file_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("p.jsonl");
        let order = [2, 0, 3, 1];
        let mut journal = Journal::open(&output, &settings(4), false).unwrap();
        journal.add(order.map(row)).unwrap();
        let whole = std::fs::read(beside(&output, ".partial")).unwrap();
        journal.finish(&output, &settings(4)).unwrap();
        let expected = std::fs::read(&output).unwrap();
        assert!(!beside(&output, ".partial").exists() && is_finished(&output, &settings(4)));
        assert!(!is_finished(&output, &settings(5)));
        for cut in 0..=whole.len() {
            std::fs::write(beside(&output, ".partial"), &whole[..cut]).unwrap();
            let mut journal = Journal::open(&output, &settings(4), false).unwrap();
            let there = journal.rows().len();
            assert!(there <= 4 && (cut < whole.len() || there == 4), "{cut}: {there}");
            journal.add(order.map(row)).unwrap();
            journal.finish(&output, &settings(4)).unwrap();
            assert_eq!(std::fs::read(&output).unwrap(), expected, "cut at byte {cut}");
        }
        let read: Vec<usize> =
            super::super::predictions::read(&output).unwrap().iter().filter_map(|r| r.index).collect();
        assert_eq!(read, [0, 1, 2, 3]);
    }

    #[test]
    fn a_second_process_is_refused_until_the_first_has_ended_and_takes_nothing_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("p.jsonl");
        let mut first = Journal::open(&output, &settings(4), false).unwrap();
        first.add([row(0)]).unwrap();
        for (tokens, fresh) in [(4, false), (4, true), (5, false)] {
            let error = Journal::open(&output, &settings(tokens), fresh).err().unwrap();
            assert_eq!(crate::exit::code(&error), Exit::Locked, "{error}");
            assert!(error.to_string().contains("another process") && error.to_string().contains("p.jsonl"), "{error}");
        }
        // Another file of the same folder is another matter.
        Journal::open(&dir.path().join("q.jsonl"), &settings(4), false).unwrap();
        drop(first);
        let next = Journal::open(&output, &settings(4), false).unwrap();
        assert_eq!(next.rows().len(), 1);
        next.finish(&output, &settings(4)).unwrap();
        assert!(Journal::open(&output, &settings(5), false).unwrap().rows().is_empty());
    }

    #[test]
    fn answers_of_other_settings_are_refused_in_words_unless_fresh() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("p.jsonl");
        Journal::open(&output, &settings(4), false).unwrap().add([row(0)]).unwrap();
        let error = Journal::open(&output, &settings(5), false).err().unwrap().to_string();
        assert!(error.contains("max_new_tokens: 4 then, 5 now") && error.contains("--fresh"), "{error}");
        assert!(!error.contains("model:"), "{error}");
        assert_eq!(Journal::open(&output, &settings(4), false).unwrap().rows().len(), 1);
        assert_eq!(Journal::open(&output, &settings(5), true).unwrap().rows().len(), 0);
    }
}
