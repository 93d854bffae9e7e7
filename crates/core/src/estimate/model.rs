//! The sizes of a Qwen2-VL model, from config.json alone: what an estimate must know of a model that is not loaded.
//!
//! Not for computing: the engine reads the same file strictly and refuses what it cannot run. Here a key that only the
//! mathematics needs is not looked at.
use crate::profile::Profile;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The published numbers of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelShape {
    pub hidden: u64,
    pub intermediate: u64,
    pub layers: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub vocab: u64,
    /// `lm_head` has no weight of its own.
    pub tied: bool,
    /// `bfloat16`, `float16`, `float32`; `None` where the file is silent.
    pub dtype: Option<String>,
    pub vision: VisionShape,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VisionShape {
    pub depth: u64,
    pub dim: u64,
    pub mlp_ratio: u64,
    /// Values of one patch: channels x frames x height x width.
    pub patch_len: u64,
    /// Patches that become one token.
    pub merged: u64,
}

/// What a weight belongs to, as the `freeze_*` keys divide the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Vision,
    Projector,
    Language,
    Head,
}

/// A linear layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// Path in transformers >= 4.52, which `lora_target` is matched against.
    pub path: String,
    pub part: Part,
    pub inputs: u64,
    pub outputs: u64,
    pub bias: bool,
}

impl Linear {
    fn numbers(&self) -> u64 {
        self.inputs * self.outputs + if self.bias { self.outputs } else { 0 }
    }
}

