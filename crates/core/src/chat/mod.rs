//! Talking to a model that stays loaded: the words between the Chat screen and `lightbox-engine answer`, its child. Both
//! sides use these types; on the wire they are JSON, one object a line.
//!
//! ```text
//! screen ── stdin ──►  ask · stop · load · unload · quit            [`Request`], tagged "do"
//! screen ◄─ stdout ──  ready · loading · loaded · started · text · done · failed · unloaded      [`Reply`], tagged "event"
//! ```
//! Every `ask` ends in exactly one `done` or `failed` with its id. Questions wait in line and are answered in order, those
//! to one model together; `stop`
//! works on one that waits, loads or speaks. When stdin ends the worker ends: it keeps nothing that could be lost.
//!
//! Texts are as the model wrote them; whoever shows them cleans them ([`crate::safe_text`]). Not here: how questions are
//! queued and stopped ([`serve`]), and how a model is asked (the engine's `commands/answer.rs`).

pub mod serve;
#[cfg(test)]
mod tests;

use crate::args::{Dtype, ModelArgs, ResolvedModel};
use crate::data::ImageRef;
use crate::exit::Exit;
pub use crate::generation::AskOptions;
use crate::profile::Device;
use crate::text;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the screen wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "nearly every request is a question, and few are in memory at once")]
pub enum Request {
    Ask(Ask),
    /// Ends this answer at once; what has been said of it comes in its `done`. Nothing happens if it has ended already.
    Stop {
        id: u64,
    },
    /// Loads ahead of the first question. Ends in `loaded`, or in `failed` without an id.
    Load {
        model: ModelChoice,
    },
    /// Frees the model's memory, after the questions before it.
    Unload,
    /// Ends the worker at once, like the end of its stdin.
    Quit,
}

/// A question with all that was said before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Chosen by who asks; no two open questions have the same.
    pub id: u64,
    pub model: ModelChoice,
    pub conversation: Conversation,
    /// Where they are silent the model's own file and LLaMA-Factory's defaults decide, whatever the adapter's own run says:
    /// base and tuned model are compared under the same settings. Only the pixel limits follow the run, as the model has
    /// learnt so.
    #[serde(default)]
    pub options: AskOptions,
}

/// Which model, and how it is run. Choices that differ only in `adapters` share one base model in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelChoice {
    /// Model folder.
    pub model: PathBuf,
    /// Adapter folders, put on in order; none: the base model answers. One adapter is put on and taken off in place. All
    /// but the last of several are merged into the weights, so changing from or to several loads the base again.
    #[serde(default)]
    pub adapters: Vec<PathBuf>,
    /// Compute in this type; `auto`: the checkpoint's on a GPU, f32 on a CPU.
    #[serde(default)]
    pub dtype: Dtype,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    #[serde(default = "auto")]
    pub device: String,
}

fn auto() -> String {
    Device::Auto.to_string()
}

/// What was said so far; the last message is the question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Conversation {
    /// `None` or empty: the template's text.
    #[serde(default)]
    pub system: Option<String>,
    pub messages: Vec<Message>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    /// Text; each `<image>` in it stands for one of `images`.
    pub content: String,
    /// Picture files. Those beyond the `<image>`s of the text stand before it.
    #[serde(default)]
    pub images: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    User,
    Assistant,
}

/// What the worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Reply {
    /// First of all, when libtorch is there.
    Ready {
        /// Program and version.
        version: String,
        /// What `device` can name: `cpu`, `cuda:0`, …
        devices: Vec<String>,
    },
    /// A model is being loaded; `loaded` or `failed` follows.
    Loading {
        model: ModelChoice,
        what: Loading,
    },
    Loaded {
        model: ModelChoice,
        /// 0 if it was there already.
        seconds: f64,
        device: String,
        /// Never `auto`.
        dtype: Dtype,
        /// What weights and adapter take.
        memory_bytes: u64,
    },
    /// The question is understood and goes into the model.
    Started {
        id: u64,
        /// All tokens of the question and what was said before, pictures included.
        prompt_tokens: usize,
        /// Those of pictures.
        image_tokens: usize,
    },
    /// The next piece of an answer: whole characters, as the model wrote them.
    Text {
        id: u64,
        text: String,
    },
    Done(Done),
    /// A question that could not be answered (`id`), or another request that failed (no id). The worker lives on.
    Failed {
        id: Option<u64>,
        error: String,
        /// What to do next, where that is known.
        hint: Option<String>,
        /// What kind of failure it is, as a program that ends with it would say.
        code: Exit,
    },
    Unloaded,
}

