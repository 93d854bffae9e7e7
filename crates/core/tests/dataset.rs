//! LLaMA-Factory's data sets: its layouts, its rules, its broken samples.

use lightbox_core::data::{Dataset, DatasetOptions, Encoder, ImageRef, Mix, Problem, Sample, Samples, check};
use lightbox_core::text::{EncodeOptions, Role, Tokenizer};
use lightbox_core::vision::{ImageProcessor, PixelBudget};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/llamafactory/data")
}

fn open(dir: &Path, names: &[&str]) -> anyhow::Result<Dataset> {
    Dataset::open(&options(dir, names))
}

fn options(dir: &Path, names: &[&str]) -> DatasetOptions {
    DatasetOptions {
        dataset_dir: dir.into(),
        media_dir: None,
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        max_samples: None,
        seed: 42,
        mix: Default::default(),
    }
}

/// A data set of one row with the given entry (`file_name` is added).
fn one(mut entry: Value, row: Value) -> Result<Sample, Problem> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.png"), b"not looked at").unwrap();
    std::fs::write(dir.path().join("d.jsonl"), row.to_string()).unwrap();
    entry["file_name"] = json!("d.jsonl");
    std::fs::write(dir.path().join("dataset_info.json"), json!({"d": entry}).to_string()).unwrap();
    open(dir.path(), &["d"]).unwrap().get(0)
}

fn texts(sample: &Sample) -> Vec<(Role, &str)> {
    sample.conversation.messages.iter().map(|m| (m.role, m.content.as_str())).collect()
}

fn sharegpt() -> Value {
    json!({"formatting": "sharegpt", "columns": {"messages": "messages", "images": "images", "system": "system", "tools": "tools"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
                 "observation_tag": "observation", "function_tag": "function", "system_tag": "system"}})
}

fn turn(role: &str, content: Value) -> Value {
    json!({"role": role, "content": content})
}

fn kind(entry: Value, row: Value) -> &'static str {
    one(entry, row).expect_err("a problem").kind
}

/// What datasets 5.2 gives for the same draw is in the tests of `data::mix`; here it is the samples that count.
#[test]
fn mixed_sets_give_the_samples_of_both_in_the_order_of_the_mix() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |name: &str, n: usize| -> String {
        (0..n).map(|i| json!({"instruction": format!("{name} {i}"), "output": "yes"}).to_string() + "\n").collect()
    };
    std::fs::write(dir.path().join("scans.jsonl"), rows("scans", 3)).unwrap();
    std::fs::write(dir.path().join("chat.jsonl"), rows("chat", 5)).unwrap();
    let info = json!({"scans": {"file_name": "scans.jsonl"}, "chat": {"file_name": "chat.jsonl"}});
    std::fs::write(dir.path().join("dataset_info.json"), info.to_string()).unwrap();
    let asked = |strategy: &str, probs: &[f64], max: Option<usize>| {
        let mix = Mix { strategy: strategy.parse().unwrap(), probs: probs.to_vec() };
        let options = DatasetOptions { mix, max_samples: max, ..options(dir.path(), &["scans", "chat"]) };
        let set = Dataset::open(&options)?;
        assert!(set.get(set.len()).is_err());
        let question = |i: usize| set.get(i).unwrap().conversation.messages[0].content.clone();
        Ok::<Vec<String>, anyhow::Error>((0..set.len()).map(question).collect())
    };
    let over = asked("interleave_over", &[], None).unwrap();
    let expected = "scans 0|chat 0|scans 1|chat 1|scans 2|chat 2|scans 0|chat 3|scans 1|chat 4";
    assert_eq!(over.join("|"), expected);
    assert_eq!(asked("interleave_under", &[], Some(2)).unwrap().join("|"), "scans 0|chat 0|scans 1|chat 1");
    assert_eq!(asked("interleave_once", &[0.5, 0.5], None).unwrap().len(), 8);
    assert_eq!(asked("concat", &[], None).unwrap()[3], "chat 0");
    assert!(asked("interleave_over", &[0.5, 0.6], None).unwrap_err().to_string().contains("add up to 1"));
}

