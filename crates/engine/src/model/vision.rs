//! The vision tower: `visual.*`. transformers `Qwen2VisionTransformerPretrainedModel`.
//!
//! n patches of all pictures · d = embed_dim · h heads · k = d/h head size · m = n/4 merged patches · c = language width

use super::linear::{Ctx, Linear};
use super::loader::{Init, Loader};
use crate::config::VisionConfig;
use anyhow::Result;
use lightbox_core::vision::Grid;
use tch::{Device, Kind, Tensor};

/// Hard-coded in transformers, in no config file.
const LAYER_NORM_EPS: f64 = 1e-6;
const ROPE_THETA: f64 = 10000.0;

pub struct VisionTower {
    config: VisionConfig,
    /// The dtype that activations have.
    kind: Kind,
    /// `visual.patch_embed.proj.weight` [d, channels, 2, 14, 14], no bias
    pub patch_embed: Tensor,
    pub blocks: Vec<Block>,
    pub merger: Merger,
}

pub struct LayerNorm {
    name: String,
    pub weight: Tensor,
    pub bias: Tensor,
}

pub struct Block {
    norm1: LayerNorm,
    norm2: LayerNorm,
    qkv: Linear,
    proj: Linear,
    fc1: Linear,
    fc2: Linear,
    heads: i64,
}

pub struct Merger {
    ln_q: LayerNorm,
    mlp_0: Linear,
    mlp_2: Linear,
}

/// Rotary tables and attention segments of one set of pictures.
pub struct Layout {
    /// `[n, 1, k]`, fp32
    cos: Tensor,
    sin: Tensor,
    /// Patches of each frame: attention never crosses frames.
    segments: Vec<i64>,
}

impl LayerNorm {
    fn load(loader: &Loader, name: &str, width: i64) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            weight: loader.get(&format!("{name}.weight"), &[width], Init::Ones)?,
            bias: loader.get(&format!("{name}.bias"), &[width], Init::Zeros)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let (w, b) = (self.weight.to_kind(x.kind()), self.bias.to_kind(x.kind()));
        x.layer_norm(self.weight.size(), Some(&w), Some(&b), LAYER_NORM_EPS, true)
    }

    fn named_weights(&self, out: &mut Vec<(String, Tensor)>) {
        out.push((format!("{}.weight", self.name), self.weight.shallow_clone()));
        out.push((format!("{}.bias", self.name), self.bias.shallow_clone()));
    }
}

impl VisionTower {
    pub fn load(config: &VisionConfig, loader: &Loader) -> Result<Self> {
        let d = config.embed_dim;
        let kernel = [d, config.in_channels, config.temporal_patch_size, config.patch_size, config.patch_size];
        let blocks = (0..config.depth)
            .map(|i| Block::load(config, loader, &format!("visual.blocks.{i}")))
            .collect::<Result<_>>()?;
        Ok(Self {
            config: config.clone(),
            kind: loader.kind,
            patch_embed: loader.get("visual.patch_embed.proj.weight", &kernel, Init::Normal)?,
            blocks,
            merger: Merger::load(config, loader)?,
        })
    }

    /// # Shape
    /// pixel_values [n, 1176] fp32, one grid a picture → features [m, c]
    pub fn forward(&self, pixel_values: &Tensor, grids: &[Grid], ctx: &Ctx) -> Tensor {
        let layout = self.layout(grids);
        let mut x = self.embed(pixel_values);
        for (i, block) in self.blocks.iter().enumerate() {
            ctx.enter("visual", i);
            x = block.forward(&x, &layout, ctx);
        }
        self.merge(&x, ctx)
    }

    /// # Shape
    /// pixel_values [n, 1176] → [n, d]
    pub fn embed(&self, pixel_values: &Tensor) -> Tensor {
        let c = &self.config;
        let kernel = [c.temporal_patch_size, c.patch_size, c.patch_size];
        // The two frames of a still are equal, but conv2d with summed weights would not be bit-equal: keep conv3d.
        pixel_values
            .to_kind(self.kind)
            .view([-1, c.in_channels, c.temporal_patch_size, c.patch_size, c.patch_size]) // [n, channels, 2, 14, 14]
            .conv3d(&self.patch_embed.to_kind(self.kind), None::<&Tensor>, kernel, [0, 0, 0], [1, 1, 1], 1) // [n, d, 1, 1, 1]
            .view([-1, c.embed_dim]) // [n, d]
    }

