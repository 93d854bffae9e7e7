//! The tokenizer of a model folder: tokenizer.json through the `tokenizers` library, plus the ids that the template,
//! the labels and the positions need. Byte-level BPE as Qwen2 uses it. Read next: `stream.rs` for text as it is generated.
use super::{StreamDecoder, byte_level};
use anyhow::{Context, bail, ensure};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tokenizers::DecoderWrapper;

/// Qwen2-VL's file has 7 MB; the cap keeps a wrong or hostile file from filling memory.
const MAX_FILE_BYTES: u64 = 128 << 20;

/// Texts that are kept with their ids, and how long they may be: 2 MB at most.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 1024;

/// tokenizer.json of a model folder and the ids of its special tokens (looked up by content, never assumed).
pub struct Tokenizer {
    /// `<|endoftext|>`: padding, and a second end of generation.
    pub endoftext: i64,
    pub im_start: i64,
    /// `<|im_end|>`: the end of every turn, and of generation.
    pub im_end: i64,
    pub vision_start: i64,
    pub vision_end: i64,
    /// Stands once for each merged patch of a picture.
    pub image_pad: i64,
    pub video_pad: i64,
    /// Of the file.
    digest: blake3::Hash,
    inner: tokenizers::Tokenizer,
    /// Texts that came before, with their ids: the system text and the questions of most data sets are the same few.
    kept: RwLock<HashMap<Box<str>, Arc<[i64]>>>,
    /// The same with special tokens switched off; made when first asked for, because it doubles the memory.
    plain: OnceLock<tokenizers::Tokenizer>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model folder.
    ///
    /// # Errors
    /// Says which file and what is wrong: missing, too large, not a tokenizer, not byte-level, or without one of the
    /// special tokens of Qwen2-VL.
    pub fn from_dir(model_dir: &Path) -> anyhow::Result<Self> {
        let path = model_dir.join("tokenizer.json");
        let meta = std::fs::metadata(&path).with_context(|| {
            format!(
                "{}: cannot be read; a Qwen2-VL model folder has this file, download it again if it is missing",
                path.display()
            )
        })?;
        ensure!(meta.is_file(), "{}: not a regular file", path.display());
        ensure!(
            meta.len() <= MAX_FILE_BYTES,
            "{}: {} bytes are too many for a tokenizer (limit {MAX_FILE_BYTES})",
            path.display(),
            meta.len()
        );
        let json = std::fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        Self::from_json(&json).with_context(|| path.display().to_string())
    }

    /// From the text of a tokenizer.json. Merges may be spelled `"a b"` or `["a", "b"]`.
    pub fn from_json(json: &[u8]) -> anyhow::Result<Self> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|e| anyhow::anyhow!("not a tokenizer that can be used: {e}"))?;
        ensure!(
            matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_))),
            "its decoder is not ByteLevel, as Qwen2-VL's is; other kinds of tokenizers are not supported"
        );
        // A file saved while it padded or truncated would go on doing so; transformers resets both at every call.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(anyhow::Error::from_boxed)?;
        let special = |content: &str| special_id(&inner, content);
        Ok(Self {
            endoftext: special("<|endoftext|>")?,
            im_start: special("<|im_start|>")?,
            im_end: special("<|im_end|>")?,
            vision_start: special("<|vision_start|>")?,
            vision_end: special("<|vision_end|>")?,
            image_pad: special("<|image_pad|>")?,
            video_pad: special("<|video_pad|>")?,
            digest: blake3::hash(json),
            inner,
            kept: RwLock::default(),
            plain: OnceLock::new(),
        })
    }

    /// Hash of the tokenizer.json it was made of, in hexadecimal digits.
    pub fn digest(&self) -> String {
        self.digest.to_hex().to_string()
    }

    /// Ids of `text`; nothing is added around it. Special tokens written in `text` become special ids, as in
    /// LLaMA-Factory without `split_special_tokens`.
    pub fn encode(&self, text: &str) -> anyhow::Result<Vec<i64>> {
        encode(&self.inner, text)
    }

    /// [`Self::encode`] for texts that are likely to come again, which is nearly all that encoding a sample costs.
    pub(super) fn encode_again(&self, text: &str) -> anyhow::Result<Arc<[i64]>> {
        let may_be_kept = {
            let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(ids) = kept.get(text) {
                return Ok(ids.clone());
            }
            kept.len() < KEPT && text.len() <= KEPT_BYTES
        };
        let ids: Arc<[i64]> = self.encode(text)?.into();
        if may_be_kept {
            self.kept.write().unwrap_or_else(PoisonError::into_inner).insert(text.into(), ids.clone());
        }
        Ok(ids)
    }

    /// Ids of `text` in which special tokens are ordinary characters: nobody can forge a turn or a picture with it.
    /// LLaMA-Factory's `split_special_tokens`.
    pub fn encode_plain(&self, text: &str) -> anyhow::Result<Vec<i64>> {
        let plain = self.plain.get_or_init(|| {
            let mut plain = self.inner.clone();
            plain.set_encode_special_tokens(true);
            plain
        });
        encode(plain, text)
    }

    /// Text of `ids` as transformers gives it without `clean_up_tokenization_spaces`. Bytes that are no UTF-8 become
    /// U+FFFD; ids that no token has (the padding rows of the embedding) give nothing.
    ///
    /// # Errors
    /// An id that is negative or above 2³²−1.
    pub fn decode(&self, ids: &[i64], skip_special: bool) -> anyhow::Result<String> {
        let ids = ids
            .iter()
            .map(|&id| u32::try_from(id).with_context(|| format!("{id} is not a token id")))
            .collect::<anyhow::Result<Vec<_>>>()?;
        self.inner.decode(&ids, skip_special).map_err(anyhow::Error::from_boxed)
    }

    /// A decoder for text as it is generated, special tokens left out.
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder::new(self)
    }

    /// Number of tokens, special ones included; the model's embedding usually has a few rows more.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token by its content.
    pub fn id_of(&self, token: &str) -> Option<i64> {
        self.inner.token_to_id(token).map(i64::from)
    }

    /// The text of a special token; `None` for all others.
    pub(super) fn special_text(&self, id: i64) -> Option<String> {
        let token = self.inner.id_to_token(u32::try_from(id).ok()?)?;
        self.inner.get_added_vocabulary().is_special_token(&token).then_some(token)
    }

    /// The bytes that a token stands for; none for a special token and for an id without a token.
    pub(super) fn text_bytes(&self, id: i64) -> Vec<u8> {
        u32::try_from(id)
            .ok()
            .and_then(|id| self.inner.id_to_token(id))
            .filter(|token| !self.inner.get_added_vocabulary().is_special_token(token))
            .map(|token| byte_level::bytes_of(&token))
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

fn encode(tokenizer: &tokenizers::Tokenizer, text: &str) -> anyhow::Result<Vec<i64>> {
    let encoding = tokenizer.encode_fast(text, false).map_err(anyhow::Error::from_boxed)?;
    Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
}

/// The token must be there and must be cut out of text as a whole: one that is only in the vocabulary would be split.
fn special_id(tokenizer: &tokenizers::Tokenizer, content: &str) -> anyhow::Result<i64> {
    let Some(id) = tokenizer.token_to_id(content) else {
        bail!("the special token {content} is missing; is this the folder of a Qwen2-VL model?");
    };
    ensure!(
        tokenizer.get_added_vocabulary().is_special_token(content),
        "{content} is an ordinary entry of the vocabulary; it has to be listed in added_tokens with \"special\": true"
    );
    Ok(i64::from(id))
}
