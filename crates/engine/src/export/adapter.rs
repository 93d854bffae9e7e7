//! An adapter folder of its own: one adapter in another dtype or under other names, or several added up into one.
//!
//! ```text
//! Σ wᵢ·sᵢ·Bᵢ·Aᵢ  =  [B₁ … Bₙ] · [w₁s₁A₁ … wₙsₙAₙ]ᵀ      exact; the rank is the sum of the ranks, the scale is 1
//! ```
//! PEFT's `add_weighted_adapter` with `combination_type="cat"`. One adapter of weight 1 keeps rank, alpha and every bit.
//!
//! r rank of one adapter · R sum of the ranks · in, out features of a layer

use super::Source;
use crate::config::Config;
use crate::lora::{self, LoraConfig};
use crate::model::Qwen2Vl;
use crate::model::linear::Lora;
use crate::weights::Weights;
use anyhow::Result;
use lightbox_core::args::KeyNames;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The adapter that is to be written.
pub struct AdapterPlan {
    /// The model without its numbers, and the adapter on it.
    skeleton: Qwen2Vl,
    config: LoraConfig,
    /// `base_model_name_or_path`
    base: String,
    pub kind: Kind,
    key_names: KeyNames,
}

impl AdapterPlan {
    /// # Errors
    /// As [`super::Plan::new`]; there is no adapter.
    pub fn new(base: &Path, sources: &[Source], kind: Option<Kind>, key_names: KeyNames) -> Result<Self> {
        let [first, others @ ..] = sources else {
            anyhow::bail!("--adapter-only needs an adapter: give --adapter DIR");
        };
        let weights = Weights::open_model(base)?;
        let (mut skeleton, _) = super::skeleton(Config::from_dir(base)?, weights, Kind::Float)?;
        let kind = kind.unwrap_or(Kind::Float);
        let mut config = lora::saved_config(&first.dir)?;
        if others.is_empty() && first.weight == 1.0 {
            first.put_on(&mut skeleton)?;
        } else {
            let ranks = sources.iter().map(|s| Ok(lora::saved_config(&s.dir)?.rank)).collect::<Result<Vec<_>>>()?;
            put_together(&mut skeleton, sources, &ranks)?;
            let rank = ranks.iter().sum();
            config = LoraConfig { rank, alpha: rank as f64, dropout: 0.0, rslora: false, ..config };
        }
        for linear in skeleton.linears_mut() {
            if let Some(lora) = &mut linear.lora {
                (lora.a, lora.b) = (lora.a.to_kind(kind), lora.b.to_kind(kind));
            }
        }
        Ok(Self { skeleton, config, base: lora::saved_base(&first.dir, base)?, kind, key_names })
    }

    /// Of the adapter's tensors.
    pub fn bytes(&self) -> u64 {
        let size = |t: &Tensor| (t.numel() * t.kind().elt_size_in_bytes()) as u64;
        let once: u64 = lora::named_parameters(&self.skeleton).iter().map(|(_, t)| size(t)).sum();
        if self.key_names == KeyNames::Both { once * 2 } else { once }
    }

    pub fn tensors(&self) -> usize {
        let once = lora::named_parameters(&self.skeleton).len();
        if self.key_names == KeyNames::Both { once * 2 } else { once }
    }

    pub fn key_names(&self) -> KeyNames {
        self.key_names
    }

    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// adapter_model.safetensors and adapter_config.json.
    pub fn write(&self, dir: &Path) -> Result<()> {
        lora::save_as(&self.skeleton, &self.config, &self.base, dir, self.key_names)
    }

    /// Puts the planned adapter on a model that has none: what a reader of the folder gets.
    pub fn put_on(&self, model: &mut Qwen2Vl) {
        for (linear, planned) in model.linears_mut().into_iter().zip(self.skeleton.linears()) {
            let device = linear.weight.device();
            linear.lora = planned.lora.as_ref().map(|l| Lora {
                a: l.a.to_kind(Kind::Float).to_device(device),
                b: l.b.to_kind(Kind::Float).to_device(device),
                scale: l.scale,
                dropout: 0.0,
            });
        }
    }
}

/// The sum of several adapters on the skeleton. Where one of them has no pair it adds zeros, so that all layers have one
/// rank: a pattern of ranks is what old readers do not understand.
fn put_together(skeleton: &mut Qwen2Vl, sources: &[Source], ranks: &[i64]) -> Result<()> {
    let layers = skeleton.linears().len();
    let mut pairs: Vec<Vec<Option<Lora>>> = (0..layers).map(|_| Vec::new()).collect();
    for source in sources {
        source.put_on(skeleton)?;
        for (linear, of_layer) in skeleton.linears_mut().into_iter().zip(&mut pairs) {
            of_layer.push(linear.lora.take());
        }
    }
    for (linear, of_layer) in skeleton.linears_mut().into_iter().zip(pairs) {
        if of_layer.iter().all(Option::is_none) {
            continue;
        }
        let (inputs, outputs) = (linear.in_features(), linear.out_features());
        let zeros = |size: [i64; 2]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        let each = of_layer.into_iter().zip(ranks);
        let (a, b): (Vec<Tensor>, Vec<Tensor>) = each
            .map(|(lora, &r)| match lora {
                Some(lora) => (lora.a * lora.scale, lora.b), // [r, in], [out, r]
                None => (zeros([r, inputs]), zeros([outputs, r])),
            })
            .unzip();
        // [R, in], [out, R]
        linear.lora = Some(Lora { a: Tensor::cat(&a, 0), b: Tensor::cat(&b, 1), scale: 1.0, dropout: 0.0 });
    }
    Ok(())
}
