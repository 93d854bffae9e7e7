//! LoRA adapters: which modules get one, how it begins, and PEFT's files (adapter_model.safetensors, adapter_config.json).
//!
//! Written with the key names of transformers >= 4.52 (`base_model.model.model.language_model…`); read with old and
//! new names alike. The arithmetic is in [`crate::model::linear`].

use crate::model::Qwen2Vl;
use crate::model::linear::Lora;
use crate::weights::{self, Weights, hub_name, memory_name};
use anyhow::{Context, Result, bail};
use lightbox_core::args::KeyNames;
use lightbox_core::seed;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// What a new adapter looks like (`lora_*` keys of a profile).
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    pub rank: i64,
    pub alpha: f64,
    pub dropout: f64,
    pub rslora: bool,
    /// `["all"]`, or pieces of module paths: `q_proj`, `mlp.0`, `lm_head`, …
    pub target: Vec<String>,
}

impl LoraConfig {
    fn scale(&self) -> f64 {
        scale(self.alpha, self.rank, self.rslora)
    }
}

fn scale(alpha: f64, rank: i64, rslora: bool) -> f64 {
    if rslora { alpha / (rank as f64).sqrt() } else { alpha / rank as f64 }
}

/// Parts of the model that must not change (`freeze_*` keys of a profile).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze {
    pub vision_tower: bool,
    pub multi_modal_projector: bool,
    pub language_model: bool,
}

impl Freeze {
    /// Full fine-tuning: is this weight (Hub name) trained?
    pub fn trains(&self, name: &str) -> bool {
        if name.starts_with("visual.merger.") {
            !self.multi_modal_projector
        } else if name.starts_with("visual.") {
            !self.vision_tower
        } else {
            !self.language_model
        }
    }
}