    /// # Shape
    /// [n, d] → [m, c]
    pub fn merge(&self, x: &Tensor, ctx: &Ctx) -> Tensor {
        ctx.enter("visual", self.blocks.len());
        self.merger.forward(x, ctx)
    }

    /// Row and column of every patch, in the order of the patches (2x2 merge blocks), as rotary angles.
    pub fn layout(&self, grids: &[Grid]) -> Layout {
        let (m, k) = (self.config.spatial_merge_size, self.config.head_dim());
        let f32 = (Kind::Float, Device::Cpu);
        let exponents = Tensor::arange_start_step(0, k / 2, 2, f32) / (k / 2) as f64;
        let inv_freq = Tensor::pow_scalar(ROPE_THETA, &exponents).reciprocal(); // [k/4]
        let mut angles = Vec::with_capacity(grids.len());
        let mut segments = Vec::new();
        for &[t, h, w] in grids {
            let order = |p: Tensor| p.reshape([h / m, m, w / m, m]).permute([0, 2, 1, 3]).flatten(0, 3); // [h·w]
            let row = order(Tensor::arange(h, f32).unsqueeze(1).expand([h, w], false));
            let col = order(Tensor::arange(w, f32).unsqueeze(0).expand([h, w], false));
            let frame = Tensor::cat(&[row.unsqueeze(1) * &inv_freq, col.unsqueeze(1) * &inv_freq], 1); // [h·w, k/2]
            angles.push(frame.repeat([t, 1]));
            segments.extend(std::iter::repeat_n(h * w, t as usize));
        }
        let angles = Tensor::cat(&angles, 0); // [n, k/2]
        let angles = Tensor::cat(&[&angles, &angles], 1).unsqueeze(1); // [n, 1, k]
        let device = self.patch_embed.device();
        Layout { cos: angles.cos().to_device(device), sin: angles.sin().to_device(device), segments }
    }

    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut out: Vec<&mut Linear> = Vec::new();
        for b in &mut self.blocks {
            out.extend([&mut b.qkv, &mut b.proj, &mut b.fc1, &mut b.fc2]);
        }
        out.extend([&mut self.merger.mlp_0, &mut self.merger.mlp_2]);
        out
    }

    pub fn linears(&self) -> Vec<&Linear> {
        let mut out: Vec<&Linear> = Vec::new();
        for b in &self.blocks {
            out.extend([&b.qkv, &b.proj, &b.fc1, &b.fc2]);
        }
        out.extend([&self.merger.mlp_0, &self.merger.mlp_2]);
        out
    }

    pub fn named_weights(&self) -> Vec<(String, Tensor)> {
        let mut out = vec![("visual.patch_embed.proj.weight".to_owned(), self.patch_embed.shallow_clone())];
        for b in &self.blocks {
            b.norm1.named_weights(&mut out);
            b.norm2.named_weights(&mut out);
            for l in [&b.qkv, &b.proj, &b.fc1, &b.fc2] {
                l.named_weights(&mut out);
            }
        }
        self.merger.ln_q.named_weights(&mut out);
        self.merger.mlp_0.named_weights(&mut out);
        self.merger.mlp_2.named_weights(&mut out);
        out
    }
}

impl Block {
    fn load(c: &VisionConfig, loader: &Loader, name: &str) -> Result<Self> {
        let (d, hidden) = (c.embed_dim, c.embed_dim * c.mlp_ratio);
        Ok(Self {
            norm1: LayerNorm::load(loader, &format!("{name}.norm1"), d)?,
            norm2: LayerNorm::load(loader, &format!("{name}.norm2"), d)?,
            qkv: Linear::load(loader, &format!("{name}.attn.qkv"), d, 3 * d, true)?,
            proj: Linear::load(loader, &format!("{name}.attn.proj"), d, d, true)?,
            fc1: Linear::load(loader, &format!("{name}.mlp.fc1"), d, hidden, true)?,
            fc2: Linear::load(loader, &format!("{name}.mlp.fc2"), hidden, d, true)?,
            heads: c.num_heads,
        })
    }

