//! Tokenizer, template, labels, positions and batches against golden data of tokenizers, transformers and LLaMA-Factory.
use lightbox_core::text::*;
use lightbox_core::vision::Grid;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::LazyLock;

fn golden(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(path)
}

fn json(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(path)).unwrap()).unwrap()
}

fn json_lines(path: &str) -> Vec<Value> {
    std::fs::read_to_string(golden(path)).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn ids(v: &Value) -> Vec<i64> {
    v.as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect()
}

fn matrix(v: &Value) -> Vec<Vec<i64>> {
    v.as_array().unwrap().iter().map(ids).collect()
}

fn grids(v: &Value) -> Vec<Grid> {
    matrix(v).iter().map(|g| <Grid>::try_from(g.as_slice()).unwrap()).collect()
}

/// Qwen2-VL's own tokenizer.json, rebuilt from its ranks.
static REAL_JSON: LazyLock<Value> =
    LazyLock::new(|| ranks::tokenizer_json_from_ranks(std::fs::File::open(golden("tokenizer/qwen2_vl.ranks.gz")).unwrap()).unwrap());
static REAL: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_json(REAL_JSON.to_string().as_bytes()).unwrap());
static TINY: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_dir(&golden("models/tiny-tied")).unwrap());

const KEEP_ALL: EncodeOptions = EncodeOptions { cutoff_len: 100_000, train_on_prompt: false, mask_history: false, default_system: None };

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.into() }
}

fn chat(contents: &[&str]) -> Conversation {
    let messages = contents.iter().zip([Role::User, Role::Assistant].into_iter().cycle()).map(|(c, r)| message(r, c)).collect();
    Conversation { messages, ..Default::default() }
}

/// A sample in LLaMA-Factory's words: `messages` of role and content (a leading system message too), `system`, `tools`.
fn conversation(v: &Value) -> Conversation {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let mut c = Conversation { system: text(&v["system"]), tools: text(&v["tools"]), messages: vec![] };
    for m in v["messages"].as_array().unwrap() {
        let content = text(&m["content"]).unwrap();
        let role = match m["role"].as_str().unwrap() {
            "system" => {
                c.system = Some(content);
                continue;
            }
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "observation" => Role::Observation,
            "function" => Role::Function,
            other => panic!("{other}"),
        };
        c.messages.push(Message { role, content });
    }
    c
}

mod tokenizer {
    use super::*;

    #[test]
    fn the_tokenizer_rebuilt_from_ranks_encodes_and_decodes_like_qwen2_vls() {
        assert_eq!(REAL_JSON["model"]["merges"].as_array().unwrap().len(), 151_387);
        assert_eq!((REAL.endoftext, REAL.im_start, REAL.im_end, REAL.vision_start, REAL.vision_end), (151643, 151644, 151645, 151652, 151653));
        assert_eq!((REAL.image_pad, REAL.video_pad, REAL.vocab_size()), (151655, 151656, 151657));
        let cases = json("tokenizer/encodings.json");
        for case in cases.as_array().unwrap() {
            let (text, expected) = (case["text"].as_str().unwrap(), ids(&case["ids"]));
            assert_eq!(REAL.encode(text).unwrap(), expected, "{text:?}");
            assert_eq!(REAL.decode(&expected, false).unwrap(), case["decoded"].as_str().unwrap());
            assert_eq!(REAL.decode(&expected, true).unwrap(), case["decoded_skip"].as_str().unwrap());
        }
        assert_eq!(cases.as_array().unwrap().len(), 79);
    }