/// LLaMA-Factory's choice of modules (`find_all_linear_modules`, `patch_target_modules` in model_utils), by Hub path.
///
/// `all` never reaches `lm_head` or the merger; a list is matched as "the path contains one of these words", and what
/// is frozen stays out either way.
///
/// # Errors
/// Nothing matches: says which modules there are.
pub fn select_targets<'a>(
    linears: impl Iterator<Item = &'a str> + Clone,
    target: &[String],
    freeze: Freeze,
) -> Result<Vec<String>> {
    let mut forbidden = vec!["patch_embed"];
    if freeze.vision_tower {
        forbidden.push("visual.blocks");
    }
    if freeze.multi_modal_projector {
        forbidden.push("visual.merger");
    }
    if freeze.language_model {
        forbidden.extend(["language_model", "lm_head"]);
    }
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
    let words: BTreeSet<String> = if target == ["all"] {
        let mut never = vec!["lm_head", "visual.merger"];
        never.extend(&forbidden);
        linears.clone().map(memory_name).filter(|p| !never.iter().any(|f| p.contains(f))).map(|p| last(&p)).collect()
    } else {
        target.iter().cloned().collect()
    };
    let chosen: Vec<String> = linears
        .clone()
        .filter(|hub| {
            let path = memory_name(hub);
            words.iter().any(|w| path.contains(w.as_str())) && !forbidden.iter().any(|f| path.contains(f))
        })
        .map(str::to_owned)
        .collect();
    if chosen.is_empty() {
        let kinds: BTreeSet<String> = linears.map(last).collect();
        bail!(
            "lora_target {} matches no module that is not frozen; this model has {} (freeze_vision_tower, freeze_multi_modal_projector and freeze_language_model keep modules out)",
            target.join(","),
            kinds.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    Ok(chosen)
}

/// Puts a new adapter on the model: A uniform in ±1/√in (kaiming, a = √5), B zero, as PEFT begins.
///
/// Drawn in the base weight's dtype and raised to fp32, as LLaMA-Factory does: over a bf16 base, A holds bf16 numbers.
/// Each A is a pure function of (seed, module path).
pub fn attach_new(model: &mut Qwen2Vl, config: &LoraConfig, freeze: Freeze, seed: u64) -> Result<()> {
    let names: Vec<String> = model.linears().iter().map(|l| l.name.clone()).collect();
    let chosen: BTreeSet<String> =
        select_targets(names.iter().map(String::as_str), &config.target, freeze)?.into_iter().collect();
    for linear in model.linears_mut() {
        if !chosen.contains(&linear.name) {
            continue;
        }
        let (inputs, outputs) = (linear.in_features(), linear.out_features());
        let bound = 1.0 / (inputs as f64).sqrt();
        tch::manual_seed(seed::at(seed, "lora_A", &[]).wrapping_add(seed::at(0, &linear.name, &[])) as i64);
        let a = Tensor::zeros([config.rank, inputs], (Kind::Float, Device::Cpu)).uniform_(-bound, bound);
        let a = a.to_kind(linear.weight.kind()).to_kind(Kind::Float).to_device(linear.weight.device());
        let b = Tensor::zeros([outputs, config.rank], (Kind::Float, linear.weight.device()));
        linear.lora = Some(Lora { a, b, scale: config.scale(), dropout: config.dropout });
    }
    Ok(())
}

/// The adapter's tensors by PEFT key, as shallow clones.
pub fn named_parameters(model: &Qwen2Vl) -> Vec<(String, Tensor)> {
    let mut out = Vec::new();
    for linear in model.linears() {
        if let Some(lora) = &linear.lora {
            let path = memory_name(&linear.name);
            out.push((format!("base_model.model.{path}.lora_A.weight"), lora.a.shallow_clone()));
            out.push((format!("base_model.model.{path}.lora_B.weight"), lora.b.shallow_clone()));
        }
    }
    out
}

/// adapter_config.json as PEFT writes it, as far as we read it.
#[derive(Debug, Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: i64,
    #[serde(default)]
    target_modules: Value,
    #[serde(default)]
    lora_alpha: Option<f64>,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    modules_to_save: Value,
    #[serde(default)]
    alpha_pattern: Value,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
}

impl PeftConfig {
    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("adapter_config.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{}: cannot be read; an adapter folder holds adapter_config.json and adapter_model.safetensors",
                path.display()
            )
        })?;
        let config: Self =
            serde_json::from_str(&text).with_context(|| format!("{}: not PEFT's layout", path.display()))?;
        let empty = |v: &Value| {
            v.is_null() || v.as_object().is_some_and(|m| m.is_empty()) || v.as_array().is_some_and(Vec::is_empty)
        };
        let unsupported = [
            (config.peft_type != "LORA", "peft_type other than LORA"),
            (config.use_dora, "use_dora"),
            (config.fan_in_fan_out, "fan_in_fan_out"),
            (config.bias.as_deref().unwrap_or("none") != "none", "bias other than none"),
            (!empty(&config.modules_to_save), "modules_to_save"),
            (!empty(&config.alpha_pattern), "alpha_pattern"),
        ];
        if let Some((_, what)) = unsupported.iter().find(|(hit, _)| *hit) {
            bail!("{}: {what} is not supported, and leaving it out would change the answers", path.display());
        }
        Ok(config)
    }
}

