//! What the LLaMA-Factory run does not cover: full fine-tuning, frozen parts, token weighting, evaluation, file rules.
//! On the tiny tied model and LLaMA-Factory's 13 samples, whose text its small tokenizer reads, too.

use crate::golden::{self, path};
use lightbox_core::exit::Exit;
use lightbox_core::profile::Profile;
use lightbox_engine::train::{batches::Source, data, step, train};
use lightbox_engine::weights::Weights;
use std::path::Path;
use tch::Reduction;

fn profile(output_dir: &Path, overrides: &[&str]) -> Profile {
    let text = "stage: sft\ndo_train: true\ntemplate: qwen2_vl\ndataset: demo\nimage_max_pixels: 50176\nlearning_rate: 1.0e-3\nmax_steps: 2\n\
                per_device_train_batch_size: 2\nlogging_steps: 1\nsave_strategy: 'no'\ndevice: cpu\nnum_threads: 1\n";
    let mut all = vec![
        format!("model_name_or_path={}", path("models/tiny-tied").display()),
        format!("dataset_dir={}", path("llamafactory/data").display()),
        format!("output_dir={}", output_dir.display()),
    ];
    all.extend(overrides.iter().map(|s| (*s).to_owned()));
    Profile::parse("test.yaml", text, &all).unwrap()
}

/// Names of the weights that differ from the base model's.
fn changed(dir: &Path) -> Vec<String> {
    let (base, tuned) = (Weights::open_model(&path("models/tiny-tied")).unwrap(), Weights::open_model(dir).unwrap());
    assert_eq!(base.names().count(), tuned.names().count());
    let mut out: Vec<String> = base
        .names()
        .filter(|n| !base.get_any(n).unwrap().equal(&tuned.get_any(n).unwrap()))
        .map(str::to_owned)
        .collect();
    out.sort();
    out
}

#[test]
fn full_fine_tuning_changes_exactly_what_is_not_frozen() {
    let _random = golden::random_among_others();
    let temp = tempfile::tempdir().unwrap();
    for (i, (vision, projector, language)) in
        [(true, true, false), (false, true, true), (true, false, true)].into_iter().enumerate()
    {
        let dir = temp.path().join(i.to_string());
        let freeze = [
            format!("freeze_vision_tower={vision}"),
            format!("freeze_multi_modal_projector={projector}"),
            format!("freeze_language_model={language}"),
        ];
        let mut overrides = vec!["finetuning_type=full", "learning_rate=0.05"];
        overrides.extend(freeze.iter().map(String::as_str));
        assert_eq!(train(&profile(&dir, &overrides)).unwrap(), Exit::Finished);
        let part = |name: &str| {
            if name.starts_with("visual.merger.") {
                projector
            } else if name.starts_with("visual.") {
                vision
            } else {
                language
            }
        };
        let names = changed(&dir);
        assert!(!names.is_empty());
        for name in &names {
            assert!(!part(name), "{name} is frozen");
        }
        let trained = Weights::open_model(&dir).unwrap().names().filter(|n| !part(n)).count();
        // Key biases have no effect (softmax does not see them), and in bf16 a step can round to nothing.
        assert!(names.len() * 10 >= trained * 8, "only {} of {trained} weights changed", names.len());
        // A model folder that can be asked, in the dtype that its config.json announces.
        assert_eq!(
            Weights::open_model(&dir).unwrap().get_any("model.norm.weight").unwrap().kind(),
            tch::Kind::BFloat16
        );
        lightbox_engine::setup::load(&dir, &[], None, tch::Device::Cpu).unwrap();
    }
}

#[test]
fn a_full_run_resumes_from_its_fp32_masters() {
    let _random = golden::random_among_others();
    let temp = tempfile::tempdir().unwrap();
    let (whole, halves) = (temp.path().join("whole"), temp.path().join("halves"));
    let overrides =
        ["finetuning_type=full", "bf16=true", "use_cpu=true", "max_steps=4", "save_strategy=steps", "save_steps=2"];
    for dir in [&whole, &halves] {
        train(&profile(dir, &overrides)).unwrap();
    }
    std::fs::remove_dir_all(halves.join("checkpoint-4")).unwrap();
    std::fs::remove_file(halves.join("model.safetensors")).unwrap();
    train(&profile(&halves, &overrides)).unwrap();
    let bytes = |d: &Path| std::fs::read(d.join("checkpoint-4/model.safetensors")).unwrap();
    assert_eq!(bytes(&whole), bytes(&halves));
}

