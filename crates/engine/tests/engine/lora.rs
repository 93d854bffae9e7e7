//! LoRA: an adapter that PEFT wrote, its gradients, and its files.

use crate::golden::{self, Golden, MODELS, assert_near};
use lightbox_engine::lora;
use lightbox_engine::model::{Ctx, Qwen2Vl};
use lightbox_engine::train::step::cross_entropy;
use tch::{Kind, Tensor};

/// Models and dtypes whose training goldens are kept.
const TRAINED: [(&str, &str, Kind); 3] = [
    ("tiny-tied", "fp32", Kind::Float),
    ("tiny-untied", "fp32", Kind::Float),
    ("tiny-tied", "bf16_lora_fp32", Kind::BFloat16),
];

/// A model with the adapter that PEFT wrote for it, ready to be trained.
fn with_adapter(model_name: &str, kind: Kind) -> (Qwen2Vl, Vec<(String, Tensor)>) {
    let mut model = golden::load(model_name, kind);
    lora::attach_saved(&mut model, &golden::path(&format!("{model_name}/lora/adapter_init"))).unwrap();
    let parameters = lora::named_parameters(&model);
    for (_, t) in &parameters {
        let _ = t.set_requires_grad(true);
    }
    (model, parameters)
}

fn loss(logits: &Tensor, labels: &Tensor) -> Tensor {
    cross_entropy(logits, labels, tch::Reduction::Mean)
}

#[test]
fn gradients_of_an_adapter_that_peft_wrote_are_those_of_peft() {
    for (model_name, tag, kind) in TRAINED {
        let (model, parameters) = with_adapter(model_name, kind);
        let g = Golden::open(&format!("{model_name}/lora/batch.safetensors"));
        let logits = model.forward(&golden::tokens(&g), golden::pictures(&g).as_ref(), &Ctx::default()).unwrap();
        let loss = loss(&logits, &g.get("labels"));
        let expected = golden::json(&format!("{model_name}/lora/info.json"))[format!("{tag}.losses_step0..3")][0]
            .as_f64()
            .unwrap();
        let bound = if kind == Kind::Float { 1e-5 * expected } else { 0.02 };
        assert!(
            (loss.double_value(&[]) - expected).abs() <= bound,
            "{model_name} {tag}: loss {loss:?}, PEFT {expected}"
        );
        loss.backward();
        let grads = Golden::open(&format!("{model_name}/lora/{tag}.grads.safetensors"));
        assert_eq!(grads.names().len(), parameters.len());
        for (name, t) in &parameters {
            let (ours, theirs) = (t.grad(), grads.get(name));
            // bf16: 5 % of the maximum is what other kernels move gradients by.
            let (d, bound) = (golden::distance(&ours, &theirs), if kind == Kind::Float { 1e-5 } else { 0.05 });
            assert!(d <= bound, "{model_name} {tag} {name}: {d:e} of the maximum");
        }
    }
}

#[test]
fn an_adapter_written_and_read_again_gives_the_same_logits_and_peft_s_files() {
    let _no_grad = tch::no_grad_guard();
    for model_name in MODELS {
        let source = golden::path(&format!("{model_name}/lora/adapter_init"));
        let mut model = golden::load(model_name, Kind::Float);
        lora::attach_saved(&mut model, &source).unwrap();
        let g = Golden::open(&format!("{model_name}/lora/batch.safetensors"));
        let run = |m: &Qwen2Vl| m.forward(&golden::tokens(&g), golden::pictures(&g).as_ref(), &Ctx::default()).unwrap();
        let before = run(&model);

        let dir = tempfile::tempdir().unwrap();
        let config = lora::LoraConfig { rank: 8, alpha: 16.0, dropout: 0.0, rslora: false, target: vec!["all".into()] };
        lora::save(&model, &config, "tiny", dir.path()).unwrap();
        let mut again = golden::load(model_name, Kind::Float);
        lora::attach_saved(&mut again, dir.path()).unwrap();
        assert_near(model_name, &run(&again), &before);

        let read = |p: &std::path::Path| -> serde_json::Value {
            serde_json::from_str(&std::fs::read_to_string(p.join("adapter_config.json")).unwrap()).unwrap()
        };
        let (ours, theirs) = (read(dir.path()), read(&source));
        for (key, value) in ours.as_object().unwrap() {
            if key != "base_model_name_or_path" {
                assert_eq!(value, &theirs[key], "{key}");
            }
        }
        let tensors = |p: &std::path::Path| std::fs::metadata(p.join("adapter_model.safetensors")).unwrap().len();
        assert!(tensors(dir.path()).abs_diff(tensors(&source)) < 64, "same tensors, same dtypes");
    }
}

