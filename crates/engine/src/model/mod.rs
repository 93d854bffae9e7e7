//! Qwen2-VL, the reference road: plain tch with autograd, the same operations in the same order as transformers
//! (models/qwen2_vl/modeling_qwen2_vl.py, v5.17), bit-equal to it on the same CPU. Parity: tests/parity.rs.
//!
//! ```text
//! pixels [n, 1176] ─ visual ─► image features [m, c] ─┐ masked_scatter at <|image_pad|>
//! ids [b, t] ─ model.embed_tokens ─► [b, t, c] ───────┴─► model.layers ─► model.norm ─► lm_head ─► logits [b, t, v]
//! ```
//! b batch · t text tokens · n patches of all pictures · m merged patches = n/4 · c hidden · v vocabulary
//!
//! Next: [`vision`], [`language`], then [`linear`] (where LoRA lives).

mod cache;
pub mod language;
pub mod linear;
pub mod loader;
pub mod vision;

use crate::config::Config;
use anyhow::{Result, bail};
pub use cache::KvCache;
pub use language::{LanguageModel, Rotary};
use lightbox_core::vision::Grid;
pub use linear::{Ctx, Linear};
pub use loader::Loader;
use tch::{Device, Kind, Tensor};
pub use vision::VisionTower;

pub struct Qwen2Vl {
    pub config: Config,
    pub visual: VisionTower,
    pub model: LanguageModel,
    /// `None` when tied to `model.embed_tokens`.
    pub lm_head: Option<Linear>,
}

/// The pictures of one micro-batch, in the order of their `<|image_pad|>` runs, row by row.
pub struct Pictures {
    /// `[n, 1176]`, fp32
    pub pixel_values: Tensor,
    pub grids: Vec<Grid>,
}

/// The text side of one micro-batch.
pub struct Tokens {
    /// `[b, t]`, i64
    pub input_ids: Tensor,
    /// `[3, b, t]`, i64: t, h, w
    pub position_ids: Tensor,
    /// `[b, t]`, 1 = real token; `None` = nothing is padded
    pub attention_mask: Option<Tensor>,
}

impl Qwen2Vl {
    /// Loads (or initialises, see [`Loader`]) all weights in the loader's dtype and on its device.
    pub fn load(config: Config, loader: &Loader) -> Result<Self> {
        let visual = VisionTower::load(&config.vision, loader)?;
        let model = LanguageModel::load(&config.text, loader)?;
        // A file may hold an lm_head although the config says tied; if they differ they are not tied (transformers 5).
        let untied = !config.tie_word_embeddings || loader.differs("lm_head.weight", "model.embed_tokens.weight")?;
        let lm_head = if untied {
            Some(Linear::load(loader, "lm_head", config.text.hidden_size, config.text.vocab_size, false)?)
        } else {
            None
        };
        Ok(Self { config, visual, model, lm_head })
    }

    pub fn device(&self) -> Device {
        self.model.embed_tokens.device()
    }

    /// The dtype that activations have.
    pub fn kind(&self) -> Kind {
        self.model.kind()
    }

    /// Every linear layer, by Hub path: what LoRA can be put on.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut out = self.visual.linears_mut();
        out.extend(self.model.linears_mut());
        out.extend(self.lm_head.as_mut());
        out
    }

    pub fn linears(&self) -> Vec<&Linear> {
        let mut out = self.visual.linears();
        out.extend(self.model.linears());
        out.extend(self.lm_head.as_ref());
        out
    }

    /// Base weights (no adapters) by Hub name, as shallow clones.
    pub fn named_weights(&self) -> Vec<(String, Tensor)> {
        let mut out = self.visual.named_weights();
        out.extend(self.model.named_weights());
        if let Some(head) = &self.lm_head {
            head.named_weights(&mut out);
        }
        out
    }

    /// Text embeddings with the picture features put in their places.
    ///
    /// # Shape
    /// `input_ids` [b, t], `features` [m, c] → [b, t, c]
    ///
    /// # Errors
    /// The number of `<|image_pad|>` tokens must equal m.
    pub fn merge(&self, input_ids: &Tensor, features: Option<&Tensor>) -> Result<Tensor> {
        let embeds = self.model.embed(input_ids); // [b, t, c]
        let Some(features) = features else { return Ok(embeds) };
        let mask = input_ids.eq(self.config.image_token_id); // [b, t]
        let pads = mask.sum(Kind::Int64).int64_value(&[]);
        if pads != features.size()[0] {
            bail!("{pads} picture tokens in the text, but {} picture features", features.size()[0]);
        }
        Ok(embeds.masked_scatter(&mask.unsqueeze(-1), &features.to_kind(embeds.kind())))
    }

    /// # Shape
    /// hidden [.., c] → logits [.., v], in the activations' dtype
    pub fn logits(&self, hidden: &Tensor, ctx: &Ctx) -> Tensor {
        match &self.lm_head {
            Some(head) => head.forward(hidden, ctx),
            None => hidden.linear(&self.model.embed_tokens.to_kind(hidden.kind()), None::<&Tensor>),
        }
    }

    /// The whole forward pass: logits [b, t, v] of every position.
    pub fn forward(&self, tokens: &Tokens, pictures: Option<&Pictures>, ctx: &Ctx) -> Result<Tensor> {
        let features = pictures.map(|p| self.visual.forward(&p.pixel_values, &p.grids, ctx));
        let embeds = self.merge(&tokens.input_ids, features.as_ref())?;
        let rotary = self.model.rotary(&tokens.position_ids);
        let mask = tokens.attention_mask.as_ref().and_then(causal_mask);
        let hidden = self.model.forward(&embeds, &rotary, mask.as_ref(), None, ctx);
        Ok(self.logits(&hidden, ctx))
    }
}

/// Causal and not padded: `[b, 1, t, t]`, true = may look. `None` when no row is padded, because then the
/// attention kernel's own causal path is taken, as transformers does (the two differ in the last bits).
///
/// # Shape
/// `attention_mask` [b, t], 1 = real token
pub fn causal_mask(attention_mask: &Tensor) -> Option<Tensor> {
    let real = attention_mask.to_kind(Kind::Bool);
    // A device sync, once per micro-batch.
    if bool::try_from(real.all()).unwrap_or(false) {
        return None;
    }
    let t = real.size()[1];
    let at = Tensor::arange(t, (Kind::Int64, real.device()));
    let causal = at.unsqueeze(0).le_tensor(&at.unsqueeze(1)); // [t, t]
    Some(causal.view([1, 1, t, t]).logical_and(&real.view([-1, 1, 1, t])))
}
