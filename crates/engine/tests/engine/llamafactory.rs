//! The LLaMA-Factory 0.9.5 run of tests/golden/llamafactory, repeated by our own `train`, step by step.
//!
//! Its model (39 MB, most of it a random embedding of the real vocabulary) is made again here from the recipe that made
//! it: `torch.Generator().manual_seed(7)`, then `randn` for every parameter in the order of their names.

use crate::golden::{self, distance, json, path};
use lightbox_core::exit::Exit;
use lightbox_core::profile::Profile;
use lightbox_engine::weights::{self, Weights, hub_name};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, RwLockReadGuard, RwLockWriteGuard};
use tch::{Device, Kind, Tensor};

/// Shapes of the model's parameters by Hub name.
fn shapes() -> BTreeMap<String, Vec<i64>> {
    let (c, ffn, kv, d, vocab) = (64, 160, 32, 32, 151936);
    let mut s: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut add = |name: String, shape: &[i64]| drop(s.insert(name, shape.to_vec()));
    add("model.embed_tokens.weight".into(), &[vocab, c]);
    add("model.norm.weight".into(), &[c]);
    for i in 0..3 {
        let p = format!("model.layers.{i}");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(format!("{p}.{norm}.weight"), &[c]);
        }
        for (name, out) in [("q", c), ("k", kv), ("v", kv)] {
            add(format!("{p}.self_attn.{name}_proj.weight"), &[out, c]);
            add(format!("{p}.self_attn.{name}_proj.bias"), &[out]);
        }
        add(format!("{p}.self_attn.o_proj.weight"), &[c, c]);
        add(format!("{p}.mlp.gate_proj.weight"), &[ffn, c]);
        add(format!("{p}.mlp.up_proj.weight"), &[ffn, c]);
        add(format!("{p}.mlp.down_proj.weight"), &[c, ffn]);
    }
    add("visual.patch_embed.proj.weight".into(), &[d, 3, 2, 14, 14]);
    let mut linear = |name: String, out: i64, inputs: i64| {
        add(format!("{name}.weight"), &[out, inputs]);
        add(format!("{name}.bias"), &[out]);
    };
    for i in 0..2 {
        let p = format!("visual.blocks.{i}");
        linear(format!("{p}.attn.qkv"), 3 * d, d);
        linear(format!("{p}.attn.proj"), d, d);
        linear(format!("{p}.mlp.fc1"), 4 * d, d);
        linear(format!("{p}.mlp.fc2"), d, 4 * d);
    }
    linear("visual.merger.mlp.0".into(), 4 * d, 4 * d);
    linear("visual.merger.mlp.2".into(), c, 4 * d);
    for norm in [
        "visual.blocks.0.norm1",
        "visual.blocks.0.norm2",
        "visual.blocks.1.norm1",
        "visual.blocks.1.norm2",
        "visual.merger.ln_q",
    ] {
        add(format!("{norm}.weight"), &[d]);
        add(format!("{norm}.bias"), &[d]);
    }
    s
}

/// The model folder, made once for all tests of this file.
static MODEL: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("model-fp32");
    std::fs::create_dir(&dir).unwrap();
    for name in ["config.json", "generation_config.json", "preprocessor_config.json", "tokenizer_config.json"] {
        std::fs::copy(path("llamafactory/model").join(name), dir.join(name)).unwrap();
    }
    let ranks = std::fs::File::open(path("tokenizer/qwen2_vl.ranks.gz")).unwrap();
    let tokenizer = lightbox_core::text::ranks::tokenizer_json_from_ranks(ranks).unwrap();
    std::fs::write(dir.join("tokenizer.json"), serde_json::to_vec(&tokenizer).unwrap()).unwrap();

    tch::manual_seed(7);
    // In the order of the names in memory, as the recipe sorted them.
    let ordered: BTreeMap<String, Vec<i64>> =
        shapes().into_iter().map(|(name, shape)| (weights::memory_name(&name), shape)).collect();
    let tensors = ordered
        .into_iter()
        .map(|(name, shape)| {
            let x = Tensor::randn(&shape, (Kind::Float, Device::Cpu));
            let x = match shape[..] {
                [_] if (name.contains("norm") || name.contains("ln_q")) && name.ends_with("weight") => x * 0.1 + 1.0,
                [_] => x * 0.05,
                _ if name.contains("embed_tokens") => x * 0.08,
                _ if name.contains("patch_embed") => x * 0.03,
                [_, inputs] => x * (0.9 / (inputs as f64).sqrt()),
                _ => unreachable!("{name} {shape:?}"),
            };
            (hub_name(&name), x)
        })
        .collect();
    weights::save_model(&dir, tensors, u64::MAX).unwrap();
    (temp, dir)
});

