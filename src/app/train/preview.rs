//! The command that does what the form says, and what differs from the file.

use super::{Train, draft};
use crate::app::overlay::{Overlay, Page};
use crate::app::{App, Effects};
use crate::text::train as text;
use crate::view::words;
use lightbox_core::profile::{KEYS, Key, Profile, yaml_value};
use lightbox_core::safe_text::{clean, clean_line};
use serde_yaml::Value;
use std::path::Path;

/// A key that the draft and the file say differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub key: String,
    /// In one line; `None`: it is not there.
    pub file: Option<String>,
    pub now: Option<String>,
}

/// In the order of the file, then of the draft.
pub fn differences(train: &Train) -> Vec<Difference> {
    let no_entries = Vec::new();
    let (file, file_text) = train.file.as_ref().map_or((&no_entries, ""), |file| (&file.entries, file.text.as_str()));
    let mut all = Vec::new();
    for entry in file {
        let now = train.draft.entry(&entry.key);
        if now.is_none_or(|now| now.value != entry.value) {
            all.push(Difference {
                key: entry.key.clone(),
                file: Some(draft::written(entry, file_text)),
                now: now.map(|now| draft::written(now, train.draft.text())),
            });
        }
    }
    for entry in train.draft.entries() {
        if !file.iter().any(|known| known.key == entry.key) {
            let now = Some(draft::written(entry, train.draft.text()));
            all.push(Difference { key: entry.key.clone(), file: None, now });
        }
    }
    all
}

/// A word for a shell. What holds a NUL cannot be said to one, and no profile has it.
fn word(text: &str) -> String {
    // shlex quotes `a=b` as well, which needs no quotes behind a command
    let plain = |c: char| c.is_ascii_alphanumeric() || "_=./,:@%+-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    shlex::try_quote(text).map_or_else(|_| text.replace('\0', ""), |quoted| quoted.into_owned())
}

/// `lightbox train profile.yaml key=value …`: the file, and what differs from it.
pub fn lightbox(train: &Train, here: &Path) -> String {
    let file = train.file.as_ref().map_or_else(|| "profile.yaml".to_owned(), |f| super::edit::shortened(here, &f.path));
    let mut words = vec!["lightbox".to_owned(), "train".to_owned(), word(&file)];
    for difference in differences(train) {
        let key = Key::find(&difference.key);
        if key.is_some_and(Key::is_secret) {
            continue;
        }
        let value = difference.now.or_else(|| key.map(|key| yaml_value(&key.default())));
        words.extend(value.map(|value| word(&format!("{}={value}", difference.key))));
    }
    words.join(" ")
}

/// The text of LLaMA Board's preview: one option a line, keys that differ from the defaults.
pub fn llama_factory(profile: &Profile) -> String {
    let defaults = Profile::default();
    let mut lines = vec!["llamafactory-cli train".to_owned()];
    for key in KEYS.iter().filter(|key| !key.is_secret() && !key.is_our_own()) {
        let value = (key.write)(profile);
        if value == (key.write)(&defaults) || value.is_null() {
            continue;
        }
        let value = match &value {
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::String(text) => text.clone(),
            Value::Mapping(_) => serde_json::to_string(&value).unwrap_or_default(),
            Value::Sequence(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            value => yaml_value(value),
        };
        lines.push(format!("    --{} {}", key.name, word(&value)));
    }
    lines.join(" \\\n")
}

/// Both commands on a page.
pub fn page(app: &mut App) -> Effects {
    let mut page = lightbox(&app.train, &app.here);
    if app.train.file.is_none() {
        page = format!("# {}\n{page}", app.t(text::SAVE_FIRST));
    }
    if let Some(profile) = app.train.draft.profile() {
        page += &format!("\n\n# LLaMA-Factory\n{}", llama_factory(profile));
    }
    let title = app.t(text::COMMAND).to_owned();
    app.open(Overlay::Page(Page { title, text: clean(&page), top: 0 }))
}

pub fn copy_lightbox(app: &mut App) -> Effects {
    let command = lightbox(&app.train, &app.here);
    app.copy(command)
}

pub fn copy_llama_factory(app: &mut App) -> Effects {
    match app.train.draft.profile().map(llama_factory) {
        Some(command) => app.copy(command),
        None => Vec::new(),
    }
}

/// What differs from the file: key, file, now.
pub fn compare(app: &mut App) -> Effects {
    let lang = app.lang();
    let title = app.t(text::COMPARE_TITLE).to_owned();
    let Some(file) = &app.train.file else {
        let text = app.t(text::NO_FILE_YET);
        app.say(crate::app::messages::Level::Info, text);
        return Vec::new();
    };
    let name = clean_line(&super::edit::shortened(&app.here, &file.path), 200);
    let all = differences(&app.train);
    let mut page = if all.is_empty() {
        text::NOTHING_DIFFERS.fill(lang, &[&name])
    } else {
        let head = [app.t(text::KEY), app.t(text::IN_FILE), app.t(text::NOW)];
        format!("{name}\n\n{}{}{}\n", words::pad(head[0], 32), words::pad(head[1], 24), head[2])
    };
    for difference in &all {
        let secret = Key::find(&difference.key).is_some_and(Key::is_secret);
        let show = |value: &Option<String>| match value {
            Some(_) if secret => "••••••".to_owned(),
            Some(value) => clean_line(value, 200),
            None => match Key::find(&difference.key) {
                Some(key) => format!("({})", clean_line(&yaml_value(&key.default()), 60)),
                None => "–".to_owned(),
            },
        };
        let (was, now) = (show(&difference.file), show(&difference.now));
        let key = clean_line(&difference.key, 60);
        page += &match words::width(&was) < 24 && words::width(&key) < 32 {
            true => format!("{}{}{now}\n", words::pad(&key, 32), words::pad(&was, 24)),
            // a long value has a line of its own
            false => format!("{key}\n{}{was}\n{}{now}\n", " ".repeat(32), " ".repeat(56)),
        };
    }
    if all.is_empty() && file.text != app.train.draft.text() {
        page += &format!("\n{}", app.t(text::ONLY_COMMENTS));
    }
    app.open(Overlay::Page(Page { title, text: page, top: 0 }))
}