#[test]
fn llamafactorys_broken_samples_each_become_a_problem_and_the_good_ones_stay() {
    // LLaMA-Factory 0.9.5 drops the first seven with a warning, ends its run at the next three without naming the
    // sample, and accepts the last.
    for (name, expected) in [
        ("bad_odd", Some("odd_turns")),
        ("bad_role", Some("bad_role")),
        ("bad_first_assistant", Some("bad_role")),
        ("bad_unknown_role", Some("bad_role")),
        ("bad_system_no_tag", Some("bad_role")),
        ("bad_empty", Some("no_turns")),
        ("bad_all", Some("odd_turns")),
        ("bad_missing_image", Some("image_missing")),
        ("bad_more_images", Some("image_count")),
        ("bad_fewer_images", Some("image_count")),
        ("bad_img_in_answer", None),
    ] {
        let d = open(&golden(), &[name]).unwrap();
        let report = check(&d, 0..d.len(), None, None, &mut |_| ControlFlow::Continue(()));
        let kinds: Vec<&str> = report.problems.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, Vec::from_iter(expected), "{name}: {:?}", report.problems);
        assert_eq!(report.good, d.len() - kinds.len(), "{name}");
        for problem in &report.problems {
            assert_eq!(problem.index, 0, "{name}");
            assert!(problem.origin.ends_with(&format!("{name}.json:2")), "{}", problem.origin);
        }
    }
}

#[test]
fn a_missing_system_tag_is_explained() {
    let d = open(&golden(), &["bad_system_no_tag"]).unwrap();
    assert!(d.get(0).unwrap_err().reason.contains("\"system_tag\": \"system\""));
}

#[test]
fn the_golden_samples_are_read_whole() {
    let d = open(&golden(), &["demo"]).unwrap();
    let raw: Vec<Value> = serde_json::from_slice(&std::fs::read(golden().join("demo.json")).unwrap()).unwrap();
    assert_eq!(d.len(), raw.len());
    for (i, raw) in raw.iter().enumerate() {
        let sample = d.get(i).unwrap();
        let system = usize::from(raw["messages"][0]["role"] == "system");
        let contents: Vec<&str> =
            raw["messages"].as_array().unwrap().iter().skip(system).map(|m| m["content"].as_str().unwrap()).collect();
        assert_eq!(texts(&sample).iter().map(|t| t.1).collect::<Vec<_>>(), contents);
        assert_eq!(sample.conversation.system.is_some(), system == 1);
        assert_eq!(sample.images.len(), raw["images"].as_array().map_or(0, Vec::len));
    }
}

#[test]
fn alpaca_joins_instruction_and_input_and_puts_history_first() {
    let entry = json!({"columns": {"prompt": "instruction", "query": "input", "response": "output", "history": "history", "system": "sys"}});
    let row = json!({"instruction": "Sum", "input": "1 2", "output": "3", "history": [["a", "b"]], "sys": "S"});
    let sample = one(entry.clone(), row).unwrap();
    assert_eq!(
        texts(&sample),
        [(Role::User, "a"), (Role::Assistant, "b"), (Role::User, "Sum\n1 2"), (Role::Assistant, "3")]
    );
    assert_eq!(sample.conversation.system.as_deref(), Some("S"));
    let sample = one(json!({}), json!({"instruction": "Sum", "input": "", "output": "3"})).unwrap();
    assert_eq!(texts(&sample)[0].1, "Sum");
    assert_eq!(kind(json!({}), json!({"instruction": "Sum", "output": null})), "no_answer");
    assert_eq!(kind(json!({}), json!({"instruction": "Sum", "output": 3})), "no_answer");
    assert_eq!(kind(json!({}), json!({"instruction": "Sum", "output": " "})), "empty_caption");
    assert_eq!(kind(json!({}), json!({"question": "Sum", "output": "3"})), "missing_column");
    assert_eq!(kind(json!({}), json!({"instruction": ["Sum"], "output": "3"})), "bad_type");
    assert_eq!(kind(entry, json!({"instruction": "x", "output": "y", "history": [["a"]]})), "bad_type");
}