/// What is being loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loading {
    /// The base model from the disk, and its adapter if there is one.
    Base,
    /// The base model stays; an adapter is put on, exchanged or taken off.
    Adapter,
    /// The base model from the disk, because several adapters are merged into its weights.
    Merge,
}

/// The end of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub id: u64,
    /// The whole answer: all its pieces joined.
    pub text: String,
    /// Tokens of the answer; the one that ends it counts.
    pub tokens: usize,
    /// 0 if it was stopped before it was started.
    pub prompt_tokens: usize,
    /// Those of the prompt that were known from the question before, and not read again.
    #[serde(default)]
    pub cached_tokens: usize,
    pub finish: Finish,
    /// From reading the pictures to the last token; loading the model is not counted.
    pub seconds: f64,
    /// Until the first token; `None`: there is none.
    pub first_token_seconds: Option<f64>,
    /// After the first one.
    pub tokens_per_second: f64,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// An end-of-sequence token, or a stop text.
    Stop,
    /// `max_new_tokens`.
    Length,
    /// The caller had enough.
    Cancelled,
}

impl Done {
    /// Nothing was said.
    pub fn unsaid(id: u64, prompt_tokens: usize, finish: Finish) -> Self {
        Self {
            id,
            text: String::new(),
            tokens: 0,
            prompt_tokens,
            cached_tokens: 0,
            finish,
            seconds: 0.0,
            first_token_seconds: None,
            tokens_per_second: 0.0,
        }
    }
}

/// Tokens per second after the first one; 0 where nothing can be said.
pub fn tokens_per_second(tokens: usize, seconds: f64, first_token_seconds: f64) -> f64 {
    let decoding = seconds - first_token_seconds;
    if decoding > 0.0 { tokens.saturating_sub(1) as f64 / decoding } else { 0.0 }
}

impl Request {
    /// One line of the worker's stdin.
    ///
    /// # Errors
    /// The reply to a line that is no request, with its id if there is one to be found.
    pub fn parse(line: &[u8]) -> Result<Self, Box<Reply>> {
        serde_json::from_slice(line).map_err(|error| {
            let json: Option<serde_json::Value> = serde_json::from_slice(line).ok();
            let id = json.and_then(|json| json.get("id")?.as_u64());
            let error = format!("not a request that is understood here: {error}; it was left out");
            Box::new(Reply::Failed { id, error, hint: None, code: Exit::Usage })
        })
    }
}

impl ModelChoice {
    /// The same model without adapters: what is asked for "before training".
    pub fn base(&self) -> Self {
        Self { adapters: Vec::new(), ..self.clone() }
    }

    /// Folders checked, device understood, pixel limits settled as every command does it ([`ModelArgs::resolve`]).
    ///
    /// # Errors
    /// A folder that is not there; a device that is none; a value out of its range; a profile.yaml that does not load.
    pub fn resolve(&self, options: &AskOptions) -> Result<ResolvedModel> {
        options.check()?;
        let device: Device = self.device.parse().map_err(anyhow::Error::msg)?;
        let args = ModelArgs {
            model: Some(self.model.clone()),
            adapter: self.adapters.clone(),
            profile: None,
            // Given, even where `auto`: a run that was trained on the CPU shall not move the base model there and back.
            dtype: Some(self.dtype),
            device: Some(device),
            image_max_pixels: options.image_max_pixels,
            image_min_pixels: options.image_min_pixels,
            num_threads: None,
        };
        let mut resolved = args.resolve()?;
        // One adapter's run must not slow down the questions after it.
        resolved.num_threads = None;
        let budget = resolved.budget;
        if budget.min > budget.max {
            bail!("image_min_pixels ({}) must not be larger than image_max_pixels ({})", budget.min, budget.max);
        }
        Ok(resolved)
    }
}

impl Conversation {
    /// As the template takes it: text with a mark for every picture, and the pictures in the order of their marks.
    pub fn for_template(&self) -> (text::Conversation, Vec<ImageRef>) {
        let messages = self.messages.iter().map(|message| text::Message {
            role: match message.role {
                Role::User => text::Role::User,
                Role::Assistant => text::Role::Assistant,
            },
            content: text::with_image_marks(&message.content, message.images.len()),
        });
        let conversation =
            text::Conversation { system: self.system.clone(), tools: None, messages: messages.collect() };
        let images = self.messages.iter().flat_map(|message| &message.images).cloned().map(ImageRef::File);
        (conversation, images.collect())
    }
}
