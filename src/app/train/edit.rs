//! Changing the value under the cursor: toggled, stepped, chosen from a list or a folder, or typed in place.

use super::form::Row;
use super::{Effect, Msg, Pane, action, changed, effect, form, step, yaml};
use crate::app::cursor::Cursor;
use crate::app::messages::Level;
use crate::app::overlay::{Item, Overlay, Want};
use crate::app::{App, Effects};
use crate::text::train as text;
use crossterm::event::{Event, KeyCode, KeyEvent};
use lightbox_core::profile::{Key, Kind, yaml_value};
use lightbox_core::safe_text::clean_line;
use serde_yaml::Value;
use std::path::{Path, PathBuf};
use tui_input::Input;
use tui_input::backend::crossterm::EventHandler;

/// A value that is being typed.
#[derive(Debug, Clone)]
pub struct Field {
    pub key: &'static str,
    pub input: Input,
    /// What is wrong with it so far.
    pub error: Option<String>,
}

/// Opens what suits the key best.
pub fn open(app: &mut App) -> Effects {
    app.train.pane = Pane::Keys;
    let key = match app.train.row() {
        Some(Row::Key(key)) => key,
        Some(Row::Other(name)) => {
            let text = form::about_other(app.lang(), &name);
            app.say(Level::Info, text);
            return Vec::new();
        }
        None => return Vec::new(),
    };
    match key.kind {
        Kind::Bool => next(app, true),
        Kind::Choice(words) => choose(app, key, words.iter().map(|word| (*word).to_owned()).collect()),
        Kind::Device => {
            let words = ["auto", "cpu", "cuda:0", "cuda:1", "cuda:2", "cuda:3"];
            choose(app, key, words.iter().map(|word| (*word).to_owned()).collect())
        }
        _ if is_dataset(key) => pick(app),
        _ => type_in(app),
    }
}

fn choose(app: &mut App, key: &'static Key, words: Vec<String>) -> Effects {
    let (now, default) = (app.train.draft.value(key), key.default());
    let is = |value: &Value, word: &str| value.as_str() == Some(word);
    let detail = |word: &str| match (is(&now, word), is(&default, word)) {
        (true, true) => format!("{} · {}", app.t(text::NOW), app.t(text::DEFAULT)),
        (true, false) => app.t(text::NOW).to_owned(),
        (false, true) => app.t(text::DEFAULT).to_owned(),
        (false, false) => String::new(),
    };
    let items: Vec<Item> = words
        .iter()
        .map(|word| Item {
            label: word.clone(),
            detail: detail(word),
            action: action(Msg::Set(key.name, yaml_value(&Value::from(word.as_str())))),
        })
        .collect();
    let at = words.iter().position(|word| is(&now, word)).unwrap_or(0);
    let effects = app.choose(key.name, items);
    if let Some(Overlay::Choose(list)) = app.overlays.last_mut() {
        list.filter.cursor.at = at;
    }
    effects
}

/// The other of two values, the next of several, or the next number.
pub fn next(app: &mut App, up: bool) -> Effects {
    let Some(key) = app.train.key() else { return Vec::new() };
    let now = app.train.draft.value(key);
    let inline = match key.kind {
        Kind::Bool => {
            let on = app.train.draft.profile().filter(|_| now.as_bool().is_none()).map(|p| (key.write)(p));
            let on = on.unwrap_or(now).as_bool().unwrap_or(false);
            (!on).to_string()
        }
        Kind::Choice(words) => {
            let at = words.iter().position(|word| now.as_str() == Some(word));
            let to = match (at, up) {
                (None, _) => 0,
                (Some(at), true) => (at + 1) % words.len(),
                (Some(at), false) => (at + words.len() - 1) % words.len(),
            };
            yaml_value(&Value::from(words[to]))
        }
        Kind::Integer | Kind::Number => {
            let exact = app.train.draft.profile().filter(|_| app.train.draft.problems().is_empty());
            let value = exact.map_or(now, |profile| (key.write)(profile));
            match step::stepped(key, &value, up) {
                Some(inline) => inline,
                None => return Vec::new(),
            }
        }
        _ => return Vec::new(),
    };
    set(app, key.name, &inline)
}

/// Typing in place.
pub fn type_in(app: &mut App) -> Effects {
    let Some(key) = app.train.key() else { return Vec::new() };
    app.train.pane = Pane::Keys;
    let set = app.train.draft.entry(key.name).is_some();
    let shown = app.train.draft.shown(key);
    let value = match app.train.draft.value(key) {
        // a secret is typed anew
        _ if key.is_secret() => String::new(),
        Value::Null => String::new(),
        Value::String(text) if matches!(key.kind, Kind::Text | Kind::Path | Kind::List | Kind::Numbers) => text,
        _ if set => shown,
        value => yaml_value(&value),
    };
    app.train.field = Some(Field { key: key.name, input: Input::new(value), error: None });
    Vec::new()
}

