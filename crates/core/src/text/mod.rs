//! Conversation → token ids, labels and positions, exactly as LLaMA-Factory's template `qwen2_vl` does it.
//!
//! A [`Conversation`] and the grids of its pictures go through [`encode_conversation`] (training) or
//! [`encode_prompt`] (generation); rows become a micro-batch in [`collate`] (right padding) or [`collate_left`]
//! (generation), with the positions of [`rope_index`]. [`seen`](seen()) shows people what the model sees. Preview, training and chat all use these same functions.
//!
//! Source: LLaMA-Factory 0.9.5, `data/template.py`, `data/processor/supervised.py`, `data/collator.py`; transformers 5,
//! `Qwen2VLModel.get_rope_index`. Not here: reading samples ([`crate::data`]) and pixels ([`crate::vision`]).
//! Read next: `encode.rs`.

mod byte_level;
mod collate;
mod encode;
mod error;
mod lang;
pub mod ranks;
mod rope;
mod seen;
mod stop;
mod stream;
mod template;
mod tokenizer;

pub use collate::{Batch, LeftBatch, collate, collate_left};
pub(crate) use encode::infer_seqlen;
pub use encode::{EncodeOptions, Encoded, encode_conversation, encode_prompt};
pub use error::EncodeError;
pub use lang::Lang;
pub use rope::{image_tokens, rope_index};
pub use seen::{Piece, PieceKind, Seen, SeenToken, seen};
pub use stop::StopStrings;
pub use stream::StreamDecoder;
pub use template::{CHAT_TEMPLATE, DEFAULT_SYSTEM, IMAGE_MARK, number_pictures, with_image_marks};
pub use tokenizer::Tokenizer;

/// The label of a token on which no loss is taken: `ignore_index` of PyTorch's cross-entropy.
pub const IGNORE_INDEX: i64 = -100;

/// Who speaks. LLaMA-Factory's role names; `User` and `Observation` ask, `Assistant` and `Function` answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
    /// What a tool returned.
    Observation,
    /// A tool call of the model: a JSON object `{"name": …, "arguments": …}` or a list of them.
    Function,
}

impl Role {
    /// Whether this role speaks for the model, so that its tokens are labels.
    pub fn answers(self) -> bool {
        matches!(self, Self::Assistant | Self::Function)
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    /// Text; each `<image>` stands for one picture.
    pub content: String,
}

/// What is said in one sample, without its pictures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    /// `None` or empty: the default system text.
    pub system: Option<String>,
    /// JSON list of tools, as text, as LLaMA-Factory's `tools` column holds it.
    pub tools: Option<String>,
    pub messages: Vec<Message>,
}
