//! What is found out about one row; several threads do it at once. What follows from it is decided in order, in `mod.rs`.

use super::near::Look;
use super::twins::{Key, KeyOf, answer_key, key_of, picture_key, pictures_key, sample_key};
use super::{Grouping, SelectOptions, Twin};
use crate::data::columns::{Columns, picture_names, text_of};
use crate::data::journal::{Finding, names};
use crate::data::layout::Parsed;
use crate::data::matcher::{Matcher, Texts};
use crate::data::problem::kind;
use crate::data::{Dataset, Problem};
use anyhow::{Context, Result};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Rows with these problems are no rows that could be copied.
const NO_ROWS: [&str; 6] =
    [kind::BAD_JSON, kind::NOT_UTF8, kind::NOT_AN_OBJECT, kind::ROW_TOO_LARGE, kind::BAD_PARQUET, kind::UNREADABLE];

/// Looks at rows as the options ask for.
pub struct Looker<'a> {
    d: &'a Dataset,
    matcher: Option<Matcher>,
    dedupe: &'a [Twin],
    looks: bool,
    content: bool,
    groups: Option<Groups>,
}

/// Where the names of groups come from.
struct Groups {
    /// The column that says it; without one the id, else the names of the pictures.
    column: Option<String>,
    pattern: Option<Regex>,
    columns: Columns,
}

/// The column that names a row, where there is one.
const ID: &str = "id";

/// One row.
#[derive(Serialize, Deserialize)]
pub struct Found {
    /// Why it is not chosen.
    pub refused: Option<Refused>,
    /// As `dedupe` lists them; `None` where there is nothing to compare (a row without pictures).
    pub twins: Vec<Option<Key>>,
    /// Of each picture; `None` where it cannot be decoded or shows nothing.
    pub looks: Vec<Option<Look>>,
    pub content: Key,
    /// The groups it is in.
    pub groups: Vec<Key>,
    /// Kinds of what is wrong with pictures that had to be looked at.
    #[serde(deserialize_with = "names::many")]
    pub unread: Vec<&'static str>,
}

impl Finding for Found {
    fn is_fault(&self) -> bool {
        matches!(self.refused, Some(Refused::Unreadable(_))) || !self.unread.is_empty()
    }
}

#[derive(Serialize, Deserialize)]
pub enum Refused {
    Unreadable(Problem),
    Query,
}

impl<'a> Looker<'a> {
    /// # Errors
    /// A column that is not there, a pattern that is none.
    pub fn new(d: &'a Dataset, o: &'a SelectOptions) -> Result<Self> {
        let matcher = o.query.clone().map(|query| Matcher::new(d, query)).transpose()?;
        let groups = o.group.as_ref().map(|group| Groups::new(d, group)).transpose()?;
        let looks = o.near.is_some() || o.group_near.is_some();
        Ok(Self { d, matcher, dedupe: &o.dedupe, looks, content: o.split.is_some(), groups })
    }

    pub fn look(&self, index: usize) -> Found {
        let glanced = self.d.glance(index);
        let refused = match (&self.matcher, &glanced) {
            (_, Err(problem)) if NO_ROWS.contains(&problem.kind) => Some(Refused::Unreadable(problem.clone())),
            (None, Err(problem)) => Some(Refused::Unreadable(problem.clone())),
            (Some(matcher), _) if !matcher.fits(self.d, index, &glanced, &mut Texts::default()) => Some(Refused::Query),
            _ => None,
        };
        let mut found = Found {
            refused,
            twins: vec![None; self.dedupe.len()],
            looks: Vec::new(),
            content: key_of("row", ""),
            groups: Vec::new(),
            unread: Vec::new(),
        };
        if found.refused.is_some() {
            return found;
        }
        let parsed = match glanced {
            Ok(parsed) => parsed,
            Err(problem) => {
                found.content = key_of("row", &problem.origin); // asked for by `problem:`
                return found;
            }
        };
        if let Some(groups) = &self.groups {
            found.groups = groups.of(self.d, index, &parsed);
        }
        let compares_pictures = self.dedupe.iter().any(|twin| *twin != Twin::Answer);
        let pictures =
            if compares_pictures || self.looks || self.content { self.pictures(index, &mut found) } else { Vec::new() };
        let whole = || sample_key(&parsed.conversation, &pictures);
        for (twin, key) in self.dedupe.iter().zip(&mut found.twins) {
            *key = match twin {
                Twin::Sample => Some(whole()),
                Twin::Answer => Some(answer_key(&parsed.conversation)),
                Twin::Picture => pictures_key(&pictures),
            };
        }
        if self.content {
            found.content = whole();
        }
        found
    }

    /// Keys of the pictures; their looks go to `found`.
    fn pictures(&self, index: usize, found: &mut Found) -> Vec<Key> {
        let pictures = match self.d.pictures(index) {
            Ok(pictures) => pictures,
            Err(problem) => {
                found.unread.push(problem.kind);
                return Vec::new();
            }
        };
        let mut keys = Vec::new();
        for picture in pictures {
            let (key, look) = match &picture {
                Err(fault) => {
                    found.unread.push(fault.kind);
                    (key_of("no picture", &fault.reason), None)
                }
                Ok(image) => {
                    let bytes = image.load();
                    let look = match &bytes {
                        Ok(bytes) if self.looks => Look::of(bytes).map_err(|e| e.kind()),
                        Ok(_) => Ok(None),
                        Err(e) => Err(e.kind()),
                    };
                    found.unread.extend(look.as_ref().err());
                    (picture_key(image, bytes.as_deref()), look.ok().flatten())
                }
            };
            keys.push(key);
            if self.looks {
                found.looks.push(look);
            }
        }
        keys
    }
}

impl Groups {
    fn new(d: &Dataset, group: &Grouping) -> Result<Self> {
        let pattern = group.pattern.as_deref().map(|pattern| {
            Regex::new(pattern).with_context(|| format!("\"{pattern}\" is no regular expression; nothing was written"))
        });
        let columns = match &group.column {
            Some(column) => Columns::of(d, &[column])?,
            None => Columns::where_there(d, &[ID]),
        };
        Ok(Self { column: group.column.clone(), pattern: pattern.transpose()?, columns })
    }

    /// The groups of a row; none where the column is empty or the pattern does not fit.
    fn of(&self, d: &Dataset, index: usize, parsed: &Parsed) -> Vec<Key> {
        let cells = self.columns.read(d, index).unwrap_or_default();
        let texts = match (self.column.as_deref(), cells.get(self.column.as_deref().unwrap_or(ID))) {
            (_, Some(Value::Array(list))) => list.iter().map(|cell| text_of(cell).into_owned()).collect(),
            (_, Some(cell)) if !cell.is_null() => vec![text_of(cell).into_owned()],
            (None, _) => picture_names(d, index, parsed),
            (Some(_), _) => Vec::new(),
        };
        let name = |text: &String| match &self.pattern {
            None => Some(text.clone()).filter(|text| !text.trim().is_empty()),
            Some(pattern) => {
                let found = pattern.captures(text)?;
                found.get(1).or(found.get(0)).map(|part| part.as_str().to_owned()).filter(|part| !part.is_empty())
            }
        };
        texts.iter().filter_map(name).map(|name| KeyOf::new("group").add(name.as_bytes()).key()).collect()
    }
}
