//! What stands beside the weights in a model folder: config, tokenizer, chat template, picture processor.
//!
//! Everything is written in the layout of the Hub's Qwen2-VL folders, which transformers 4.45 to 5 and vLLM read. Newer
//! layouts fail in older readers: a nested config.json does not load before 4.52 and loses its tied `lm_head` in 4.57,
//! `extra_special_tokens` as a list fails in 4.57, and a nested processor_config.json fails before that.

use crate::config::Config;
use anyhow::{Context, Result};
use lightbox_core::fs;
use lightbox_core::text::CHAT_TEMPLATE;
use lightbox_core::vision::ImageProcessor;
use serde_json::{Map, Value, json};
use std::path::Path;
use tch::Kind;

/// Copied as they are, where the base has them.
const COPIED: [&str; 10] = [
    "generation_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "video_preprocessor_config.json",
    "chat_template.jinja",
    "LICENSE",
    "NOTICE",
];

/// About how much [`write`] will write.
pub fn bytes(base: &Path) -> u64 {
    let size = |name: &&str| std::fs::metadata(base.join(name)).map_or(0, |meta| meta.len());
    COPIED.iter().map(size).sum()
}

/// Writes them into `dir`. `kind`: the dtype that config.json announces (`None`: the base's). `untied`: config.json says
/// that `lm_head` is a matrix of its own, whatever the base's says.
pub fn write(base: &Path, dir: &Path, config: &Config, kind: Option<Kind>, untied: bool) -> Result<()> {
    for name in COPIED {
        if base.join(name).is_file() {
            fs::copy(&base.join(name), &dir.join(name))?;
        }
    }
    let mut root = object(&base.join("config.json"))?.unwrap_or_default();
    flatten(&mut root, config);
    if let Some(kind) = kind {
        root.shift_remove("dtype");
        root.insert("torch_dtype".into(), dtype_word(kind).into());
    }
    if untied {
        root.insert("tie_word_embeddings".into(), false.into());
    }
    put(&dir.join("config.json"), &root)?;
    pictures(base, dir)?;
    text(base, dir, config)
}

pub(super) fn dtype_word(kind: Kind) -> &'static str {
    match kind {
        Kind::BFloat16 => "bfloat16",
        Kind::Half => "float16",
        _ => "float32",
    }
}

/// The flat layout: the language model's fields at the root, as transformers up to 4.51 wrote them.
fn flatten(root: &mut Map<String, Value>, config: &Config) {
    let nested = root.shift_remove("text_config");
    if nested.is_none() && !root.contains_key("rope_parameters") {
        return;
    }
    // Names of the nested part itself, and what is written in its old form below.
    const NOT_MOVED: [&str; 7] =
        ["model_type", "architectures", "layer_types", "rope_parameters", "rope_scaling", "dtype", "torch_dtype"];
    if let Some(Value::Object(fields)) = nested {
        for (key, value) in fields {
            if !NOT_MOVED.contains(&key.as_str()) && !value.is_null() {
                root.insert(key, value);
            }
        }
    }
    root.shift_remove("rope_parameters");
    root.shift_remove("layer_types");
    root.insert("rope_theta".into(), config.text.rope_theta.into());
    root.insert("rope_scaling".into(), json!({"type": "mrope", "mrope_section": config.text.mrope_section}));
    root.insert("tie_word_embeddings".into(), config.tie_word_embeddings.into());
    if let Some(dtype) = &config.dtype {
        root.shift_remove("dtype");
        root.insert("torch_dtype".into(), dtype.clone().into());
    }
    if let Some(Value::Object(vision)) = root.get_mut("vision_config") {
        vision.shift_remove("rope_parameters");
        vision.shift_remove("dtype");
        vision.insert("model_type".into(), "qwen2_vl".into());
    }
}

/// preprocessor_config.json: the base's, or made from the processor_config.json of transformers 5.
fn pictures(base: &Path, dir: &Path) -> Result<()> {
    let flat = "preprocessor_config.json";
    if base.join(flat).is_file() && !base.join("processor_config.json").exists() {
        return Ok(fs::copy(&base.join(flat), &dir.join(flat))?);
    }
    let p = ImageProcessor::from_dir(base)?;
    // Through text, so that 0.48145466 does not become 0.4814546585…
    let short = |c: [f32; 3]| c.map(|x| x.to_string().parse::<f64>().unwrap_or(f64::from(x)));
    let fields = json!({
        "min_pixels": p.min_pixels,
        "max_pixels": p.max_pixels,
        "patch_size": p.patch_size,
        "temporal_patch_size": p.temporal_patch_size,
        "merge_size": p.merge_size,
        "image_mean": short(p.mean),
        "image_std": short(p.std),
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
    });
    put_value(&dir.join(flat), &fields)
}

/// tokenizer_config.json and chat_template.json. Tokenizers look for the template in the one, processors in the other;
/// both get it, so that "no chat template is set" cannot come up.
fn text(base: &Path, dir: &Path, config: &Config) -> Result<()> {
    let tokenizer = object(&base.join("tokenizer_config.json"))?;
    let processor = object(&base.join("chat_template.json"))?;
    let newer = object(&base.join("processor_config.json"))?;
    let jinja = std::fs::read_to_string(base.join("chat_template.jinja")).ok();
    let of = |fields: &Option<Map<String, Value>>| {
        let text = fields.as_ref().and_then(|f| f.get("chat_template")).and_then(Value::as_str);
        text.filter(|t| !t.trim().is_empty()).map(str::to_owned)
    };
    let jinja = jinja.filter(|t| !t.trim().is_empty());
    let found = jinja.or_else(|| of(&processor)).or_else(|| of(&tokenizer)).or_else(|| of(&newer));
    let template = found.unwrap_or_else(|| CHAT_TEMPLATE.to_owned());

    let for_processor = of(&processor).unwrap_or_else(|| template.clone());
    put_value(&dir.join("chat_template.json"), &json!({"chat_template": for_processor}))?;

    let mut fields = tokenizer.unwrap_or_else(|| {
        let fields = json!({
            "add_prefix_space": false,
            "bos_token": null,
            "clean_up_tokenization_spaces": false,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": config.text.max_position_embeddings,
            "pad_token": "<|endoftext|>",
            "padding_side": "left",
            "split_special_tokens": false,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": null,
        });
        fields.as_object().cloned().unwrap_or_default()
    });
    // Several named templates are a list; that is a template, too.
    let has_template =
        fields.get("chat_template").is_some_and(|t| t.as_str().is_some_and(|t| !t.trim().is_empty()) || t.is_array());
    if !has_template {
        fields.insert("chat_template".into(), template.into());
    }
    if let Some(list) = fields.get("extra_special_tokens").filter(|v| v.is_array()).cloned() {
        fields.shift_remove("extra_special_tokens");
        fields.entry("additional_special_tokens").or_insert(list);
    }
    put(&dir.join("tokenizer_config.json"), &fields)
}

/// A JSON file's object; `None` where there is no such file.
fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("{}: cannot be read", path.display()))?,
    };
    serde_json::from_str(&text).map(Some).with_context(|| format!("{}: not a JSON object", path.display()))
}

fn put(path: &Path, fields: &Map<String, Value>) -> Result<()> {
    let mut text = serde_json::to_string_pretty(fields)?;
    text.push('\n');
    Ok(fs::write_atomic(path, text.as_bytes())?)
}

fn put_value(path: &Path, value: &Value) -> Result<()> {
    value.as_object().map_or(Ok(()), |fields| put(path, fields))
}
