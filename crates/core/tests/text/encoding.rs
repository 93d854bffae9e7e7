//! Template, labels, cuts and errors; whole batches of a LLaMA-Factory run.
use super::*;

/// The grids of a demo sample's pictures, in order, as its batch of epoch 0 holds them.
fn demo_grids() -> Vec<Vec<Grid>> {
    let demo = json("llamafactory/data/demo.json");
    let images = |i: usize| demo[i]["images"].as_array().map_or(0, Vec::len);
    let mut out = vec![vec![]; demo.as_array().unwrap().len()];
    for batch in json_lines("llamafactory/dump-main/batches.jsonl").iter().filter(|b| b["epoch"] == 0) {
        let mut grids = grids(&batch["grid"]).into_iter();
        for i in ids(&batch["indices"]) {
            out[i as usize] = grids.by_ref().take(images(i as usize)).collect();
        }
    }
    out
}

fn demo() -> Vec<Encoded> {
    let samples = json("llamafactory/data/demo.json");
    let samples = samples.as_array().unwrap().iter().zip(demo_grids());
    samples
        .map(|(s, grids)| {
            encode_conversation(&REAL, &conversation(s), &grids, &EncodeOptions { cutoff_len: 1024, ..KEEP_ALL })
                .unwrap()
        })
        .collect()
}

#[test]
fn ids_and_labels_of_the_demo_data_equal_llamafactorys() {
    let expected = json_lines("llamafactory/dump-main/samples.jsonl");
    // Questions and system texts that came before are not made into tokens again: the second time is that way.
    for ours in [demo(), demo()] {
        assert_eq!(ours.len(), 13);
        for (e, ours) in expected.iter().zip(&ours) {
            assert_eq!(ours.input_ids, ids(&e["input_ids"]), "sample {}", e["index"]);
            assert_eq!(ours.labels, ids(&e["labels"]), "sample {}", e["index"]);
            assert_eq!(ours.truncated, 0);
        }
    }
}

#[test]
fn batches_masks_and_positions_of_the_demo_run_equal_llamafactorys() {
    let samples = demo();
    for golden in json_lines("llamafactory/dump-main/batches.jsonl") {
        let rows: Vec<&Encoded> = ids(&golden["indices"]).iter().map(|&i| &samples[i as usize]).collect();
        let batch = collate(&rows, &REAL, 8);
        let expected: [usize; 2] = serde_json::from_value(golden["keys"]["input_ids"][0].clone()).unwrap();
        assert_eq!([batch.rows, batch.len], expected);
        assert_eq!(batch.fake_image, rows.iter().all(|r| r.grids.is_empty()));
        if golden["epoch"] == 0 {
            assert_eq!(batch.input_ids, matrix(&golden["input_ids"]).concat());
            assert_eq!(batch.labels, matrix(&golden["labels"]).concat());
            assert_eq!(batch.attention_mask, matrix(&golden["attention_mask"]).concat());
            // the reference has a fourth plane in front, a copy of the first
            let planes: Vec<i64> =
                golden["position_ids"].as_array().unwrap()[1..].iter().flat_map(|p| matrix(p).concat()).collect();
            assert_eq!(batch.position_ids, planes);
        }
    }
}

#[test]
fn the_order_of_the_demo_run_is_torchs() {
    let batches = json_lines("llamafactory/dump-main/batches.jsonl");
    for epoch in 0..3 {
        let order: Vec<i64> = batches.iter().filter(|b| b["epoch"] == epoch).flat_map(|b| ids(&b["indices"])).collect();
        let ours: Vec<i64> = lightbox_core::seed::torch_randperm(13, 42 + epoch).into_iter().map(i64::from).collect();
        assert_eq!(ours, order);
    }
}

#[test]
fn templates_labels_and_cuts_equal_llamafactorys() {
    let cases = json("text/template.json");
    for case in cases.as_array().unwrap() {
        let options = EncodeOptions {
            cutoff_len: case["cutoff_len"].as_u64().unwrap_or(100_000) as usize,
            train_on_prompt: case["train_on_prompt"] == true,
            mask_history: case["mask_history"] == true,
            default_system: case["default_system"].as_str().map(str::to_owned),
        };
        let grids = case.get("grids").map_or(vec![], grids);
        let (expected_ids, expected_labels) = (ids(&case["input_ids"]), ids(&case["labels"]));
        let ours = encode_conversation(&REAL, &conversation(case), &grids, &options);
        if expected_labels[1..].iter().all(|&l| l == IGNORE_INDEX) {
            assert_eq!(ours.unwrap_err().kind(), "no_target", "{}", case["name"]);
            continue;
        }
        let ours = ours.unwrap();
        assert_eq!(ours.input_ids, expected_ids, "{}: {}", case["name"], REAL.decode(&ours.input_ids, false).unwrap());
        assert_eq!(ours.labels, expected_labels, "{}", case["name"]);
    }
    assert!(cases.as_array().unwrap().len() > 60);
}

