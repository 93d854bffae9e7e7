//! config.json of a Qwen2-VL folder, in every layout that transformers has written: the Hub's flat one (<= 4.51),
//! the mixed one (4.52-4.57) and the nested one (5.x). What the model code does not implement is refused by name.
//! Next: [`crate::weights`] (the tensors), [`crate::model`] (the network).

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::path::Path;

/// Everything the model needs to know. Field names are those of config.json.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub text: TextConfig,
    pub vision: VisionConfig,
    pub image_token_id: i64,
    pub video_token_id: i64,
    /// `lm_head` shares `embed_tokens`' weight (2B: true; 7B, 72B: false).
    pub tie_word_embeddings: bool,
    /// `dtype` or `torch_dtype`, e.g. "bfloat16"; `None` where the file is silent.
    pub dtype: Option<String>,
    /// End-of-sequence ids: generation_config.json first, else config.json; empty where both are silent.
    pub eos_token_id: Vec<i64>,
}

/// The language model's part.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    pub vocab_size: i64,
    pub hidden_size: i64,
    pub intermediate_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    pub num_key_value_heads: i64,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    /// How many of the `head_dim/2` frequencies follow t, h and w.
    pub mrope_section: [i64; 3],
    pub max_position_embeddings: i64,
    pub initializer_range: f64,
}

impl TextConfig {
    pub fn head_dim(&self) -> i64 {
        self.hidden_size / self.num_attention_heads
    }
}

/// The vision tower's part. `hidden_size` is the language model's width: what the merger projects to.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    pub depth: i64,
    pub embed_dim: i64,
    pub num_heads: i64,
    pub mlp_ratio: i64,
    pub hidden_size: i64,
    pub patch_size: i64,
    pub spatial_merge_size: i64,
    pub temporal_patch_size: i64,
    pub in_channels: i64,
}

impl VisionConfig {
    pub fn head_dim(&self) -> i64 {
        self.embed_dim / self.num_heads
    }
    /// Values of one patch: channels x frames x height x width (1176 for the published models).
    pub fn patch_len(&self) -> i64 {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }
}

