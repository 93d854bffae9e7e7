//! The body of `POST /v1/chat/completions`, read strictly: a field that would change the answer and is not supported is
//! refused by name, one that changes nothing is ignored, one that nobody knows is an error.
//!
//! Not here: where pictures come from ([`super::pictures`]), and which values options may have
//! ([`AskOptions::check`]).

use super::error::ApiError;
use lightbox_core::chat::{AskOptions, Role};
use lightbox_core::safe_text::clean_line;
use lightbox_core::text::IMAGE_MARK;
use serde_json::{Map, Value};

/// Marks that the model's template puts media for; a text must not hold them.
const MARKS: [&str; 3] = [IMAGE_MARK, "<video>", "<audio>"];

/// Fields that say nothing about the answer itself.
const IGNORED: [&str; 9] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
    "top_logprobs",
];

/// Fields that this server cannot do, each with the values that ask for nothing (`null` always does), and what to do.
const REFUSED: [(&str, &[&str], &str); 16] = [
    ("logprobs", &["false"], "log probabilities are not given"),
    ("presence_penalty", &["0", "0.0"], "use repetition_penalty (above 1: seen tokens become less likely)"),
    ("frequency_penalty", &["0", "0.0"], "use repetition_penalty (above 1: seen tokens become less likely)"),
    ("logit_bias", &["{}"], "tokens cannot be weighted"),
    ("response_format", &[r#"{"type":"text"}"#], "answers are plain text"),
    ("tools", &["[]"], "tools are not supported"),
    ("tool_choice", &[r#""none""#, r#""auto""#], "tools are not supported"),
    ("functions", &["[]"], "tools are not supported"),
    ("function_call", &[r#""none""#, r#""auto""#], "tools are not supported"),
    ("modalities", &[r#"["text"]"#], "answers are plain text"),
    ("audio", &[], "answers are plain text"),
    ("prediction", &[], "predicted outputs are not supported"),
    ("reasoning_effort", &[r#""none""#], "the model does not reason apart"),
    ("verbosity", &[r#""medium""#], "ask for a short or long answer in the prompt"),
    ("web_search_options", &[], "nothing is fetched from the network"),
    ("best_of", &["1"], "there is one answer to a request"),
];

/// What is asked.
#[derive(Debug, PartialEq)]
pub struct ChatRequest {
    pub model: String,
    pub system: Option<String>,
    /// Question, answer, …, question.
    pub messages: Vec<MessageIn>,
    pub options: AskOptions,
    pub stream: bool,
    /// Counts as a chunk of their own at the end of a stream.
    pub include_usage: bool,
}

#[derive(Debug, PartialEq)]
pub struct MessageIn {
    pub role: Role,
    /// With an [`IMAGE_MARK`] for each picture, where it stood.
    pub content: String,
    pub pictures: Vec<PictureIn>,
}

/// A picture as the client names it.
#[derive(Debug, PartialEq)]
pub struct PictureIn {
    /// Its field, for errors.
    pub param: String,
    pub url: String,
}

impl ChatRequest {
    /// # Errors
    /// 400, naming the field.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let json: Value = serde_json::from_slice(body)
            .map_err(|error| ApiError::field("body", format!("the body is not valid JSON: {error}")))?;
        let Value::Object(mut fields) = json else {
            return Err(ApiError::field("body", "the body has to be a JSON object with model and messages"));
        };
        fields.retain(|_, value| !value.is_null());
        let mut f = Fields(fields);
        let model = f
            .text("model")?
            .ok_or_else(|| ApiError::field("model", "no model is named; GET /v1/models lists those that there are"))?;
        let messages = f.0.remove("messages");
        let (system, messages) = conversation(messages)?;
        let stream = f.bool("stream")?.unwrap_or(false);
        let include_usage = f.stream_options(stream)?;
        if f.number("n")?.is_some_and(|n| n != 1.0) {
            return Err(ApiError::field("n", "n has to be 1: there is one answer to a request"));
        }
        let options = f.options()?;
        f.nothing_else()?;
        Ok(Self { model, system, messages, options, stream, include_usage })
    }
}

/// The fields that are still to be read; none of them is null.
struct Fields(Map<String, Value>);

impl Fields {
    fn wrong<T>(name: &str, value: &Value, wanted: &str) -> Result<T, ApiError> {
        Err(ApiError::field(name, format!("{name} is {}; it needs {wanted}", shown(value))))
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Self::wrong(name, &value, "a text"),
        }
    }

    fn bool(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::Bool(yes)) => Ok(Some(yes)),
            Some(value) => Self::wrong(name, &value, "true or false"),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        value.as_f64().map_or_else(|| Self::wrong(name, &value, "a number"), |x| Ok(Some(x)))
    }

    fn whole(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        value.as_i64().map_or_else(|| Self::wrong(name, &value, "a whole number"), |n| Ok(Some(n)))
    }

    fn stream_options(&mut self, stream: bool) -> Result<bool, ApiError> {
        let Some(value) = self.0.remove("stream_options") else { return Ok(false) };
        if !stream {
            return Err(ApiError::field("stream_options", "stream_options needs stream to be true"));
        }
        let Value::Object(mut options) = value else {
            return Self::wrong("stream_options", &value, r#"an object like {"include_usage": true}"#);
        };
        // Random filling against eavesdropping on lengths; there is none here, and nobody relies on it.
        options.remove("include_obfuscation");
        options.retain(|_, value| !value.is_null());
        let mut options = Self(options);
        let include_usage = options.bool("include_usage")?.unwrap_or(false);
        options.nothing_else()?;
        Ok(include_usage)
    }

    fn options(&mut self) -> Result<AskOptions, ApiError> {
        let mut options = AskOptions::default();
        // The newer name wins, as in OpenAI's own server.
        for name in ["max_tokens", "max_completion_tokens"] {
            match self.whole(name)? {
                None => {}
                Some(n @ 1..) => options.max_new_tokens = usize::try_from(n).ok(),
                Some(n) => return Err(ApiError::field(name, format!("{name} is {n}; it needs 1 or more"))),
            }
        }
        options.temperature = self.number("temperature")?;
        options.top_p = self.number("top_p")?;
        options.min_p = self.number("min_p")?;
        options.repetition_penalty = self.number("repetition_penalty")?;
        options.do_sample = self.bool("do_sample")?;
        // vLLM writes "no limit" as -1 (formerly) and 0.
        options.top_k = match self.whole("top_k")? {
            Some(-1) => Some(0),
            Some(n) if n < 0 => return Err(ApiError::field("top_k", format!("top_k is {n}; it needs 0 or more"))),
            n => n.and_then(|n| usize::try_from(n).ok()),
        };
        // Negative seeds are seeds like others.
        options.seed = self.whole("seed")?.map(i64::cast_unsigned);
        options.stop = match self.0.remove("stop") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one],
            Some(value) => match serde_json::from_value::<Vec<String>>(value) {
                Ok(several) => several,
                Err(_) => return Err(ApiError::field("stop", "stop needs a text or a list of texts")),
            },
        };
        options.check().map_err(|error| ApiError::field(named_in(&error.to_string()), error.to_string()))?;
        Ok(options)
    }

    /// What is left has to be without effect.
    fn nothing_else(self) -> Result<(), ApiError> {
        for (name, value) in self.0 {
            if IGNORED.contains(&name.as_str()) {
                continue;
            }
            let Some((_, neutral, instead)) = REFUSED.iter().find(|(known, ..)| *known == name) else {
                let name = clean_line(&name, 60);
                let message =
                    format!("{name} is not known here; take it out (the guide lists the fields of a request)");
                return Err(ApiError::field(name, message));
            };
            if !neutral.contains(&value.to_string().as_str()) {
                let message = format!("{name} is {}: {instead}; take it out", shown(&value));
                return Err(ApiError { code: Some("unsupported_parameter"), ..ApiError::field(name, message) });
            }
        }
        Ok(())
    }
}

/// The option that a message of [`AskOptions::check`] begins with, under its name here.
fn named_in(message: &str) -> String {
    match message.split(' ').next() {
        Some("max_new_tokens") => "max_tokens".to_owned(),
        Some(name) if name.contains('_') || name == "temperature" => name.to_owned(),
        _ => "stop".to_owned(),
    }
}

fn conversation(messages: Option<Value>) -> Result<(Option<String>, Vec<MessageIn>), ApiError> {
    let wanted = "messages needs a list with at least one message";
    let Some(Value::Array(list)) = messages else { return Err(ApiError::field("messages", wanted)) };
    let (mut system, mut messages) = (None, Vec::new());
    for (i, value) in list.into_iter().enumerate() {
        let at = format!("messages[{i}]");
        let Value::Object(mut fields) = value else {
            return Err(ApiError::field(at, "a message is an object with role and content"));
        };
        fields.retain(|_, value| !value.is_null());
        let mut f = Fields(fields);
        let role = f.text("role").map_err(|e| inside(&at, e))?.unwrap_or_default();
        let content = f.0.remove("content");
        // Who said it; the template has no place for names.
        for ignored in ["name", "refusal", "annotations"] {
            f.0.remove(ignored);
        }
        if let Some((name, _)) = f.0.iter().find(|(_, value)| value.as_array().is_none_or(|list| !list.is_empty())) {
            let name = clean_line(name, 60);
            return Err(ApiError::field(format!("{at}.{name}"), format!("{name} is not supported in a message")));
        }
        let (content, pictures) = parts(&at, content)?;
        let role = match role.as_str() {
            "system" | "developer" if i == 0 && pictures.is_empty() => {
                system = Some(content);
                continue;
            }
            "system" | "developer" => {
                return Err(ApiError::field(at, "a system message is the first one, and has no pictures"));
            }
            "user" => Role::User,
            "assistant" if pictures.is_empty() => Role::Assistant,
            "assistant" => return Err(ApiError::field(at, "pictures stand in messages of the user")),
            other => {
                let other = clean_line(other, 40);
                let message = format!("the role \"{other}\" is not supported; use system, user or assistant");
                return Err(ApiError::field(format!("{at}.role"), message));
            }
        };
        let expected = if messages.len() % 2 == 0 { Role::User } else { Role::Assistant };
        if role != expected {
            let message = "messages of user and assistant have to alternate, beginning with the user's; \
                           join those that follow each other";
            return Err(ApiError::field(at, message));
        }
        messages.push(MessageIn { role, content, pictures });
    }
    if messages.len() % 2 == 0 {
        let message = if messages.is_empty() { wanted } else { "the last message has to be the user's" };
        return Err(ApiError::field("messages", message));
    }
    Ok((system, messages))
}

/// A message's text and pictures, in the order of its parts.
fn parts(at: &str, content: Option<Value>) -> Result<(String, Vec<PictureIn>), ApiError> {
    let (mut text, mut pictures) = (String::new(), Vec::new());
    let add = |text: &mut String, param: String, piece: &str| {
        if let Some(mark) = MARKS.iter().find(|mark| piece.contains(*mark)) {
            let message =
                format!("the text holds {mark}, which the model's template puts media for; write it otherwise");
            return Err(ApiError::field(param, message));
        }
        text.push_str(piece);
        Ok(())
    };
    match content {
        None => {}
        Some(Value::String(piece)) => add(&mut text, format!("{at}.content"), &piece)?,
        Some(Value::Array(list)) => {
            for (i, part) in list.into_iter().enumerate() {
                let param = format!("{at}.content[{i}]");
                let url = &part["image_url"];
                match (part["type"].as_str(), part["text"].as_str(), url["url"].as_str().or(url.as_str())) {
                    (Some("text"), Some(piece), _) => add(&mut text, param, piece)?,
                    (Some("image_url"), _, Some(url)) => {
                        text.push_str(IMAGE_MARK);
                        pictures.push(PictureIn { param: format!("{param}.image_url"), url: url.to_owned() });
                    }
                    (Some("text"), ..) => return Err(ApiError::field(param, "a text part needs its text")),
                    (Some("image_url"), ..) => {
                        return Err(ApiError::field(
                            param,
                            r#"a picture is {"type": "image_url", "image_url": {"url": "…"}}"#,
                        ));
                    }
                    _ => return Err(ApiError::field(param, "a part has the type text or image_url")),
                }
            }
        }
        Some(_) => return Err(ApiError::field(format!("{at}.content"), "content is a text or a list of parts")),
    }
    // A mark must not come about where two pieces meet.
    let marks: usize = MARKS.iter().map(|mark| text.matches(mark).count()).sum();
    if marks != pictures.len() {
        let message =
            format!("the parts together hold {}, which the model's template puts media for", MARKS.join(" or "));
        return Err(ApiError::field(format!("{at}.content"), message));
    }
    Ok((text, pictures))
}

fn inside(at: &str, error: ApiError) -> ApiError {
    ApiError { param: error.param.map(|param| format!("{at}.{param}")), ..error }
}

/// A value as a message may show it.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        value => clean_line(&value.to_string(), 60),
    }
}

#[cfg(test)]
mod tests;
