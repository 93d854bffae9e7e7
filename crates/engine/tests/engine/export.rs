//! `lightbox-engine export`: what it writes, what it refuses, what a kill leaves. By the real program, because kills,
//! signals and exit codes are part of it.

use crate::golden::{self, Golden, assert_near};
use lightbox_core::exit::Exit;
use lightbox_engine::lora::{self, Freeze, LoraConfig};
use lightbox_engine::model::{Ctx, Qwen2Vl};
use lightbox_engine::setup;
use lightbox_engine::weights::{self, Weights, memory_name};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

pub fn base(name: &str) -> PathBuf {
    golden::path(&format!("models/{name}"))
}

pub fn adapter(name: &str) -> PathBuf {
    golden::path(&format!("{name}/lora/adapter_init"))
}

fn command(model: &Path, adapters: &[PathBuf], out: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox-engine"));
    command.args(["export", "--json", "--model"]).arg(model).arg("--out").arg(out).args(options);
    for adapter in adapters {
        command.arg("--adapter").arg(adapter);
    }
    command
}

/// Exports and returns the lines; the last is `done`.
#[track_caller]
pub fn export(model: &Path, adapters: &[PathBuf], out: &Path, options: &[&str]) -> Vec<Value> {
    let run = command(model, adapters, out, options).output().unwrap();
    assert!(run.status.success(), "{}: {}", run.status, String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["event"], "done");
    lines
}

#[track_caller]
fn refused(run: &Output, exit: Exit, words: &str) {
    let error = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(exit as i32), "{error}");
    assert!(error.contains(words), "{error}");
}

pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in names(from) {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

/// An adapter on every linear layer, with rank-stabilised scaling and numbers that matter.
pub fn wide_adapter(model: &Path, dir: &Path) {
    let mut ready = setup::load(model, &[], Some(Kind::Float), Device::Cpu).unwrap();
    let target = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj,attn.qkv,attn.proj,fc1,fc2,mlp.0,mlp.2";
    let config = LoraConfig {
        rank: 4,
        alpha: 8.0,
        dropout: 0.05,
        rslora: true,
        target: target.split(',').map(str::to_owned).collect(),
    };
    let freeze = Freeze { vision_tower: false, multi_modal_projector: false, language_model: false };
    lora::attach_new(&mut ready.model, &config, freeze, 7).unwrap();
    let _no_grad = tch::no_grad_guard();
    for (i, (_, mut t)) in lora::named_parameters(&ready.model).into_iter().enumerate() {
        let n = t.numel() as i64;
        let values = (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 0.7 + i as f64).sin() * 0.05;
        t.copy_(&values.view(t.size().as_slice()));
    }
    std::fs::create_dir_all(dir).unwrap();
    lora::save(&ready.model, &config, "base", dir).unwrap();
}

pub fn logits(model: &Qwen2Vl, g: &Golden) -> Tensor {
    let _no_grad = tch::no_grad_guard();
    model.forward(&golden::tokens(g), golden::pictures(g).as_ref(), &Ctx::default()).unwrap()
}

pub fn load(dir: &Path, adapters: &[PathBuf]) -> Qwen2Vl {
    tch::set_num_threads(1);
    setup::load(dir, adapters, Some(Kind::Float), Device::Cpu).unwrap().model
}

#[test]
fn every_written_tensor_is_base_plus_scaled_product_rounded_once_to_the_last_bit() {
    let temp = tempfile::tempdir().unwrap();
    for model in golden::MODELS {
        let source = Weights::open_model(&base(model)).unwrap();
        let lora = Golden::open(&format!("{model}/lora/adapter_init/adapter_model.safetensors"));
        for (option, kind, word) in
            [("f32", Kind::Float, "float32"), ("bf16", Kind::BFloat16, "bfloat16"), ("f16", Kind::Half, "float16")]
        {
            let out = temp.path().join(format!("{model}-{option}"));
            let lines = export(&base(model), &[adapter(model)], &out, &["--dtype", option]);
            let written = Weights::open_model(&out).unwrap();
            let mut merged = 0;
            for name in source.names() {
                let mut expected = source.get_any(name).unwrap().to_kind(Kind::Float);
                let module = format!("base_model.model.{}", memory_name(name.trim_end_matches(".weight")));
                if lora.has(&format!("{module}.lora_A.weight")) {
                    let (a, b) = (format!("{module}.lora_A.weight"), format!("{module}.lora_B.weight"));
                    expected += lora.get(&b).matmul(&lora.get(&a)) * 2.0; // r 8, alpha 16
                    merged += 1;
                }
                let found = written.get_any(name).unwrap();
                assert_eq!(found.kind(), kind, "{model} {name}");
                assert!(found.equal(&expected.to_kind(kind)), "{model} {option} {name}");
            }
            assert_eq!(written.names().count(), source.names().count(), "no lm_head that the base has not");
            let done = lines.last().unwrap();
            assert_eq!((done["merged"].as_u64(), done["verify"].is_null()), (Some(merged), true));
            assert_eq!(done["tensors"].as_u64(), Some(source.names().count() as u64));
            assert!(merged >= 14);
            assert_eq!(json(&out.join("config.json"))["torch_dtype"], word);
        }
    }
}

#[test]
fn the_folder_answers_as_base_and_adapter_do() {
    let temp = tempfile::tempdir().unwrap();
    for model in golden::MODELS {
        let g = Golden::open(&format!("{model}/lora/batch.safetensors"));
        let out = temp.path().join(model);
        let wide = temp.path().join(format!("{model}-wide"));
        wide_adapter(&base(model), &wide);
        // Two adapters: both are added.
        let adapters = [adapter(model), wide];
        export(&base(model), &adapters, &out, &["--dtype", "f32"]);
        // 1e-5 of the largest logit: the order of fp32 sums.
        assert_near(model, &logits(&load(&out, &[]), &g), &logits(&load(&base(model), &adapters), &g));
        let unchanged = logits(&load(&base(model), &[]), &g);
        assert!(golden::distance(&unchanged, &logits(&load(&out, &[]), &g)) > 1e-2, "the adapters do something");
    }
}

#[test]
fn without_an_adapter_it_is_a_copy() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("copy");
    export(&base("tiny-tied"), &[], &out, &[]);
    let (old, new) = (Weights::open_model(&base("tiny-tied")).unwrap(), Weights::open_model(&out).unwrap());
    for name in old.names() {
        assert!(old.get_any(name).unwrap().equal(&new.get_any(name).unwrap()), "{name}");
        assert_eq!(old.kind(name).unwrap(), new.kind(name).unwrap(), "{name}");
    }
    for file in ["config.json", "tokenizer_config.json", "chat_template.json", "generation_config.json"] {
        assert_eq!(json(&base("tiny-tied").join(file)), json(&out.join(file)), "{file}");
    }
}