impl Config {
    /// Reads `DIR/config.json` (and `DIR/generation_config.json` for the end-of-sequence ids).
    ///
    /// # Errors
    /// Names the file and the key that is missing, has the wrong type, or asks for something not implemented.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{}: cannot be read; a model folder holds config.json, model.safetensors and tokenizer.json",
                path.display()
            )
        })?;
        let root: Value = serde_json::from_str(&text).with_context(|| format!("{}: not valid JSON", path.display()))?;
        let mut config = Self::from_json(&root).with_context(|| path.display().to_string())?;
        if let Ok(text) = std::fs::read_to_string(dir.join("generation_config.json")) {
            let generation: Value = serde_json::from_str(&text)
                .with_context(|| format!("{}: not valid JSON", dir.join("generation_config.json").display()))?;
            let ids = token_ids(generation.get("eos_token_id"));
            if !ids.is_empty() {
                config.eos_token_id = ids;
            }
        }
        Ok(config)
    }

    fn from_json(root: &Value) -> Result<Self> {
        let root = root.as_object().context("the top level is not an object")?;
        let model_type = root.get("model_type").and_then(Value::as_str).unwrap_or("missing");
        if model_type != "qwen2_vl" {
            bail!("model_type is {model_type:?}; this engine runs Qwen2-VL (\"qwen2_vl\") only");
        }
        // transformers 4.52+ nests the language model's fields; where both exist the nested ones win.
        let text = Fields { nested: root.get("text_config").and_then(Value::as_object), root };
        let vision = root.get("vision_config").and_then(Value::as_object).context("vision_config is missing")?;
        let vision = Fields { nested: None, root: vision };

        let hidden_act = text.str("hidden_act").unwrap_or("silu");
        if hidden_act != "silu" {
            bail!("hidden_act {hidden_act:?} is not implemented (only \"silu\")");
        }
        let vision_act = vision.str("hidden_act").unwrap_or("quick_gelu");
        if vision_act != "quick_gelu" {
            bail!("vision_config.hidden_act {vision_act:?} is not implemented (only \"quick_gelu\")");
        }
        if text.get("use_sliding_window").and_then(Value::as_bool) == Some(true) {
            bail!("use_sliding_window: true is not implemented (no published Qwen2-VL uses it)");
        }
        let attention_dropout = text.get("attention_dropout").and_then(Value::as_f64).unwrap_or(0.0);
        if attention_dropout != 0.0 {
            bail!("attention_dropout {attention_dropout} is not implemented (only 0)");
        }

        let rope = text.get("rope_parameters").or_else(|| text.get("rope_scaling")).and_then(Value::as_object);
        let rope_field = |key: &str| rope.and_then(|r| r.get(key));
        for key in ["type", "rope_type"] {
            let kind = rope_field(key).and_then(Value::as_str).unwrap_or("default");
            if kind != "mrope" && kind != "default" {
                bail!("rope {key} {kind:?} is not implemented (only \"mrope\" and \"default\")");
            }
        }
        let rope_theta =
            rope_field("rope_theta").or_else(|| text.get("rope_theta")).and_then(Value::as_f64).unwrap_or(1e6);
        let mrope_section = match rope_field("mrope_section") {
            None => [16, 24, 24],
            Some(v) => {
                let s: Vec<i64> =
                    v.as_array().map(|a| a.iter().filter_map(Value::as_i64).collect()).unwrap_or_default();
                <[i64; 3]>::try_from(s).map_err(|_| anyhow::anyhow!("mrope_section is not a list of three integers"))?
            }
        };

        let num_attention_heads = text.int("num_attention_heads")?;
        let text_config = TextConfig {
            vocab_size: text.int("vocab_size")?,
            hidden_size: text.int("hidden_size")?,
            intermediate_size: text.int("intermediate_size")?,
            num_hidden_layers: text.int("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: text.int("num_key_value_heads").unwrap_or(num_attention_heads),
            // No default: transformers' class default (1e-5) differs from every published file (1e-6).
            rms_norm_eps: text.get("rms_norm_eps").and_then(Value::as_f64).context("rms_norm_eps is missing")?,
            rope_theta,
            mrope_section,
            max_position_embeddings: text.int("max_position_embeddings").unwrap_or(32768),
            initializer_range: text.get("initializer_range").and_then(Value::as_f64).unwrap_or(0.02),
        };
        let vision_config = VisionConfig {
            depth: vision.int("depth")?,
            embed_dim: vision.int("embed_dim")?,
            num_heads: vision.int("num_heads")?,
            mlp_ratio: vision.get("mlp_ratio").and_then(Value::as_f64).map_or(4, |r| r as i64),
            hidden_size: vision.int("hidden_size")?,
            patch_size: vision.int("patch_size").unwrap_or(14),
            spatial_merge_size: vision.int("spatial_merge_size").unwrap_or(2),
            temporal_patch_size: vision.int("temporal_patch_size").unwrap_or(2),
            // The Hub writes `in_chans`, transformers reads `in_channels`.
            in_channels: vision.int("in_channels").or_else(|_| vision.int("in_chans")).unwrap_or(3),
        };
        check_shapes(&text_config, &vision_config)?;

        let tied = |m: Option<&Map<String, Value>>| {
            m.and_then(|m| m.get("tie_word_embeddings")).and_then(Value::as_bool).unwrap_or(false)
        };
        let dtype = ["dtype", "torch_dtype"]
            .iter()
            .find_map(|key| root.get(*key).or_else(|| text.get(key)).and_then(Value::as_str))
            .map(|s| s.trim_start_matches("torch.").to_owned());
        Ok(Self {
            image_token_id: text.root_int("image_token_id").context("image_token_id is missing")?,
            video_token_id: text.root_int("video_token_id").context("video_token_id is missing")?,
            tie_word_embeddings: tied(Some(root)) || tied(text.nested),
            eos_token_id: token_ids(text.get("eos_token_id")),
            text: text_config,
            vision: vision_config,
            dtype,
        })
    }
}

fn check_shapes(t: &TextConfig, v: &VisionConfig) -> Result<()> {
    if t.num_attention_heads <= 0 || t.hidden_size % t.num_attention_heads != 0 || t.head_dim() % 2 != 0 {
        bail!("hidden_size {} does not divide into {} heads of even size", t.hidden_size, t.num_attention_heads);
    }
    if t.num_key_value_heads <= 0 || t.num_attention_heads % t.num_key_value_heads != 0 {
        bail!("{} attention heads do not divide into {} key/value heads", t.num_attention_heads, t.num_key_value_heads);
    }
    if t.mrope_section.iter().sum::<i64>() != t.head_dim() / 2 {
        bail!("mrope_section {:?} must sum to half of the head size {}", t.mrope_section, t.head_dim());
    }
    if v.num_heads <= 0 || v.embed_dim % v.num_heads != 0 || v.head_dim() % 4 != 0 {
        bail!("vision embed_dim {} does not divide into {} heads of a size divisible by 4", v.embed_dim, v.num_heads);
    }
    if v.hidden_size != t.hidden_size {
        bail!(
            "vision_config.hidden_size {} differs from the language model's hidden_size {}",
            v.hidden_size,
            t.hidden_size
        );
    }
    Ok(())
}