#[test]
fn prompts_equal_transformers_chat_template() {
    for model in ["tiny-tied"] {
        for case in ["text_en", "text_zh", "img_28", "multiturn"] {
            let golden = json(&format!("{model}/{case}.json"));
            let mut c = Conversation::default();
            for m in golden["messages"].as_array().unwrap() {
                let content = match &m["content"] {
                    Value::String(s) => s.clone(),
                    parts => {
                        parts.as_array().unwrap().iter().map(|p| p["text"].as_str().unwrap_or(IMAGE_MARK)).collect()
                    }
                };
                match m["role"].as_str().unwrap() {
                    "system" => c.system = Some(content),
                    "user" => c.messages.push(message(Role::User, &content)),
                    _ => c.messages.push(message(Role::Assistant, &content)),
                }
            }
            let grids = if golden["image_grid_thw"].is_array() { grids(&golden["image_grid_thw"]) } else { vec![] };
            let expected = ids(&golden["input_ids"]);
            assert_eq!(encode_prompt(&TINY, &c, &grids, None).unwrap(), expected, "{case}");
            assert_eq!(
                rope_index(&expected, &grids, TINY.image_pad).1,
                golden["rope_delta"].as_i64().unwrap(),
                "{case}"
            );
        }
    }
}

#[test]
fn truncated_counts_the_tokens_that_were_cut() {
    let c = chat(&["one two three four five six", "seven eight nine ten"]);
    let whole = encode_conversation(&REAL, &c, &[], &KEEP_ALL).unwrap();
    let cut = encode_conversation(&REAL, &c, &[], &EncodeOptions { cutoff_len: 20, ..KEEP_ALL }).unwrap();
    assert_eq!(cut.input_ids.len(), 20);
    assert_eq!(cut.truncated, whole.input_ids.len() - 20);
}

