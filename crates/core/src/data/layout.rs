//! Row → conversation: LLaMA-Factory's three layouts (`data/converter.py` at v0.9.5); captioned pictures are in
//! [`super::captions`].
//!
//! Where LLaMA-Factory logs "Invalid role tag" and drops the row, or dies in the middle of a run, a [`Fault`] says
//! what is wrong. Two things are done differently on purpose: for `openai`, LLaMA-Factory appends "detailed thinking
//! off" to every system text, a leftover of another model family that is not copied; and a tool result after the last
//! answer, which it drops without a word, is a fault.

use super::captions::CaptionColumns;
use super::cells::ImageCell;
use super::dataset_info::{Columns, Formatting, Tags};
use super::problem::{Fault, kind};
use super::table::Row;
use crate::text::{Conversation, Message, Role};
use serde_json::Value;

/// What stands for a picture in a text.
pub const IMAGE_MARK: &str = "<image>";

/// How rows are laid out.
#[derive(Debug, Clone)]
pub enum Layout {
    Alpaca(Columns),
    Sharegpt(Columns, Tags),
    Openai(Columns, Tags),
    Caption(CaptionColumns),
}

/// A row understood. Pictures are still where the row said.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    pub conversation: Conversation,
    pub images: Vec<ImageCell>,
    pub image_labels: Option<Vec<Vec<String>>>,
}

impl Layout {
    pub fn new(formatting: Formatting, columns: Columns, tags: Tags) -> Self {
        match formatting {
            Formatting::Alpaca => Self::Alpaca(columns),
            Formatting::Sharegpt => Self::Sharegpt(columns, tags),
            Formatting::Openai => Self::Openai(columns, tags),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Alpaca(_) => Formatting::Alpaca.name(),
            Self::Sharegpt(..) => Formatting::Sharegpt.name(),
            Self::Openai(..) => Formatting::Openai.name(),
            Self::Caption(_) => "caption",
        }
    }

    /// The column that holds pictures.
    pub fn image_column(&self) -> Option<&str> {
        match self {
            Self::Alpaca(c) | Self::Sharegpt(c, _) | Self::Openai(c, _) => c.images.as_deref(),
            Self::Caption(c) => c.image.as_deref(),
        }
    }

    /// The columns it reads beside the pictures.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::Alpaca(c) => {
                let own = [&c.prompt, &c.query, &c.response, &c.history, &c.system, &c.tools, &c.videos, &c.audios];
                own.into_iter().flatten().map(String::as_str).chain([c.image_labels.as_str()]).collect()
            }
            Self::Sharegpt(c, _) | Self::Openai(c, _) => {
                let own = [&c.messages, &c.system, &c.tools, &c.videos, &c.audios];
                own.into_iter().flatten().map(String::as_str).chain([c.image_labels.as_str()]).collect()
            }
            Self::Caption(c) => c.texts().collect(),
        }
    }

    /// Samples that one row makes.
    pub fn samples_a_row(&self) -> usize {
        match self {
            Self::Caption(c) => c.samples_a_row(),
            _ => 1,
        }
    }

    /// Understands sample number `i` of the table, which is of row `i` / [`Self::samples_a_row`].
    pub fn parse(&self, row: Row, i: usize) -> Result<Parsed, Fault> {
        let parsed = match self {
            Self::Alpaca(columns) => {
                let messages = alpaca(&row, columns)?;
                with_common(row, columns, messages, None)?
            }
            Self::Sharegpt(columns, tags) | Self::Openai(columns, tags) => {
                let merge_tools = matches!(self, Self::Openai(..));
                let turns = turns(&row, columns, tags, merge_tools)?;
                let mut parsed = with_common(row, columns, turns.messages, turns.system)?;
                if !turns.images.is_empty() && !parsed.images.is_empty() {
                    return Err(Fault::new(
                        kind::IMAGE_COUNT,
                        "pictures both in the messages and in the images column: their order is not clear; keep one of the two",
                    ));
                }
                parsed.images.extend(turns.images);
                parsed
            }
            Self::Caption(columns) => columns.parse(row, i)?,
        };
        parsed.check()?;
        Ok(parsed)
    }
}

