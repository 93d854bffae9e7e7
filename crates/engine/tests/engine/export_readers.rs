//! An exported folder and those who load it: old and new transformers, and `export --verify` itself.

use crate::export::{adapter, base, copy_folder, export, json, load, logits, wide_adapter};
use crate::golden::{self, Golden, assert_near};
use crate::peft::reference_python;
use lightbox_engine::export::Source;
use lightbox_engine::export::verify::verify;
use lightbox_engine::weights::{self, Weights};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use tch::{Kind, Tensor};

#[test]
fn a_folder_of_transformers_5_becomes_one_that_every_version_reads() {
    let temp = tempfile::tempdir().unwrap();
    let (new, out) = (temp.path().join("new"), temp.path().join("out"));
    copy_folder(&base("tiny-tied"), &new);
    let hub = json(&base("tiny-tied").join("config.json"));
    // As 5.17 saves it: nested, rope_parameters, dtype, a list of extra tokens, processor_config.json.
    let mut root = hub.clone();
    let fields = root.as_object_mut().unwrap();
    let stay =
        ["architectures", "model_type", "image_token_id", "video_token_id", "vision_config", "tie_word_embeddings"];
    let moved: Vec<String> = fields.keys().filter(|k| !stay.contains(&k.as_str())).cloned().collect();
    let mut text: serde_json::Map<_, _> = moved.into_iter().map(|k| (k.clone(), fields.remove(&k).unwrap())).collect();
    let mut rope = text.remove("rope_scaling").unwrap();
    rope["rope_theta"] = text.remove("rope_theta").unwrap();
    rope["rope_type"] = "default".into();
    text.insert("rope_parameters".into(), rope);
    text.insert("layer_types".into(), serde_json::json!(["full_attention"]));
    text.insert("model_type".into(), "qwen2_vl_text".into());
    let dtype = text.remove("torch_dtype").unwrap();
    text.insert("dtype".into(), dtype.clone());
    fields.insert("dtype".into(), dtype);
    fields.insert("text_config".into(), text.into());
    std::fs::write(new.join("config.json"), root.to_string()).unwrap();
    let mut tokenizer = json(&new.join("tokenizer_config.json"));
    let tokens = tokenizer.as_object_mut().unwrap();
    tokens.remove("chat_template");
    let list = tokens.remove("additional_special_tokens").unwrap_or_else(|| serde_json::json!(["<|im_start|>"]));
    tokens.insert("extra_special_tokens".into(), list.clone());
    std::fs::write(new.join("tokenizer_config.json"), tokenizer.to_string()).unwrap();
    let mut pictures = json(&new.join("preprocessor_config.json"));
    pictures["max_pixels"] = 50176.into();
    let processor = serde_json::json!({"image_processor": pictures, "processor_class": "Qwen2VLProcessor"});
    std::fs::write(new.join("processor_config.json"), processor.to_string()).unwrap();
    for gone in ["preprocessor_config.json", "chat_template.json"] {
        std::fs::remove_file(new.join(gone)).unwrap();
    }

    export(&new, &[], &out, &[]);
    let written = json(&out.join("config.json"));
    assert!(written.get("text_config").is_none() && written.get("dtype").is_none(), "{written}");
    for (key, value) in hub.as_object().unwrap() {
        if key != "vision_config" && key != "transformers_version" {
            assert_eq!(written.get(key), Some(value), "{key}");
        }
    }
    let tokenizer = json(&out.join("tokenizer_config.json"));
    assert_eq!(tokenizer["additional_special_tokens"], list);
    assert!(tokenizer.get("extra_special_tokens").is_none());
    // No template anywhere in the base: Qwen2-VL's own, where tokenizers look and where processors look.
    let published = &json(&base("tiny-tied").join("chat_template.json"))["chat_template"];
    assert_eq!(&tokenizer["chat_template"], published);
    assert_eq!(&json(&out.join("chat_template.json"))["chat_template"], published);
    assert_eq!(json(&out.join("preprocessor_config.json"))["max_pixels"], 50176);
    assert!(!out.join("processor_config.json").exists());
    let g = Golden::open("tiny-tied/lora/batch.safetensors");
    assert!(logits(&load(&out, &[]), &g).equal(&logits(&load(&base("tiny-tied"), &[]), &g)));
}