/// Before transformers 4.52 PEFT's keys had no `language_model`; today's PEFT would silently run the base model with them.
#[test]
fn an_adapter_with_the_keys_of_old_transformers_works_the_same() {
    let _no_grad = tch::no_grad_guard();
    let source = golden::path("tiny-tied/lora/adapter_init");
    let new = Golden::open("tiny-tied/lora/adapter_init/adapter_model.safetensors");
    let temp = tempfile::tempdir().unwrap();
    std::fs::copy(source.join("adapter_config.json"), temp.path().join("adapter_config.json")).unwrap();
    let old = new.names().into_iter().map(|n| (n.replace("model.language_model.", "model."), new.get(&n))).collect();
    lightbox_engine::weights::save(&temp.path().join("adapter_model.safetensors"), &old).unwrap();

    let g = Golden::open("tiny-tied/lora/batch.safetensors");
    let run = |dir: &std::path::Path| {
        let mut model = golden::load("tiny-tied", Kind::Float);
        lora::attach_saved(&mut model, dir).unwrap();
        model.forward(&golden::tokens(&g), golden::pictures(&g).as_ref(), &Ctx::default()).unwrap()
    };
    assert!(run(temp.path()).equal(&run(&source)));
}

#[test]
fn an_adapter_of_another_model_is_refused_and_named() {
    let mut model = golden::load("tiny-tied", Kind::Float);
    let error =
        format!("{:#}", lora::attach_saved(&mut model, &golden::path("tiny-untied/lora/adapter_init")).unwrap_err());
    assert!(error.contains("another base model"), "{error}");
}

#[test]
fn three_steps_of_adamw_end_where_pytorch_s_end() {
    use lightbox_engine::train::optim::Optimizer;
    for (model_name, tag, kind) in TRAINED {
        let (model, parameters) = with_adapter(model_name, kind);
        // As the golden's torch.optim.AdamW: lr 1e-3, weight decay 0.01, no clipping, the same batch three times.
        let mut optimizer = Optimizer::new(lora::named_parameters(&model), torch_shim::optim::AdamW::default());
        let g = Golden::open(&format!("{model_name}/lora/batch.safetensors"));
        let losses = &golden::json(&format!("{model_name}/lora/info.json"))[format!("{tag}.losses_step0..3")];
        for step in 0..3 {
            let logits = model.forward(&golden::tokens(&g), golden::pictures(&g).as_ref(), &Ctx::default()).unwrap();
            let loss = loss(&logits, &g.get("labels"));
            let expected = losses[step].as_f64().unwrap();
            let bound = if kind == Kind::Float { 1e-5 * expected } else { 0.02 };
            assert!(
                (loss.double_value(&[]) - expected).abs() <= bound,
                "{model_name} {tag} step {step}: {loss:?}, PyTorch {expected}"
            );
            loss.backward();
            optimizer.clip(0.0).unwrap();
            optimizer.step(1e-3, 0.01).unwrap();
        }
        let after = Golden::open(&format!("{model_name}/lora/{tag}.params_after3.safetensors"));
        for (name, t) in &parameters {
            let d = golden::distance(&t.detach(), &after.get(name));
            // bf16: another CPU's gradients may turn single early updates around; 5e-3 is what that was seen to move.
            let bound = if kind == Kind::Float { 1e-5 } else { 0.05 };
            assert!(d <= bound, "{model_name} {tag} {name}: {d:e} of the maximum");
        }
    }
}