/// For every cut-off: either all pictures are whole, or the sample is refused. The picture's frame belongs to it.
#[test]
fn a_cut_never_goes_through_a_picture() {
    let c = chat(&["look <image> here", "yes", "and <image>", "no"]);
    let grids = [[1, 4, 6], [1, 2, 4]];
    let whole = encode_conversation(&REAL, &c, &grids, &KEEP_ALL).unwrap();
    let needed = whole.input_ids.len();
    let mut refused = 0;
    for mask_history in [false, true] {
        for cutoff_len in 0..=needed {
            match encode_conversation(&REAL, &c, &grids, &EncodeOptions { cutoff_len, mask_history, ..KEEP_ALL }) {
                Ok(e) => {
                    let count = |id| e.input_ids.iter().filter(|&&x| x == id).count();
                    assert_eq!(
                        (count(REAL.image_pad), count(REAL.vision_start), count(REAL.vision_end)),
                        (6 + 2, 2, 2)
                    );
                    assert_eq!(e.input_ids.len() + e.truncated, needed);
                    rope_index(&e.input_ids, &e.grids, REAL.image_pad);
                }
                Err(error) => {
                    assert_eq!(error, EncodeError::TooLong { needed, image_tokens: 8, cutoff_len });
                    assert_eq!(error.kind(), "too_long");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > needed / 2 && refused < 2 * needed, "{refused}");
}

#[test]
fn a_cut_that_leaves_no_label_is_an_error() {
    let error = encode_conversation(
        &REAL,
        &chat(&["a long question", "answer"]),
        &[],
        &EncodeOptions { cutoff_len: 1, ..KEEP_ALL },
    )
    .unwrap_err();
    assert_eq!(error.kind(), "no_target");
}

#[test]
fn what_is_wrong_with_a_sample_is_said_with_its_numbers() {
    let fail = |c: &Conversation, grids: &[Grid]| encode_conversation(&REAL, c, grids, &KEEP_ALL).unwrap_err();
    assert_eq!(fail(&chat(&["<image><image>", "a"]), &[[1, 2, 2]]), EncodeError::ImageCount { marks: 2, images: 1 });
    assert_eq!(fail(&chat(&["q", "a"]), &[[1, 2, 2]]).kind(), "image_count");
    assert_eq!(fail(&chat(&["q <video>", "a"]), &[]).kind(), "unsupported_media");
    assert_eq!(
        fail(&chat(&["q", "a <|image_pad|>"]), &[]),
        EncodeError::SpecialToken { place: "message 2".into(), token: "<|image_pad|>" }
    );
    assert_eq!(fail(&chat(&["q<image><|video_pad|>", "a"]), &[[1, 2, 2]]).kind(), "special_token");
    assert_eq!(
        fail(&Conversation { system: Some("<|image_pad|>".into()), ..chat(&["q", "a"]) }, &[]).kind(),
        "special_token"
    );
    assert_eq!(fail(&chat(&["<image>", "a"]), &[[1, 3, 2]]).kind(), "bad_grid");
    assert_eq!(fail(&chat(&["<image>", "a"]), &[[i64::MAX, i64::MAX - 1, i64::MAX - 1]]).kind(), "bad_grid");
    for (messages, said) in [
        (vec![], "no messages"),
        (vec![message(Role::User, "q")], "1 messages"),
        (vec![message(Role::Assistant, "a"), message(Role::User, "q")], "message 1 has the role assistant"),
        (vec![message(Role::User, "q"), message(Role::User, "q")], "message 2 has the role user"),
    ] {
        let error = fail(&Conversation { messages, ..Default::default() }, &[]);
        assert_eq!(error.kind(), "odd_turns");
        assert!(error.to_string().contains(said), "{error}");
    }
    for tools in ["{", "{}", "null", "[1]", "[{\"name\": 123456789012345678901}]"] {
        assert_eq!(
            fail(&Conversation { tools: Some(tools.into()), ..chat(&["q", "a"]) }, &[]).kind(),
            "bad_tools",
            "{tools}"
        );
    }
    for call in ["", "{", "{\"name\": \"a\"}", "[{}]", "3"] {
        let c = Conversation {
            messages: vec![message(Role::User, "q"), message(Role::Function, call)],
            ..Default::default()
        };
        assert_eq!(fail(&c, &[]).kind(), "bad_function_call", "{call}");
    }
    let dropped = r#"{"name": "a", "arguments": {}, "note": "<image>"}"#;
    let c = Conversation {
        messages: vec![message(Role::User, "q"), message(Role::Function, dropped)],
        ..Default::default()
    };
    assert_eq!(fail(&c, &[[1, 2, 2]]).kind(), "bad_function_call");
    let escaped = r#"{"name": "a", "arguments": "\u003c|image_pad|>"}"#;
    let c = Conversation {
        messages: vec![message(Role::User, "q"), message(Role::Function, escaped)],
        ..Default::default()
    };
    assert_eq!(fail(&c, &[]).kind(), "special_token");
}

#[test]
fn a_prompt_must_end_with_a_question() {
    for c in [Conversation::default(), chat(&["q", "a"])] {
        assert_eq!(encode_prompt(&REAL, &c, &[], None).unwrap_err().kind(), "odd_turns");
    }
    let turns = chat(&["q", "a", "q"]);
    let prompt = encode_prompt(&REAL, &turns, &[], Some("")).unwrap();
    assert_eq!(
        REAL.decode(&prompt, false).unwrap(),
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
    );
}

/// The text is what the published template renders for this conversation with `add_vision_id=True` (Jinja 3.1).
#[test]
fn numbered_pictures_are_those_of_the_chat_template() {
    let rendered = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nLeft Picture 1: \
        <|vision_start|><|image_pad|><|vision_end|>, right Picture 2: <|vision_start|><|image_pad|><|vision_end|>?<|im_end|>\n\
        <|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nPicture 3: <|vision_start|><|image_pad|><|vision_end|>And?\
        <|im_end|>\n<|im_start|>assistant\n";
    let mut conversation = chat(&["Left <image>, right <image>?", "Yes.", "<image>And?"]);
    number_pictures(&mut conversation);
    let one_token_each = [[1, 2, 2]; 3];
    let ids = encode_prompt(&REAL, &conversation, &one_token_each, None).unwrap();
    assert_eq!(ids, REAL.encode(rendered).unwrap());
}