    /// # Shape
    /// [n, d] → [n, d]
    pub fn forward(&self, x: &Tensor, layout: &Layout, ctx: &Ctx) -> Tensor {
        let x = x + self.attention(&self.norm1.forward(x), layout, ctx);
        let h = self.fc1.forward(&self.norm2.forward(&x), ctx);
        let h = &h * (&h * 1.702).sigmoid(); // quick_gelu, rounded after each operation in bf16
        &x + self.fc2.forward(&h, ctx)
    }

    /// Something in here is trained.
    pub fn is_trained(&self) -> bool {
        let linears = [&self.qkv, &self.proj, &self.fc1, &self.fc2];
        self.norm1.weight.requires_grad()
            || linears.iter().any(|l| l.weight.requires_grad() || l.lora.as_ref().is_some_and(|l| l.a.requires_grad()))
    }

    fn attention(&self, x: &Tensor, layout: &Layout, ctx: &Ctx) -> Tensor {
        let d = self.proj.in_features();
        let k = d / self.heads;
        let qkv = self.qkv.forward(x, ctx).reshape([-1, 3, self.heads, k]).permute([1, 0, 2, 3]).unbind(0); // 3 x [n, h, k]
        let (q, key) = (rotate(&qkv[0], layout), rotate(&qkv[1], layout));
        let split = |t: &Tensor| t.split_with_sizes(&layout.segments, 0);
        let frames = split(&q).into_iter().zip(split(&key)).zip(split(&qkv[2]));
        let out: Vec<Tensor> = frames
            .map(|((q, k_), v)| {
                let heads_first = |t: Tensor| t.transpose(0, 1).unsqueeze(0); // [1, h, patches, k]
                let (q, k_, v) = (heads_first(q), heads_first(k_), heads_first(v));
                Tensor::scaled_dot_product_attention(
                    &q,
                    &k_,
                    &v,
                    None::<&Tensor>,
                    0.0,
                    false,
                    (k as f64).powf(-0.5),
                    false,
                )
                .squeeze_dim(0)
                .transpose(0, 1)
                .reshape([-1, d]) // [patches, d]
            })
            .collect();
        self.proj.forward(&Tensor::cat(&out, 0), ctx)
    }
}

/// The tower's rotary embedding is computed in fp32 and rounded once; the language model's is not (see `language`).
///
/// # Shape
/// x [n, h, k] → [n, h, k]
fn rotate(x: &Tensor, layout: &Layout) -> Tensor {
    let f = x.to_kind(Kind::Float);
    (&f * &layout.cos + rotate_half(&f) * &layout.sin).to_kind(x.kind())
}

/// (x1, x2) → (-x2, x1) over halves of the last dimension.
pub fn rotate_half(x: &Tensor) -> Tensor {
    let halves = x.chunk(2, -1);
    Tensor::cat(&[-&halves[1], halves[0].shallow_clone()], -1)
}

impl Merger {
    fn load(c: &VisionConfig, loader: &Loader) -> Result<Self> {
        let wide = c.embed_dim * c.spatial_merge_size * c.spatial_merge_size;
        Ok(Self {
            ln_q: LayerNorm::load(loader, "visual.merger.ln_q", c.embed_dim)?,
            mlp_0: Linear::load(loader, "visual.merger.mlp.0", wide, wide, true)?,
            mlp_2: Linear::load(loader, "visual.merger.mlp.2", wide, c.hidden_size, true)?,
        })
    }

    /// Four consecutive rows are one 2x2 block; exact GELU here, quick_gelu in the blocks.
    ///
    /// # Shape
    /// [n, d] → [m, c]
    fn forward(&self, x: &Tensor, ctx: &Ctx) -> Tensor {
        let x = self.ln_q.forward(x).view([-1, self.mlp_0.in_features()]); // [m, 4d]
        self.mlp_2.forward(&self.mlp_0.forward(&x, ctx).gelu("none"), ctx)
    }
}
