//! A model folder that transformers, PEFT, vLLM and LLaMA-Factory load unchanged: base and adapters merged, one tensor at
//! a time.
//!
//! ```text
//! W' = round(W + Σ weight·scale·B·A)     sum in fp32, one rounding, to the dtype that is written
//! ```
//! With one adapter and the base's dtype these are PEFT's and LLaMA-Factory's bits. With several, they round after each.
//! Names on disk are the Hub's, which every transformers version reads. Read next: [`files`] (config, tokenizer, template),
//! [`staging`] (the folder gets its name last), [`verify`].

pub mod adapter;
pub mod card;
pub mod files;
pub mod staging;
pub mod verify;

use crate::config::Config;
use crate::lora;
use crate::model::linear::Lora;
use crate::model::{Loader, Qwen2Vl, loader};
use crate::weights::Weights;
use crate::weights::write::{INDEX, Planned, Shard, index, shards, write};
use anyhow::{Context, Result, bail};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::fs::{self, OutFile};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// An adapter, and how much of it.
#[derive(Debug, Clone)]
pub struct Source {
    pub dir: PathBuf,
    pub weight: f64,
}

impl Source {
    /// So much of the adapter on a model.
    fn put_on(&self, model: &mut Qwen2Vl) -> Result<()> {
        lora::attach_saved(model, &self.dir).with_context(|| format!("adapter {}", self.dir.display()))?;
        model.linears_mut().into_iter().filter_map(|l| l.lora.as_mut()).for_each(|lora| lora.scale *= self.weight);
        Ok(())
    }
}

/// What is to be written. Everything that can be wrong with base and adapters is found before the first byte.
pub struct Plan {
    base: PathBuf,
    config: Config,
    weights: Weights,
    /// Module (Hub path) → its pairs, in the adapters' order
    merges: HashMap<String, Vec<Lora>>,
    pub kind: Kind,
    pub shards: Vec<Shard>,
    /// The base says "tied" and holds an `lm_head` of its own all the same.
    untied: bool,
    /// Tensors of the base that are no part of the model.
    pub left_out: Vec<String>,
}

impl Plan {
    /// `kind`: `None` is what the base's config.json says.
    ///
    /// # Errors
    /// A base that is not whole, and an adapter that does not fit it, by file and tensor.
    pub fn new(base: &Path, adapters: &[Source], kind: Option<Kind>, shard_bytes: u64) -> Result<Self> {
        let config = Config::from_dir(base)?;
        let weights = Weights::open_model(base)?;
        let kind = match kind {
            Some(kind) => kind,
            None => match config.dtype.as_deref() {
                Some("bfloat16") => Kind::BFloat16,
                Some("float16") => Kind::Half,
                Some("float32") => Kind::Float,
                _ => weights.kind("model.embed_tokens.weight")?,
            },
        };
        let (mut skeleton, weights) = skeleton(config.clone(), weights, kind)?;
        let merges = merges(&mut skeleton, adapters)?;

        let untied = config.tie_word_embeddings && skeleton.lm_head.is_some();
        let mut tensors: Vec<Planned> =
            skeleton.named_weights().into_iter().map(|(name, t)| Planned { name, kind, shape: t.size() }).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        for tensor in &tensors {
            let stored = weights.kind(&tensor.name)?;
            if !matches!(stored, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
                bail!("{}: {} holds {stored:?}, not numbers with a fraction", base.display(), tensor.name);
            }
        }
        let known = |name: &str| tensors.binary_search_by(|t| t.name.as_str().cmp(name)).is_ok();
        // A tied lm_head that repeats embed_tokens is no loss.
        let mut left_out: Vec<String> =
            weights.names().filter(|n| !known(n) && *n != "lm_head.weight").map(str::to_owned).collect();
        left_out.sort();
        let shards = shards(tensors, shard_bytes);
        Ok(Self { base: base.to_owned(), config, weights, merges, kind, shards, untied, left_out })
    }

    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(Shard::bytes).sum()
    }

    pub fn tensors(&self) -> usize {
        self.shards.iter().map(|s| s.tensors.len()).sum()
    }

    /// How many matrices an adapter changes.
    pub fn merged(&self) -> usize {
        self.merges.len()
    }

    /// Fails where the file system of `dir` has less room than the folder needs.
    pub fn check_room(&self, dir: &Path) -> Result<()> {
        check_room(dir, self.bytes() + files::bytes(&self.base))
    }

    /// Writes everything into `dir`. `progress(bytes so far, file)` hears of every tensor and may end it with an error.
    pub fn write(&self, dir: &Path, progress: &mut dyn FnMut(u64, &str) -> Result<()>) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let mut done = 0;
        for shard in &self.shards {
            let mut out = OutFile::create(&dir.join(&shard.file))?;
            write(&mut out, &shard.tensors, &mut |planned| {
                progress(done, &shard.file)?;
                done += planned.bytes();
                self.tensor(planned)
            })?;
            out.finish()?;
            progress(done, &shard.file)?;
        }
        if self.shards.len() > 1 {
            fs::write_atomic(&dir.join(INDEX), &serde_json::to_vec_pretty(&index(&self.shards))?)?;
        }
        files::write(&self.base, dir, &self.config, Some(self.kind), self.untied)
    }

    /// One tensor as it is written.
    fn tensor(&self, planned: &Planned) -> Result<Tensor> {
        let mut t = self.weights.get_any(&planned.name)?;
        let finite = is_finite(&t);
        if let Some(loras) = planned.name.strip_suffix(".weight").and_then(|module| self.merges.get(module)) {
            t = t.to_kind(Kind::Float);
            for lora in loras {
                t += lora.delta();
            }
        }
        let t = t.to_kind(self.kind);
        if is_finite(&t) {
            return Ok(t);
        }
        if !finite {
            bail!("{}: {} holds numbers that are not finite", self.base.display(), planned.name);
        }
        let cure = if self.kind == Kind::Half {
            "f16 ends at 65504; choose --dtype bf16 or f32"
        } else {
            "the adapter's numbers are not finite; take an earlier checkpoint"
        };
        bail!("{} would hold numbers that are not finite: {cure}", planned.name)
    }
}

