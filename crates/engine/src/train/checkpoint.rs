//! What a run saves: `checkpoint-N/` to go on from, and the finished adapter or model at the top of the run directory.

use super::Trained;
use super::optim::Optimizer;
use crate::model::Qwen2Vl;
use crate::{lora, weights};
use anyhow::{Context, Result, bail};
use lightbox_core::profile::Profile;
use lightbox_core::runs::RunDir;
use lightbox_core::runs::trainer_state::TrainerState;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Files of a model folder that a fine-tuned copy needs unchanged.
const MODEL_FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "preprocessor_config.json",
    "chat_template.json",
    "chat_template.jinja",
];

/// Shards of a fully fine-tuned model: transformers' old limit, which every reader copes with.
const SHARD_BYTES: usize = 5_000_000_000;

/// What the HF Trainer's state does not hold, so that a resumed run reports what an undisturbed one would.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Sum of the losses of all updates, and of those since the last log line.
    pub total_loss: f64,
    pub window_loss: f32,
    pub window_steps: u64,
    /// Input tokens, with padding.
    pub tokens: u64,
    /// Seconds of training in the attempts before.
    pub seconds: f64,
}

/// Writes `checkpoint-N` under a temporary name and renames it when it is whole.
#[allow(clippy::too_many_arguments)] // one call; a struct for it would only rename the arguments
pub fn save(
    dir: &RunDir,
    step: u64,
    profile: &Profile,
    model: &Qwen2Vl,
    trained: &Trained,
    optimizer: &Optimizer,
    state: &TrainerState,
    progress: &Progress,
) -> Result<PathBuf> {
    let path = dir.checkpoint(step);
    let partial = dir.join(&format!(".partial-checkpoint-{step}"));
    let write = || -> Result<()> {
        if partial.exists() {
            std::fs::remove_dir_all(&partial)?;
        }
        std::fs::create_dir_all(&partial)?;
        match trained {
            Trained::Lora(config) => lora::save(model, config, &base_name(profile), &partial)?,
            // Exact: fp32 masters stay fp32, so that a resumed run goes on from the same bits.
            Trained::Full => {
                weights::save_model(&partial, named(model), SHARD_BYTES)?;
                copy_model_files(profile, &partial)?;
            }
        }
        state.write(&partial.join(RunDir::TRAINER_STATE))?;
        if !profile.save_only_model {
            optimizer.save(&partial.join("optimizer.safetensors"))?;
            lightbox_core::fs::write_atomic(&partial.join("progress.json"), &serde_json::to_vec_pretty(progress)?)?;
        }
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::rename(&partial, &path)?;
        std::fs::File::open(dir.path())?.sync_all()?;
        Ok(())
    };
    write().with_context(|| {
        format!("{}: the checkpoint was not written; older checkpoints are as they were", path.display())
    })?;
    Ok(path)
}

/// Puts the state of a checkpoint back.
pub fn load(
    path: &Path,
    model: &mut Qwen2Vl,
    trained: &Trained,
    optimizer: &mut Optimizer,
) -> Result<(TrainerState, Progress)> {
    if !path.join("optimizer.safetensors").exists() {
        bail!(
            "{}: saved with save_only_model, so there is no optimizer to go on with; give it as adapter_name_or_path to start a new run from it",
            path.display()
        );
    }
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
    optimizer.load(&path.join("optimizer.safetensors"))?;
    let state = TrainerState::read(&path.join(RunDir::TRAINER_STATE))?;
    let progress = path.join("progress.json");
    let progress =
        serde_json::from_slice(&std::fs::read(&progress)?).with_context(|| progress.display().to_string())?;
    Ok((state, progress))
}

/// The finished adapter, or the finished model with everything that a model folder holds.
pub fn save_final(dir: &RunDir, profile: &Profile, model: &Qwen2Vl, trained: &Trained) -> Result<()> {
    match trained {
        Trained::Lora(config) => lora::save(model, config, &base_name(profile), dir.path()),
        Trained::Full => {
            // In the dtype that the copied config.json announces.
            let kind = match model.config.dtype.as_deref() {
                Some("bfloat16") => Kind::BFloat16,
                Some("float16") => Kind::Half,
                _ => Kind::Float,
            };
            let tensors = named(model).into_iter().map(|(k, t)| (k, t.to_kind(kind))).collect();
            weights::save_model(dir.path(), tensors, SHARD_BYTES)?;
            copy_model_files(profile, dir.path())
        }
    }
}

fn base_name(profile: &Profile) -> String {
    profile.model_name_or_path.clone().unwrap_or_default()
}

fn named(model: &Qwen2Vl) -> BTreeMap<String, Tensor> {
    model.named_weights().into_iter().map(|(k, t)| (k, t.detach())).collect()
}

fn copy_model_files(profile: &Profile, to: &Path) -> Result<()> {
    let from = PathBuf::from(base_name(profile));
    for name in MODEL_FILES {
        let source = from.join(name);
        if source.exists() {
            lightbox_core::fs::copy(&source, &to.join(name))?;
        }
    }
    Ok(())
}