pub fn field_key(app: &mut App, event: KeyEvent) -> Option<Effects> {
    let field = app.train.field.as_mut()?;
    let name = field.key;
    match event.code {
        KeyCode::Esc => app.train.field = None,
        KeyCode::Tab if can_pick(Key::find(name)?) => {
            app.train.field = None;
            return Some(pick(app));
        }
        KeyCode::Enter => {
            check_field(app);
            let field = app.train.field.as_ref()?;
            if field.error.is_some() {
                return Some(Vec::new());
            }
            let inline = inline_of(Key::find(name)?, field.input.value());
            app.train.field = None;
            return Some(match inline {
                Some(inline) => set(app, name, &inline),
                None => unset(app, name),
            });
        }
        _ => {
            field.input.handle_event(&Event::Key(event));
            check_field(app);
        }
    }
    Some(Vec::new())
}

/// Says at once what is wrong with what was typed so far.
pub fn check_field(app: &mut App) {
    let lang = app.lang();
    if let Some(field) = &mut app.train.field
        && let Some(key) = Key::find(field.key)
    {
        let value = inline_of(key, field.input.value()).map(|inline| serde_yaml::from_str::<Value>(&inline));
        let right = value.is_none_or(|value| value.is_ok_and(|value| key.accepts(&value)));
        field.error = (!right).then(|| text::NEEDS.fill(lang, &[&form::allowed(lang, key)]));
    }
}

/// What was typed as a value in one line of YAML; `None`: nothing, which means the default.
pub fn inline_of(key: &Key, typed: &str) -> Option<String> {
    let typed = typed.trim();
    if typed.is_empty() {
        return None;
    }
    let as_yaml = serde_yaml::from_str::<Value>(typed).ok();
    let literal = match key.kind {
        // `a: b`, `#1` and `[x` are fine names; quotes, lists and null mean what they mean in YAML
        Kind::Text | Kind::Path | Kind::List | Kind::Numbers => {
            let yaml = typed.starts_with(['"', '\'', '[']) || (typed == "null" && key.optional);
            !(yaml && as_yaml.is_some_and(|value| key.accepts(&value)))
        }
        _ => as_yaml.is_none(),
    };
    Some(if literal { yaml_value(&Value::from(typed)) } else { typed.to_owned() })
}

pub fn set(app: &mut App, key: &str, inline: &str) -> Effects {
    let done = app.train.draft.set(key, inline);
    after(app, key, done)
}

/// Back to the default.
pub fn unset(app: &mut App, key: &str) -> Effects {
    let done = app.train.draft.unset(key);
    after(app, key, done)
}

fn after(app: &mut App, key: &str, done: Result<(), yaml::Refusal>) -> Effects {
    match done {
        Ok(()) => changed(app),
        Err(why) => {
            let why = match why {
                yaml::Refusal::NotYaml => text::NOT_YAML,
                yaml::Refusal::NotLines => text::NOT_LINES,
            };
            let text = why.fill(app.lang(), &[&clean_line(key, 60)]);
            app.say(Level::Warning, text);
            Vec::new()
        }
    }
}

/// Takes the row's key out of the text.
pub fn reset(app: &mut App) -> Effects {
    let Some(row) = app.train.row() else { return Vec::new() };
    unset(app, row.name())
}

pub fn undo(app: &mut App, back: bool) -> Effects {
    let step = if back { app.train.draft.undo() } else { app.train.draft.redo() };
    match step {
        None => return Vec::new(),
        Some(Some(key)) => app.train.show(&key),
        Some(None) => {}
    }
    changed(app)
}

/// The next key with a problem, or the one before.
pub fn next_problem(app: &mut App, forward: bool) -> Effects {
    let problems = app.train.draft.problems();
    let here = app.train.row().map(|row| row.name().to_owned());
    let at = problems.iter().position(|found| found.key == here);
    let to = match (at, forward) {
        (None, true) => 0,
        (Some(at), true) => (at + 1) % problems.len(),
        (at, false) => (at.unwrap_or(0) + problems.len().saturating_sub(1)) % problems.len().max(1),
    };
    let Some(found) = problems.get(to).cloned() else {
        let text = app.t(text::NO_PROBLEMS);
        app.say(Level::Good, text);
        return Vec::new();
    };
    match found.key {
        Some(key) => {
            app.train.show(&key);
            app.train.pane = Pane::Keys;
            Vec::new()
        }
        // the text as a whole: there it can be mended
        None => super::pane::open(app, found.line),
    }
}