#[test]
fn sharegpt_has_its_defaults_and_a_single_path_counts_as_a_list() {
    let entry = json!({"formatting": "sharegpt", "columns": {"messages": "conversations", "images": "image"}});
    let row = json!({"id": 1, "image": "p.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]});
    let sample = one(entry, row).unwrap();
    assert_eq!(texts(&sample), [(Role::User, "<image>\nWhat?"), (Role::Assistant, "That.")]);
    assert!(matches!(&sample.images[..], [ImageRef::File(_)]));
}

#[test]
fn tools_functions_and_observations_are_kept() {
    let row = json!({"tools": [{"name": "f"}], "messages": [
        turn("system", json!("S")), turn("user", json!("q")), turn("function", json!("{\"name\": \"f\", \"arguments\": {}}")),
        turn("observation", json!("r")), turn("assistant", json!("a"))]});
    let sample = one(sharegpt(), row).unwrap();
    assert_eq!(
        texts(&sample).iter().map(|t| t.0).collect::<Vec<_>>(),
        [Role::User, Role::Function, Role::Observation, Role::Assistant]
    );
    assert_eq!(sample.conversation.tools.as_deref(), Some("[{\"name\":\"f\"}]"));
}

#[test]
fn openai_tool_calls_and_results_become_function_and_one_observation() {
    let mut entry = sharegpt();
    entry["formatting"] = json!("openai");
    entry["tags"]["observation_tag"] = json!("tool");
    let call = |city: &str| json!({"type": "function", "function": {"name": "w", "arguments": {"city": city}}});
    let row = json!({"messages": [
        turn("user", json!([{"type": "image", "image": "p.png"}, {"type": "text", "text": "Weather?"}])),
        {"role": "assistant", "content": null, "tool_calls": [call("A"), call("B")]},
        turn("tool", json!("1")), turn("tool", json!("2")), turn("assistant", json!("ok"))]});
    let sample = one(entry.clone(), row).unwrap();
    assert_eq!(
        texts(&sample),
        [
            (Role::User, "<image>Weather?"),
            (Role::Function, r#"[{"name":"w","arguments":{"city":"A"}},{"name":"w","arguments":{"city":"B"}}]"#),
            (Role::Observation, "1\n</tool_response>\n<tool_response>\n2"),
            (Role::Assistant, "ok"),
        ]
    );
    assert_eq!(sample.images.len(), 1);
    // LLaMA-Factory appends "detailed thinking off" here; that belongs to another model family.
    assert_eq!(sample.conversation.system, None);
    assert_eq!(
        kind(
            entry,
            json!({"messages": [turn("user", json!("q")), turn("assistant", json!("a")), turn("tool", json!("lost"))]})
        ),
        "odd_turns"
    );
}

#[test]
fn every_wrong_row_has_its_kind() {
    let talk = |content: Value, images: Value| json!({"messages": [turn("user", content), turn("assistant", json!("a"))], "images": images});
    for (row, expected) in [
        (json!({"messages": "x"}), "bad_type"),
        (json!({"message": []}), "missing_column"),
        (json!({"messages": [1]}), "bad_type"),
        (json!({"messages": [{"content": "x"}]}), "bad_role"),
        (talk(json!(7), json!([])), "bad_type"),
        (talk(json!(null), json!([])), "bad_type"),
        (talk(json!("<image>"), json!([])), "image_count"),
        (talk(json!("x"), json!("p.png")), "image_count"),
        (talk(json!("<image>"), json!([null])), "image_missing"),
        (talk(json!("<image>"), json!([3])), "bad_type"),
        (talk(json!("<image>"), json!("https://example.org/x.png")), "image_url"),
        (talk(json!("<image>"), json!("data:image/png;base64,AAAA")), "image_url"),
        (talk(json!("<video>"), json!([])), "unsupported_media"),
        (talk(json!([{"type": "video", "video": "x"}]), json!([])), "unsupported_media"),
        (json!({"messages": [turn("user", json!("q")), turn("assistant", json!("\n"))]}), "empty_caption"),
    ] {
        assert_eq!(kind(sharegpt(), row.clone()), expected, "{row}");
    }
    let mut videos = sharegpt();
    videos["columns"]["videos"] = json!("videos");
    let row = json!({"messages": [turn("user", json!("q")), turn("assistant", json!("a"))], "videos": ["x.mp4"]});
    assert_eq!(kind(videos.clone(), row), "unsupported_media");
    assert!(
        one(videos, json!({"messages": [turn("user", json!("q")), turn("assistant", json!("a"))], "videos": []}))
            .is_ok()
    );
}

#[test]
fn labels_per_picture_token_need_no_conversation() {
    let sample = one(
        sharegpt(),
        json!({"messages": [], "images": ["p.png"], "image_labels": [["red", "square"], ["none", "none"]]}),
    )
    .unwrap();
    assert_eq!(sample.image_labels.unwrap(), [["red", "square"], ["none", "none"]]);
    assert_eq!(kind(sharegpt(), json!({"messages": [], "image_labels": [1]})), "image_labels");
}

#[test]
fn several_sets_follow_each_other_and_max_samples_counts_for_each() {
    let mut o = options(&golden(), &["demo", "bad_odd", "demo"]);
    assert_eq!(Dataset::open(&o).unwrap().len(), 13 + 2 + 13);
    o.max_samples = Some(2);
    let d = Dataset::open(&o).unwrap();
    assert_eq!(d.len(), 6);
    assert_eq!(d.get(2).unwrap_err().kind, "odd_turns");
    assert_eq!(d.get(2).unwrap_err().index, 2);
    assert_eq!(texts(&d.get(4).unwrap()), texts(&d.get(0).unwrap()));
    assert_eq!(d.get(6).unwrap_err().kind, "unreadable");
}

#[test]
fn num_samples_draws_as_numpy_does_across_sets() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |n: usize| {
        (0..n).map(|i| json!({"instruction": i.to_string(), "output": "x"}).to_string() + "\n").collect::<String>()
    };
    std::fs::write(dir.path().join("a.jsonl"), rows(7)).unwrap();
    std::fs::write(dir.path().join("b.jsonl"), rows(10)).unwrap();
    let info =
        json!({"a": {"file_name": "a.jsonl", "num_samples": 12}, "b": {"file_name": "b.jsonl", "num_samples": 4}});
    std::fs::write(dir.path().join("dataset_info.json"), info.to_string()).unwrap();
    let d = open(dir.path(), &["a", "b"]).unwrap();
    let drawn: Vec<usize> =
        (0..d.len()).map(|i| d.get(i).unwrap().conversation.messages[0].content.parse().unwrap()).collect();
    // numpy 2.4: seed(42); permutation(7) then choice(7, 5); permutation(10)[:4]
    assert_eq!(drawn, [0, 1, 5, 2, 4, 3, 6, 4, 4, 6, 1, 2, 0, 5, 9, 1]);
}

#[test]
fn a_part_of_a_split_is_taken_before_samples_are_drawn_or_counted() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String =
        (0..20).map(|i| json!({"instruction": i.to_string(), "output": "x"}).to_string() + "\n").collect();
    std::fs::write(dir.path().join("a.jsonl"), rows).unwrap();
    let of = |entry: Value| json!({"file_name": "a.jsonl", "split": entry["split"], "num_samples": entry["n"]});
    let entries =
        json!({"tail": of(json!({"split": "train[-25%:]"})), "drawn": of(json!({"split": "train[10:17]", "n": 4}))});
    std::fs::write(dir.path().join("dataset_info.json"), entries.to_string()).unwrap();
    let questions = |name: &str, max_samples| {
        let d = Dataset::open(&DatasetOptions { max_samples, ..options(dir.path(), &[name]) }).unwrap();
        let question = |i| d.get(i).unwrap().conversation.messages[0].content.parse().unwrap();
        (0..d.len()).map(question).collect::<Vec<usize>>()
    };
    assert_eq!(questions("tail", None), [15, 16, 17, 18, 19]);
    assert_eq!(questions("tail", Some(2)), [15, 16]);
    // numpy 2.4: seed(42); permutation(7)[:4], as in the test above
    assert_eq!(questions("drawn", None), [10, 11, 15, 12]);
}

#[test]
fn a_folder_of_files_is_one_set_and_mixed_types_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let parts = dir.path().join("parts");
    std::fs::create_dir(&parts).unwrap();
    std::fs::write(parts.join("2.json"), json!([{"instruction": "c", "output": "x"}]).to_string()).unwrap();
    std::fs::write(
        parts.join("1.jsonl"),
        "{\"instruction\": \"a\", \"output\": \"x\"}\n{\"instruction\": \"b\", \"output\": \"x\"}",
    )
    .unwrap();
    std::fs::write(
        dir.path().join("dataset_info.json"),
        json!({"d": {"file_name": "parts"}, "csv": {"file_name": "x.csv"}, "gone": {"file_name": "gone.json"}})
            .to_string(),
    )
    .unwrap();
    std::fs::write(dir.path().join("x.csv"), "a,b").unwrap();
    let d = open(dir.path(), &["d"]).unwrap();
    let prompts: Vec<String> = (0..3).map(|i| d.get(i).unwrap().conversation.messages[0].content.clone()).collect();
    assert_eq!(prompts, ["a", "b", "c"]);
    assert!(d.origin(2).ends_with("2.json:1"));
    let refusal = |name| format!("{:#}", open(dir.path(), &[name]).unwrap_err());
    assert!(refusal("csv").contains("JSONL or parquet"), "{}", refusal("csv"));
    assert!(refusal("gone").contains("not found"));
    std::fs::write(parts.join("3.parquet"), "PAR1").unwrap();
    assert!(refusal("d").contains("different types"), "{}", refusal("d"));
}

