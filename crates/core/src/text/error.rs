//! Why a conversation cannot be encoded: what is wrong, with the numbers, and what to do about it.

use super::template::{AUDIO_MARK, IMAGE_MARK, VIDEO_MARK};

/// Why a conversation cannot be encoded. Messages are counted from 1. The texts never quote the sample.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// LLaMA-Factory drops such a sample with "Invalid message count" or "Invalid role tag".
    #[error(
        "{0}; questions (user, observation) and answers (assistant, function) must alternate, a question first and an answer last"
    )]
    OddTurns(String),
    /// For generation: the model can only speak after a question.
    #[error("{0}; a prompt must begin and end with a question (user or observation) and alternate in between")]
    OddPrompt(String),
    /// LLaMA-Factory: "The number of images does not match the number of `<image>` tokens", which ends its run.
    #[error("{marks} {IMAGE_MARK} marks in the messages, but {images} pictures; both numbers must be the same")]
    ImageCount { marks: usize, images: usize },
    #[error(
        "{marks} {mark} marks in the messages, but only pictures can be used; take the sample out or remove the marks"
    )]
    UnsupportedMedia { mark: &'static str, marks: usize },
    /// More or fewer pad tokens than picture features: the model cannot run.
    #[error("{place} contains the text {token}, which would be taken for a part of a picture; remove it from the text")]
    SpecialToken { place: String, token: &'static str },
    #[error(
        "the sample has {needed} tokens, {image_tokens} of them for its pictures, and cutting it to cutoff_len {cutoff_len} would cut a picture; raise cutoff_len, or lower image_max_pixels for fewer tokens per picture"
    )]
    TooLong { needed: usize, image_tokens: usize, cutoff_len: usize },
    #[error("nothing is left to learn from after cutting {needed} tokens to cutoff_len {cutoff_len}; raise cutoff_len")]
    NoTarget { needed: usize, cutoff_len: usize },
    #[error("the tools are not a JSON list of objects: {0}")]
    BadTools(String),
    #[error(
        "message {message} is no function call: {reason}; it must be a JSON object with \"name\" and \"arguments\", or a list of such objects"
    )]
    BadFunctionCall { message: usize, reason: String },
    #[error("the grid {grid:?} of picture {picture} is no grid of whole 2x2 blocks of patches")]
    BadGrid { picture: usize, grid: crate::vision::Grid },
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
}

impl EncodeError {
    /// Stable short name for reports and counters; the same words as in [`crate::data::Problem::kind`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OddTurns(_) | Self::OddPrompt(_) => "odd_turns",
            Self::ImageCount { .. } => "image_count",
            Self::UnsupportedMedia { .. } => "unsupported_media",
            Self::SpecialToken { .. } => "special_token",
            Self::TooLong { .. } => "too_long",
            Self::NoTarget { .. } => "no_target",
            Self::BadTools(_) => "bad_tools",
            Self::BadFunctionCall { .. } => "bad_function_call",
            Self::BadGrid { .. } => "bad_grid",
            Self::Tokenizer(_) => "tokenizer",
        }
    }

    /// The marks of media that cannot be used.
    pub(super) const UNSUPPORTED_MARKS: [&'static str; 2] = [VIDEO_MARK, AUDIO_MARK];
}
