//! The language model: `model.*` (and its rotary tables). transformers `Qwen2VLTextModel`.
//!
//! b batch · t tokens of this call · s tokens attended to (cache + t) · c hidden · h heads · g key/value heads · k head size

use super::cache::KvCache;
use super::linear::{Ctx, Linear};
use super::loader::{Init, Loader};
use super::vision::rotate_half;
use crate::config::TextConfig;
use anyhow::Result;
use tch::{Device, Kind, Tensor};

pub struct LanguageModel {
    config: TextConfig,
    kind: Kind,
    /// `model.embed_tokens.weight` [v, c]
    pub embed_tokens: Tensor,
    pub layers: Vec<Layer>,
    norm: RmsNorm,
}

pub struct Layer {
    input_layernorm: RmsNorm,
    post_attention_layernorm: RmsNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    head_dim: i64,
}

struct RmsNorm {
    name: String,
    weight: Tensor,
    eps: f64,
}

/// cos and sin of every token, `[b, 1, t, k]`, in the model's dtype.
pub struct Rotary {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl Rotary {
    /// That of tokens `start` … `start + length - 1`.
    pub fn narrow(&self, start: i64, length: i64) -> Self {
        Self { cos: self.cos.narrow(2, start, length), sin: self.sin.narrow(2, start, length) }
    }
}

impl RmsNorm {
    fn load(loader: &Loader, name: &str, width: i64, eps: f64) -> Result<Self> {
        Ok(Self { name: name.to_owned(), weight: loader.get(&format!("{name}.weight"), &[width], Init::Ones)?, eps })
    }

    /// Computed in fp32 and rounded *before* the weight is applied, as transformers does.
    fn forward(&self, x: &Tensor) -> Tensor {
        let h = x.to_kind(Kind::Float);
        let variance = h.pow_tensor_scalar(2).mean_dim(&[-1i64][..], true, None::<Kind>);
        let h = h * (variance + self.eps).rsqrt();
        self.weight.to_kind(x.kind()) * h.to_kind(x.kind())
    }

    fn named_weights(&self, out: &mut Vec<(String, Tensor)>) {
        out.push((format!("{}.weight", self.name), self.weight.shallow_clone()));
    }
}

impl LanguageModel {
    pub fn load(config: &TextConfig, loader: &Loader) -> Result<Self> {
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::load(config, loader, &format!("model.layers.{i}")))
            .collect::<Result<_>>()?;
        Ok(Self {
            config: config.clone(),
            kind: loader.kind,
            embed_tokens: loader.get(
                "model.embed_tokens.weight",
                &[config.vocab_size, config.hidden_size],
                Init::Normal,
            )?,
            layers,
            norm: RmsNorm::load(loader, "model.norm", config.hidden_size, config.rms_norm_eps)?,
        })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// # Shape
    /// input_ids [b, t] → [b, t, c]
    pub fn embed(&self, input_ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.embed_tokens.to_kind(self.kind), input_ids, -1, false, false)
    }

    /// M-RoPE: every frequency turns with one of the three positions (t, h, w), by `mrope_section`. Angles in fp32,
    /// cos and sin rounded to the model's dtype: unlike the vision tower, the rotation itself runs in that dtype.
    ///
    /// # Shape
    /// position_ids [3, b, t] → [b, 1, t, k]
    pub fn rotary(&self, position_ids: &Tensor) -> Rotary {
        let k = self.config.head_dim();
        let exponents = Tensor::arange_start_step(0, k, 2, (Kind::Float, Device::Cpu)) / k as f64;
        let inv_freq =
            Tensor::pow_scalar(self.config.rope_theta, &exponents).reciprocal().to_device(position_ids.device()); // [k/2]
        let angles = position_ids.to_kind(Kind::Float).unsqueeze(-1) * inv_freq; // [3, b, t, k/2]
        let pick = |table: Tensor| {
            let sections = table.split_with_sizes(self.config.mrope_section, -1); // 3 x [3, b, t, section]
            let own: Vec<Tensor> = sections.iter().enumerate().map(|(axis, s)| s.get(axis as i64)).collect();
            let half = Tensor::cat(&own, -1); // [b, t, k/2]
            Tensor::cat(&[&half, &half], -1).to_kind(self.kind).unsqueeze(1) // [b, 1, t, k]
        };
        Rotary { cos: pick(angles.cos()), sin: pick(angles.sin()) }
    }

    /// All layers and the final norm. `mask` [b, 1, t, s] as `causal_mask` makes it; without one attention is causal.
    ///
    /// # Shape
    /// embeds [b, t, c] → hidden [b, t, c]
    pub fn forward(
        &self,
        embeds: &Tensor,
        rotary: &Rotary,
        mask: Option<&Tensor>,
        mut cache: Option<&mut KvCache>,
        ctx: &Ctx,
    ) -> Tensor {
        let mut x = embeds.shallow_clone();
        for (i, layer) in self.layers.iter().enumerate() {
            ctx.enter("language", i);
            x = layer.forward(&x, rotary, mask, cache.as_deref_mut().map(|c| (c, i)), ctx);
        }
        if let Some(cache) = cache {
            cache.advance(x.size()[1]);
        }
        self.norm(&x)
    }