#[test]
fn files_without_dataset_info_are_understood_by_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, first) in [
        ("m.json", json!([{"messages": [turn("user", json!("hi")), turn("assistant", json!("a"))]}]).to_string(), "hi"),
        (
            "c.jsonl",
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}).to_string(),
            "q",
        ),
        ("a.json", json!([{"instruction": "do", "output": "a"}]).to_string(), "do"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let d = open(Path::new("no-such-folder"), &[path.to_str().unwrap()]).unwrap();
        assert_eq!(d.get(0).unwrap().conversation.messages[0].content, first, "{name}");
    }
    let golden = golden().join("../../parquet/sharegpt.parquet");
    let d = open(Path::new("."), &[golden.to_str().unwrap()]).unwrap();
    let sample = d.get(0).unwrap();
    assert_eq!(texts(&sample)[0], (Role::User, "<image><image>Compare."));
    assert_eq!(
        sample.images.iter().map(|image| image.read().unwrap()[..2].to_vec()).collect::<Vec<_>>(),
        [[0xFF, 0xD8], [0x89, b'P']]
    );
}

/// Tokenizer and picture settings of the tiny golden model.
fn tiny() -> (Tokenizer, ImageProcessor) {
    let dir = golden().join("../../models/tiny-tied");
    (Tokenizer::from_dir(&dir).unwrap(), ImageProcessor::from_dir(&dir).unwrap())
}