/// For a test whose result depends on random numbers. The model is made before, with the generator to itself.
fn alone() -> RwLockWriteGuard<'static, ()> {
    let guard = golden::random_alone();
    LazyLock::force(&MODEL);
    guard
}

/// For the others.
fn among_others() -> RwLockReadGuard<'static, ()> {
    drop(alone());
    golden::random_among_others()
}

/// main.yaml with our paths, and `overrides` over it.
fn profile(output_dir: &Path, overrides: &[&str]) -> Profile {
    let golden = path("llamafactory");
    let mut all = vec![
        format!("model_name_or_path={}", MODEL.1.display()),
        format!("adapter_name_or_path={}", golden.join("adapter-init").display()),
        format!("dataset_dir={}", golden.join("data").display()),
        format!("output_dir={}", output_dir.display()),
        "device=cpu".to_owned(),
        "num_threads=1".to_owned(),
    ];
    all.extend(overrides.iter().map(|s| (*s).to_owned()));
    Profile::load(&golden.join("main.yaml"), &all).unwrap()
}

fn train(p: &Profile) {
    assert_eq!(lightbox_engine::train::train(p).unwrap(), Exit::Finished);
}

fn log_of(dir: &Path) -> Vec<serde_json::Value> {
    let state: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("trainer_state.json")).unwrap()).unwrap();
    state["log_history"].as_array().unwrap().iter().filter(|e| e.get("loss").is_some()).cloned().collect()
}

fn adapter_distance(ours: &Path, theirs: &Path) -> f64 {
    let open = |p: &Path| Weights::open_files(&[p.join("adapter_model.safetensors")]).unwrap();
    let (ours, theirs) = (open(ours), open(theirs));
    assert_eq!(ours.names().count(), theirs.names().count());
    theirs
        .names()
        .map(|n| (ours.get_any(n).unwrap() - theirs.get_any(n).unwrap()).abs().max().double_value(&[]))
        .fold(0.0, f64::max)
}

#[test]
fn losses_norms_rates_tokens_and_the_final_adapter_are_those_of_llama_factory() {
    let _random = among_others();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("out-main");
    train(&profile(&dir, &[]));

    let golden = path("llamafactory/out-main");
    let (ours, theirs) = (log_of(&dir), log_of(&golden));
    assert_eq!((ours.len(), theirs.len()), (9, 9));
    for (a, b) in ours.iter().zip(&theirs) {
        for (key, bound) in [
            ("loss", 1e-5),
            ("grad_norm", 1e-5),
            ("learning_rate", 1e-12),
            ("epoch", 1e-12),
            ("num_input_tokens_seen", 0.0),
            ("step", 0.0),
        ] {
            let (x, y) = (a[key].as_f64().unwrap(), b[key].as_f64().unwrap());
            assert!((x - y).abs() <= bound, "step {}: {key} {x}, LLaMA-Factory {y}", b["step"]);
        }
        println!(
            "step {} loss off by {:.1e}, norm by {:.1e}",
            b["step"],
            (a["loss"].as_f64().unwrap() - b["loss"].as_f64().unwrap()).abs(),
            (a["grad_norm"].as_f64().unwrap() - b["grad_norm"].as_f64().unwrap()).abs()
        );
    }
    let d = adapter_distance(&dir, &golden);
    println!("final adapter: at most {d:.1e} apart");
    assert!(d <= 1e-6, "final adapter {d:e} apart");

    // The files that LLaMA-Factory leaves, with its totals.
    for file in [
        "adapter_model.safetensors",
        "adapter_config.json",
        "trainer_log.jsonl",
        "trainer_state.json",
        "train_results.json",
        "all_results.json",
        "training_loss.png",
        "README.md",
        "checkpoint-4",
        "checkpoint-8",
        "checkpoint-9",
    ] {
        assert!(dir.join(file).exists(), "{file} is missing");
    }
    let results: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("train_results.json")).unwrap()).unwrap();
    let expected = json("llamafactory/out-main/train_results.json");
    for key in ["epoch", "num_input_tokens_seen", "total_flos"] {
        assert_eq!(results[key].as_f64(), expected[key].as_f64(), "{key}");
    }
    assert!((results["train_loss"].as_f64().unwrap() - expected["train_loss"].as_f64().unwrap()).abs() < 1e-5);
    let keys = |s: &str| -> Vec<String> {
        serde_json::from_str::<serde_json::Map<_, _>>(s).unwrap().into_iter().map(|(k, _)| k).collect()
    };
    let lines = |p: &Path| std::fs::read_to_string(p.join("trainer_log.jsonl")).unwrap();
    let (ours, theirs) = (lines(&dir), lines(&golden));
    assert_eq!(ours.lines().map(keys).collect::<Vec<_>>(), theirs.lines().map(keys).collect::<Vec<_>>());
}

