//! Conversation → token ids, labels and positions, exactly as LLaMA-Factory's template `qwen2_vl` does it.
use crate::vision::Grid;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
    Observation,
    Function,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    /// Text; each `<image>` in a user or observation turn stands for one picture.
    pub content: String,
}

/// What is said in one sample, without its pictures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    pub system: Option<String>,
    /// JSON list of tools, as text, as LLaMA-Factory's `tools` column holds it.
    pub tools: Option<String>,
    pub messages: Vec<Message>,
}

#[derive(Debug, Clone)]
pub struct EncodeOptions {
    pub cutoff_len: usize,
    pub train_on_prompt: bool,
    pub mask_history: bool,
    /// `None`: the template's "You are a helpful assistant."; `Some("")`: no system block.
    pub default_system: Option<String>,
}

/// One encoded sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    pub input_ids: Vec<i64>,
    /// Same length; -100 where no loss is taken.
    pub labels: Vec<i64>,
    pub grids: Vec<Grid>,
    /// Text tokens cut away by `cutoff_len`.
    pub truncated: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("{0}")]
    Other(String),
}

/// tokenizer.json of a model folder and the ids of its special tokens (looked up by content, never assumed).
pub struct Tokenizer {
    pub endoftext: i64,
    pub im_start: i64,
    pub im_end: i64,
    pub vision_start: i64,
    pub vision_end: i64,
    pub image_pad: i64,
    pub video_pad: i64,
}

impl Tokenizer {
    pub fn from_dir(_model_dir: &Path) -> anyhow::Result<Self> {
        todo!()
    }
    /// Special tokens written in `text` become special ids, as in LLaMA-Factory without `split_special_tokens`.
    pub fn encode(&self, _text: &str) -> anyhow::Result<Vec<i64>> {
        todo!()
    }
    pub fn decode(&self, _ids: &[i64], _skip_special: bool) -> anyhow::Result<String> {
        todo!()
    }
}

/// Training sample: ids and labels of every turn, cut to `cutoff_len` as LLaMA-Factory cuts, but never through a
/// picture: that is an error that says how many tokens are needed.
pub fn encode_conversation(_t: &Tokenizer, _c: &Conversation, _grids: &[Grid], _o: &EncodeOptions) -> Result<Encoded, EncodeError> {
    todo!()
}

/// Prompt for generation: everything up to and including `<|im_start|>assistant\n`; the last message is the user's.
pub fn encode_prompt(_t: &Tokenizer, _c: &Conversation, _grids: &[Grid], _default_system: Option<&str>) -> Result<Vec<i64>, EncodeError> {
    todo!()
}

/// M-RoPE positions of one unpadded row: `[3][len]` (t, h, w), and delta = max + 1 - len.
pub fn rope_index(_ids: &[i64], _grids: &[Grid], _image_pad: i64) -> ([Vec<i64>; 3], i64) {
    todo!()
}

/// One micro-batch, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub rows: usize,
    pub len: usize,
    /// `[rows, len]` each
    pub input_ids: Vec<i64>,
    pub labels: Vec<i64>,
    pub attention_mask: Vec<i64>,
    /// `[3, rows, len]`, 0 at padding
    pub position_ids: Vec<i64>,
    /// `true`: no row has a picture; the caller adds `ImageProcessor::white()`, whose 6 tokens close row 0, masked.
    pub fake_image: bool,
}

/// LLaMA-Factory's collator: right padding to a multiple of `multiple` (8 when training, 1 otherwise).
pub fn collate(_rows: &[&Encoded], _t: &Tokenizer, _multiple: usize) -> Batch {
    todo!()
}