fn encode_options() -> EncodeOptions {
    EncodeOptions { cutoff_len: 1024, train_on_prompt: false, mask_history: false, default_system: None }
}

fn encoder<'a>(of: &'a (Tokenizer, ImageProcessor), budget: PixelBudget, options: &'a EncodeOptions) -> Encoder<'a> {
    Encoder { tokenizer: &of.0, processor: &of.1, budget, options }
}

#[test]
fn samples_are_the_usable_ones_in_their_order_and_the_bad_are_named() {
    let (tiny, options) = (tiny(), encode_options());
    let encoder = encoder(&tiny, PixelBudget { min: 1024, max: 65536 }, &options);
    let d = open(&golden(), &["bad_missing_image", "demo", "bad_fewer_images", "bad_all"]).unwrap();
    let (mut last, mut problems) = ((0, 0), Vec::new());
    let samples = Samples::check(Arc::new(d), None, &encoder, None, &mut |step| {
        last = (step.done, step.total);
        problems.extend(step.problems.iter().map(|p| (p.index, p.kind)));
    })
    .unwrap();
    assert_eq!(last, (18, 18));
    let indices: Vec<usize> = (0..samples.len()).map(|row| samples.index(row)).collect();
    assert_eq!(indices, (1..15).chain([16]).collect::<Vec<_>>());
    assert_eq!(problems, [(0, "image_missing"), (15, "image_count"), (17, "odd_turns")]);
    for row in 0..samples.len() {
        let (sample, pixels) = samples.load(row, &encoder).unwrap();
        let facts = samples.facts(row).unwrap();
        let pads = sample.encoded.input_ids.iter().filter(|&&id| id == tiny.0.image_pad).count() as i64;
        assert_eq!(pads, sample.encoded.grids.iter().map(|g| g.iter().product::<i64>() / 4).sum::<i64>());
        assert_eq!(sample.images.len(), sample.encoded.grids.len());
        assert_eq!((facts.tokens as usize, facts.patches as i64), (sample.encoded.input_ids.len(), pads * 4));
        assert_eq!(pixels.len() as i64, pads * 4 * 1176);
        // Loading for the model and looking at a sample beforehand are two roads to the same tokens.
        let looked_at = encoder.encode(sample.index, samples.dataset().get(sample.index).unwrap()).unwrap();
        assert_eq!((looked_at.encoded.input_ids, looked_at.digest), (sample.encoded.input_ids, sample.digest));
    }
}