#[test]
fn gradient_checkpointing_changes_no_bit() {
    let _random = alone();
    let temp = tempfile::tempdir().unwrap();
    let (with, without) = (temp.path().join("with"), temp.path().join("without"));
    // Vision tower and merger too, and dropout, so that every branch of the recomputation runs.
    let all = [
        "max_steps=2",
        "save_strategy=no",
        "freeze_vision_tower=false",
        "freeze_multi_modal_projector=false",
        "lora_dropout=0.1",
        "adapter_name_or_path=null",
        "lora_target=q_proj,down_proj,qkv,fc2,mlp.0",
        "warmup_steps=0",
    ];
    train(&profile(&with, &all));
    train(&profile(&without, &[&all[..], &["disable_gradient_checkpointing=true"]].concat()));
    assert_eq!(adapter_distance(&with, &without), 0.0);
    let losses =
        |d: &Path| log_of(d).iter().map(|e| (e["loss"].to_string(), e["grad_norm"].to_string())).collect::<Vec<_>>();
    assert_eq!(losses(&with), losses(&without));
}

#[test]
fn a_run_resumed_in_the_middle_of_an_epoch_ends_with_the_same_bits() {
    let _random = alone();
    let temp = tempfile::tempdir().unwrap();
    let (whole, halves) = (temp.path().join("whole"), temp.path().join("halves"));
    let dropout = ["lora_dropout=0.1", "adapter_name_or_path=null"];
    train(&profile(&whole, &dropout));
    train(&profile(&halves, &dropout));
    // As if it had been killed after checkpoint-4: nothing later is there.
    for name in ["checkpoint-8", "checkpoint-9"] {
        std::fs::remove_dir_all(halves.join(name)).unwrap();
    }
    for name in ["adapter_model.safetensors", "trainer_state.json", "train_results.json", "all_results.json"] {
        std::fs::remove_file(halves.join(name)).unwrap();
    }
    train(&profile(&halves, &dropout));
    assert_eq!(adapter_distance(&whole, &halves), 0.0);
    let values = |d: &Path| {
        log_of(d)
            .iter()
            .map(|e| ["step", "loss", "grad_norm", "learning_rate", "num_input_tokens_seen"].map(|k| e[k].to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&whole), values(&halves));
    let loss = |d: &Path| {
        serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(d.join("train_results.json")).unwrap())
            .unwrap()["train_loss"]
            .clone()
    };
    assert_eq!(
        loss(&whole),
        loss(&halves),
        "the mean loss counts the steps before the resume (LLaMA-Factory forgets them)"
    );
}