impl ModelShape {
    /// Reads `DIR/config.json` in any of the layouts that transformers has written.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("{}: cannot be read; `lightbox` needs the model as a folder with its config.json", path.display())
        })?;
        let root: Value = serde_json::from_str(&text).with_context(|| format!("{}: not JSON", path.display()))?;
        Self::from_json(&root).with_context(|| path.display().to_string())
    }

    pub fn from_json(root: &Value) -> Result<Self> {
        let kind = root["model_type"].as_str().unwrap_or("missing");
        if kind != "qwen2_vl" {
            bail!("model_type is {kind:?}; only \"qwen2_vl\" (Qwen2-VL) can be trained");
        }
        // transformers 4.52+ nests the language model's keys.
        let text = |key: &str| {
            let nested = &root["text_config"][key];
            if nested.is_null() { &root[key] } else { nested }
        };
        let vision = &root["vision_config"];
        let number = |value: &Value, key: &str| {
            value.as_u64().filter(|n| (1..1 << 32).contains(n)).with_context(|| format!("{key} is not a size"))
        };
        let heads = number(text("num_attention_heads"), "num_attention_heads")?;
        let in_vision = |key: &str| number(&vision[key], &format!("vision_config.{key}"));
        let or = |value: &Value, default| value.as_u64().filter(|n| *n > 0 && *n < 1 << 16).unwrap_or(default);
        let channels = or(&vision["in_channels"], or(&vision["in_chans"], 3));
        let (patch, merge) = (or(&vision["patch_size"], 14), or(&vision["spatial_merge_size"], 2));
        let dtype =
            ["dtype", "torch_dtype"].into_iter().find_map(|key| root[key].as_str().or_else(|| text(key).as_str()));
        Ok(Self {
            hidden: number(text("hidden_size"), "hidden_size")?,
            intermediate: number(text("intermediate_size"), "intermediate_size")?,
            layers: number(text("num_hidden_layers"), "num_hidden_layers")?,
            heads,
            kv_heads: or(text("num_key_value_heads"), heads),
            vocab: number(text("vocab_size"), "vocab_size")?,
            tied: text("tie_word_embeddings").as_bool().or(root["tie_word_embeddings"].as_bool()).unwrap_or(false),
            dtype: dtype.map(|name| name.trim_start_matches("torch.").to_owned()),
            vision: VisionShape {
                depth: in_vision("depth")?,
                dim: in_vision("embed_dim")?,
                mlp_ratio: vision["mlp_ratio"].as_f64().map_or(4, |ratio| ratio as u64),
                patch_len: channels * or(&vision["temporal_patch_size"], 2) * patch * patch,
                merged: merge * merge,
            },
        })
    }

    /// Width of all query heads, and of all key heads.
    pub fn attention_widths(&self) -> (u64, u64) {
        let head = self.hidden / self.heads.max(1);
        (head * self.heads, head * self.kv_heads)
    }

    /// Every linear layer, in the model's order.
    pub fn linears(&self) -> Vec<Linear> {
        let (c, f, d) = (self.hidden, self.intermediate, self.vision.dim);
        let (q, kv) = self.attention_widths();
        let (wide, mlp) = (d * self.vision.merged, d * self.vision.mlp_ratio);
        let mut all = Vec::new();
        let mut add =
            |path: String, part, inputs, outputs, bias| all.push(Linear { path, part, inputs, outputs, bias });
        for i in 0..self.vision.depth {
            for (name, inputs, outputs) in
                [("attn.qkv", d, 3 * d), ("attn.proj", d, d), ("mlp.fc1", d, mlp), ("mlp.fc2", mlp, d)]
            {
                add(format!("model.visual.blocks.{i}.{name}"), Part::Vision, inputs, outputs, true);
            }
        }
        add("model.visual.merger.mlp.0".into(), Part::Projector, wide, wide, true);
        add("model.visual.merger.mlp.2".into(), Part::Projector, wide, c, true);
        for i in 0..self.layers {
            for (name, inputs, outputs, bias) in [
                ("self_attn.q_proj", c, q, true),
                ("self_attn.k_proj", c, kv, true),
                ("self_attn.v_proj", c, kv, true),
                ("self_attn.o_proj", q, c, false),
                ("mlp.gate_proj", c, f, false),
                ("mlp.up_proj", c, f, false),
                ("mlp.down_proj", f, c, false),
            ] {
                add(format!("model.language_model.layers.{i}.{name}"), Part::Language, inputs, outputs, bias);
            }
        }
        if !self.tied {
            add("lm_head".into(), Part::Head, c, self.vocab, false);
        }
        all
    }

    /// Numbers in the weights of a part; the input embedding belongs to the language model.
    pub fn numbers_of(&self, part: Part) -> u64 {
        let (c, d) = (self.hidden, self.vision.dim);
        let others = match part {
            Part::Vision => self.vision.depth * 4 * d + d * self.vision.patch_len, // two norms a block; the patch embedding
            Part::Projector => 2 * d,
            Part::Language => self.vocab * c + self.layers * 2 * c + c,
            Part::Head => 0,
        };
        others + self.linears().iter().filter(|l| l.part == part).map(Linear::numbers).sum::<u64>()
    }

    /// All numbers of the model.
    pub fn numbers(&self) -> u64 {
        [Part::Vision, Part::Projector, Part::Language, Part::Head].into_iter().map(|part| self.numbers_of(part)).sum()
    }

    /// The linear layers that get an adapter: LLaMA-Factory's choice, as the engine makes it (its `select_targets`).
    pub fn lora_targets(&self, p: &Profile) -> Vec<Linear> {
        let frozen = |part| match part {
            Part::Vision => p.freeze_vision_tower,
            Part::Projector => p.freeze_multi_modal_projector,
            Part::Language | Part::Head => p.freeze_language_model,
        };
        let linears = self.linears();
        let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
        let words: BTreeSet<String> = if p.lora_target == ["all"] {
            let eligible = |l: &&Linear| !frozen(l.part) && !matches!(l.part, Part::Projector | Part::Head);
            linears.iter().filter(eligible).map(|l| last(&l.path)).collect()
        } else {
            p.lora_target.iter().cloned().collect()
        };
        let chosen = |l: &Linear| !frozen(l.part) && words.iter().any(|word| l.path.contains(word.as_str()));
        linears.into_iter().filter(chosen).collect()
    }
}

/// The safetensors files of a model folder and how many bytes of numbers they hold: only names, sizes and headers are
/// looked at. `None` where there are none (a model to be trained from scratch needs none).
pub fn weight_bytes(dir: &Path) -> Option<u64> {
    let files = weight_files(dir)?;
    files.iter().try_fold(0u64, |sum, file| Some(sum + tensor_bytes(file)?))
}