/// One number or a list of numbers.
fn token_ids(v: Option<&Value>) -> Vec<i64> {
    match v {
        Some(Value::Array(a)) => a.iter().filter_map(Value::as_i64).collect(),
        Some(v) => v.as_i64().into_iter().collect(),
        None => vec![],
    }
}

/// Look-up in the nested object first, then in the root.
struct Fields<'a> {
    nested: Option<&'a Map<String, Value>>,
    root: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        let nested = self.nested.and_then(|m| m.get(key)).filter(|v| !v.is_null());
        nested.or_else(|| self.root.get(key)).filter(|v| !v.is_null())
    }
    fn str(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_str)
    }
    fn int(&self, key: &str) -> Result<i64> {
        let v = self.get(key).with_context(|| format!("{key} is missing"))?;
        v.as_i64().filter(|n| *n > 0).with_context(|| format!("{key} is {v}, not a positive integer"))
    }
    fn root_int(&self, key: &str) -> Option<i64> {
        self.root.get(key).or_else(|| self.get(key)).and_then(Value::as_i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: &str = r#"{"model_type":"qwen2_vl","hidden_size":1536,"intermediate_size":8960,"num_hidden_layers":28,"num_attention_heads":12,
        "num_key_value_heads":2,"vocab_size":151936,"rms_norm_eps":1e-06,"rope_theta":1000000.0,"rope_scaling":{"type":"mrope","mrope_section":[16,24,24]},
        "tie_word_embeddings":true,"torch_dtype":"bfloat16","image_token_id":151655,"video_token_id":151656,"eos_token_id":151645,
        "vision_config":{"depth":32,"embed_dim":1280,"mlp_ratio":4,"num_heads":16,"in_chans":3,"hidden_size":1536,"patch_size":14}}"#;
    const NESTED: &str = r#"{"model_type":"qwen2_vl","text_config":{"hidden_size":1536,"intermediate_size":8960,"num_hidden_layers":28,"num_attention_heads":12,
        "num_key_value_heads":2,"vocab_size":151936,"rms_norm_eps":1e-06,"rope_parameters":{"mrope_section":[16,24,24],"rope_theta":1000000.0,"rope_type":"default","type":"mrope"},
        "sliding_window":null,"dtype":"bfloat16","eos_token_id":151645},"tie_word_embeddings":true,"image_token_id":151655,"video_token_id":151656,
        "vision_config":{"depth":32,"embed_dim":1280,"mlp_ratio":4,"num_heads":16,"in_channels":3,"in_chans":3,"hidden_size":1536,"patch_size":14}}"#;

    fn parse(s: &str) -> Result<Config> {
        Config::from_json(&serde_json::from_str(s).unwrap())
    }

    #[test]
    fn the_hub_layout_and_the_nested_layout_mean_the_same() {
        assert_eq!(parse(FLAT).unwrap(), parse(NESTED).unwrap());
    }

    #[test]
    fn tying_is_found_in_text_config_alone_as_transformers_4_57_writes_it() {
        let mut v: Value = serde_json::from_str(NESTED).unwrap();
        v.as_object_mut().unwrap().remove("tie_word_embeddings");
        assert!(!Config::from_json(&v).unwrap().tie_word_embeddings);
        v["text_config"]["tie_word_embeddings"] = true.into();
        assert!(Config::from_json(&v).unwrap().tie_word_embeddings);
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        for (from, to, word) in [
            ("\"qwen2_vl\"", "\"qwen2_5_vl\"", "model_type"),
            ("\"rope_theta\"", "\"use_sliding_window\":true,\"rope_theta\"", "use_sliding_window"),
            ("[16,24,24]", "[16,24,25]", "mrope_section"),
            ("\"rms_norm_eps\":1e-06,", "", "rms_norm_eps"),
            ("\"num_key_value_heads\":2", "\"num_key_value_heads\":5", "key/value"),
        ] {
            let error = format!("{:#}", parse(&FLAT.replace(from, to)).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }
}
