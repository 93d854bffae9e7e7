//! What a run saves: `checkpoint-N/` to go on from, and the finished adapter or model at the top of the run directory.

use super::Trained;
use crate::export::files;
use crate::model::Qwen2Vl;
use crate::{lora, weights};
use anyhow::{Context, Result};
use lightbox_core::profile::Profile;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Shards of a fully fine-tuned model: transformers' old limit, which every reader copes with.
const SHARD_BYTES: u64 = 5_000_000_000;

/// AdamW's moments.
pub const OPTIMIZER: &str = "optimizer.safetensors";

/// The base model of a run. Its folder is looked for once: a download may move a Hub name on in the meantime.
pub struct Base {
    /// As the profile names it, and as adapters remember it.
    pub name: String,
    pub folder: PathBuf,
}

impl Base {
    /// # Errors
    /// It is not on this machine.
    pub fn of(profile: &Profile) -> Result<Self> {
        Ok(Self { name: profile.model_name_or_path.clone().unwrap_or_default(), folder: profile.model_folder()? })
    }
}

/// Writes the weights of a checkpoint into its folder. Exact: fp32 masters stay fp32, so that a resumed run goes on from
/// the same bits.
pub fn save(to: &Path, base: &Base, model: &Qwen2Vl, trained: &Trained) -> Result<()> {
    match trained {
        Trained::Lora(config) => lora::save(model, config, &base.name, to),
        Trained::Full => {
            weights::save_model(to, named(model), SHARD_BYTES)?;
            copy_model_files(base, model, to)
        }
    }
}

/// Puts the weights of a checkpoint back.
pub fn load(path: &Path, model: &Qwen2Vl, trained: &Trained) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let (file, names): (weights::Weights, Vec<(String, Tensor)>) = match trained {
        Trained::Lora(_) => {
            (weights::Weights::open_files(&[path.join("adapter_model.safetensors")])?, lora::named_parameters(model))
        }
        Trained::Full => (weights::Weights::open_model(path)?, model.named_weights()),
    };
    for (name, mut value) in names {
        let saved = file
            .get(&weights::hub_name(&name), &value.size(), value.kind(), value.device())
            .context("the checkpoint does not fit this profile")?;
        value.copy_(&saved);
    }
    Ok(())
}

/// The finished adapter, or the finished model with everything that a model folder holds.
pub fn save_final(to: &Path, base: &Base, model: &Qwen2Vl, trained: &Trained) -> Result<()> {
    match trained {
        Trained::Lora(config) => lora::save(model, config, &base.name, to),
        Trained::Full => {
            // In the dtype that the copied config.json announces.
            let kind = match model.config.dtype.as_deref() {
                Some("bfloat16") => Kind::BFloat16,
                Some("float16") => Kind::Half,
                _ => Kind::Float,
            };
            let tensors = named(model).into_iter().map(|(k, t)| (k, t.to_kind(kind))).collect();
            weights::save_model(to, tensors, SHARD_BYTES)?;
            copy_model_files(base, model, to)
        }
    }
}

fn named(model: &Qwen2Vl) -> BTreeMap<String, Tensor> {
    model.named_weights().into_iter().map(|(k, t)| (k, t.detach())).collect()
}

/// Config, tokenizer and the rest of the base's folder.
fn copy_model_files(base: &Base, model: &Qwen2Vl, to: &Path) -> Result<()> {
    let untied = model.config.tie_word_embeddings && model.lm_head.is_some();
    files::write(&base.folder, to, &model.config, None, untied)
}
