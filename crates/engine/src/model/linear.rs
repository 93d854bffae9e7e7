//! A linear layer with an optional LoRA pair on it.
//!
//! ```text
//! y = x Wᵀ + bias                      W [out, in], in the model's dtype, frozen under LoRA
//! y' = y + (dropout(x) Aᵀ) Bᵀ · scale    A [r, in], B [out, r], fp32; scale = alpha/r (rslora: alpha/√r)
//! ```
//! As PEFT 0.21 `tuners/lora/layer.py` Linear.forward: x is raised to the adapter's dtype, the sum is formed there
//! and rounded once to y's dtype. LoRA: Hu et al., arXiv 2106.09685.

use super::loader::{Init, Loader};
use anyhow::Result;
use lightbox_core::seed;
use tch::{Kind, Tensor};

/// What one forward pass needs beside its inputs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ctx {
    /// Training with dropout: the seed of this micro-batch. `None`: no dropout (evaluation, or a rate of 0).
    pub dropout_seed: Option<u64>,
}

impl Ctx {
    /// Fixes the generator for one block, so that recomputing the block (gradient checkpointing) or resuming a run
    /// draws the same masks: dropout is a pure function of (micro-batch seed, block).
    pub fn enter(&self, tower: &str, block: usize) {
        if let Some(s) = self.dropout_seed {
            tch::manual_seed(seed::at(s, tower, &[block as u64]) as i64);
        }
    }
}

pub struct Lora {
    /// `[r, in]`
    pub a: Tensor,
    /// `[out, r]`
    pub b: Tensor,
    pub scale: f64,
    pub dropout: f64,
}

impl Lora {
    /// What it adds to W: scale·B·A `[out, in]`, in the adapter's dtype.
    pub fn delta(&self) -> Tensor {
        self.b.matmul(&self.a) * self.scale
    }
}

pub struct Linear {
    /// Path on the Hub without `.weight`, e.g. `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// `[out, in]`
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    pub lora: Option<Lora>,
}

impl Linear {
    pub fn load(loader: &Loader, name: &str, inputs: i64, outputs: i64, bias: bool) -> Result<Self> {
        let weight = loader.get(&format!("{name}.weight"), &[outputs, inputs], Init::Normal)?;
        let bias = if bias { Some(loader.get(&format!("{name}.bias"), &[outputs], Init::Zeros)?) } else { None };
        Ok(Self { name: name.to_owned(), weight, bias, lora: None })
    }

    /// # Shape
    /// x [.., in] → [.., out], in x's dtype
    pub fn forward(&self, x: &Tensor, ctx: &Ctx) -> Tensor {
        // Full fine-tuning in bf16 keeps fp32 masters: they are rounded here. Otherwise both are no-ops.
        let weight = self.weight.to_kind(x.kind());
        let bias = self.bias.as_ref().map(|b| b.to_kind(x.kind()));
        let y = x.linear(&weight, bias.as_ref());
        let Some(lora) = &self.lora else { return y };
        let mut h = x.to_kind(lora.a.kind());
        if lora.dropout > 0.0 && ctx.dropout_seed.is_some() {
            h = h.dropout(lora.dropout, true);
        }
        let none = None::<&Tensor>;
        let delta = h.linear(&lora.a, none).linear(&lora.b, none) * lora.scale; // [.., out], fp32
        (&y + delta).to_kind(y.kind())
    }

    pub fn in_features(&self) -> i64 {
        self.weight.size()[1]
    }

    pub fn out_features(&self) -> i64 {
        self.weight.size()[0]
    }

    /// W + scale·B·A: the product in the adapter's dtype, one rounding to W's dtype (PEFT's and LLaMA-Factory's merge).
    pub fn merged_weight(&self) -> Tensor {
        match &self.lora {
            None => self.weight.shallow_clone(),
            Some(l) => (self.weight.to_kind(Kind::Float) + l.delta().to_kind(Kind::Float)).to_kind(self.weight.kind()),
        }
    }

    pub fn named_weights(&self, out: &mut Vec<(String, Tensor)>) {
        out.push((format!("{}.weight", self.name), self.weight.shallow_clone()));
        if let Some(b) = &self.bias {
            out.push((format!("{}.bias", self.name), b.shallow_clone()));
        }
    }
}
