//! AdamW over the trained tensors, in the HF Trainer's two groups, with its clipping.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};
use torch_shim::optim::{AdamW, Group, clip_grad_norm};

/// A trained tensor and its moments.
struct Parameter {
    name: String,
    value: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    /// Weight decay applies: neither a bias nor a norm.
    decays: bool,
}

pub struct Optimizer {
    parameters: Vec<Parameter>,
    adamw: AdamW,
    /// Updates done; AdamW's bias correction counts from 1.
    step: u64,
}

/// transformers `get_decay_parameter_names`: no decay for biases and norm weights (`ln_q` is a LayerNorm).
fn decays(name: &str) -> bool {
    !(name.ends_with(".bias") || name.contains("norm") || name.contains("ln_q"))
}

impl Optimizer {
    pub fn new(named: Vec<(String, Tensor)>, adamw: AdamW) -> Self {
        let parameters = named
            .into_iter()
            .map(|(name, value)| {
                let zeros = || value.detach().zeros_like();
                Parameter { exp_avg: zeros(), exp_avg_sq: zeros(), decays: decays(&name), name, value }
            })
            .collect();
        Self { parameters, adamw, step: 0 }
    }

    /// Trained numbers in all.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|p| p.value.numel()).sum()
    }

    /// The trained tensors.
    pub fn values(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters.iter().map(|p| &p.value)
    }

    /// Scales the gradients to a common norm of at most `max_norm` (0: leaves them). Returns the norm before.
    /// Reading it is this step's wait for the device: no update is made before it is known to be finite.
    pub fn clip(&self, max_norm: f64) -> Result<f32> {
        let _no_grad = tch::no_grad_guard();
        let grads: Vec<Tensor> = self.with_grad().map(|p| p.value.grad()).collect();
        let max_norm = if max_norm > 0.0 { max_norm } else { f64::INFINITY };
        Ok(clip_grad_norm(&grads, max_norm)?.to_kind(Kind::Float).double_value(&[]) as f32)
    }

    /// One update with learning rate `lr`, then no gradients.
    pub fn step(&mut self, lr: f64, weight_decay: f64) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        self.step += 1;
        for decays in [true, false] {
            let group: Vec<&Parameter> = self.with_grad().filter(|p| p.decays == decays).collect();
            if group.is_empty() {
                continue;
            }
            let grads: Vec<Tensor> = group.iter().map(|p| p.value.grad()).collect();
            let adamw = AdamW { lr, weight_decay: if decays { weight_decay } else { 0.0 }, ..self.adamw };
            let tensors = |f: fn(&Parameter) -> &Tensor| -> Vec<&Tensor> { group.iter().map(|p| f(p)).collect() };
            adamw.step(
                &Group {
                    params: &tensors(|p| &p.value),
                    grads: &grads.iter().collect::<Vec<_>>(),
                    exp_avgs: &tensors(|p| &p.exp_avg),
                    exp_avg_sqs: &tensors(|p| &p.exp_avg_sq),
                },
                self.step,
            )?;
        }
        self.forget_gradients()
    }

    /// As `zero_grad(set_to_none=True)`.
    pub fn forget_gradients(&self) -> Result<()> {
        for p in &self.parameters {
            torch_shim::autograd::set_grad(&p.value, None)?;
        }
        Ok(())
    }

    /// A tensor that no loss has reached has no gradient, and is left alone as in PyTorch.
    fn with_grad(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|p| p.value.grad().defined())
    }

    /// Moments by parameter name, for `optimizer.safetensors`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = BTreeMap::new();
        for p in &self.parameters {
            tensors.insert(format!("{}.exp_avg", p.name), p.exp_avg.shallow_clone());
            tensors.insert(format!("{}.exp_avg_sq", p.name), p.exp_avg_sq.shallow_clone());
        }
        tensors.insert("step".to_owned(), Tensor::from_slice(&[self.step as i64]));
        crate::weights::save(path, &tensors)
    }

    /// # Errors
    /// A file that belongs to other parameters, with the first that does not fit.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        let file = crate::weights::Weights::open_files(&[path.to_owned()])?;
        let _no_grad = tch::no_grad_guard();
        if file.names().count() != 2 * self.parameters.len() + 1 {
            bail!(
                "{}: holds moments of other parameters than this profile trains; keep lora_rank, lora_target and freeze_* as they were, or start afresh",
                path.display()
            );
        }
        for p in &mut self.parameters {
            for (suffix, moment) in [("exp_avg", &mut p.exp_avg), ("exp_avg_sq", &mut p.exp_avg_sq)] {
                // Names pass through the Hub's spelling in the file's index.
                let name = crate::weights::hub_name(&format!("{}.{suffix}", p.name));
                let saved = file
                    .get(&name, &moment.size(), Kind::Float, moment.device())
                    .context("the checkpoint does not fit this profile")?;
                moment.copy_(&saved);
            }
        }
        self.step = file.get_any("step")?.int64_value(&[0]) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::decays;

    #[test]
    fn biases_and_norms_do_not_decay() {
        for name in [
            "model.norm.weight",
            "model.layers.0.input_layernorm.weight",
            "visual.blocks.0.norm1.bias",
            "visual.merger.ln_q.weight",
            "model.layers.0.self_attn.q_proj.bias",
        ] {
            assert!(!decays(name), "{name}");
        }
        for name in [
            "model.layers.0.self_attn.q_proj.weight",
            "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight",
            "model.embed_tokens.weight",
        ] {
            assert!(decays(name), "{name}");
        }
    }
}
