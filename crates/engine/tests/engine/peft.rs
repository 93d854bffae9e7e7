//! PEFT itself loads the adapter that we write and computes our logits. Needs the reference environment
//! (`make reference`, or $LIGHTBOX_REFERENCE_PYTHON); without one the test says so and ends.

use crate::golden::{self, Golden};
use lightbox_engine::lora::{self, Freeze, LoraConfig};
use lightbox_engine::model::Ctx;
use lightbox_engine::weights::{self, Weights};
use std::path::PathBuf;
use std::process::Command;
use tch::Kind;

pub fn reference_python() -> Option<PathBuf> {
    let named = std::env::var_os("LIGHTBOX_REFERENCE_PYTHON").map(PathBuf::from);
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.reference/bin/python");
    named.or(Some(own)).filter(|p| p.exists())
}

#[test]
fn peft_loads_the_adapter_that_we_write_and_gives_our_logits() {
    let _random = golden::random_among_others();
    let Some(python) = reference_python() else {
        println!("skipped: no reference environment; `make reference` makes one");
        return;
    };
    let _no_grad = tch::no_grad_guard();
    // Default targets; and every part of the model at once, with rank-stabilised scaling.
    let everything = Freeze { vision_tower: false, multi_modal_projector: false, language_model: false };
    let default = Freeze { vision_tower: true, multi_modal_projector: true, language_model: false };
    let wide = "q_proj,v_proj,down_proj,attn.qkv,attn.proj,fc1,fc2,mlp.0,mlp.2";
    for (model_name, target, freeze, rslora) in
        [("tiny-tied", "all", default, false), ("tiny-untied", wide, everything, true)]
    {
        let mut model = golden::load(model_name, Kind::Float);
        let config = LoraConfig {
            rank: 4,
            alpha: 8.0,
            dropout: 0.0,
            rslora,
            target: target.split(',').map(str::to_owned).collect(),
        };
        lora::attach_new(&mut model, &config, freeze, 7).unwrap();
        tch::manual_seed(3);
        for (_, mut t) in lora::named_parameters(&model) {
            let _ = t.normal_(0.0, 0.1); // B begins at zero, which would hide everything
        }
        let g = Golden::open(&format!("{model_name}/lora/batch.safetensors"));
        let ours = model.forward(&golden::tokens(&g), golden::pictures(&g).as_ref(), &Ctx::default()).unwrap();

        let temp = tempfile::tempdir().unwrap();
        let (adapter, input, output) = (
            temp.path().join("adapter"),
            temp.path().join("input.safetensors"),
            temp.path().join("output.safetensors"),
        );
        std::fs::create_dir(&adapter).unwrap();
        lora::save(&model, &config, model_name, &adapter).unwrap();
        let names = ["input_ids", "attention_mask", "pixel_values", "image_grid_thw"];
        weights::save(&input, &names.map(|n| (n.to_owned(), g.get(n))).into_iter().collect()).unwrap();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/check_adapter.py");
        let run = Command::new(&python)
            .arg(script)
            .args([&golden::path(&format!("models/{model_name}")), &adapter, &input, &output])
            .env("OMP_NUM_THREADS", "1")
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        print!("{model_name}: {}", String::from_utf8_lossy(&run.stdout));
        let theirs = Weights::open_files(&[output]).unwrap().get_any("logits").unwrap();
        // Padded positions hold whatever attention makes of nothing; compare the real ones.
        let real = g.get("attention_mask").to_kind(Kind::Bool).unsqueeze(-1);
        golden::assert_near(
            &format!("{model_name}, PEFT's logits"),
            &ours.masked_select(&real),
            &theirs.masked_select(&real),
        );
    }
}