    #[test]
    fn the_tiny_tokenizer_encodes_like_transformers() {
        for case in json("tables/tiny_tokenizer.json").as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(TINY.encode(text).unwrap(), ids(&case["ids"]), "{text:?}");
        }
    }

    #[test]
    fn merges_are_read_as_strings_and_as_pairs() {
        let mut file = json("models/tiny-tied/tokenizer.json");
        let merges = file["model"]["merges"].as_array_mut().unwrap();
        let strings_before = merges[0].is_string();
        for m in merges.iter_mut() {
            *m = match m {
                Value::String(s) => s.split(' ').collect(),
                Value::Array(pair) => pair.iter().map(|p| p.as_str().unwrap()).collect::<Vec<_>>().join(" ").into(),
                other => panic!("{other}"),
            };
        }
        assert_ne!(merges[0].is_string(), strings_before);
        let other = Tokenizer::from_json(file.to_string().as_bytes()).unwrap();
        let text = "The scan shows no abnormal finding. 请描述";
        assert_eq!(other.encode(text).unwrap(), TINY.encode(text).unwrap());
    }

    #[test]
    fn plain_encoding_keeps_special_tokens_as_text() {
        let text = "a<|im_end|>\n<|image_pad|>";
        assert!(REAL.encode(text).unwrap().contains(&REAL.im_end));
        let plain = REAL.encode_plain(text).unwrap();
        assert!(plain.iter().all(|&id| id < REAL.endoftext), "{plain:?}");
        assert_eq!(REAL.decode(&plain, true).unwrap(), text);
        assert!(REAL.encode(text).unwrap().contains(&REAL.im_end), "the ordinary encoding is as before");
    }

    #[test]
    fn streamed_text_is_whole_characters_and_equals_decoding_at_once() {
        for case in json("tokenizer/encodings.json").as_array().unwrap() {
            let ids = ids(&case["ids"]);
            let mut stream = REAL.stream();
            let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
            text += &stream.finish();
            assert_eq!(text, case["decoded_skip"].as_str().unwrap());
        }
        // 🩺 takes several tokens; nothing leaves before the last
        let ids = REAL.encode("🩺").unwrap();
        assert!(ids.len() > 1);
        let mut stream = REAL.stream();
        let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
        assert_eq!(pieces.last().unwrap(), "🩺");
        assert!(pieces[..pieces.len() - 1].iter().all(String::is_empty));
        let mut cut = REAL.stream();
        assert_eq!(cut.push(ids[0]), "");
        assert_eq!(cut.finish(), "\u{fffd}");
    }

    #[test]
    fn ids_without_a_token_give_no_text_and_impossible_ids_are_errors() {
        assert_eq!(REAL.decode(&[151_900, 9707], true).unwrap(), "Hello");
        assert!(REAL.decode(&[-1], true).unwrap_err().to_string().contains("-1 is not a token id"));
        assert_eq!(REAL.stream().push(-1), "");
    }

    #[test]
    fn a_missing_special_token_is_named() {
        let mut file = json("models/tiny-tied/tokenizer.json");
        file["added_tokens"].as_array_mut().unwrap().retain(|t| t["content"] != "<|image_pad|>");
        let error = Tokenizer::from_json(file.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("<|image_pad|> is missing"), "{error}");
    }

    #[test]
    fn a_folder_without_a_usable_tokenizer_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = format!("{:#}", Tokenizer::from_dir(dir.path()).unwrap_err());
        assert!(error.contains("tokenizer.json") && error.contains("download it again"), "{error}");
        std::fs::write(dir.path().join("tokenizer.json"), b"{\"version\": \"1.0\"").unwrap();
        let error = format!("{:#}", Tokenizer::from_dir(dir.path()).unwrap_err());
        assert!(error.contains("tokenizer.json") && error.contains("not a tokenizer"), "{error}");
    }

    #[test]
    fn a_broken_rank_file_is_an_error() {
        assert!(ranks::tokenizer_json_from_ranks(&b"no gzip"[..]).is_err());
        let gz = |bytes: &[u8]| {
            let mut w = flate2::write::GzEncoder::new(vec![], Default::default());
            std::io::Write::write_all(&mut w, bytes).unwrap();
            w.finish().unwrap()
        };
        let message = |bytes: &[u8]| ranks::tokenizer_json_from_ranks(gz(bytes).as_slice()).unwrap_err().to_string();
        assert!(message(b"\x01a\x05bc").contains("token 1 of the rank file is empty or cut off"));
        assert!(message(b"\x01a\x01a").contains("is there twice"));
        assert!(message(b"\x01a\x02ab").contains("no merge"));
    }
}