#[test]
fn verification_reports_rounding_and_finds_a_wrong_file_and_a_wrong_adapter() {
    let demo = golden::path("../../assets/demo-model");
    let temp = tempfile::tempdir().unwrap();
    let (wide, out) = (temp.path().join("adapter"), temp.path().join("out"));
    wide_adapter(&demo, &wide);
    let adapters = [wide];
    for (option, largest) in [("f32", 1e-5), ("bf16", 0.1)] {
        let lines = export(&demo, &adapters, &out, &["--dtype", option, "--verify", "--overwrite"]);
        let report = &lines.last().unwrap()["verify"];
        let of = |key: &str| report[key].as_f64().unwrap();
        println!("{option}: {report}");
        assert!(of("max_abs_diff") <= largest * of("max_logit"), "{option}: {report}");
        assert_eq!(of("rounding") == 0.0, option == "f32", "{report}");
        assert_eq!((report["questions"].as_u64(), report["tokens"].as_u64()), (Some(2), Some(32)));
        assert!(option == "bf16" || report["tokens_equal"] == true);
    }

    let check = |adapters: &[PathBuf]| {
        let adapters: Vec<Source> = adapters.iter().map(|dir| Source { dir: dir.clone(), weight: 1.0 }).collect();
        verify(&demo, &adapters, &out, Kind::BFloat16, &mut |_| Ok(()))
    };
    check(&adapters).unwrap();
    let error = format!("{:#}", check(&[]).unwrap_err());
    assert!(error.contains("do not hold the merged weights"), "{error}");
    // One matrix of the written file doubled.
    let old = Weights::open_model(&out).unwrap();
    let mut tensors: BTreeMap<String, Tensor> = old.names().map(|n| (n.to_owned(), old.get_any(n).unwrap())).collect();
    let matrix = tensors.get_mut("model.layers.1.mlp.down_proj.weight").unwrap();
    *matrix = &*matrix * 2.0;
    weights::save(&out.join("model.safetensors"), &tensors).unwrap();
    let error = format!("{:#}", check(&adapters).unwrap_err());
    assert!(error.contains("do not hold the merged weights"), "{error}");
}

#[test]
fn transformers_loads_the_folder_and_computes_our_logits() {
    let Some(python) = reference_python() else {
        println!("skipped: no reference environment; `make reference` makes one");
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    for (model, options) in
        [("tiny-tied", &["--dtype", "f32"][..]), ("tiny-untied", &["--dtype", "bf16", "--shard-size", "500kB"])]
    {
        let out = temp.path().join(model);
        export(&base(model), &[adapter(model)], &out, options);
        let g = Golden::open(&format!("{model}/lora/batch.safetensors"));
        let (input, output) = (temp.path().join("input.safetensors"), temp.path().join("output.safetensors"));
        let keys = ["input_ids", "attention_mask", "pixel_values", "image_grid_thw"];
        weights::save(&input, &keys.map(|n| (n.to_owned(), g.get(n))).into_iter().collect()).unwrap();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/check_export.py");
        let run = Command::new(&python)
            .arg(script)
            .args([&out, &input, &output])
            .env("OMP_NUM_THREADS", "1")
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        print!("{model}: {}", String::from_utf8_lossy(&run.stdout));
        let theirs = Weights::open_files(&[output]).unwrap().get_any("logits").unwrap();
        // Padded positions hold whatever attention makes of nothing; compare the real ones.
        let real = g.get("attention_mask").to_kind(Kind::Bool).unsqueeze(-1);
        let ours = logits(&load(&out, &[]), &g);
        assert_near(model, &ours.masked_select(&real), &theirs.masked_select(&real));
    }
}
