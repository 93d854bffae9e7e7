//! From YAML (or JSON, its subset) and `key=value` words to a checked [`Profile`].
//!
//! serde_yaml parses; it has no line numbers for what it parsed, so each key is searched again in the text, in order,
//! where it stands as a key. Values are typed by [`super::keys`], combinations are checked by [`super::check`].
use super::error::{Place, Problem, ProfileError};
use super::other_keys::{OTHER_KEYS, OtherKey};
use super::{KEYS, Profile, check};
use crate::safe_text::clean_line;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_yaml::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// A profile is a page of text; a larger file is some other file. Parsed, YAML can take 350 times its bytes.
const MAX_BYTES: u64 = 128 << 10;

/// Where so much is wrong, some other kind of file was named; and each problem costs a search for the key that was meant.
const MAX_PROBLEMS: usize = 100;
/// Longer names are no slips of the keys we know.
const MAX_KEY: usize = 100;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Line of the profile, from 1 (0: not found again in the text).
    File {
        line: usize,
    },
    /// A `key=value` word of the command line.
    Override,
}

/// Which keys were set, and where.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    pub(super) set: BTreeMap<&'static str, Origin>,
    /// LLaMA-Factory's keys that change nothing here, with the values they were given.
    pub(super) inert: BTreeMap<&'static str, Value>,
}

impl Profile {
    /// Reads a profile (`.yaml`, `.yml` or `.json`) and then `overrides`, words like `learning_rate=1e-4`; the last one
    /// wins. Relative paths in it stay relative to the working directory, as in LLaMA-Factory.
    ///
    /// # Errors
    /// Everything that is wrong with file and overrides, at once.
    pub fn load<S: AsRef<str>>(path: &Path, overrides: &[S]) -> Result<Self, ProfileError> {
        let name = path.display().to_string();
        match read_text(path) {
            Ok(text) => Self::parse(&name, &text, overrides),
            Err(message) => {
                let place = Place::File { path: name, at: None };
                Err(ProfileError { problems: vec![Problem { place, key: None, message }] })
            }
        }
    }

    /// The same from a text; `name` stands for the file in messages.
    pub fn parse<S: AsRef<str>>(name: &str, text: &str, overrides: &[S]) -> Result<Self, ProfileError> {
        let mut reader = Reader {
            name,
            profile: Self::default(),
            places: BTreeMap::new(),
            failed: BTreeSet::new(),
            problems: Vec::new(),
        };
        reader.file(text);
        for word in overrides {
            reader.override_word(word.as_ref());
        }
        for found in check::check(&reader.profile) {
            // A key that could not be read still holds its default: what follows from that would only mislead.
            if !found.keys.iter().any(|key| reader.failed.contains(*key)) {
                let place = found.keys.iter().find_map(|key| reader.places.get(*key).cloned());
                let place = place.unwrap_or(Place::File { path: name.to_owned(), at: None });
                reader.problems.push(Problem {
                    place,
                    key: found.keys.first().map(|key| (*key).to_owned()),
                    message: found.message,
                });
            }
        }
        if reader.problems.is_empty() { Ok(reader.profile) } else { Err(ProfileError { problems: reader.problems }) }
    }

    /// Where the value of `key` came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.set.get(key).copied().unwrap_or(Origin::Default)
    }

    /// What the user should know about keys that were accepted but change nothing.
    pub fn notes(&self) -> Vec<String> {
        let ours = KEYS
            .iter()
            .filter(|key| self.origin(key.name) != Origin::Default)
            .filter_map(|key| Some((key.name, key.note?)));
        let inert = self.origins.inert.keys().filter_map(|name| Some((*name, OtherKey::find(name)?.note?)));
        ours.chain(inert).map(|(name, note)| format!("`{name}` has no effect: {note}")).collect()
    }
}