#[test]
fn token_weighting_is_the_mean_over_all_tokens_of_the_update() {
    let _random = golden::random_among_others();
    let temp = tempfile::tempdir().unwrap();
    let logged = |name: &str, weighting: &str| -> f64 {
        let dir = temp.path().join(name);
        let weighting = format!("loss_weighting={weighting}");
        train(&profile(
            &dir,
            &["max_steps=1", "per_device_train_batch_size=1", "gradient_accumulation_steps=13", &weighting],
        ))
        .unwrap();
        let state: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(dir.join("trainer_state.json")).unwrap()).unwrap();
        state["log_history"][0]["loss"].as_f64().unwrap()
    };
    let (by_token, by_batch) = (logged("token", "token"), logged("batch", "micro_batch"));

    let p = profile(temp.path(), &[]);
    let ready = lightbox_engine::setup::load(&path("models/tiny-tied"), &[], None, tch::Device::Cpu).unwrap();
    let options = data::encode_options(&p);
    let encoder = ready.encoder(data::pixel_budget(&p), &options);
    let samples = data::load(&p, &encoder, &mut |_| {}).unwrap();
    let source = Source { samples: &samples.train, encoder, multiple: 8 };
    let _no_grad = tch::no_grad_guard();
    let (mut sum, mut tokens, mut means) = (0.0, 0, 0.0);
    for row in 0..13 {
        let host = source.assemble(&[row]).unwrap();
        let mb = step::MicroBatch::upload(&host, tch::Device::Cpu, 1176);
        let logits = ready.model.forward(&mb.tokens, mb.pictures.as_ref(), &Default::default()).unwrap();
        let n = step::target_tokens(&host.batch);
        let loss = step::cross_entropy(&logits, &mb.labels, Reduction::Sum).double_value(&[]);
        (sum, tokens, means) = (sum + loss, tokens + n, means + loss / n as f64);
    }
    assert!((by_token - sum / tokens as f64).abs() < 1e-5, "{by_token} {}", sum / tokens as f64);
    assert!((by_batch - means / 13.0).abs() < 1e-5, "{by_batch} {}", means / 13.0);
    assert!((by_token - by_batch).abs() > 1e-3, "the two differ on this data, so the test can tell them apart");
}

#[test]
fn a_share_is_held_out_and_evaluated_when_due() {
    let _random = golden::random_among_others();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("eval");
    train(&profile(
        &dir,
        &[
            "val_size=0.3",
            "eval_strategy=steps",
            "eval_steps=2",
            "max_steps=5",
            "do_eval=true",
            "per_device_eval_batch_size=3",
            "plot_loss=true",
        ],
    ))
    .unwrap();
    let state: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("trainer_state.json")).unwrap()).unwrap();
    let steps: Vec<u64> = state["log_history"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e.get("eval_loss").is_some())
        .map(|e| e["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [2, 4, 5, 5], "every second step, at the end, and once more for do_eval");
    let results: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("eval_results.json")).unwrap()).unwrap();
    assert!(results["eval_loss"].as_f64().unwrap() > 0.0);
    assert!(dir.join("training_eval_loss.png").exists());
}

#[test]
fn old_checkpoints_go_and_a_finished_folder_is_not_overwritten_by_accident() {
    let _random = golden::random_among_others();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("limit");
    train(&profile(&dir, &["max_steps=4", "save_strategy=steps", "save_steps=1", "save_total_limit=2"])).unwrap();
    let mut left: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with("checkpoint-"))
        .collect();
    left.sort();
    assert_eq!(left, ["checkpoint-3", "checkpoint-4"]);

    // Starting over takes the old checkpoints away: they would be resumed from, or kept instead of the new ones.
    let again =
        ["max_steps=2", "save_strategy=steps", "save_steps=1", "save_total_limit=1", "overwrite_output_dir=true"];
    train(&profile(&dir, &again)).unwrap();
    assert!(dir.join("checkpoint-2").exists() && !dir.join("checkpoint-4").exists());

    let plain = temp.path().join("plain");
    train(&profile(&plain, &[])).unwrap();
    let error = train(&profile(&plain, &[])).unwrap_err();
    assert_eq!(lightbox_core::exit::code(&error), Exit::Config);
    assert!(format!("{error:#}").contains("overwrite_output_dir"));
    assert_eq!(train(&profile(&plain, &["overwrite_output_dir=true"])).unwrap(), Exit::Finished);
}

#[test]
fn every_update_leaves_a_line_of_metrics() {
    let _random = golden::random_among_others();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("metrics");
    train(&profile(&dir, &["max_steps=3"])).unwrap();
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let steps: Vec<serde_json::Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .filter(|l: &serde_json::Value| l["type"] == "step")
        .collect();
    assert_eq!(steps.len(), 3);
    for (i, s) in steps.iter().enumerate() {
        assert_eq!(s["step"], i as u64 + 1);
        let bits = u32::from_str_radix(s["loss_bits"].as_str().unwrap(), 16).unwrap();
        assert_eq!(f64::from(f32::from_bits(bits)), s["loss"].as_f64().unwrap());
        assert!(
            s["tokens"].as_u64().unwrap() > 0
                && s["dt_ms"]["total"].as_f64().unwrap() > 0.0
                && s["mem_bytes"].as_u64().unwrap() > 0
        );
    }
    let state: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("state.json")).unwrap()).unwrap();
    assert_eq!(
        (state["state"].as_str(), state["step"].as_u64(), state["total_steps"].as_u64()),
        (Some("finished"), Some(3), Some(3))
    );
}

#[test]
fn bad_samples_are_left_out_and_logged_or_refused_as_asked() {
    let _random = golden::random_among_others();
    let temp = tempfile::tempdir().unwrap();
    // 100 tokens: samples whose picture would be cut are left out, text is cut.
    let dir = temp.path().join("skip");
    train(&profile(&dir, &["cutoff_len=100", "max_steps=1"])).unwrap();
    let events = std::fs::read_to_string(dir.join("events.jsonl")).unwrap();
    assert!(events.contains("\"data_issue\"") && events.contains("too_long"), "{events}");
    let error = train(&profile(&temp.path().join("refuse"), &["cutoff_len=100", "on_bad_sample=refuse"])).unwrap_err();
    assert_eq!(lightbox_core::exit::code(&error), Exit::Data);
    assert!(format!("{error:#}").contains("nothing was trained"));
}