/// Puts a saved adapter on the model. Keys of every transformers version are understood; every tensor must find its
/// module: an adapter that does nothing (PEFT only warns) is an error here.
pub fn attach_saved(model: &mut Qwen2Vl, dir: &Path) -> Result<()> {
    let config = PeftConfig::read(dir)?;
    let path = dir.join("adapter_model.safetensors");
    if !path.exists() && dir.join("adapter_model.bin").exists() {
        bail!(
            "{}: only a pickled adapter (adapter_model.bin) is here, and a pickle can run code; save it as safetensors",
            dir.display()
        );
    }
    let file = Weights::open_files(std::slice::from_ref(&path))?;
    let mut pairs: BTreeMap<String, [Option<Tensor>; 2]> = BTreeMap::new();
    let mut keys: Vec<&str> = file.names().collect();
    keys.sort_unstable();
    for key in keys {
        let parts = key.strip_prefix("base_model.model.").and_then(|rest| {
            ["lora_A", "lora_B"]
                .iter()
                .enumerate()
                .find_map(|(i, ab)| rest.strip_suffix(&format!(".{ab}.weight")).map(|p| (hub_name(p), i)))
        });
        let (module, which) =
            parts.with_context(|| format!("{}: {key} is not a LoRA tensor that is understood here", path.display()))?;
        pairs.entry(module).or_default()[which] = Some(file.get_any(key)?);
    }
    if pairs.is_empty() {
        bail!("{}: holds no LoRA tensors", path.display());
    }
    for linear in model.linears_mut() {
        let Some([a, b]) = pairs.remove(&linear.name) else { continue };
        let (Some(a), Some(b)) = (a, b) else {
            bail!("{}: {} has only one of lora_A and lora_B", path.display(), linear.name)
        };
        let rank = a.size()[0];
        if a.size() != [rank, linear.in_features()] || b.size() != [linear.out_features(), rank] {
            bail!(
                "{}: {} has A {:?} and B {:?}, but the layer is {} -> {}; the adapter belongs to another base model{}",
                path.display(),
                linear.name,
                a.size(),
                b.size(),
                linear.in_features(),
                linear.out_features(),
                config.base_model_name_or_path.as_deref().map(|b| format!(" ({b})")).unwrap_or_default()
            );
        }
        let device = linear.weight.device();
        let fp32 = |t: Tensor| t.to_kind(Kind::Float).to_device(device);
        if rank != config.r {
            bail!(
                "{}: {} has rank {rank}, adapter_config.json says {}; rank_pattern is not supported",
                path.display(),
                linear.name,
                config.r
            );
        }
        let scale = scale(config.lora_alpha.unwrap_or(8.0), rank, config.use_rslora);
        linear.lora = Some(Lora { a: fp32(a), b: fp32(b), scale, dropout: config.lora_dropout });
    }
    if let Some(module) = pairs.keys().next() {
        bail!(
            "{}: {module} is in the adapter but not in this model; the adapter belongs to another base model",
            path.display()
        );
    }
    Ok(())
}

/// Takes the adapter off; the base weights were never touched.
pub fn detach(model: &mut Qwen2Vl) {
    for linear in model.linears_mut() {
        linear.lora = None;
    }
}

/// What a saved adapter looks like, for going on with it.
pub fn saved_config(dir: &Path) -> Result<LoraConfig> {
    let c = PeftConfig::read(dir)?;
    let target = c
        .target_modules
        .as_array()
        .map(|a| a.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    Ok(LoraConfig {
        rank: c.r,
        alpha: c.lora_alpha.unwrap_or(8.0),
        dropout: c.lora_dropout,
        rslora: c.use_rslora,
        target,
    })
}

/// What a saved adapter calls its base model: a Hub name, or a folder. Else `base`.
pub fn saved_base(dir: &Path, base: &Path) -> Result<String> {
    let named = PeftConfig::read(dir)?.base_model_name_or_path.filter(|name| !name.is_empty());
    Ok(named.unwrap_or_else(|| base.display().to_string()))
}

/// Converts the adapter (`pure_bf16`).
pub fn to_kind(model: &mut Qwen2Vl, kind: Kind) {
    for linear in model.linears_mut() {
        if let Some(lora) = &mut linear.lora {
            lora.a = lora.a.to_kind(kind);
            lora.b = lora.b.to_kind(kind);
        }
    }
}

/// Writes adapter_model.safetensors and adapter_config.json. The config holds only the fields that every PEFT since
/// 0.15 knows: newer fields make older versions fail.
pub fn save(model: &Qwen2Vl, config: &LoraConfig, base_model: &str, dir: &Path) -> Result<()> {
    save_as(model, config, base_model, dir, KeyNames::New)
}

/// [`save`] with the tensors' names chosen.
pub fn save_as(model: &Qwen2Vl, config: &LoraConfig, base_model: &str, dir: &Path, names: KeyNames) -> Result<()> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for (key, t) in named_parameters(model) {
        let t = t.detach();
        if names != KeyNames::New {
            tensors.insert(old_key(&key), t.shallow_clone());
        }
        if names != KeyNames::Old {
            tensors.insert(key, t);
        }
    }
    weights::save(&dir.join("adapter_model.safetensors"), &tensors)?;
    let json = json!({
        "alpha_pattern": {},
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "lora_alpha": number(config.alpha),
        "lora_dropout": config.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.rank,
        "rank_pattern": {},
        "target_modules": target_modules(model),
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": config.rslora,
    });
    let path = dir.join("adapter_config.json");
    lightbox_core::fs::write_atomic(&path, serde_json::to_string_pretty(&json)?.as_bytes())
        .with_context(|| path.display().to_string())
}