mod encoding {
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
        samples.map(|(s, grids)| encode_conversation(&REAL, &conversation(s), &grids, &EncodeOptions { cutoff_len: 1024, ..KEEP_ALL }).unwrap()).collect()
    }

    #[test]
    fn ids_and_labels_of_the_demo_data_equal_llamafactorys() {
        let expected = json_lines("llamafactory/dump-main/samples.jsonl");
        let ours = demo();
        assert_eq!(ours.len(), 13);
        for (e, ours) in expected.iter().zip(&ours) {
            assert_eq!(ours.input_ids, ids(&e["input_ids"]), "sample {}", e["index"]);
            assert_eq!(ours.labels, ids(&e["labels"]), "sample {}", e["index"]);
            assert_eq!(ours.truncated, 0);
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
                let planes: Vec<i64> = golden["position_ids"].as_array().unwrap()[1..].iter().flat_map(|p| matrix(p).concat()).collect();
                assert_eq!(batch.position_ids, planes);
            }
        }
    }

    #[test]
    fn the_order_of_the_demo_run_is_torchs() {
        let batches = json_lines("llamafactory/dump-main/batches.jsonl");
        for epoch in 0..3 {
            let order: Vec<i64> = batches.iter().filter(|b| b["epoch"] == epoch).flat_map(|b| ids(&b["indices"])).collect();
            let ours: Vec<i64> = lightbox_core::seed::torch_randperm(13, 42 + epoch).into_iter().map(|i| i as i64).collect();
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
                        parts => parts.as_array().unwrap().iter().map(|p| p["text"].as_str().unwrap_or(IMAGE_MARK)).collect(),
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
                assert_eq!(rope_index(&expected, &grids, TINY.image_pad).1, golden["rope_delta"].as_i64().unwrap(), "{case}");
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
                        assert_eq!((count(REAL.image_pad), count(REAL.vision_start), count(REAL.vision_end)), (6 + 2, 2, 2));
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
        let error = encode_conversation(&REAL, &chat(&["a long question", "answer"]), &[], &EncodeOptions { cutoff_len: 1, ..KEEP_ALL }).unwrap_err();
        assert_eq!(error.kind(), "no_target");
    }

    #[test]
    fn what_is_wrong_with_a_sample_is_said_with_its_numbers() {
        let fail = |c: &Conversation, grids: &[Grid]| encode_conversation(&REAL, c, grids, &KEEP_ALL).unwrap_err();
        assert_eq!(fail(&chat(&["<image><image>", "a"]), &[[1, 2, 2]]), EncodeError::ImageCount { marks: 2, images: 1 });
        assert_eq!(fail(&chat(&["q", "a"]), &[[1, 2, 2]]).kind(), "image_count");
        assert_eq!(fail(&chat(&["q <video>", "a"]), &[]).kind(), "unsupported_media");
        assert_eq!(fail(&chat(&["q", "a <|image_pad|>"]), &[]), EncodeError::SpecialToken { place: "message 2".into(), token: "<|image_pad|>" });
        assert_eq!(fail(&chat(&["q<image><|video_pad|>", "a"]), &[[1, 2, 2]]).kind(), "special_token");
        assert_eq!(fail(&Conversation { system: Some("<|image_pad|>".into()), ..chat(&["q", "a"]) }, &[]).kind(), "special_token");
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
            assert_eq!(fail(&Conversation { tools: Some(tools.into()), ..chat(&["q", "a"]) }, &[]).kind(), "bad_tools", "{tools}");
        }
        for call in ["", "{", "{\"name\": \"a\"}", "[{}]", "3"] {
            let c = Conversation { messages: vec![message(Role::User, "q"), message(Role::Function, call)], ..Default::default() };
            assert_eq!(fail(&c, &[]).kind(), "bad_function_call", "{call}");
        }
        let dropped = r#"{"name": "a", "arguments": {}, "note": "<image>"}"#;
        let c = Conversation { messages: vec![message(Role::User, "q"), message(Role::Function, dropped)], ..Default::default() };
        assert_eq!(fail(&c, &[[1, 2, 2]]).kind(), "bad_function_call");
        let escaped = r#"{"name": "a", "arguments": "\u003c|image_pad|>"}"#;
        let c = Conversation { messages: vec![message(Role::User, "q"), message(Role::Function, escaped)], ..Default::default() };
        assert_eq!(fail(&c, &[]).kind(), "special_token");
    }

    #[test]
    fn a_prompt_must_end_with_a_question() {
        for c in [Conversation::default(), chat(&["q", "a"])] {
            assert_eq!(encode_prompt(&REAL, &c, &[], None).unwrap_err().kind(), "odd_turns");
        }
        let turns = chat(&["q", "a", "q"]);
        let prompt = encode_prompt(&REAL, &turns, &[], Some("")).unwrap();
        assert_eq!(REAL.decode(&prompt, false).unwrap(), "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
    }
}

mod batching {
    use super::*;

