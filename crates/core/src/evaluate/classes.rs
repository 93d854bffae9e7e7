//! Does an answer name the right thing? Words and patterns say what names a class; the class of a text is the one that it
//! names first. So captions can be counted like the answers of a classifier.
//!
//! ```yaml
//! classes:
//!   modality:
//!     CT: [ct, "computed tomography"]
//!     MRI: [mri, /magnetic\s+resonance/]
//!   finding:
//!     none: [/no (focal )?lesion/]     # begins before the word "lesion", so it wins
//!     lesion: [lesion, 病灶]
//! ```

use anyhow::{Context, Result, bail};
use regex::{Regex, RegexBuilder};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

/// Groups of classes, in the order of the file.
#[derive(Debug, Clone)]
pub struct Classes {
    pub groups: Vec<Group>,
}

/// Classes of which a text has one.
#[derive(Debug, Clone)]
pub struct Group {
    pub name: String,
    classes: Vec<(String, Vec<Pattern>)>,
}

impl Classes {
    /// # Errors
    /// A file that cannot be read; what is wrong in it, with line and key.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// # Errors
    /// What is wrong, with line and key.
    pub fn parse(yaml: &str) -> Result<Self> {
        let file: File = serde_yaml::from_str(yaml)?;
        let groups: Vec<Group> = file.classes.0.into_iter().map(|(name, c)| Group { name, classes: c.0 }).collect();
        if groups.is_empty() {
            bail!("classes: names no group; {EXAMPLE}");
        }
        for group in &groups {
            if group.classes.len() < 2 {
                bail!("classes.{}: a group needs two classes or more, {EXAMPLE}", group.name);
            }
            if let Some((class, _)) = group.classes.iter().find(|(_, patterns)| patterns.is_empty()) {
                bail!("classes.{}.{class}: has no pattern, so no text would ever be of it; {EXAMPLE}", group.name);
            }
        }
        Ok(Self { groups })
    }
}

const EXAMPLE: &str =
    "e.g.\nclasses:\n  modality:\n    CT: [ct, \"computed tomography\"]\n    MRI: [mri, /magnetic\\s+resonance/]";

impl Group {
    pub fn class_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.classes.iter().map(|(name, _)| name.as_str())
    }

    /// Position of the class that the text names first; of two that begin at the same place, the longer name's.
    /// `None`: it names none.
    pub fn class_of(&self, text: &str) -> Option<usize> {
        let first = |patterns: &[Pattern]| patterns.iter().filter_map(|p| p.find(text)).min_by_key(|&m| earliest(m));
        let named =
            self.classes.iter().enumerate().filter_map(|(i, (_, patterns))| Some((earliest(first(patterns)?), i)));
        named.min().map(|(_, i)| i)
    }
}

/// Begin and end, ordered so that the earlier comes first, then the longer.
fn earliest((start, end): (usize, usize)) -> (usize, std::cmp::Reverse<usize>) {
    (start, std::cmp::Reverse(end))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    classes: Ordered<Ordered<Vec<Pattern>>>,
}

/// Words, found as whole words whatever their case; or, between slashes, a regular expression, whatever its case.
#[derive(Debug, Clone)]
struct Pattern {
    regex: Regex,
    whole_words: bool,
}

impl Pattern {
    /// Begin and end of the first match, in bytes.
    fn find(&self, text: &str) -> Option<(usize, usize)> {
        let mut from = 0;
        while let Some(found) = self.regex.find_at(text, from) {
            if !self.whole_words || is_whole(text, found.start(), found.end()) {
                return Some((found.start(), found.end()));
            }
            from = found.start() + text[found.start()..].chars().next().map_or(1, char::len_utf8);
        }
        None
    }
}

/// Is `text[start..end]` no part of a longer word? Chinese and Japanese write no blanks, so there any place will do.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let goes_on = |a: Option<char>, b: Option<char>| a.is_some_and(is_spaced) && b.is_some_and(is_spaced);
    let inner = &text[start..end];
    !goes_on(text[..start].chars().next_back(), inner.chars().next())
        && !goes_on(inner.chars().next_back(), text[end..].chars().next())
}