/// The model without its numbers: what it consists of, and what an adapter may be put on. Gives the files back.
fn skeleton(config: Config, weights: Weights, kind: Kind) -> Result<(Qwen2Vl, Weights)> {
    let source = loader::Source::Shapes(weights);
    let loader = Loader { source, kind, device: Device::Cpu, trained: Box::new(|_| false) };
    let model = Qwen2Vl::load(config, &loader)?;
    let loader::Source::Shapes(weights) = loader.source else { bail!("the loader lost its files") };
    Ok((model, weights))
}

/// Fails where the file system of `dir` has no room for so many bytes.
pub fn check_room(dir: &Path, bytes: u64) -> Result<()> {
    // Headers, index, card, folder: generously.
    const MARGIN: u64 = 16 << 20;
    let needed = bytes + MARGIN;
    let free = fs::space(dir).because(Exit::Disk)?.free_bytes;
    if free < needed {
        return Err(anyhow::anyhow!(
            "{}: the folder needs {:.2} GB and {:.2} GB is free, so nothing was written; free some space, or set --out to another disk",
            dir.display(),
            needed as f64 / 1e9,
            free as f64 / 1e9
        ))
        .because(Exit::Disk);
    }
    Ok(())
}

/// In pieces: looking makes copies, and the largest tensor of a model is large enough already.
fn is_finite(t: &Tensor) -> bool {
    const PIECE: i64 = 1 << 24;
    t.reshape([-1]).split(PIECE, 0).iter().all(|piece| piece.isfinite().all().int64_value(&[]) != 0)
}

/// The pairs of all adapters, by module.
fn merges(skeleton: &mut Qwen2Vl, adapters: &[Source]) -> Result<HashMap<String, Vec<Lora>>> {
    let mut merges: HashMap<String, Vec<Lora>> = HashMap::new();
    for adapter in adapters {
        adapter.put_on(skeleton)?;
        for linear in skeleton.linears_mut() {
            if let Some(lora) = linear.lora.take() {
                merges.entry(linear.name.clone()).or_default().push(lora);
            }
        }
    }
    Ok(merges)
}
