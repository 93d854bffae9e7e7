//! Captioned pictures in parquet, as MedTrinity has them: which columns hold what, and how a row becomes conversations of
//! one turn, `<image>` and a question, answered by the caption. What is asked is decided in [`super::questions`].
//!
//! A row can have several captions, say one in English and one in Chinese: then one of them is drawn for it, or each
//! makes a sample (`both`). In dataset_info.json such a set has the key `captions`, which is ours: LLaMA-Factory reads what
//! `data convert` makes of it.
//! ```json
//! "scans": {"file_name": "25M_demo", "captions": {"columns": ["caption", "caption_zh"], "both": true, "questions": "match"}}
//! ```

use super::cells::ImageCell;
use super::layout::{IMAGE_MARK, Parsed, type_name};
use super::parquet::{ColumnKind, ParquetTable};
use super::problem::{Fault, kind};
use super::questions::{DEFAULT_SEED, Place, QuestionSet, Questions};
use super::table::Row;
use crate::text::{Conversation, Lang, Message, Role};
use anyhow::{anyhow, bail, ensure};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Which columns hold what, where the user says so, and what is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionChoice {
    pub image: Option<String>,
    pub id: Option<String>,
    /// Empty: the one with a usual name.
    pub captions: Vec<String>,
    /// Each of several captions of a row makes a sample; otherwise one of them is drawn.
    pub both: bool,
    pub questions: Questions,
    /// For drawing captions and questions.
    pub seed: u64,
}

/// The usual columns, the tutorial's question.
impl Default for CaptionChoice {
    fn default() -> Self {
        let (image, id, captions, both) = (None, None, Vec::new(), false);
        Self { image, id, captions, both, questions: Questions::default(), seed: DEFAULT_SEED }
    }
}

impl CaptionChoice {
    /// The value of `captions` in an entry of dataset_info.json: `image`, `id` (columns), `columns` (those with captions),
    /// `both`, `questions` and `seed`, each of which may be left out. `dir`: what the file of questions is relative to.
    ///
    /// # Errors
    /// A key that is not known or has a wrong type; questions that cannot be read.
    pub(super) fn of_entry(value: &Value, dir: &Path) -> anyhow::Result<Self> {
        let Value::Object(keys) = value else { bail!("it must be a JSON object, not {}", type_name(value)) };
        let mut choice = Self::default();
        let text = |key: &str, value: &Value| match value {
            Value::String(name) => Ok(name.clone()),
            other => Err(anyhow!("`{key}` must be the name of a column, not {}", type_name(other))),
        };
        for (key, value) in keys {
            match key.as_str() {
                "image" => choice.image = Some(text(key, value)?),
                "id" => choice.id = Some(text(key, value)?),
                "columns" => {
                    let Value::Array(list) = value else {
                        bail!("`columns` must be a list of column names, not {}", type_name(value))
                    };
                    choice.captions = list.iter().map(|name| text(key, name)).collect::<Result<_, _>>()?;
                }
                "both" => {
                    choice.both = value
                        .as_bool()
                        .ok_or_else(|| anyhow!("`both` must be true or false, not {}", type_name(value)))?
                }
                "questions" => choice.questions = Questions::Drawn(QuestionSet::of_value(value, dir)?),
                "seed" => {
                    choice.seed =
                        value.as_u64().ok_or_else(|| anyhow!("`seed`: {value} is not a whole number from 0 on"))?
                }
                _ => bail!("`{key}` is no key of it; it has image, id, columns, both, questions, seed"),
            }
        }
        Ok(choice)
    }
}

/// The columns of a table of captioned pictures, and what is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionColumns {
    pub image: Option<String>,
    pub id: Option<String>,
    /// At least one.
    pub captions: Vec<String>,
    pub both: bool,
    pub questions: Questions,
    pub seed: u64,
}

/// Question and answer of one sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair<'a> {
    pub question: &'a str,
    pub caption: String,
    /// The caption's.
    pub lang: Lang,
}

impl CaptionColumns {
    /// Samples that one row makes.
    pub fn samples_a_row(&self) -> usize {
        if self.both { self.captions.len() } else { 1 }
    }