/// The key that PEFT gave this tensor under transformers < 4.52.
fn old_key(key: &str) -> String {
    key.strip_prefix("base_model.model.").map_or(key.to_owned(), |path| format!("base_model.model.{}", hub_name(path)))
}

/// 16 rather than 16.0: PEFT's type is int.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 { json!(x as i64) } else { json!(x) }
}

/// The adapted modules as PEFT's `target_modules`: the shortest path endings that hit them and nothing else.
fn target_modules(model: &Qwen2Vl) -> Vec<String> {
    let adapted: BTreeSet<String> =
        model.linears().iter().filter(|l| l.lora.is_some()).map(|l| memory_name(&l.name)).collect();
    let mut others = BTreeSet::new();
    for (name, _) in model.named_weights() {
        let path = memory_name(&name);
        let mut module = path.as_str();
        // Every ancestor is a module too: "0" must not hit `layers.0` when `mlp.0` is meant.
        while let Some((parent, _)) = module.rsplit_once('.') {
            module = parent;
            if !adapted.contains(module) {
                others.insert(module.to_owned());
            }
        }
    }
    let hits = |module: &str, ending: &str| module == ending || module.ends_with(&format!(".{ending}"));
    let mut endings = BTreeSet::new();
    for module in &adapted {
        let starts = module.rmatch_indices('.').map(|(i, _)| i + 1).chain([0]);
        let shortest = starts.map(|s| &module[s..]).find(|e| !others.iter().any(|o| hits(o, e)));
        endings.insert(shortest.unwrap_or(module).to_owned());
    }
    endings.into_iter().collect()
}

/// Folds the adapters into the weights and takes them off.
pub fn merge(model: &mut Qwen2Vl) {
    let _no_grad = tch::no_grad_guard();
    for linear in model.linears_mut() {
        if linear.lora.is_some() {
            linear.weight = linear.merged_weight();
            linear.lora = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linears() -> Vec<String> {
        let mut v: Vec<String> = Vec::new();
        for i in 0..2 {
            v.extend(["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"].map(|p| format!("visual.blocks.{i}.{p}")));
        }
        v.extend(["mlp.0", "mlp.2"].map(|p| format!("visual.merger.{p}")));
        for i in 0..3 {
            v.extend(["q", "k", "v", "o"].map(|p| format!("model.layers.{i}.self_attn.{p}_proj")));
            v.extend(["gate", "up", "down"].map(|p| format!("model.layers.{i}.mlp.{p}_proj")));
        }
        v.push("lm_head".into());
        v
    }

    fn count(target: &str, vision: bool, projector: bool, language: bool) -> usize {
        let target: Vec<String> = target.split(',').map(str::to_owned).collect();
        let freeze = Freeze { vision_tower: vision, multi_modal_projector: projector, language_model: language };
        select_targets(linears().iter().map(String::as_str), &target, freeze).map_or(0, |v| v.len())
    }

    /// The table of variants that LLaMA-Factory 0.9.5 was seen to adapt.
    #[test]
    fn targets_are_chosen_as_llama_factory_chooses_them() {
        assert_eq!(count("all", true, true, false), 21, "default: the seven of every text layer");
        assert_eq!(count("all", false, true, false), 29, "vision unfrozen: its blocks too");
        assert_eq!(count("all", false, false, false), 29, "all never reaches the merger");
        assert_eq!(count("all", false, true, true), 8, "language model frozen: vision blocks only");
        assert_eq!(count("q_proj,v_proj", true, true, false), 6);
        assert_eq!(count("q_proj,mlp.0,mlp.2", true, false, false), 5, "the merger when named and not frozen");
        assert_eq!(count("q_proj,lm_head", true, true, false), 4);
        assert_eq!(count("no_such_module", true, true, false), 0);
    }
}