#[test]
fn bf16_stays_within_what_llama_factory_s_own_bf16_run_differs_from_its_fp32_run() {
    let _random = among_others();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("bf16");
    train(&profile(&dir, &["bf16=true", "use_cpu=true", "save_strategy=no"]));
    for (ours, theirs) in log_of(&dir).iter().zip(&log_of(&path("llamafactory/out-main"))) {
        let off = |key: &str| (ours[key].as_f64().unwrap() - theirs[key].as_f64().unwrap()).abs();
        // Its run: losses within 2.3e-3, norms within 0.5 %; twice that, for another way of rounding (no autocast).
        assert!(off("loss") <= 5e-3, "step {}: loss off by {:e}", theirs["step"], off("loss"));
        assert!(
            off("grad_norm") <= 0.01 * theirs["grad_norm"].as_f64().unwrap(),
            "step {}: norm off by {:e}",
            theirs["step"],
            off("grad_norm")
        );
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_weights_are_touched() {
    let _random = among_others();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("nan");
    // A rate that throws the adapter far enough for fp32 to overflow in the next forward pass.
    let p = profile(&dir, &["learning_rate=1e30", "warmup_steps=0", "max_grad_norm=0", "save_steps=1"]);
    let error = lightbox_engine::train::train(&p).unwrap_err();
    assert_eq!(lightbox_core::exit::code(&error), Exit::NonFinite);
    let text = format!("{error:#}");
    assert!(text.contains("None of them was made") && text.contains("samples"), "{text}");
    let state: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("state.json")).unwrap()).unwrap();
    assert_eq!(state["state"], "failed");
    let saved = Weights::open_files(&[dir.join("checkpoint-1/adapter_model.safetensors")]).unwrap();
    assert!(
        saved.names().all(|n| bool::try_from(saved.get_any(n).unwrap().isfinite().all()).unwrap()),
        "the last checkpoint is whole"
    );
}

/// Per-sample losses as the Trainer forms them, with and without the adapter.
#[test]
fn losses_of_single_samples_are_those_of_llama_factory() {
    let _random = among_others();
    use lightbox_core::data::Encoder;
    use lightbox_engine::train::{batches::Source, data, step};
    tch::set_num_threads(1);
    let temp = tempfile::tempdir().unwrap();
    let p = profile(temp.path(), &[]);
    let config = lightbox_engine::config::Config::from_dir(&MODEL.1).unwrap();
    let (tokenizer, processor) = lightbox_engine::setup::text_and_pictures(&MODEL.1, &config).unwrap();
    let options = data::encode_options(&p);
    let encoder =
        Encoder { tokenizer: &tokenizer, processor: &processor, budget: data::pixel_budget(&p), options: &options };
    let mut left_out = 0;
    let samples = data::load(&p, &encoder, &mut |step| left_out += step.problems.len()).unwrap();
    assert_eq!((samples.train.len(), left_out), (13, 0));
    let _no_grad = tch::no_grad_guard();
    let mut ready = lightbox_engine::setup::load(&MODEL.1, &[], Some(Kind::Float), Device::Cpu).unwrap();
    let golden = json("llamafactory/ref-losses.json");
    let source = Source { samples: &samples.train, encoder, multiple: 8 };
    for which in ["base", "adapter"] {
        if which == "adapter" {
            lightbox_engine::lora::attach_saved(&mut ready.model, &path("llamafactory/adapter-init")).unwrap();
        }
        for row in 0..13 {
            let host = source.assemble(&[row]).unwrap();
            let mb = step::MicroBatch::upload(&host, Device::Cpu, 1176);
            let logits = ready.model.forward(&mb.tokens, mb.pictures.as_ref(), &Default::default()).unwrap();
            let loss = step::cross_entropy(&logits, &mb.labels, tch::Reduction::Mean).double_value(&[]);
            let expected = golden[row][which]["loss"].as_f64().unwrap();
            assert!((loss - expected).abs() <= 1e-5, "sample {row} {which}: {loss}, LLaMA-Factory {expected}");
            let nll = step::cross_entropy(&logits, &mb.labels, tch::Reduction::None);
            let nll = nll.masked_select(&nll.gt(0.0));
            let theirs: Vec<f32> =
                golden[row][which]["nll"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
            assert!(distance(&nll, &Tensor::from_slice(&theirs)) <= 1e-5, "sample {row} {which}");
        }
    }
}