#[test]
fn shards_keep_their_size_and_the_index_names_the_right_one() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("sharded");
    let lines = export(&base("tiny-untied"), &[adapter("tiny-untied")], &out, &["--shard-size", "300kB"]);
    let shards: Vec<String> = names(&out).into_iter().filter(|n| n.ends_with(".safetensors")).collect();
    assert!(shards.len() > 3, "{shards:?}");
    let index = json(&out.join("model.safetensors.index.json"));
    let (mut total, mut tensors) = (0, 0);
    for (i, name) in shards.iter().enumerate() {
        assert_eq!(name, &format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len()));
        let bytes = std::fs::read(out.join(name)).unwrap();
        let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
        assert_eq!(header["__metadata__"]["format"], "pt");
        let own: Vec<&String> = header.as_object().unwrap().keys().filter(|k| *k != "__metadata__").collect();
        let data = bytes.len() - 8 - header_len;
        assert!(data <= 300_000 || own.len() == 1, "{name}: {data} bytes");
        for tensor in &own {
            assert_eq!(index["weight_map"][tensor.as_str()], **name, "{tensor}");
        }
        total += data;
        tensors += own.len();
    }
    assert_eq!(index["metadata"]["total_size"].as_u64(), Some(total as u64));
    assert_eq!(index["weight_map"].as_object().unwrap().len(), tensors);
    // Progress: bytes only grow, every shard is named, and the end is reached.
    let (done, progress) = lines.split_last().unwrap();
    assert_eq!((done["bytes"].as_u64(), done["tensors"].as_u64()), (Some(total as u64), Some(tensors as u64)));
    let so_far: Vec<u64> = progress.iter().map(|l| l["done"].as_u64().unwrap()).collect();
    assert!(so_far.is_sorted() && so_far.last() == Some(&(total as u64)), "{so_far:?}");
    assert!(shards.iter().all(|s| progress.iter().any(|l| l["what"] == **s)));
    let whole = temp.path().join("whole");
    export(&base("tiny-untied"), &[adapter("tiny-untied")], &whole, &[]);
    let (a, b) = (Weights::open_model(&out).unwrap(), Weights::open_model(&whole).unwrap());
    assert!(b.names().all(|n| a.get_any(n).unwrap().equal(&b.get_any(n).unwrap())));
}

#[test]
fn a_used_folder_is_left_alone_and_only_a_model_is_overwritten() {
    let temp = tempfile::tempdir().unwrap();
    let (out, model) = (temp.path().join("used"), base("tiny-tied"));
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("letter.txt"), "dear").unwrap();
    refused(&command(&model, &[], &out, &[]).output().unwrap(), Exit::Config, "is not empty");
    refused(&command(&model, &[], &out, &["--overwrite"]).output().unwrap(), Exit::Config, "not an exported folder");
    assert_eq!((names(&out), names(temp.path())), (vec!["letter.txt".to_owned()], vec!["used".to_owned()]));

    let out = temp.path().join("model");
    std::fs::create_dir(&out).unwrap(); // an empty one is as good as none
    export(&model, &[], &out, &[]);
    refused(&command(&model, &[], &out, &[]).output().unwrap(), Exit::Config, "--overwrite");
    std::fs::write(out.join("stale"), "").unwrap();
    export(&model, &[adapter("tiny-tied")], &out, &["--overwrite"]);
    assert!(!out.join("stale").exists());
    assert_eq!(names(temp.path()), ["model", "used"]);
    // Its own source.
    refused(&command(&out, &[], &out, &["--overwrite"]).output().unwrap(), Exit::Config, "which is read here");
    assert!(out.join("model.safetensors").exists());
}

