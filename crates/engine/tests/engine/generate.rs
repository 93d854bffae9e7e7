//! Greedy answers against transformers' `generate`, one by one and as a left-padded batch.

use crate::golden::{self, Golden, MODELS};
use lightbox_core::generation::Generation;
use lightbox_core::text::Tokenizer;
use lightbox_engine::generate::{Finish, Options, Prompt, Row, generate, generate_rows};
use lightbox_engine::model::{Ctx, Qwen2Vl};
use std::ops::ControlFlow;
use tch::Kind;

fn prompt(model: &str, case: &str) -> Prompt {
    let g = Golden::open(&format!("{model}/{case}.safetensors"));
    let pictures = golden::pictures(&g);
    Prompt {
        ids: Vec::try_from(g.get("input_ids").get(0)).unwrap(),
        grids: pictures.as_ref().map(|p| p.grids.clone()).unwrap_or_default(),
        pixel_values: pictures.map(|p| Vec::try_from(p.pixel_values.flatten(0, 1)).unwrap()).unwrap_or_default(),
    }
}

fn greedy(max_new_tokens: usize, repetition_penalty: f64, eos: &[i64]) -> Options {
    let generation = Generation { repetition_penalty, ..Generation::greedy(max_new_tokens) };
    Options { generation, eos: eos.to_vec(), vocab_limit: None }
}

fn ids(v: &serde_json::Value) -> Vec<i64> {
    v.as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect()
}

/// The golden tokens up to the first step whose two best logits are so close that another CPU may swap them.
fn decided(golden: &[i64], margins: &serde_json::Value, bound: f64) -> usize {
    margins.as_array().unwrap().iter().position(|m| m.as_f64().unwrap() < bound).unwrap_or(golden.len())
}

fn same_bits(model: &Qwen2Vl, model_name: &str, case: &str, tag: &str) -> bool {
    let _no_grad = tch::no_grad_guard();
    let g = Golden::open(&format!("{model_name}/{case}.safetensors"));
    let logits = model.forward(&golden::tokens(&g), golden::pictures(&g).as_ref(), &Ctx::default()).unwrap().get(0);
    let last =
        g.get(&if g.has(&format!("{tag}.logits")) { format!("{tag}.logits") } else { format!("{tag}.logits_last8") });
    logits.get(-1).equal(&last.get(-1))
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for model_name in MODELS {
        let tokenizer = Tokenizer::from_dir(&golden::path(&format!("models/{model_name}"))).unwrap();
        for (tag, kind, bound) in [("fp32", Kind::Float, 2e-4), ("bf16", Kind::BFloat16, 0.3)] {
            let model = golden::load(model_name, kind);
            for case in ["text_en", "text_zh", "img_28", "multiturn"] {
                let info = golden::json(&format!("{model_name}/{case}.json"));
                let ask = |o: &Options| {
                    generate(&model, &tokenizer, &[&prompt(model_name, case)], o, &mut |_, _| ControlFlow::Continue(()))
                        .unwrap()
                        .remove(0)
                };
                let expected = ids(&info[format!("{tag}.greedy32")]);
                // Where this CPU's kernels give the golden's very bits there is nothing to be unsure about.
                let sure = if same_bits(&model, model_name, case, tag) {
                    32
                } else {
                    decided(&expected, &info[format!("{tag}.greedy32_margin")], bound)
                };
                let answer = ask(&greedy(32, 1.0, &[]));
                assert_eq!(answer.finish, Finish::Length);
                assert_eq!(answer.ids[..sure], expected[..sure], "{model_name} {case} {tag}");
                println!("{model_name} {case} {tag}: {sure} of 32 tokens compared");
                if kind == Kind::Float {
                    assert_eq!(sure, 32, "fp32 leaves nothing open");
                    assert_eq!(
                        ask(&greedy(32, 1.2, &[])).ids,
                        ids(&info["fp32.greedy32_rep1.2"]),
                        "{model_name} {case}, repetition penalty"
                    );
                    let stopped = ask(&greedy(32, 1.0, &model.config.eos_token_id));
                    assert_eq!(
                        stopped.ids,
                        ids(&info["fp32.default_generation_config_32"]),
                        "{model_name} {case}, stops at the end of its turn"
                    );
                }
            }
        }
    }
}