impl Parsed {
    /// What every layout has to keep to.
    fn check(&self) -> Result<(), Fault> {
        let messages = &self.conversation.messages;
        if messages.is_empty() {
            // Stage `vision` learns from labels per picture token and needs no conversation.
            return if self.image_labels.is_some() {
                Ok(())
            } else {
                Err(Fault::new(kind::NO_TURNS, "the conversation has no turns"))
            };
        }
        for (i, message) in messages.iter().enumerate() {
            let asks = matches!(message.role, Role::User | Role::Observation);
            if asks != (i % 2 == 0) {
                let (is, expected) = if asks { ("a question", "an answer") } else { ("an answer", "a question") };
                return Err(Fault::new(
                    kind::BAD_ROLE,
                    format!(
                        "turn {} is {is} where {expected} must be: questions (user, observation) and answers (assistant, function) take turns, a question first",
                        i + 1
                    ),
                ));
            }
        }
        if messages.len() % 2 == 1 {
            return Err(Fault::new(kind::ODD_TURNS, format!("{} turns: the last one has no answer", messages.len())));
        }
        if let Some(i) = messages.iter().position(|m| m.role == Role::Assistant && m.content.trim().is_empty()) {
            return Err(Fault::new(kind::EMPTY_CAPTION, format!("turn {} is an answer without text", i + 1)));
        }
        for mark in ["<video>", "<audio>"] {
            if messages.iter().any(|m| m.content.contains(mark)) {
                return Err(Fault::new(
                    kind::UNSUPPORTED_MEDIA,
                    format!("{mark} in the text: only pictures are supported"),
                ));
            }
        }
        // All turns count, as in LLaMA-Factory (`mm_plugin.py`, `_validate_messages`).
        let marks: usize = messages.iter().map(|m| m.content.matches(IMAGE_MARK).count()).sum();
        if marks != self.images.len() {
            return Err(Fault::new(
                kind::IMAGE_COUNT,
                format!(
                    "{marks} {IMAGE_MARK} marks in the messages, but {} pictures; both numbers must be the same",
                    self.images.len()
                ),
            ));
        }
        Ok(())
    }
}

/// What a JSON value is, in words.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn bad_type(what: &str, expected: &str, found: &Value) -> Fault {
    Fault::new(kind::BAD_TYPE, format!("{what} must be {expected}, not {}", type_name(found)))
}

/// A text, or `None` for null and for a column that is not there.
fn text<'a>(row: &'a Row, column: Option<&str>) -> Result<Option<&'a str>, Fault> {
    let Some(column) = column else { return Ok(None) };
    match row.fields.get(column) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s)),
        Some(other) => Err(bad_type(&format!("column \"{column}\""), "a text", other)),
    }
}

/// System text, tools, pictures and labels, which all layouts have in common.
fn with_common(row: Row, columns: &Columns, messages: Vec<Message>, system: Option<String>) -> Result<Parsed, Fault> {
    for column in [&columns.videos, &columns.audios].into_iter().flatten() {
        match row.fields.get(column) {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) if list.is_empty() => {}
            Some(_) => {
                return Err(Fault::new(
                    kind::UNSUPPORTED_MEDIA,
                    format!("column \"{column}\" is not empty: only pictures are supported"),
                ));
            }
        }
    }
    // A system message comes before the system column, and an empty text counts as none.
    let system = match system {
        Some(system) => Some(system),
        None => text(&row, columns.system.as_deref())?.map(str::to_owned),
    };
    let tools = match columns.tools.as_ref().and_then(|column| row.fields.get(column)) {
        Some(list @ (Value::Array(_) | Value::Object(_))) => Some(list.to_string()),
        _ => text(&row, columns.tools.as_deref())?.map(str::to_owned),
    };
    let image_labels = match row.fields.get(&columns.image_labels) {
        None | Some(Value::Null) => None,
        Some(value) => Some(image_labels(value)?),
    };
    let full = |text: &String| !text.is_empty();
    let conversation = Conversation { system: system.filter(full), tools: tools.filter(full), messages };
    Ok(Parsed { conversation, images: row.images, image_labels })
}