#[test]
fn killed_at_any_moment_it_leaves_no_half_folder_and_the_next_one_succeeds() {
    let temp = tempfile::tempdir().unwrap();
    let (model, out) = (base("tiny-tied"), temp.path().join("out"));
    // `fs` counts every operation on files; beyond the last one nothing strikes and the export ends well.
    let mut kills = 0;
    for n in (1..).step_by(5) {
        let faults = format!("fs#{n}=abort");
        let options = ["--shard-size", "200kB"];
        let run = command(&model, &[], &out, &options).env("LIGHTBOX_FAULTS", &faults).output().unwrap();
        if run.status.success() {
            break;
        }
        kills += 1;
        if out.exists() {
            // Killed behind the rename: whole.
            load(&out, &[]);
            std::fs::remove_dir_all(&out).unwrap();
        }
    }
    assert!(kills > 10, "{kills}");
    load(&out, &[]);
    assert_eq!(names(temp.path()), ["out"], "what the killed ones left is swept");
}

#[test]
fn killed_while_it_replaces_a_folder_the_old_or_the_new_one_is_there() {
    let temp = tempfile::tempdir().unwrap();
    let (model, out) = (base("tiny-tied"), temp.path().join("out"));
    export(&model, &[], &out, &[]);
    // The renames of single files come first; the folders' are the last two.
    let mut kills = 0;
    for n in 1.. {
        let faults = format!("fs.rename#{n}=abort");
        let run = command(&model, &[], &out, &["--overwrite"]).env("LIGHTBOX_FAULTS", &faults).output().unwrap();
        if run.status.success() {
            break;
        }
        kills += 1;
        let survivor = if out.exists() { out.clone() } else { temp.path().join(".out.replaced") };
        load(&survivor, &[]);
    }
    assert!(kills > 5);
    assert_eq!(names(temp.path()), ["out"]);
}

#[test]
fn a_full_disk_and_a_signal_leave_nothing_and_have_their_exit_codes() {
    let temp = tempfile::tempdir().unwrap();
    let (model, out) = (base("tiny-untied"), temp.path().join("out"));
    for n in [1, 3] {
        let faults = format!("fs.write#{n}=error:ENOSPC");
        let run = command(&model, &[], &out, &[]).env("LIGHTBOX_FAULTS", faults).output().unwrap();
        refused(&run, Exit::Disk, "free some space");
        assert!(names(temp.path()).is_empty(), "{:?}", names(temp.path()));
    }
    // It stops itself in the middle of the file; then it is asked to end, and goes on.
    let mut child = command(&model, &[], &out, &[]).env("LIGHTBOX_FAULTS", "fs.write#3=stop").spawn().unwrap();
    let id = child.id().to_string();
    let deadline = Instant::now() + Duration::from_secs(120);
    let state = || std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    while !state().rsplit(')').next().unwrap().trim_start().starts_with('T') {
        assert!(Instant::now() < deadline, "{}", state());
        std::thread::sleep(Duration::from_millis(5));
    }
    for signal in ["-TERM", "-CONT"] {
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
    assert_eq!(child.wait().unwrap().code(), Some(Exit::Stopped as i32));
    assert!(names(temp.path()).is_empty(), "{:?}", names(temp.path()));
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let other = command(&base("tiny-tied"), &[adapter("tiny-untied")], &out, &[]).output().unwrap();
    refused(&other, Exit::Model, "another base model");
    // Greater than f16 can hold.
    let large = temp.path().join("large");
    copy_folder(&base("tiny-tied"), &large);
    let old = Weights::open_model(&large).unwrap();
    let mut tensors: BTreeMap<String, Tensor> = old.names().map(|n| (n.to_owned(), old.get_any(n).unwrap())).collect();
    let _ = tensors.get_mut("model.norm.weight").unwrap().fill_(1e5);
    weights::save(&large.join("model.safetensors"), &tensors).unwrap();
    let run = command(&large, &[], &out, &["--dtype", "f16"]).output().unwrap();
    refused(&run, Exit::Model, "model.norm.weight");
    // A tensor that the config asks for is not there.
    tensors.remove("model.norm.weight");
    weights::save(&large.join("model.safetensors"), &tensors).unwrap();
    refused(&command(&large, &[], &out, &[]).output().unwrap(), Exit::Model, "model.norm.weight is missing");
    assert_eq!(names(temp.path()), ["large"]);
}
