//! Greedy answers against transformers' `generate`, one by one and as a left-padded batch.

use crate::golden::{self, Golden, MODELS};
use lightbox_core::generation::Generation;
use lightbox_core::text::{Tokenizer, collate_left};
use lightbox_engine::generate::{Finish, Memory, Options, Prompt, Row, generate, generate_rows};
use lightbox_engine::model::{Ctx, Pictures, Qwen2Vl, Tokens};
use std::ops::ControlFlow;
use tch::{Kind, Tensor};

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
        let answers = generate_rows(&model, &tokenizer, rows, None, &mut |said| {
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

/// The logits of a whole forward pass over prompt and answer, at the places where each token of the answer was chosen.
fn without_a_cache(model: &Qwen2Vl, tokenizer: &Tokenizer, prompt: &Prompt, said: &[i64]) -> Tensor {
    let ids = [&prompt.ids[..], &said[..said.len() - 1]].concat();
    let (from, n) = (prompt.ids.len() as i64 - 1, said.len() as i64);
    let batch = collate_left(&[(&ids, &prompt.grids)], tokenizer);
    let tokens = Tokens {
        input_ids: Tensor::from_slice(&batch.input_ids).view([1, -1]),
        position_ids: Tensor::from_slice(&batch.position_ids).view([3, 1, -1]),
        attention_mask: None,
    };
    let pictures = (!prompt.grids.is_empty()).then(|| Pictures {
        pixel_values: Tensor::from_slice(&prompt.pixel_values).view([-1, 1176]),
        grids: prompt.grids.clone(),
    });
    model.forward(&tokens, pictures.as_ref(), &Ctx::default()).unwrap().get(0).narrow(0, from, n)
}

/// Greedy tokens are those that a forward pass without a cache chooses, wherever its two best are apart.
fn assert_chosen_without_a_cache(what: &str, model: &Qwen2Vl, tokenizer: &Tokenizer, prompt: &Prompt, said: &[i64]) {
    let _no_grad = tch::no_grad_guard();
    let (best, ids) = without_a_cache(model, tokenizer, prompt, said).topk(2, -1, true, true);
    let mut decided = 0;
    for (i, id) in said.iter().enumerate() {
        let at = |x: &Tensor, k| x.get(i as i64).double_value(&[k]);
        if at(&best, 0) - at(&best, 1) > 2e-4 {
            assert_eq!(at(&ids, 0) as i64, *id, "{what}: token {i}");
            decided += 1;
        }
    }
    assert!(2 * decided > said.len(), "{what}: too little is decided to say anything");
}

#[test]
fn the_cache_changes_nothing_in_any_golden_case_alone_or_in_a_batch_that_shrinks() {
    let cases = ["text_en", "text_zh", "img_28", "multiturn"];
    for model_name in MODELS {
        let tokenizer = Tokenizer::from_dir(&golden::path(&format!("models/{model_name}"))).unwrap();
        let model = golden::load(model_name, Kind::Float);
        let prompts = cases.map(|case| prompt(model_name, case));
        // More tokens than the room that is taken first, so that it grows.
        let alone = greedy(160, 1.0, &[]);
        for (case, prompt) in cases.iter().zip(&prompts) {
            let row = [Row { prompt, options: &alone }];
            let answer =
                generate_rows(&model, &tokenizer, &row, None, &mut |_| ControlFlow::Continue(())).unwrap().remove(0);
            assert_eq!(answer.ids.len(), 160);
            assert_chosen_without_a_cache(&format!("{model_name} {case}"), &model, &tokenizer, prompt, &answer.ids);
        }
        // Rows end after 4, 8, 60 and 70 tokens: the batch becomes smaller twice, and the rotary tables are made anew.
        let lengths = [60, 4, 70, 8].map(|n| greedy(n, 1.0, &[]));
        let rows: Vec<Row> = prompts.iter().zip(&lengths).map(|(prompt, options)| Row { prompt, options }).collect();
        let answers = generate_rows(&model, &tokenizer, &rows, None, &mut |_| ControlFlow::Continue(())).unwrap();
        for ((case, row), answer) in cases.iter().zip(&rows).zip(&answers) {
            let what = format!("{model_name} {case} in a batch");
            assert_eq!(answer.ids.len(), row.options.generation.max_new_tokens, "{what}");
            assert_chosen_without_a_cache(&what, &model, &tokenizer, row.prompt, &answer.ids);
        }
    }
}

#[test]
fn a_second_turn_reads_only_what_is_new_and_says_what_a_fresh_one_says() {
    let tokenizer = Tokenizer::from_dir(&golden::path("models/tiny-tied")).unwrap();
    let model = golden::load("tiny-tied", Kind::Float);
    let ask = |memory: Option<&mut Memory>, prompt: &Prompt| {
        let o = greedy(12, 1.0, &[]);
        let row = [Row { prompt, options: &o }];
        generate_rows(&model, &tokenizer, &row, memory, &mut |_| ControlFlow::Continue(())).unwrap().remove(0)
    };
    let follow = |first: &Prompt, said: &[i64], more: &str| Prompt {
        ids: [&first.ids[..], said, &tokenizer.encode(more).unwrap()].concat(),
        grids: first.grids.clone(),
        pixel_values: first.pixel_values.clone(),
    };
    let next = "<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n";
    for case in ["text_en", "img_28", "multiturn"] {
        let mut memory = Memory::default();
        let first = prompt("tiny-tied", case);
        let one = ask(Some(&mut memory), &first);
        assert_eq!((one.cached, &one.ids), (0, &ask(None, &first).ids));
        // All that was said but its last token has been through the model.
        let second = follow(&first, &one.ids, next);
        let two = ask(Some(&mut memory), &second);
        assert_eq!(two.cached, first.ids.len() + one.ids.len() - 1, "{case}");
        assert_eq!(two.ids, ask(None, &second).ids, "{case}");
        assert_chosen_without_a_cache(case, &model, &tokenizer, &second, &two.ids);
        // The same once more: all but the last token is known. Then a third turn goes back to before the second answer.
        let again = ask(Some(&mut memory), &second);
        assert_eq!((again.cached, &again.ids), (second.ids.len() - 1, &two.ids));
        let other =
            follow(&first, &one.ids, "<|im_end|>\n<|im_start|>user\nOr else?<|im_end|>\n<|im_start|>assistant\n");
        let three = ask(Some(&mut memory), &other);
        let shared = second.ids.iter().zip(&other.ids).take_while(|(a, b)| a == b).count();
        assert_eq!((three.cached, &three.ids), (shared, &ask(None, &other).ids), "{case}");
    }
    // The same words about another picture: nothing from the picture on is known.
    let mut memory = Memory::default();
    let mut seen = prompt("tiny-tied", "img_28");
    ask(Some(&mut memory), &seen);
    seen.pixel_values[7] += 0.5;
    let picture = seen.ids.iter().position(|id| *id == tokenizer.image_pad).unwrap();
    let answer = ask(Some(&mut memory), &seen);
    assert_eq!((answer.cached, &answer.ids), (picture, &ask(None, &seen).ids));
}