    /// # Shape
    /// [b, t, c] → [b, t, c]
    pub fn norm(&self, x: &Tensor) -> Tensor {
        self.norm.forward(x)
    }

    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.layers
            .iter_mut()
            .flat_map(|l| {
                [
                    &mut l.q_proj,
                    &mut l.k_proj,
                    &mut l.v_proj,
                    &mut l.o_proj,
                    &mut l.gate_proj,
                    &mut l.up_proj,
                    &mut l.down_proj,
                ]
            })
            .collect()
    }

    pub fn linears(&self) -> Vec<&Linear> {
        self.layers.iter().flat_map(Layer::linears).collect()
    }

    pub fn named_weights(&self) -> Vec<(String, Tensor)> {
        let mut out = vec![("model.embed_tokens.weight".to_owned(), self.embed_tokens.shallow_clone())];
        for l in &self.layers {
            l.input_layernorm.named_weights(&mut out);
            l.post_attention_layernorm.named_weights(&mut out);
            for linear in l.linears() {
                linear.named_weights(&mut out);
            }
        }
        self.norm.named_weights(&mut out);
        out
    }
}

impl Layer {
    fn load(c: &TextConfig, loader: &Loader, name: &str) -> Result<Self> {
        let (hidden, k) = (c.hidden_size, c.head_dim());
        let (q, kv) = (c.num_attention_heads * k, c.num_key_value_heads * k);
        let attn = |p: &str, i, o, bias| Linear::load(loader, &format!("{name}.self_attn.{p}"), i, o, bias);
        let mlp = |p: &str, i, o| Linear::load(loader, &format!("{name}.mlp.{p}"), i, o, false);
        Ok(Self {
            input_layernorm: RmsNorm::load(loader, &format!("{name}.input_layernorm"), hidden, c.rms_norm_eps)?,
            post_attention_layernorm: RmsNorm::load(
                loader,
                &format!("{name}.post_attention_layernorm"),
                hidden,
                c.rms_norm_eps,
            )?,
            q_proj: attn("q_proj", hidden, q, true)?,
            k_proj: attn("k_proj", hidden, kv, true)?,
            v_proj: attn("v_proj", hidden, kv, true)?,
            o_proj: attn("o_proj", q, hidden, false)?,
            gate_proj: mlp("gate_proj", hidden, c.intermediate_size)?,
            up_proj: mlp("up_proj", hidden, c.intermediate_size)?,
            down_proj: mlp("down_proj", c.intermediate_size, hidden)?,
            head_dim: k,
        })
    }

    fn linears(&self) -> [&Linear; 7] {
        [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj, &self.gate_proj, &self.up_proj, &self.down_proj]
    }

    /// # Shape
    /// [b, t, c] → [b, t, c]
    pub fn forward(
        &self,
        x: &Tensor,
        rotary: &Rotary,
        mask: Option<&Tensor>,
        cache: Option<(&mut KvCache, usize)>,
        ctx: &Ctx,
    ) -> Tensor {
        let x = x + self.attention(&self.input_layernorm.forward(x), rotary, mask, cache, ctx);
        let h = self.post_attention_layernorm.forward(&x);
        let gate = self.gate_proj.forward(&h, ctx).silu();
        &x + self.down_proj.forward(&(gate * self.up_proj.forward(&h, ctx)), ctx)
    }

    fn attention(
        &self,
        x: &Tensor,
        rotary: &Rotary,
        mask: Option<&Tensor>,
        cache: Option<(&mut KvCache, usize)>,
        ctx: &Ctx,
    ) -> Tensor {
        let (b, t) = (x.size()[0], x.size()[1]);
        let heads = |y: Tensor| y.view([b, t, -1, self.head_dim]).transpose(1, 2); // [b, heads, t, k]
        let rotate = |y: Tensor| &y * &rotary.cos + rotate_half(&y) * &rotary.sin;
        let q = rotate(heads(self.q_proj.forward(x, ctx))); // [b, h, t, k]
        let k = rotate(heads(self.k_proj.forward(x, ctx))); // [b, g, t, k]
        let v = heads(self.v_proj.forward(x, ctx)); // [b, g, t, k]
        let (k, v) = match cache {
            Some((cache, layer)) => cache.append(layer, &k, &v), // [b, g, s, k]
            None => (k, v),
        };
        let scale = (self.head_dim as f64).powf(-0.5);
        let (h, g) = (q.size()[1], k.size()[1]);
        let out = match mask {
            // One token under a mask: the heads of a group are as many questions to its one key head, which is then read
            // in place. Repeating would copy the whole cache at every token.
            Some(mask) if t == 1 => {
                let q = q.reshape([b, g, h / g, self.head_dim]);
                Tensor::scaled_dot_product_attention(&q, &k, &v, Some(mask), 0.0, false, scale, false) // [b, g, h/g, k]
                    .reshape([b, h, 1, self.head_dim])
            }
            // With a mask transformers repeats keys and values itself; without one the kernel does (enable_gqa).
            Some(mask) => {
                let repeat = |x: Tensor| x.repeat_interleave_self_int(h / g, 1, None); // [b, h, s, k]
                let (k, v) = (repeat(k), repeat(v));
                Tensor::scaled_dot_product_attention(&q, &k, &v, Some(mask), 0.0, false, scale, false)
            }
            None => Tensor::scaled_dot_product_attention(&q, &k, &v, None::<&Tensor>, 0.0, t > 1, scale, true),
        };
        self.o_proj.forward(&out.transpose(1, 2).reshape([b, t, -1]), ctx)
    }
}