fn image_labels(value: &Value) -> Result<Vec<Vec<String>>, Fault> {
    let wrong = || {
        Fault::new(kind::IMAGE_LABELS, "`image_labels` must be a list (one entry per picture token) of lists of words")
    };
    let tokens = value.as_array().ok_or_else(wrong)?;
    tokens
        .iter()
        .map(|words| {
            words
                .as_array()
                .ok_or_else(wrong)?
                .iter()
                .map(|w| w.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect()
        })
        .collect()
}

/// History pairs, then instruction and input joined by a newline (empty ones left out), then the output.
fn alpaca(row: &Row, columns: &Columns) -> Result<Vec<Message>, Fault> {
    let mut messages = Vec::new();
    let mut push = |role, content: &str| messages.push(Message { role, content: content.to_owned() });
    if let Some(Value::Array(history)) = columns.history.as_ref().and_then(|c| row.fields.get(c)) {
        for (i, pair) in history.iter().enumerate() {
            let [question, answer] = pair.as_array().map(Vec::as_slice).unwrap_or_default() else {
                return Err(Fault::new(
                    kind::BAD_TYPE,
                    format!("history entry {} is not a pair of question and answer", i + 1),
                ));
            };
            let (Some(question), Some(answer)) = (question.as_str(), answer.as_str()) else {
                return Err(Fault::new(
                    kind::BAD_TYPE,
                    format!("history entry {}: question and answer must be texts", i + 1),
                ));
            };
            push(Role::User, question);
            push(Role::Assistant, answer);
        }
    }
    let prompt = text(row, columns.prompt.as_deref())?;
    let query = text(row, columns.query.as_deref())?;
    if prompt.is_none() && query.is_none() {
        let named = [&columns.prompt, &columns.query]
            .into_iter()
            .flatten()
            .map(|c| format!("\"{c}\""))
            .collect::<Vec<_>>()
            .join(" nor ");
        return Err(Fault::new(
            kind::MISSING_COLUMN,
            format!("the row has no question: neither {named}; name its columns in dataset_info.json (`columns`)"),
        ));
    }
    let parts: Vec<&str> = [prompt, query].into_iter().flatten().filter(|s| !s.is_empty()).collect();
    push(Role::User, &parts.join("\n"));
    // LLaMA-Factory takes a row whose answer is no text for unsupervised and drops it.
    match columns.response.as_ref().and_then(|c| row.fields.get(c)) {
        Some(Value::String(answer)) => push(Role::Assistant, answer),
        _ => {
            let column = columns.response.as_deref().unwrap_or("response");
            return Err(Fault::new(kind::NO_ANSWER, format!("the row has no answer (column \"{column}\")")));
        }
    }
    Ok(messages)
}

#[derive(Default)]
struct Turns {
    system: Option<String>,
    messages: Vec<Message>,
    /// From content parts.
    images: Vec<ImageCell>,
}

/// A list of `{role, content}`. `merge_tools` (openai): tool results in a row become one observation, and `tool_calls`
/// become a function message.
fn turns(row: &Row, columns: &Columns, tags: &Tags, merge_tools: bool) -> Result<Turns, Fault> {
    let column = columns.messages.as_deref().ok_or_else(|| {
        Fault::new(kind::MISSING_COLUMN, "dataset_info.json names no messages column (`columns`: {\"messages\": …})")
    })?;
    let list = match row.fields.get(column) {
        None => {
            let found: Vec<&str> = row.fields.keys().map(String::as_str).take(12).collect();
            return Err(Fault::new(
                kind::MISSING_COLUMN,
                format!("the row has no column \"{column}\"; it has: {}", found.join(", ")),
            ));
        }
        Some(Value::Array(list)) => list,
        Some(other) => return Err(bad_type(&format!("column \"{column}\""), "a list of turns", other)),
    };
    let mut turns = Turns::default();
    let mut tool_results: Vec<String> = Vec::new();
    for (i, turn) in list.iter().enumerate() {
        let fields = turn.as_object().ok_or_else(|| bad_type(&format!("turn {}", i + 1), "an object", turn))?;
        let name = match fields.get(&tags.role) {
            Some(Value::String(name)) => name,
            _ => return Err(Fault::new(kind::BAD_ROLE, format!("turn {} has no role (\"{}\")", i + 1, tags.role))),
        };
        let called =
            fields.get("tool_calls").and_then(Value::as_array).filter(|calls| merge_tools && !calls.is_empty());
        let content = match (fields.get(&tags.content), called) {
            (Some(Value::String(text)), _) => text.clone(),
            (Some(Value::Array(parts)), _) => content_parts(parts, i, &mut turns.images)?,
            (None | Some(Value::Null), Some(_)) => String::new(),
            (None | Some(Value::Null), None) => {
                return Err(Fault::new(kind::BAD_TYPE, format!("turn {} has no text (\"{}\")", i + 1, tags.content)));
            }
            (Some(other), _) => {
                return Err(bad_type(&format!("turn {}: \"{}\"", i + 1, tags.content), "a text", other));
            }
        };
        if i == 0 && Some(name) == tags.system.as_ref() {
            turns.system = Some(content);
            continue;
        }
        let role = role(name, tags, i)?;
        if merge_tools && role == Role::Observation {
            tool_results.push(content);
            continue;
        }
        if !tool_results.is_empty() {
            let content = std::mem::take(&mut tool_results).join("\n</tool_response>\n<tool_response>\n");
            turns.messages.push(Message { role: Role::Observation, content });
        }
        turns.messages.push(match called {
            Some(calls) if matches!(role, Role::Assistant | Role::Function) => {
                let calls: Vec<&Value> = calls.iter().map(|call| call.get("function").unwrap_or(call)).collect();
                let content = serde_json::to_string(&calls).map_err(|e| Fault::new(kind::BAD_JSON, e.to_string()))?;
                Message { role: Role::Function, content }
            }
            _ => Message { role, content },
        });
    }
    if !tool_results.is_empty() {
        return Err(Fault::new(kind::ODD_TURNS, "the conversation ends with a tool result that nobody answers"));
    }
    Ok(turns)
}

fn role(name: &str, tags: &Tags, i: usize) -> Result<Role, Fault> {
    let known = [
        (&tags.user, Role::User),
        (&tags.assistant, Role::Assistant),
        (&tags.observation, Role::Observation),
        (&tags.function, Role::Function),
    ];
    if let Some((_, role)) = known.iter().find(|(tag, _)| tag.as_deref() == Some(name)) {
        return Ok(*role);
    }
    let hint = if name == "system" && tags.system.is_none() {
        "; dataset_info.json names no system tag: add \"system_tag\": \"system\" to `tags`".to_owned()
    } else if tags.system.as_deref() == Some(name) {
        "; a system message can only come first".to_owned()
    } else {
        let names: Vec<&str> = known.iter().filter_map(|(tag, _)| tag.as_deref()).collect();
        format!("; the roles named in dataset_info.json (`tags`) are: {}", names.join(", "))
    };
    Err(Fault::new(kind::BAD_ROLE, format!("turn {} has the role \"{}\"{hint}", i + 1, super::media::shorten(name))))
}

/// OpenAI's list of parts: texts are joined, and each picture becomes an `<image>` mark at its place.
fn content_parts(parts: &[Value], turn: usize, images: &mut Vec<ImageCell>) -> Result<String, Fault> {
    let mut content = String::new();
    for part in parts {
        let text = |key: &str| part.get(key).and_then(Value::as_str);
        let url = || part.get("image_url").and_then(|u| u.get("url").unwrap_or(u).as_str());
        match text("type") {
            Some("text") => content += text("text").unwrap_or_default(),
            Some("image" | "image_url") => match text("image").or_else(|| text("path")).or_else(url) {
                Some(path) => {
                    content += IMAGE_MARK;
                    images.push(ImageCell::Path(path.to_owned()));
                }
                None => {
                    return Err(Fault::new(
                        kind::IMAGE_MISSING,
                        format!("turn {}: a picture part without a path", turn + 1),
                    ));
                }
            },
            other => {
                return Err(Fault::new(
                    kind::UNSUPPORTED_MEDIA,
                    format!(
                        "turn {}: a part of type \"{}\"; text and image are supported",
                        turn + 1,
                        other.unwrap_or("(none)")
                    ),
                ));
            }
        }
    }
    Ok(content)
}