impl std::str::FromStr for Profile {
    type Err = ProfileError;
    fn from_str(text: &str) -> Result<Self, ProfileError> {
        Self::parse::<&str>("profile", text, &[])
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let known =
        path.extension().is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|known| ext.eq_ignore_ascii_case(known)));
    if !known {
        return Err("a profile is a .yaml, .yml or .json file".to_owned());
    }
    let metadata = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        return Err(format!("is {} bytes long; a profile has at most {MAX_BYTES}", metadata.len()));
    }
    let bytes = std::fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        format!("is not UTF-8 text (line {line}); save it as UTF-8")
    })
}

/// A profile on its way from text to checked values.
struct Reader<'a> {
    name: &'a str,
    profile: Profile,
    /// Where each key was set last.
    places: BTreeMap<String, Place>,
    /// Keys whose value could not be used.
    failed: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn file(&mut self, text: &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let entries = match serde_yaml::from_str::<Entries>(text) {
            Ok(Entries(entries)) => entries,
            Err(e) => {
                let at = e.location().map(|l| (l.line(), l.column()));
                // The place is printed in front of the message; serde_yaml puts it behind, too.
                let message = e.to_string();
                let message = message.split(" at line ").next().unwrap_or(&message);
                let hint = if tab_indented(text) { "; YAML is indented with spaces, never tabs" } else { "" };
                return self.problem(
                    Place::File { path: self.name.to_owned(), at },
                    None,
                    format!("not valid YAML: {}{hint}", clean_line(message, 200)),
                );
            }
        };
        let mut cursor = 0;
        for (key, value) in entries {
            if self.problems.len() >= MAX_PROBLEMS {
                let place = Place::File { path: self.name.to_owned(), at: None };
                let message = "only the first problems are listed; is this a profile?".to_owned();
                return self.problem(place, None, message);
            }
            let found = find_key(text, &key, cursor);
            if let Some(offset) = found {
                cursor = offset + key.len();
            }
            let place = Place::File { path: self.name.to_owned(), at: found.map(|offset| line_column(text, offset)) };
            if let Some(Place::File { at: first, .. }) = self.places.get(&key) {
                let first = first.map_or(String::new(), |(line, _)| format!(" (first in line {line})"));
                self.failed.insert(key.clone());
                self.problem(place, Some(&key), format!("`{}` is set twice{first}; remove one", short(&key)));
                continue;
            }
            self.set(&key, &value, place, Origin::File { line: found.map_or(0, |offset| line_column(text, offset).0) });
        }
    }

    /// `key=value`, the value read as YAML; `lr_scheduler_kwargs.min_lr=1e-6` sets one parameter (as OmegaConf's dotlist).
    fn override_word(&mut self, word: &str) {
        let place = Place::Override(word.to_owned());
        let Some((key, value)) = word.split_once('=') else {
            return self.problem(place, None, "is not of the form key=value".to_owned());
        };
        let value = match serde_yaml::from_str::<Value>(value) {
            Ok(value) => value,
            Err(e) => return self.problem(place, Some(key), format!("the value is not valid YAML: {e}")),
        };
        match key.split_once('.') {
            Some((map @ "lr_scheduler_kwargs", name)) => {
                let mut kwargs = match serde_yaml::to_value(&self.profile.lr_scheduler_kwargs) {
                    Ok(Value::Mapping(kwargs)) => kwargs,
                    _ => Default::default(),
                };
                kwargs.insert(name.into(), value);
                self.set(map, &Value::Mapping(kwargs), place, Origin::Override);
            }
            _ => self.set(key, &value, place, Origin::Override),
        }
    }

    /// Sets one key, or says why not.
    fn set(&mut self, name: &str, value: &Value, place: Place, origin: Origin) {
        self.places.insert(name.to_owned(), place.clone());
        self.failed.remove(name);
        let refusal = if let Some(interpolation) = interpolation(value) {
            Some(format!(
                "`{}`: \"{}\" has a `${{…}}`, which Lightbox does not fill in; write the value itself",
                short(name),
                short(interpolation)
            ))
        } else if let Some(key) = KEYS.iter().find(|key| key.name == name) {
            match (key.read)(&mut self.profile, value) {
                Some(()) => {
                    self.profile.origins.set.insert(key.name, origin);
                    None
                }
                None => Some(format!("`{name}: {}` is not allowed; needs {}", shown(value), key.allowed())),
            }
        } else if let Some(key) = OtherKey::find(name) {
            if key.note.is_some() || key.is_default(value) {
                self.profile.origins.inert.insert(key.name, value.clone());
                None
            } else {
                let default = key.default_text();
                Some(format!(
                    "LLaMA-Factory's key `{name}` is not supported by Lightbox yet; remove it or set it to its default, {default}"
                ))
            }
        } else {
            let suggestion = did_you_mean(name).map_or(String::new(), |known| format!("; did you mean `{known}`?"));
            Some(format!("`{}` is not a key of a profile{suggestion}", short(name)))
        };
        if let Some(message) = refusal {
            self.failed.insert(name.to_owned());
            self.problem(place, Some(name), message);
        }
    }

    fn problem(&mut self, place: Place, key: Option<&str>, message: String) {
        self.problems.push(Problem { place, key: key.map(str::to_owned), message });
    }
}