fn weight_files(dir: &Path) -> Option<Vec<PathBuf>> {
    let Ok(text) = std::fs::read(dir.join("model.safetensors.index.json")) else {
        return Some(vec![dir.join("model.safetensors")]);
    };
    let index: Value = serde_json::from_slice(&text).ok()?;
    let names: BTreeSet<&str> = index["weight_map"].as_object()?.values().filter_map(Value::as_str).collect();
    // A name that leads out of the folder is the engine's to refuse.
    Some(names.into_iter().filter(|name| !name.contains('/')).map(|name| dir.join(name)).collect())
}

/// Bytes behind the header of a safetensors file, which are all numbers.
pub fn tensor_bytes(file: &Path) -> Option<u64> {
    use std::io::Read;
    let mut open = std::fs::File::open(file).ok()?;
    let mut header = [0; 8];
    open.read_exact(&mut header).ok()?;
    open.metadata().ok()?.len().checked_sub(8)?.checked_sub(u64::from_le_bytes(header))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Qwen2-VL-2B-Instruct's config.json, as far as it is read.
    pub const TWO_B: &str = r#"{"model_type":"qwen2_vl","hidden_size":1536,"intermediate_size":8960,"num_hidden_layers":28,
        "num_attention_heads":12,"num_key_value_heads":2,"vocab_size":151936,"tie_word_embeddings":true,"torch_dtype":"bfloat16",
        "vision_config":{"depth":32,"embed_dim":1280,"mlp_ratio":4,"num_heads":16,"in_chans":3,"hidden_size":1536,"patch_size":14}}"#;

    pub fn two_b() -> ModelShape {
        ModelShape::from_json(&serde_json::from_str(TWO_B).unwrap()).unwrap()
    }

    fn adapter(shape: &ModelShape, profile: &Profile) -> u64 {
        shape.lora_targets(profile).iter().map(|l| profile.lora_rank as u64 * (l.inputs + l.outputs)).sum()
    }

    #[test]
    fn the_published_2b_has_its_published_numbers() {
        let shape = two_b();
        assert_eq!(shape.numbers(), 2_208_985_600);
        // LLaMA-Factory's count for lora_rank 8 on all linear layers, see docs/benchmarks.
        assert_eq!(adapter(&shape, &Profile::default()), 9_232_384);
    }

    #[test]
    fn the_demo_models_file_holds_what_its_config_says() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
        let shape = ModelShape::read(&dir).unwrap();
        assert_eq!(weight_bytes(&dir), Some(shape.numbers() * 2), "bf16");
        assert_eq!(weight_bytes(Path::new("/nowhere")), None);
    }

    #[test]
    fn targets_are_chosen_by_words_and_what_is_frozen_stays_out() {
        let shape = two_b();
        let count = |words: &[&str], vision_frozen| {
            let lora_target = words.iter().map(|w| (*w).to_owned()).collect();
            let p = Profile { lora_target, freeze_vision_tower: vision_frozen, ..Profile::default() };
            shape.lora_targets(&p).len()
        };
        assert_eq!(count(&["all"], true), 28 * 7);
        assert_eq!(count(&["all"], false), 28 * 7 + 32 * 4);
        assert_eq!(count(&["q_proj", "v_proj"], true), 28 * 2);
        assert_eq!(count(&["qkv"], true), 0);
        assert_eq!(count(&["layers.27."], true), 7);
    }

    #[test]
    fn a_file_of_another_model_or_without_sizes_is_an_error_by_name() {
        for (from, to, word) in [
            ("qwen2_vl", "llama", "model_type"),
            ("\"hidden_size\":1536,\"inter", "\"inter", "hidden_size"),
            ("1280", "-4", "embed_dim"),
        ] {
            let json = serde_json::from_str(&TWO_B.replace(from, to)).unwrap();
            let error = format!("{:#}", ModelShape::from_json(&json).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }
}
