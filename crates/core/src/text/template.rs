//! The texts of the template `qwen2_vl` (LLaMA-Factory 0.9.5, `data/template.py`, `formatter.py`, `tool_utils.py`).
//! Each message becomes one text; the system block another. `encode.rs` tokenises them one by one.
//!
//! One artefact of LLaMA-Factory is left out on purpose: there the words `{{idx}}` in a user's text turn into the number
//! of the turn.
use super::{Conversation, EncodeError, Message, Role};
use crate::python_json;
use serde_json::Value;

/// The template as Jinja, as the published Qwen2-VL folders hold it: for those who load a folder that we write. Nothing here
/// is computed from it.
pub const CHAT_TEMPLATE: &str = include_str!("chat_template.jinja");

/// The system text where neither sample nor options give one.
pub const DEFAULT_SYSTEM: &str = "You are a helpful assistant.";

/// Stands for one picture in a message.
pub const IMAGE_MARK: &str = "<image>";

/// `text` with a mark for each of its pictures. As LLaMA-Factory: those that no mark names stand before the text, in order.
pub fn with_image_marks(text: &str, pictures: usize) -> String {
    let missing = pictures.saturating_sub(text.matches(IMAGE_MARK).count());
    IMAGE_MARK.repeat(missing) + text
}

/// `Picture 1: ` before the first picture of the conversation, and so on, as the published chat template does with
/// `add_vision_id`.
pub fn number_pictures(conversation: &mut Conversation) {
    let mut number = 0;
    for message in &mut conversation.messages {
        let mut parts = message.content.split(IMAGE_MARK);
        let mut content = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            number += 1;
            content += &format!("Picture {number}: {IMAGE_MARK}{part}");
        }
        message.content = content;
    }
}

pub(super) const VIDEO_MARK: &str = "<video>";
pub(super) const AUDIO_MARK: &str = "<audio>";

/// What a mark turns into; `encode.rs` repeats the pad once per merged patch after tokenising, which gives the same ids
/// as repeating it in the text and spares tokenising thousands of pads.
const IMAGE_BLOCK: &str = "<|vision_start|><|image_pad|><|vision_end|>";

/// The block before the first turn; empty if there is neither a system text nor tools. An empty `system` falls back to
/// `default_system`, which may be empty too.
pub(super) fn system_block(
    system: Option<&str>,
    default_system: Option<&str>,
    tools: Option<&str>,
) -> Result<String, EncodeError> {
    let system = system.filter(|s| !s.is_empty()).unwrap_or(default_system.unwrap_or(DEFAULT_SYSTEM));
    let tools = tools.filter(|t| !t.is_empty());
    if system.is_empty() && tools.is_none() {
        return Ok(String::new());
    }
    let tools = tools.map(tools_text).transpose()?.unwrap_or_default();
    Ok(format!("<|im_start|>system\n{system}{tools}<|im_end|>\n"))
}

/// The text of one message; `number` counts from 1 and is only for errors.
pub(super) fn message_text(message: &Message, number: usize) -> Result<String, EncodeError> {
    let content = message.content.replace(IMAGE_MARK, IMAGE_BLOCK);
    Ok(match message.role {
        Role::User => format!("<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"),
        Role::Assistant => format!("{content}<|im_end|>\n"),
        Role::Observation => {
            format!("<|im_start|>user\n<tool_response>\n{content}\n</tool_response><|im_end|>\n<|im_start|>assistant\n")
        }
        Role::Function => {
            let calls =
                function_calls(&content).map_err(|reason| EncodeError::BadFunctionCall { message: number, reason })?;
            format!("{calls}<|im_end|>\n")
        }
    })
}

/// The Qwen2.5 tools prompt, which follows the system text; empty for an empty list.
fn tools_text(tools: &str) -> Result<String, EncodeError> {
    let bad = |reason: String| EncodeError::BadTools(reason);
    let tools: Vec<Value> = serde_json::from_str(tools).map_err(|e| bad(e.to_string()))?;
    if tools.is_empty() {
        return Ok(String::new());
    }
    let mut lines = String::new();
    for (i, tool) in tools.into_iter().enumerate() {
        let object = tool.as_object().ok_or_else(|| bad(format!("entry {} is no object", i + 1)))?;
        let wrapped = if object.get("type").is_some_and(|t| t == "function") {
            tool
        } else {
            serde_json::json!({"type": "function", "function": tool})
        };
        lines.push('\n');
        lines += &python_json::unicode_line(&wrapped).map_err(|e| bad(format!("entry {}: {e}", i + 1)))?;
    }
    Ok(format!(
        "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n\
         You are provided with function signatures within <tools></tools> XML tags:\n<tools>{lines}\n</tools>\n\n\
         For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n\
         <tool_call>\n{{\"name\": <function-name>, \"arguments\": <args-json-object>}}\n</tool_call>"
    ))
}

/// The calls of a function message, each in `<tool_call>` tags. Content that already has the tags, or begins with a
/// thought, keeps the text around the JSON in front of the calls.
fn function_calls(content: &str) -> Result<String, String> {
    if let Some((whole, inner)) = between(content, "<tool_call>", "</tool_call>") {
        return Ok(content.replace(whole, "") + &wrap_calls(inner)?);
    }
    if let Some((thought, _)) = between(content, "<think>\n", "\n</think>\n\n") {
        return Ok(thought.to_owned() + &wrap_calls(&content.replace(thought, ""))?);
    }
    wrap_calls(content)
}

fn wrap_calls(json: &str) -> Result<String, String> {
    let calls = match serde_json::from_str(json).map_err(|e| e.to_string())? {
        Value::Array(calls) => calls,
        call => vec![call],
    };
    let texts = calls.iter().map(|call| {
        let field = |key: &str| call.get(key).cloned().ok_or_else(|| format!("it has no \"{key}\""));
        let call = serde_json::json!({"name": field("name")?, "arguments": field("arguments")?});
        Ok(format!("<tool_call>\n{}\n</tool_call>", python_json::unicode_line(&call).map_err(|e| e.to_string())?))
    });
    Ok(texts.collect::<Result<Vec<_>, String>>()?.join("\n"))
}

/// The first `open … close` of `text`: with and without the two words.
fn between<'t>(text: &'t str, open: &str, close: &str) -> Option<(&'t str, &'t str)> {
    let start = text.find(open)?;
    let inner = start + open.len();
    let end = inner + text[inner..].find(close)?;
    Some((&text[start..end + close.len()], &text[inner..end]))
}
