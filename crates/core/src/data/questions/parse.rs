//! Sets of questions as people write them:
//!
//! ```yaml
//! questions:                      # a list, asked whatever the caption's language …
//!   - What does this image show?
//!   - text: Describe the findings.
//!     weight: 2                   # drawn twice as often
//! ```
//! ```yaml
//! questions:                      # … or a list for each language
//!   en: [What does this image show?]
//!   zh: [这幅图像显示了什么？]
//! ```
//! What stands under `questions` may stand in an entry of dataset_info.json as well.

use super::{QuestionSet, READY_MADE, Wording};
use crate::data::layout::{IMAGE_MARK, type_name};
use crate::data::media::open_regular;
use crate::text::Lang;
use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Map, Value};
use std::io::Read;
use std::path::Path;

/// A larger file is no list of questions.
const MAX_BYTES: u64 = 1 << 20;
/// Each can stand in a report, and in the journal of a conversion.
const MAX_WORDINGS: usize = 1000;

/// So that sums stay exact enough to share out.
const MAX_WEIGHT: f64 = 1e6;

const BUILT_IN: &str = include_str!("ready_made.yaml");

impl QuestionSet {
    /// `en`, `zh` or `match` (the ready-made sets), or a YAML file, whose path is relative to `dir`.
    ///
    /// # Errors
    /// No such set; a file that cannot be read, is not YAML, or holds something else; each names the file and the place.
    pub fn named(word: &str, dir: &Path) -> anyhow::Result<Self> {
        if let Some(set) = Self::ready_made(word) {
            return Ok(set);
        }
        let extension = Path::new(word).extension().unwrap_or_default().to_ascii_lowercase();
        ensure!(
            extension == "yaml" || extension == "yml",
            "\"{word}\" is neither a ready-made set of questions ({}) nor a .yaml file of your own",
            READY_MADE.join(", ")
        );
        Self::load(&dir.join(word))
    }

    /// A built-in set: questions in English, in Chinese, or in the caption's language.
    pub fn ready_made(name: &str) -> Option<Self> {
        let Ok(Self::ByCaption { en, zh }) = document(BUILT_IN.as_bytes()) else {
            unreachable!("the built-in questions are whole: a test reads them")
        };
        match name {
            "en" => Some(Self::Any(en)),
            "zh" => Some(Self::Any(zh)),
            "match" => Some(Self::ByCaption { en, zh }),
            _ => None,
        }
    }

    fn load(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let (file, len) = open_regular(path).with_context(|| format!("reading the questions of {name}"))?;
        ensure!(len <= MAX_BYTES, "{name} has {len} bytes, which no list of questions has; is it the data itself?");
        let mut bytes = Vec::with_capacity(len as usize);
        file.take(MAX_BYTES).read_to_end(&mut bytes).with_context(|| format!("reading the questions of {name}"))?;
        document(&bytes).with_context(|| format!("questions of {name}"))
    }

    /// What stands under `questions`: a list, lists by language, or a word for [`Self::named`].
    pub(in crate::data) fn of_value(value: &Value, dir: &Path) -> anyhow::Result<Self> {
        match value {
            Value::String(word) => Self::named(word, dir),
            Value::Array(list) => Ok(Self::Any(wordings(list, "")?)),
            Value::Object(lists) => by_language(lists),
            other => bail!(
                "`questions` must be a list of texts, or such lists by language (`en`, `zh`), not {}",
                type_name(other)
            ),
        }
    }
}

/// A whole file.
fn document(bytes: &[u8]) -> anyhow::Result<QuestionSet> {
    // By way of YAML's own value, which refuses a key that comes twice.
    let yaml: serde_yaml::Value = serde_yaml::from_slice(bytes).context("not YAML")?;
    let Ok(Value::Object(keys)) = serde_json::to_value(yaml) else {
        bail!("it must begin with `questions:` and hold a list of texts, or such lists by language (`en`, `zh`)");
    };
    if let Some(unknown) = keys.keys().find(|key| *key != "questions") {
        bail!("`{unknown}` is no key of it; it has only `questions`");
    }
    let questions = keys.get("questions").ok_or_else(|| anyhow!("it has no `questions`"))?;
    ensure!(!questions.is_string(), "`questions` must be a list of texts, or such lists by language, not a text");
    QuestionSet::of_value(questions, Path::new(""))
}

fn by_language(lists: &Map<String, Value>) -> anyhow::Result<QuestionSet> {
    let (mut en, mut zh) = (None, None);
    for (code, list) in lists {
        let place = match Lang::ALL.iter().find(|lang| lang.code() == code) {
            Some(Lang::En) => &mut en,
            Some(Lang::Zh) => &mut zh,
            None => bail!(
                "`{code}`: captions are told apart as `en` and `zh` only; questions in another language stand as one list, without languages"
            ),
        };
        let Value::Array(list) = list else { bail!("`{code}` must be a list of texts, not {}", type_name(list)) };
        *place = Some(wordings(list, &format!("`{code}`: "))?);
    }
    match (en, zh) {
        (Some(en), Some(zh)) => Ok(QuestionSet::ByCaption { en, zh }),
        // Nothing to choose between.
        (Some(only), None) | (None, Some(only)) => Ok(QuestionSet::Any(only)),
        (None, None) => bail!("there are no questions in it"),
    }
}

/// `place`: what an error begins with.
fn wordings(list: &[Value], place: &str) -> anyhow::Result<Vec<Wording>> {
    ensure!(!list.is_empty(), "{place}there are no questions in the list");
    ensure!(list.len() <= MAX_WORDINGS, "{place}{} questions; {MAX_WORDINGS} are the most", list.len());
    let mut wordings: Vec<Wording> = Vec::with_capacity(list.len());
    for (i, item) in list.iter().enumerate() {
        let wording = wording(item).with_context(|| format!("{place}question {}", i + 1))?;
        if let Some(first) = wordings.iter().position(|other| other.text == wording.text) {
            bail!("{place}question {} is question {} again; give that one a `weight` instead", i + 1, first + 1);
        }
        wordings.push(wording);
    }
    Ok(wordings)
}

fn wording(item: &Value) -> anyhow::Result<Wording> {
    let (text, weight) = match item {
        Value::String(text) => (text, 1.0),
        Value::Object(o) => {
            let Some(Value::String(text)) = o.get("text") else {
                bail!("it has no `text`; a question with a colon in it must stand in quotes");
            };
            if let Some(unknown) = o.keys().find(|key| !["text", "weight"].contains(&key.as_str())) {
                bail!("`{unknown}` is no key of a question; it has `text` and `weight`");
            }
            let weight = o.get("weight").map_or(Some(1.0), Value::as_f64);
            let weight = weight.filter(|w| *w > 0.0 && *w <= MAX_WEIGHT);
            (text, weight.ok_or_else(|| anyhow!("`weight`: {} is not a number above 0, up to a million", o["weight"]))?)
        }
        other => bail!("it must be a text, not {}", type_name(other)),
    };
    ensure!(!text.trim().is_empty(), "it is empty");
    ensure!(
        !text.contains(IMAGE_MARK),
        "it holds {IMAGE_MARK}, which is put before every question and would stand for a second picture"
    );
    Ok(Wording { text: text.clone(), weight })
}
