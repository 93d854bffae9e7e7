//! Folders for the file picker.
use super::Back;
use crate::app::Action;
use crate::app::overlay::{Effect, Entry, Msg};
use std::path::Path;

/// A folder of a data set may hold millions of pictures; nobody scrolls through more than this.
const MAX_ENTRIES: usize = 20_000;

pub fn run(back: &Back, effect: Effect) {
    match effect {
        Effect::ReadDir(dir) => back.spawn(move || {
            let read = read(&dir);
            Action::Overlay(Msg::Dir(dir, read))
        }),
    }
}

fn read(dir: &Path) -> Result<Vec<Entry>, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut all: Vec<Entry> = entries
        .flatten()
        .take(MAX_ENTRIES)
        .filter_map(|entry| {
            let metadata = std::fs::metadata(entry.path()).ok()?;
            // a name that is not UTF-8 could not be typed or sent on as it is
            Some(Entry {
                is_file: !metadata.is_dir(),
                name: entry.file_name().into_string().ok()?,
                bytes: metadata.len(),
            })
        })
        .collect();
    all.sort();
    Ok(all)
}