    /// The columns that are read beside the pictures.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.id.iter().chain(&self.captions).map(String::as_str)
    }

    /// The dataset_info.json value that [`CaptionChoice::of_entry`] reads.
    pub(super) fn entry(&self) -> Value {
        let mut entry = json!({"columns": self.captions});
        for (key, column) in [("image", &self.image), ("id", &self.id)] {
            if let Some(column) = column {
                entry[key] = Value::from(column.as_str());
            }
        }
        if self.both {
            entry["both"] = Value::Bool(true);
        }
        if let Questions::Drawn(set) = &self.questions {
            entry["questions"] = json!(set);
        }
        if self.seed != DEFAULT_SEED {
            entry["seed"] = Value::from(self.seed);
        }
        entry
    }

    /// Sample number `i` of the table, of row `i` / [`Self::samples_a_row`].
    pub(super) fn parse(&self, row: Row, i: usize) -> Result<Parsed, Fault> {
        let (number, nth) = (i / self.samples_a_row(), i % self.samples_a_row());
        let pair = self.pair(&row.fields, number, nth)?;
        if self.image.is_some() && (row.images.is_empty() || row.images.contains(&ImageCell::Empty)) {
            return Err(Fault::new(kind::IMAGE_MISSING, "the row has neither the picture's bytes nor its path"));
        }
        let question = IMAGE_MARK.repeat(row.images.len()) + pair.question;
        let messages = vec![
            Message { role: Role::User, content: question },
            Message { role: Role::Assistant, content: pair.caption },
        ];
        let conversation = Conversation { messages, ..Conversation::default() };
        Ok(Parsed { conversation, images: row.images, image_labels: None })
    }

    /// Question and answer of sample `nth` of row number `row`, whose texts are in `fields`.
    pub(super) fn pair(&self, fields: &Map<String, Value>, row: usize, nth: usize) -> Result<Pair<'_>, Fault> {
        // Where the id names the picture's file it is read as a picture, not as a text, in some places: it does not count.
        let id = self.id.as_ref().filter(|id| self.image.as_ref() != Some(id));
        let id = id.and_then(|column| fields.get(column)).and_then(id_text);
        let place = Place { id: id.as_deref().filter(|id| !id.is_empty()), row };
        let caption = self.caption(fields, place, nth)?;
        if caption.contains(IMAGE_MARK) {
            return Err(Fault::new(
                kind::IMAGE_COUNT,
                format!("the caption holds {IMAGE_MARK}, which would stand for a second picture"),
            ));
        }
        let lang = Lang::of(caption);
        Ok(Pair { question: self.questions.of(place, self.seed, lang), caption: caption.to_owned(), lang })
    }

    fn caption<'a>(&self, fields: &'a Map<String, Value>, place: Place<'_>, nth: usize) -> Result<&'a str, Fault> {
        let text = |column: &String| match fields.get(column) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.trim().is_empty())),
            Some(other) => Err(Fault::new(
                kind::BAD_TYPE,
                format!("the caption (column \"{column}\") is {}, not a text", type_name(other)),
            )),
        };
        let wanted = if self.both { &self.captions[nth..=nth] } else { &self.captions[..] };
        let mut there = wanted.iter().filter_map(|column| text(column).transpose()).collect::<Result<Vec<_>, _>>()?;
        if there.is_empty() {
            let columns: Vec<String> = wanted.iter().map(|column| format!("\"{column}\"")).collect();
            return Err(Fault::new(
                kind::EMPTY_CAPTION,
                format!("the caption (column {}) is empty", columns.join(", ")),
            ));
        }
        // One of those that the row has, each as often as the others.
        let drawn = if there.len() == 1 { 0 } else { place.seed(self.seed, "caption") % there.len() as u64 };
        Ok(there.swap_remove(drawn as usize))
    }
}

/// An id as text; texts and numbers are ids.
pub(super) fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// Finds the columns of captioned pictures: those chosen, else the usual names, else the only column that fits.
pub fn caption_columns(table: &ParquetTable, choice: &CaptionChoice) -> anyhow::Result<CaptionColumns> {
    let all: Vec<&str> = table.columns().iter().map(|(name, _)| name.as_str()).collect();
    let given = choice.image.iter().chain(&choice.id).chain(&choice.captions);
    for name in given {
        ensure!(all.contains(&name.as_str()), "there is no column \"{name}\"; the columns are: {}", all.join(", "));
    }
    let usual = |names: &[&str], fits: &dyn Fn(&ColumnKind) -> bool| {
        names.iter().find(|name| table.column(name).is_some_and(fits)).map(|name| (*name).to_owned())
    };
    let text = |kind: &ColumnKind| *kind == ColumnKind::Text;
    let picture = |kind: &ColumnKind| matches!(kind.element(), ColumnKind::Image | ColumnKind::Bytes);
    let picture_or_path = |kind: &ColumnKind| picture(kind) || *kind.element() == ColumnKind::Text;
    let image = (choice.image.clone())
        .or_else(|| usual(&["image", "images", "img", "picture"], &picture_or_path))
        .or_else(|| {
            let mut fitting = table.columns().iter().filter(|(_, kind)| picture(kind));
            fitting.next().filter(|_| fitting.next().is_none()).map(|(name, _)| name.clone())
        })
        .or_else(|| usual(&["file_name", "image_path", "path"], &text));
    let mut captions = choice.captions.clone();
    if captions.is_empty() {
        let names = ["caption", "captions", "text", "report", "description", "findings", "answer"];
        captions.extend(usual(&names, &text));
    }
    let id = (choice.id.clone()).or_else(|| usual(&["id", "image_id", "uid", "key", "file_name"], &|_| true));
    let (Some(image), false) = (image, captions.is_empty()) else {
        bail!(
            "no columns of captioned pictures found among: {}; say which they are with --image-column and --caption-column",
            all.join(", ")
        );
    };
    if let Some(ColumnKind::Other) = table.column(&image).map(ColumnKind::element) {
        bail!("column \"{image}\" holds no pictures; pictures are a struct of bytes and path, bytes, or paths");
    }
    for (i, column) in captions.iter().enumerate() {
        ensure!(!captions[..i].contains(column), "the column of captions \"{column}\" is named twice");
    }
    ensure!(!choice.both || captions.len() > 1, "`both` makes a sample of each caption: name two columns of captions");
    let (both, questions, seed) = (choice.both, choice.questions.clone(), choice.seed);
    Ok(CaptionColumns { image: Some(image), id, captions, both, questions, seed })
}