/// The closest known key, ours before LLaMA-Factory's others; none if nothing is close.
fn did_you_mean(name: &str) -> Option<&'static str> {
    if name.len() > MAX_KEY {
        return None;
    }
    let known = KEYS.iter().map(|key| key.name).chain(OTHER_KEYS.iter().map(|key| key.0));
    known
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase().replace('-', "_"), known), known))
        .min_by_key(|(distance, _)| *distance)
        // One slip in three letters is a slip; more is another word.
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
        .map(|(_, known)| known)
}

/// A text with OmegaConf's `${…}`, at any depth.
fn interpolation(value: &Value) -> Option<&str> {
    match value {
        Value::String(s) => s.contains("${").then_some(s),
        Value::Sequence(items) => items.iter().find_map(interpolation),
        Value::Mapping(map) => map.values().find_map(interpolation),
        _ => None,
    }
}

/// A value as it can stand in a one-line message.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => short(s),
        Value::Sequence(_) => "[…]".to_owned(),
        Value::Mapping(_) => "{…}".to_owned(),
        Value::Tagged(tagged) => short(&tagged.tag.to_string()),
    }
}

/// A text as it can stand in a one-line message.
fn short(text: &str) -> String {
    clean_line(text, 60)
}

/// The top level of a profile in the order of the text, duplicates kept, so that they can be reported with their lines.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("lines of the form `key: value`")
            }
            fn visit_none<E: de::Error>(self) -> Result<Entries, E> {
                Ok(Entries(Vec::new()))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Entries, E> {
                Ok(Entries(Vec::new()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Value, Value>()? {
                    entries.push((key.as_str().map_or_else(|| shown(&key), str::to_owned), value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_any(Top)
    }
}

/// Byte offset of `key` at or after `from` where it stands as a key: at the start of a line or behind `{` or `,`,
/// bare or in quotes, before a colon, not in a comment.
fn find_key(text: &str, key: &str, from: usize) -> Option<usize> {
    let mut search = from;
    while let Some(found) = text.get(search..)?.find(key).map(|i| i + search) {
        let line = &text[text[..found].rfind('\n').map_or(0, |i| i + 1)..found];
        let before = line.strip_suffix(['"', '\'']).unwrap_or(line);
        let after = text[found + key.len()..].trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
        let starts = before.trim_end().is_empty() || before.trim_end().ends_with(['{', ',']);
        let comment = line.starts_with('#') || line.contains(" #");
        if starts && !comment && after.starts_with(':') {
            return Some(found);
        }
        search = found + key.len().max(1);
    }
    None
}

/// Line and column of a byte offset, both from 1.
fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

fn tab_indented(text: &str) -> bool {
    text.lines().any(|line| line.trim_start_matches(' ').starts_with('\t'))
}