/// A letter or digit of a script that puts blanks between words.
fn is_spaced(c: char) -> bool {
    c.is_alphanumeric() && !matches!(c as u32, 0x2E80..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let inner = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'));
        let source = match inner {
            Some(regex) => regex.to_owned(),
            // A blank stands for any white space: answers break lines where they like.
            None => text.split_whitespace().map(regex::escape).collect::<Vec<_>>().join(r"\s+"),
        };
        if source.is_empty() {
            return Err(D::Error::custom("an empty pattern would match everywhere"));
        }
        let regex = RegexBuilder::new(&source).case_insensitive(true).size_limit(1 << 20).build();
        let regex = regex.map_err(|e| D::Error::custom(format!("the pattern {text:?} cannot be used: {e}")))?;
        if regex.is_match("") {
            return Err(D::Error::custom(format!(
                "the pattern {text:?} matches nothing at all, so it would match everywhere"
            )));
        }
        Ok(Self { regex, whole_words: inner.is_none() })
    }
}

/// A mapping in the order of the file; a key that comes twice is an error.
struct Ordered<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visit<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Visit<V> {
            type Value = Ordered<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with what belongs to them (`name: …`)")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut entries, mut seen) = (Vec::new(), HashSet::new());
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("the name {key:?} is there twice")));
                    }
                    entries.push((key, map.next_value()?));
                }
                Ok(Ordered(entries))
            }
        }
        d.deserialize_map(Visit(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "classes:\n  modality:\n    CT: [ct, \"computed tomography\"]\n    MRI: [mri, /magnetic\\s+resonance/]\n  finding:\n    none: [/no (focal )?lesion/, 未见病灶]\n    lesion: [lesion, 病灶]\n";

    fn class<'a>(c: &'a Classes, group: usize, text: &str) -> Option<&'a str> {
        c.groups[group].class_of(text).and_then(|i| c.groups[group].class_names().nth(i))
    }

    #[test]
    fn a_text_is_of_the_class_that_it_names_first() {
        let c = Classes::parse(FILE).unwrap();
        for (text, expected) in [
            ("A CT scan.", Some("CT")),
            ("Computed\n tomography of the head", Some("CT")),
            ("MAGNETIC  resonance, not CT", Some("MRI")),
            ("颅脑CT平扫", Some("CT")),
            ("an abstract effect, octane", None),
            ("", None),
        ] {
            assert_eq!(class(&c, 0, text), expected, "{text}");
        }
        for (text, expected) in [
            ("There is no lesion.", Some("none")),
            ("One lesion; no lesion elsewhere", Some("lesion")),
            ("颅内未见病灶。", Some("none")),
            ("见一病灶", Some("lesion")),
            ("lesions", None),
        ] {
            assert_eq!(class(&c, 1, text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named_by_line_or_key() {
        for (yaml, parts) in [
            ("classes:\n  m:\n    a: [x]\n    b: [/(/]\n", &["line 4", "cannot be used"][..]),
            ("classes:\n  m:\n    a: [x]\n    a: [y]\n", &["twice", "line"]),
            ("classes:\n  m:\n    a: [x]\n    b: y\n", &["classes.m.b", "line 4"]),
            ("classes:\n  m:\n    a: [x]\n    b: [[x]]\n", &["classes.m.b", "line 4"]),
            ("classes:\n  m:\n    a: [x]\n    b: ['']\n", &["empty pattern"]),
            ("classes:\n  m:\n    a: [x]\n    b: [/x*/]\n", &["matches nothing"]),
            ("classes:\n  m:\n    a: [x]\n    b: []\n", &["classes.m.b", "no pattern"]),
            ("classes:\n  m:\n    a: [x]\n", &["classes.m", "two classes"]),
            ("classes: {}\n", &["names no group"]),
            ("classes: 3\n", &["line 1"]),
            ("clases:\n  m: 1\n", &["unknown field `clases`, expected `classes`"]),
            ("classes: [\n", &["line"]),
        ] {
            let error = format!("{:#}", Classes::parse(yaml).unwrap_err());
            assert!(parts.iter().all(|part| error.contains(part)), "{yaml}\n{error}");
        }
    }
}
