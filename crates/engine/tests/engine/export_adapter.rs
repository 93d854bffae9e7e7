//! `lightbox-engine export --adapter-only` and `--adapter-weight`: adapters under other names, and sums of adapters.

use crate::export::{adapter, base, export, json, load, logits, names, wide_adapter};
use crate::golden::{self, Golden, assert_near};
use lightbox_core::exit::Exit;
use lightbox_engine::lora;
use lightbox_engine::weights::Weights;
use std::path::{Path, PathBuf};
use std::process::Command;
use tch::Tensor;

const MODEL: &str = "tiny-tied";

fn tensors(dir: &Path) -> Weights {
    Weights::open_files(&[dir.join("adapter_model.safetensors")]).unwrap()
}

/// The names as they stand in the file: reading them maps old and new ones to the same.
fn keys(dir: &Path) -> Vec<String> {
    let bytes = std::fs::read(dir.join("adapter_model.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    header.as_object().unwrap().keys().filter(|k| *k != "__metadata__").cloned().collect()
}

/// Logits of the base with `weight` of each adapter, one after the other merged in fp32.
fn by_hand(adapters: &[(PathBuf, f64)], g: &Golden) -> Tensor {
    let mut model = load(&base(MODEL), &[]);
    for (dir, weight) in adapters {
        lora::attach_saved(&mut model, dir).unwrap();
        for linear in model.linears_mut() {
            if let Some(lora) = &mut linear.lora {
                lora.scale *= weight;
            }
        }
        lora::merge(&mut model);
    }
    logits(&model, g)
}

#[test]
fn one_adapter_keeps_every_bit_under_the_names_of_any_transformers() {
    let temp = tempfile::tempdir().unwrap();
    let source = tensors(&adapter(MODEL));
    let g = Golden::open(&format!("{MODEL}/lora/batch.safetensors"));
    let wanted = logits(&load(&base(MODEL), &[adapter(MODEL)]), &g);
    let layer = |middle: &str| format!("base_model.model.model.{middle}layers.0.self_attn.q_proj.lora_A.weight");
    for (style, new, old) in [("new", true, false), ("old", false, true), ("both", true, true)] {
        let out = temp.path().join(style);
        let lines = export(&base(MODEL), &[adapter(MODEL)], &out, &["--adapter-only", "--key-names", style]);
        let keys = keys(&out);
        assert_eq!(lines.last().unwrap()["tensors"].as_u64(), Some(keys.len() as u64));
        assert_eq!(keys.contains(&layer("language_model.")), new, "{style}");
        assert_eq!(keys.contains(&layer("")), old, "{style}");
        let written = tensors(&out);
        let mut same = 0;
        for name in source.names() {
            let key = if new { name.to_owned() } else { name.replacen("model.language_model.", "model.", 1) };
            assert!(written.get_any(&key).unwrap().equal(&source.get_any(name).unwrap()), "{style} {key}");
            same += 1;
        }
        assert_eq!(keys.len(), if new && old { 2 * same } else { same });
        let (a, b) = (json(&adapter(MODEL).join("adapter_config.json")), json(&out.join("adapter_config.json")));
        for key in ["r", "lora_alpha", "use_rslora", "base_model_name_or_path", "peft_type"] {
            assert_eq!(a[key], b[key], "{key}");
        }
        assert!(logits(&load(&base(MODEL), &[out]), &g).equal(&wanted), "{style}");
    }
}

#[test]
fn several_adapters_are_added_up_with_their_weights() {
    let temp = tempfile::tempdir().unwrap();
    let (wide, sum, merged) = (temp.path().join("wide"), temp.path().join("sum"), temp.path().join("merged"));
    wide_adapter(&base(MODEL), &wide);
    let adapters = [adapter(MODEL), wide.clone()];
    let weights = ["--adapter-weight", "0.5", "--adapter-weight", "-1.25"];
    let g = Golden::open(&format!("{MODEL}/lora/batch.safetensors"));
    let wanted = by_hand(&[(adapter(MODEL), 0.5), (wide, -1.25)], &g);

    let lines = export(&base(MODEL), &adapters, &sum, &[&weights[..], &["--adapter-only", "--verify"]].concat());
    assert!(lines.last().unwrap()["verify"]["rounding"] == 0.0, "{lines:?}");
    let config = json(&sum.join("adapter_config.json"));
    assert_eq!((&config["r"], &config["lora_alpha"], &config["use_rslora"]), (&12.into(), &12.into(), &false.into()));
    assert_near("sum", &logits(&load(&base(MODEL), &[sum]), &g), &wanted);

    export(&base(MODEL), &adapters, &merged, &[&weights[..], &["--dtype", "f32", "--verify"]].concat());
    assert_near("merged", &logits(&load(&merged, &[]), &g), &wanted);
    let plain = logits(&load(&base(MODEL), &adapters), &g);
    assert!(golden::distance(&plain, &wanted) > 1e-2, "the weights do something");
}

#[test]
fn a_rounded_adapter_is_verified_and_half_of_one_is_one() {
    let temp = tempfile::tempdir().unwrap();
    let (bf16, half) = (temp.path().join("bf16"), temp.path().join("half"));
    let demo = golden::path("../../assets/demo-model");
    let wide = temp.path().join("wide");
    wide_adapter(&demo, &wide);
    let from = std::slice::from_ref(&wide);
    let lines = export(&demo, from, &bf16, &["--adapter-only", "--dtype", "bf16", "--verify"]);
    let report = &lines.last().unwrap()["verify"];
    assert!(report["rounding"].as_f64().unwrap() > 0.0, "{report}");
    export(&demo, from, &half, &["--adapter-only", "--adapter-weight", "0.5", "--verify"]);
    assert_eq!(json(&half.join("adapter_config.json"))["lora_alpha"], 4);
}

#[test]
fn the_folder_has_a_card_with_the_run_s_settings_and_its_curve() {
    let temp = tempfile::tempdir().unwrap();
    let (run, model, alone) = (temp.path().join("run"), temp.path().join("model"), temp.path().join("alone"));
    crate::export::copy_folder(&adapter(MODEL), &run);
    std::fs::write(run.join("training_loss.png"), "a picture").unwrap();
    let profile = "stage: sft\nmodel_name_or_path: m\ndataset: mllm_med\ntemplate: qwen2_vl\noutput_dir: o\nnum_train_epochs: 2\n";
    std::fs::write(run.join("profile.yaml"), profile).unwrap();
    for (out, options) in [(&model, &[][..]), (&alone, &["--adapter-only"][..])] {
        export(&base(MODEL), std::slice::from_ref(&run), out, options);
        let card = std::fs::read_to_string(out.join("README.md")).unwrap();
        for words in ["- dataset: mllm_med", "- num_epochs: 2", "![Training loss](training_loss.png)", "## Licence"] {
            assert!(card.contains(words), "no {words:?} in\n{card}");
        }
        assert!(!card.contains(&*temp.path().to_string_lossy()), "a path of the machine:\n{card}");
        assert_eq!(std::fs::read(out.join("training_loss.png")).unwrap(), b"a picture");
    }
    let files = ["README.md", "adapter_config.json", "adapter_model.safetensors", "training_loss.png"];
    assert_eq!(names(&alone), files);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let run = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox-engine"));
        command.args(["export", "--model"]).arg(base(MODEL)).arg("--out").arg(&out).args(options);
        command.output().unwrap()
    };
    let own = adapter(MODEL).display().to_string();
    for (options, exit, words) in [
        (&["--adapter-only"][..], Exit::Model, "needs an adapter"),
        (&["--adapter", &own, "--adapter-weight", "1", "--adapter-weight", "2"], Exit::Config, "1 adapters and 2 of"),
        (&["--adapter", &own, "--adapter-weight", "nan"], Exit::Config, "not a number"),
    ] {
        let run = run(options);
        let error = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.code() == Some(exit as i32) && error.contains(words), "{error}");
        assert!(names(temp.path()).is_empty(), "{:?}", names(temp.path()));
    }
    // A checkpoint looks like an exported adapter, and is none.
    crate::export::copy_folder(&adapter(MODEL), &out);
    std::fs::write(out.join("trainer_state.json"), "{}").unwrap();
    let run = run(&["--adapter", &own, "--adapter-only", "--overwrite"]);
    assert!(String::from_utf8_lossy(&run.stderr).contains("not an exported folder"));
    assert!(out.join("trainer_state.json").exists());
}
