//! Vision features, positions, logits and loss against transformers.

use crate::golden::{self, Golden, MODELS, assert_near};
use lightbox_engine::model::Ctx;
use tch::Kind;

const CASES: [&str; 4] = ["text_en", "text_zh", "img_28", "multiturn"];

#[test]
fn vision_features_logits_and_loss_are_those_of_transformers() {
    let _no_grad = tch::no_grad_guard();
    for model_name in MODELS {
        for (tag, kind) in [("fp32", Kind::Float), ("bf16", Kind::BFloat16)] {
            let model = golden::load(model_name, kind);
            for case in CASES {
                let what = format!("{model_name} {case} {tag}");
                let g = Golden::open(&format!("{model_name}/{case}.safetensors"));
                let pictures = golden::pictures(&g);
                if let Some(p) = &pictures {
                    let features = model.visual.forward(&p.pixel_values, &p.grids, &Ctx::default());
                    assert_near(&format!("{what} image_embeds"), &features, &g.get(&format!("{tag}.image_embeds")));
                }
                let logits = model.forward(&golden::tokens(&g), pictures.as_ref(), &Ctx::default()).unwrap().get(0); // [t, v]
                match format!("{tag}.logits") {
                    name if g.has(&name) => assert_near(&format!("{what} logits"), &logits, &g.get(&name)),
                    _ => {
                        let last = logits.narrow(0, logits.size()[0] - 8, 8);
                        assert_near(&format!("{what} last 8 logits"), &last, &g.get(&format!("{tag}.logits_last8")));
                    }
                }
                let ids = g.get("input_ids").get(0);
                let t = ids.size()[0];
                let loss = logits
                    .to_kind(Kind::Float)
                    .narrow(0, 0, t - 1)
                    .cross_entropy_for_logits(&ids.narrow(0, 1, t - 1))
                    .double_value(&[]);
                let expected =
                    golden::json(&format!("{model_name}/{case}.json"))[format!("{tag}.loss_all")].as_f64().unwrap();
                let bound = if kind == Kind::Float { 1e-5 * expected } else { 0.02 };
                assert!((loss - expected).abs() <= bound, "{what}: loss {loss}, transformers {expected}");
            }
        }
    }
}

#[test]
fn a_left_padded_batch_gives_the_logits_of_transformers() {
    let _no_grad = tch::no_grad_guard();
    for model_name in MODELS {
        for (tag, kind) in [("fp32", Kind::Float), ("bf16", Kind::BFloat16)] {
            let model = golden::load(model_name, kind);
            let g = Golden::open(&format!("{model_name}/batch_left.safetensors"));
            // The pictures of the three rows, from their own goldens, in row order.
            let parts: Vec<_> = ["img_28", "multiturn"]
                .iter()
                .map(|c| golden::pictures(&Golden::open(&format!("{model_name}/{c}.safetensors"))).unwrap())
                .collect();
            let pixels: Vec<_> = parts.iter().map(|p| &p.pixel_values).collect();
            let pictures = lightbox_engine::model::Pictures {
                pixel_values: tch::Tensor::cat(&pixels, 0),
                grids: parts.iter().flat_map(|p| p.grids.clone()).collect(),
            };
            assert_eq!(pictures.grids, golden::grids(&g.get("image_grid_thw")));
            let logits = model.forward(&golden::tokens(&g), Some(&pictures), &Ctx::default()).unwrap();
            let last = logits.select(1, logits.size()[1] - 1);
            assert_near(&format!("{model_name} batch {tag}"), &last, &g.get(&format!("{tag}.logits_last")));
        }
    }
}

#[test]
fn picture_tokens_that_do_not_match_the_pictures_are_refused() {
    let model = golden::load("tiny-tied", Kind::Float);
    let g = Golden::open("tiny-tied/img_28.safetensors");
    let mut p = golden::pictures(&g).unwrap();
    p.grids = vec![[1, 2, 4]];
    p.pixel_values = p.pixel_values.narrow(0, 0, 8);
    let error = model.forward(&golden::tokens(&g), Some(&p), &Ctx::default()).unwrap_err().to_string();
    assert!(error.contains("4 picture tokens") && error.contains("2 picture features"), "{error}");
}

/// Raw state dicts of transformers >= 4.52 have other names, its configs another layout, large models have shards.
#[test]
fn every_layout_of_a_model_folder_gives_the_same_logits() {
    use lightbox_engine::weights::{self, Weights};
    let _no_grad = tch::no_grad_guard();
    let source = golden::path("models/tiny-untied");
    let g = Golden::open("tiny-untied/img_28.safetensors");
    let run = |dir: &std::path::Path| {
        let ready = lightbox_engine::setup::load(dir, &[], Some(Kind::Float), tch::Device::Cpu).unwrap();
        ready.model.forward(&golden::tokens(&g), golden::pictures(&g).as_ref(), &Ctx::default()).unwrap()
    };
    let published = run(&source);

    let temp = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "preprocessor_config.json"] {
        std::fs::copy(source.join(file), temp.path().join(file)).unwrap();
    }
    let old = Weights::open_model(&source).unwrap();
    let tensors = old.names().map(|n| (weights::memory_name(n), old.get_any(n).unwrap())).collect();
    weights::save_model(temp.path(), tensors, 300_000).unwrap();
    assert!(
        temp.path().join("model.safetensors.index.json").exists() && !temp.path().join("model.safetensors").exists()
    );
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(source.join("config.json")).unwrap()).unwrap();
    let root = config.as_object_mut().unwrap();
    let stay =
        ["architectures", "model_type", "image_token_id", "video_token_id", "vision_config", "tie_word_embeddings"];
    let names: Vec<String> = root.keys().filter(|k| !stay.contains(&k.as_str())).cloned().collect();
    let mut text: serde_json::Map<_, _> = names.into_iter().map(|k| (k.clone(), root.remove(&k).unwrap())).collect();
    let mut rope = text.remove("rope_scaling").unwrap();
    rope["rope_theta"] = text.remove("rope_theta").unwrap();
    text.insert("rope_parameters".into(), rope);
    root.insert("text_config".into(), text.into());
    std::fs::write(temp.path().join("config.json"), config.to_string()).unwrap();
    assert!(run(temp.path()).equal(&published));
}