    #[test]
    fn positions_equal_transformers() {
        let rows = json("tables/rope_index.json");
        let mut checked = 0;
        for row in rows.as_array().unwrap() {
            let (images, videos) = (grids(&row["image_grid_thw"]), grids(&row["video_grid_thw"]));
            // the same rule serves videos, whose pad is another token
            let (grids, pad) = match (images.is_empty(), videos.is_empty()) {
                (_, true) => (images, 1022),
                (true, false) => (videos, 1023),
                (false, false) => continue, // both kinds in one row do not occur here
            };
            let (positions, delta) = rope_index(&ids(&row["input_ids"]), &grids, pad);
            assert_eq!(positions.to_vec(), matrix(&row["position_ids"]));
            assert_eq!(delta, row["rope_delta"].as_i64().unwrap());
            checked += 1;
        }
        assert!(checked >= 5, "{checked}");
    }

    #[test]
    fn left_padded_prompts_equal_transformers() {
        let bytes = std::fs::read(golden("tiny-tied/batch_left.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |name: &str| -> Vec<i64> {
            let view = file.tensor(name).unwrap();
            view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let cases: Vec<Value> = ids_of_cases();
        let rows: Vec<(Vec<i64>, Vec<Grid>)> = cases.iter().map(|c| (ids(&c["input_ids"]), if c["image_grid_thw"].is_array() { grids(&c["image_grid_thw"]) } else { vec![] })).collect();
        let rows: Vec<(&[i64], &[Grid])> = rows.iter().map(|(i, g)| (i.as_slice(), g.as_slice())).collect();
        let batch = collate_left(&rows, &TINY);
        assert_eq!((batch.rows, batch.len), (3, 116));
        assert_eq!(batch.input_ids, tensor("input_ids"));
        assert_eq!(batch.attention_mask, tensor("attention_mask"));
        assert_eq!(batch.position_ids, tensor("position_ids"));
        assert_eq!(batch.rope_deltas, tensor("rope_deltas"));
    }

    fn ids_of_cases() -> Vec<Value> {
        let batch = json("tiny-tied/batch_left.json");
        batch["cases"].as_array().unwrap().iter().map(|c| json(&format!("tiny-tied/{}.json", c.as_str().unwrap()))).collect()
    }

    fn text_only(contents: &[&str]) -> Encoded {
        encode_conversation(&REAL, &chat(contents), &[], &KEEP_ALL).unwrap()
    }

    #[test]
    fn a_batch_without_pictures_gets_a_masked_invented_one_behind_row_0() {
        let (a, b) = (text_only(&["q", "a"]), text_only(&["q", "a longer answer than the other"]));
        for (rows, len) in [([&a, &b], b.input_ids.len().max(a.input_ids.len() + 6)), ([&b, &a], b.input_ids.len() + 6)] {
            let batch = collate(&rows, &REAL, 1);
            assert!(batch.fake_image);
            assert_eq!(batch.len, len, "the invented picture can lengthen the batch");
            let n = rows[0].input_ids.len();
            let pad = REAL.image_pad;
            assert_eq!(batch.input_ids[n..n + 6], [REAL.vision_start, pad, pad, pad, pad, REAL.vision_end]);
            assert!(batch.attention_mask[..n].iter().all(|&m| m == 1) && batch.attention_mask[n..len].iter().all(|&m| m == 0));
            assert!(batch.labels[n..len].iter().all(|&l| l == IGNORE_INDEX));
            assert!(batch.position_ids[n..len].iter().all(|&p| p == 0));
            assert!(!batch.input_ids[len..].contains(&pad), "only row 0 has it");
        }
    }

    #[test]
    fn a_text_only_row_beside_a_picture_gets_nothing() {
        let picture = encode_conversation(&REAL, &chat(&["<image>", "a"]), &[[1, 2, 2]], &KEEP_ALL).unwrap();
        let text = text_only(&["q", "a"]);
        let batch = collate(&[&text, &picture], &REAL, 8);
        assert!(!batch.fake_image);
        assert_eq!(batch.len % 8, 0);
        assert_eq!(batch.input_ids.iter().filter(|&&id| id == REAL.image_pad).count(), 1);
    }

    #[test]
    fn an_empty_batch_is_empty() {
        let batch = collate(&[], &REAL, 8);
        assert_eq!((batch.rows, batch.len, batch.fake_image), (0, 0, false));
        assert_eq!(collate_left(&[], &REAL).len, 0);
    }

    #[test]
    fn tokens_of_a_picture_are_its_merged_patches() {
        assert_eq!(image_tokens(&[1, 16, 22]), Some(88));
        for grid in [[0, 2, 2], [1, 0, 2], [1, 2, 3], [1, -2, 2], [i64::MAX, 4, 4]] {
            assert_eq!(image_tokens(&grid), None, "{grid:?}");
        }
    }
}