fn is_dataset(key: &Key) -> bool {
    matches!(key.name, "dataset" | "eval_dataset")
}

/// There is a list or a folder to pick a value from.
pub fn can_pick(key: &Key) -> bool {
    key.kind == Kind::Path || is_dataset(key) || matches!(key.name, "model_name_or_path" | "adapter_name_or_path")
}

pub fn pick(app: &mut App) -> Effects {
    let Some(key) = app.train.key().filter(|key| can_pick(key)) else { return Vec::new() };
    app.train.picking = Some(key.name);
    if is_dataset(key) {
        let dir = Key::find("dataset_dir").map(|key| app.train.draft.value(key));
        let dir = app.here.join(dir.as_ref().and_then(Value::as_str).unwrap_or("data"));
        return vec![effect(Effect::Datasets(dir, key.name))];
    }
    // begins beside what is set
    let value = app.train.draft.value(key);
    let first = value.as_str().and_then(|text| text.split(',').next_back()).unwrap_or_default();
    let near = app.here.join(first);
    let dir = near.parent().filter(|dir| !first.is_empty() && dir.is_absolute()).unwrap_or(&app.here).to_owned();
    let title = format!("{} · {}", key.name, app.t(text::PICK_FOLDER));
    app.pick_files(title, Want::Folders, false, &dir, |paths| action(Msg::Picked(paths)))
}

/// Paths below the folder of the workbench are written as people would: relative to it.
pub fn shortened(here: &Path, path: &Path) -> String {
    let path: PathBuf = path.components().collect();
    path.strip_prefix(here).ok().filter(|short| short.iter().next().is_some()).unwrap_or(&path).display().to_string()
}

pub fn picked(app: &mut App, paths: &[PathBuf]) -> Effects {
    let Some(key) = app.train.picking.take().and_then(Key::find) else { return Vec::new() };
    let Some(path) = paths.first() else { return Vec::new() };
    set(app, key.name, &yaml_value(&Value::from(shortened(&app.here, path))))
}

/// The names of a list that is set.
pub fn names_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect(),
        Value::Sequence(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// Shows the data sets to choose from; the list stays open, for there may be several.
pub fn choose_dataset(app: &mut App, key: &'static str, names: Result<Vec<(String, String)>, String>) -> Effects {
    let names = match names {
        Ok(names) if !names.is_empty() => names,
        Ok(_) => {
            let text = app.t(text::NO_DATASETS);
            app.say(Level::Warning, text);
            return type_in(app);
        }
        Err(why) => {
            app.say(Level::Warning, clean_line(&why, 300));
            return type_in(app);
        }
    };
    let Some(of) = Key::find(key) else { return Vec::new() };
    let chosen = names_of(&app.train.draft.value(of));
    let items = names
        .iter()
        .map(|(name, detail)| Item {
            label: format!("{} {}", if chosen.contains(name) { "●" } else { "○" }, clean_line(name, 100)),
            detail: clean_line(detail, 200),
            action: action(Msg::Toggle(key, name.clone())),
        })
        .collect();
    let title = format!("{key} · {}", app.t(text::PICK_DATASETS));
    app.choose(title, items)
}

pub fn toggle_name(app: &mut App, key: &'static str, name: &str) -> Effects {
    let Some(of) = Key::find(key) else { return Vec::new() };
    let mut names = names_of(&app.train.draft.value(of));
    match names.iter().position(|known| known == name) {
        Some(at) => drop(names.remove(at)),
        None => names.push(name.to_owned()),
    }
    if names.is_empty() {
        return unset(app, key);
    }
    let value = match names.iter().any(|name| name.contains(',')) {
        true => Value::Sequence(names.into_iter().map(Value::from).collect()),
        false => Value::from(names.join(",")),
    };
    set(app, key, &yaml_value(&value))
}

/// The list of groups moves without the focus.
pub fn next_group(app: &mut App, forward: bool) -> Effects {
    let groups: &mut Cursor = &mut app.train.groups;
    groups.at = match forward {
        true => (groups.at + 1) % groups.len.max(1),
        false => (groups.at + groups.len.max(1) - 1) % groups.len.max(1),
    };
    (app.train.search, app.train.only_set, app.train.keys.at) = (Input::default(), false, 0);
    app.train.count();
    Vec::new()
}

/// Whether the key's value can be stepped or cycled.
pub fn can_step(app: &App) -> bool {
    app.train.key().is_some_and(|key| matches!(key.kind, Kind::Bool | Kind::Choice(_) | Kind::Integer | Kind::Number))
}