#[test]
fn a_left_padded_batch_gives_the_same_tokens() {
    for model_name in MODELS {
        let tokenizer = Tokenizer::from_dir(&golden::path(&format!("models/{model_name}"))).unwrap();
        let model = golden::load(model_name, Kind::Float);
        let info = golden::json(&format!("{model_name}/batch_left.json"));
        let prompts = ["text_en", "img_28", "multiturn"].map(|c| prompt(model_name, c));
        let mut heard = vec![0; 3];
        let answers = generate(&model, &tokenizer, &prompts.each_ref(), &greedy(16, 1.0, &[]), &mut |row, _| {
            heard[row] += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        for (row, answer) in answers.iter().enumerate() {
            assert_eq!(answer.ids, ids(&info["fp32.greedy16"][row]), "{model_name} row {row}");
        }
        assert_eq!(heard, [16, 16, 16], "the caller hears every token");
    }
}

#[test]
fn sampling_repeats_with_its_seed_and_a_caller_can_stop_it() {
    let _random = golden::random_alone();
    let tokenizer = Tokenizer::from_dir(&golden::path("models/tiny-tied")).unwrap();
    let model = golden::load("tiny-tied", Kind::Float);
    let sample = |seed| {
        let mut o = greedy(24, 1.0, &[]);
        o.generation =
            Generation { do_sample: true, temperature: 0.95, top_p: 0.7, top_k: 50, seed, ..Generation::greedy(24) };
        generate(&model, &tokenizer, &[&prompt("tiny-tied", "img_28")], &o, &mut |_, _| ControlFlow::Continue(()))
            .unwrap()
            .remove(0)
            .ids
    };
    assert_eq!(sample(1), sample(1));
    assert_ne!(sample(1), sample(2));

    let mut heard = 0;
    let stop_at_three = &mut |_, _| {
        heard += 1;
        if heard == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let answer = generate(&model, &tokenizer, &[&prompt("tiny-tied", "text_en")], &greedy(24, 1.0, &[]), stop_at_three)
        .unwrap()
        .remove(0);
    assert_eq!((answer.ids.len(), answer.finish), (3, Finish::Cancelled));
}

#[test]
fn ids_beyond_the_tokenizer_are_never_chosen() {
    let tokenizer = Tokenizer::from_dir(&golden::path("models/tiny-tied")).unwrap();
    let model = golden::load("tiny-tied", Kind::Float);
    let limit = 100;
    let o = Options { vocab_limit: Some(limit), ..greedy(16, 1.1, &[]) };
    let answer =
        generate(&model, &tokenizer, &[&prompt("tiny-tied", "text_en")], &o, &mut |_, _| ControlFlow::Continue(()))
            .unwrap()
            .remove(0);
    assert!(answer.ids.iter().all(|id| *id < limit), "{:?}", answer.ids);
}

#[test]
fn a_stop_text_ends_its_row_before_it_and_no_piece_shows_any_of_it() {
    let tokenizer = Tokenizer::from_dir(&golden::path("models/tiny-tied")).unwrap();
    let model = golden::load("tiny-tied", Kind::Float);
    let prompt = prompt("tiny-tied", "text_en");
    let free = greedy(24, 1.0, &[]);
    let ask = |rows: &[Row]| {
        let mut pieces = vec![String::new(); rows.len()];
        let answers = generate_rows(&model, &tokenizer, rows, &mut |said| {
            pieces[said.row] += said.text;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(answers.iter().zip(&pieces).all(|(answer, piece)| answer.text == *piece));
        answers
    };
    let whole = ask(&[Row { prompt: &prompt, options: &free }]).remove(0);
    assert_eq!(whole.text, tokenizer.decode(&whole.ids, true).unwrap());
    // Text of the middle, over several tokens, and something that begins like it but never comes.
    let at = whole.text.char_indices().nth(whole.text.chars().count() / 2).unwrap().0;
    let stop: String = whole.text[at..].chars().take(6).collect();
    let mut stopping = free.clone();
    stopping.generation.stop = vec![format!("{stop}\u{1}"), stop.clone()];
    let answers = ask(&[Row { prompt: &prompt, options: &free }, Row { prompt: &prompt, options: &stopping }]);
    assert_eq!(answers[0], whole, "the row beside it goes on");
    assert_eq!(answers[1].finish, Finish::Stop);
    assert_eq!(answers[1].text, whole.text[..whole.text.find(&stop).unwrap()]);
    assert_eq!(answers[1].ids, whole.ids[..answers[1].ids.len()]);
    assert!(answers[1].ids.len() < whole.ids.len());
}