#[test]
fn a_sample_that_has_changed_since_it_was_checked_is_not_taken_for_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("d.jsonl");
    let row = |answer: &str| {
        format!(
            r#"{{"messages": [{{"role": "user", "content": "Where?"}}, {{"role": "assistant", "content": "{answer}"}}]}}"#
        )
    };
    std::fs::write(&file, format!("{}\n{}\n", row("left"), row("here"))).unwrap();
    let (tiny, options) = (tiny(), encode_options());
    let encoder = encoder(&tiny, PixelBudget::default(), &options);
    let d = open(Path::new("."), &[file.to_str().unwrap()]).unwrap();
    let samples = Samples::check(Arc::new(d), None, &encoder, None, &mut |_| {}).unwrap();
    // As many bytes as before, so the place of the second row has not changed.
    std::fs::write(&file, format!("{}\n{}\n", row("up !"), row("here"))).unwrap();
    let problem = samples.load(0, &encoder).unwrap_err();
    assert!(problem.reason.contains("changed") && problem.origin.contains("d.jsonl"), "{problem}");
}

#[test]
fn pictures_in_parquet_stay_there_until_they_are_asked_for() {
    let (tiny, options) = (tiny(), encode_options());
    let encoder = encoder(&tiny, PixelBudget::default(), &options);
    let file = golden().join("../../parquet/sharegpt.parquet");
    let d = open(Path::new("."), &[file.to_str().unwrap()]).unwrap();
    let with_pictures = d.get(0).unwrap();
    assert!(with_pictures.images.iter().all(|image| matches!(image, ImageRef::Stored { .. })));
    let (sample, pixels) = encoder.encode_pixels(0, with_pictures).unwrap();
    let mut expected = Vec::new();
    for (image, grid) in sample.images.iter().zip(&sample.encoded.grids) {
        let patches = tiny.1.process(&image.load().unwrap(), Some(PixelBudget::default())).unwrap();
        assert_eq!(patches.grid, *grid);
        expected.extend(patches.values);
    }
    assert!(!expected.is_empty() && pixels == expected);
    assert!(d.get(1).unwrap().images.is_empty());
}

#[test]
fn labels_must_fit_the_pictures_tokens() {
    let (tokenizer, processor) = tiny();
    let options = encode_options();
    let encoder =
        Encoder { tokenizer: &tokenizer, processor: &processor, budget: PixelBudget::default(), options: &options };
    let picture = golden().join("images/l_exact56.png"); // 56 x 56 pixels: 4 tokens
    let sample = |labels: usize| Sample {
        conversation: Default::default(),
        images: vec![ImageRef::File(picture.clone())],
        origin: "here".into(),
        image_labels: Some(vec![vec!["red".into()]; labels]),
    };
    let prepared = encoder.encode(0, sample(4)).unwrap();
    assert_eq!((prepared.encoded.input_ids.len(), prepared.encoded.grids.as_slice()), (0, &[[1, 4, 4]][..]));
    assert_eq!(encoder.encode(0, sample(5)).unwrap_err().kind, "image_labels");
}

#[test]
fn a_fifo_as_a_data_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["d.json", "d.parquet"] {
        let fifo = dir.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let message = format!("{:#}", open(dir.path(), &[fifo.to_str().unwrap()]).unwrap_err());
        assert!(message.contains("not a regular file"), "{message}");
    }
}
