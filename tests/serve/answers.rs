//! What a request gets.

use crate::rig::{PICTURE, ROOT, Rig, about, beside, data_url, question, read_reply, without_model};
use serde_json::{Value, json};
use std::path::Path;

fn with(mut body: Value, fields: Value) -> Value {
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

#[test]
fn an_answer_has_openai_s_shape_and_counts() {
    let rig = Rig::new(&[]);
    let reply = rig.chat(&question("What is this?"));
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    assert!(json["id"].as_str().unwrap().starts_with("chatcmpl-") && json["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!((&json["object"], &json["model"]), (&json!("chat.completion"), &json!("demo-model")));
    let choice = &json["choices"][0];
    assert_eq!(choice["message"]["content"], "demo-model with 0 pictures answers: What is this?");
    assert_eq!((&choice["message"]["role"], &choice["finish_reason"]), (&json!("assistant"), &json!("stop")));
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 8, "total_tokens": 11,
                       "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(json["usage"], usage);
    let line = rig.says("POST /v1/chat/completions");
    assert!(line.contains(" 200 ") && line.contains("demo-model 3+8 tokens"), "{line}");
}

#[test]
fn a_stream_joins_to_the_answer_and_ends_with_usage_and_done() {
    let rig = Rig::new(&[]);
    let asked = with(question("多字节 ß 😀 fin"), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let reply = rig.chat(&asked);
    assert!(reply.head.contains("content-type: text/event-stream"), "{}", reply.head);
    let mut events = reply.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(9)));
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null() && chunk["id"] == usage["id"]));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let texts: Vec<&str> = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(texts.len() > 5, "word by word: {texts:?}");
    assert_eq!(texts.concat(), "demo-model with 0 pictures answers: 多字节 ß 😀 fin");
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    let plain = rig.chat(&with(question("a"), json!({"stream": true}))).events();
    assert!(plain.iter().all(|event| !event.contains("usage")), "not asked for: {plain:?}");
}

#[test]
fn length_and_stop_end_an_answer() {
    let rig = Rig::new(&[]);
    let choice = |fields: Value| rig.chat(&with(question("one two three"), fields)).json()["choices"][0].clone();
    for name in ["max_tokens", "max_completion_tokens"] {
        let short = choice(json!({name: 3}));
        assert_eq!(short["finish_reason"], "length", "{name}");
        assert_eq!(short["message"]["content"], "demo-model with 0");
    }
    for stop in [json!(" two"), json!(["never", " two"])] {
        let stopped = choice(json!({"stop": stop}));
        assert_eq!(stopped["finish_reason"], "stop");
        assert_eq!(stopped["message"]["content"], "demo-model with 0 pictures answers: one");
    }
}

#[test]
fn turns_system_and_pictures_reach_the_model() {
    let rig = Rig::new(&[]);
    let picture = data_url(&std::fs::read(Path::new(ROOT).join(PICTURE)).unwrap());
    let mut asked = about(&[&picture, &picture], "And these?");
    let mut messages = vec![
        json!({"role": "system", "content": "Be brief."}),
        json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]}),
        json!({"role": "assistant", "content": "A scan."}),
    ];
    messages.push(asked["messages"][0].clone());
    asked["messages"] = messages.into();
    let json = rig.chat(&asked).json();
    assert_eq!(json["choices"][0]["message"]["content"], "demo-model with 3 pictures answers: And these?", "{json}");
    assert_eq!(rig.chat(&about(&[&picture], "One?")).status, 200);
}

#[test]
fn each_adapter_is_a_model_and_an_unknown_one_is_told_the_list() {
    let temp = tempfile::tempdir().unwrap();
    let named = |name: &str| {
        let dir = temp.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        dir.display().to_string()
    };
    let (first, second) = (format!("scans={}", named("run-1")), named("run-2"));
    let rig = Rig::new(&["--adapter", &first, "--adapter", &second, "--name", "org/base"]);
    assert_eq!(rig.models, json!(["org/base", "scans", "run-2"]));
    let listed = rig.get("/v1/models").json();
    let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!((ids, &listed["object"]), (vec!["org/base", "scans", "run-2"], &json!("list")));
    assert_eq!(rig.get("/v1/models/org/base").json()["object"], "model");
    for (model, speaker) in [("org/base", "demo-model"), ("scans", "run-1"), ("run-2", "run-2")] {
        let json = rig.chat(&with(question("Who?"), json!({"model": model}))).json();
        assert_eq!(json["choices"][0]["message"]["content"], format!("{speaker} with 0 pictures answers: Who?"));
        assert_eq!(json["model"], model);
    }
    let reply = rig.chat(&with(question("Who?"), json!({"model": "gpt-4o"})));
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (404, &json!("model_not_found")));
    assert!(reply.error().contains("org/base, scans, run-2"), "{}", reply.error());
    assert_eq!(rig.get("/v1/models/gpt-4o").status, 404);
}

#[test]
fn a_profile_names_models_threads_and_picture_limits_and_options_come_first() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name).display().to_string();
    for run in ["run-1", "run-2", "run-3"] {
        std::fs::create_dir(temp.path().join(run)).unwrap();
    }
    let profile = format!(
        "model_name_or_path: {ROOT}/assets/demo-model\nadapter_name_or_path: {},{}\nimage_max_pixels: 50176\n\
         image_min_pixels: 12544\nuse_cpu: true\nnum_threads: 3\n",
        path("run-1"),
        path("run-2")
    );
    std::fs::write(path("p.yaml"), profile).unwrap();
    // Writes down how the worker was started and what it was asked.
    let (started, asked) = (path("started"), path("asked"));
    let fake = beside("lightbox-fake-engine").display().to_string();
    let line = "printf '%s\\n' \"$line\"";
    let noted = format!("while IFS= read -r line; do {line} >>{asked}; {line}; done");
    let script = format!("#!/bin/sh\necho \"$@\" >{started}\n{noted} | {fake} \"$@\"\n");
    std::fs::write(path("engine"), script).unwrap();
    std::fs::set_permissions(path("engine"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let serve = |args: &[&str], model: &str| {
        let mut command = without_model();
        command.args(["--profile", &path("p.yaml")]).args(args).env("LIGHTBOX_ENGINE", path("engine"));
        let rig = Rig::start(command);
        let reply = rig.chat(&with(question("Who?"), json!({"model": model})));
        let said = reply.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        let asked = std::fs::read_to_string(&asked).unwrap();
        let ask: Value = serde_json::from_str(asked.lines().last().unwrap()).unwrap();
        let pixels = [&ask["options"]["image_min_pixels"], &ask["options"]["image_max_pixels"]];
        let pixels = pixels.map(|n| n.as_u64().unwrap());
        let device = ask["model"]["device"].as_str().unwrap().to_owned();
        (rig.models.clone(), said, std::fs::read_to_string(&started).unwrap(), pixels, device)
    };
    let (models, said, started, pixels, device) = serve(&[], "run-1+run-2");
    assert_eq!(models, json!(["demo-model", "run-1+run-2"]));
    assert_eq!(said, "run-1+run-2 with 0 pictures answers: Who?");
    assert_eq!((started.as_str(), pixels, device.as_str()), ("answer --num-threads 3\n", [12_544, 50_176], "cpu"));
    let (run, more) = (path("run-3"), ["--num-threads", "2", "--image-max-pixels", "25088"]);
    let (models, said, started, pixels, _) = serve(&[&["--adapter", &run][..], &more].concat(), "run-3");
    assert_eq!(models, json!(["demo-model", "run-3"]));
    assert_eq!(said, "run-3 with 0 pictures answers: Who?");
    assert_eq!((started.as_str(), pixels), ("answer --num-threads 2\n", [12_544, 25_088]));
}

#[test]
fn pictures_on_disk_are_opened_only_below_an_allowed_folder() {
    let temp = tempfile::tempdir().unwrap();
    let (inside, outside) = (temp.path().join("in side"), temp.path().join("outside"));
    for dir in [&inside, &outside] {
        std::fs::create_dir(dir).unwrap();
        std::fs::copy(Path::new(ROOT).join(PICTURE), dir.join("a.png")).unwrap();
    }
    std::os::unix::fs::symlink(outside.join("a.png"), inside.join("link.png")).unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("folder")).unwrap();
    std::os::unix::fs::symlink(inside.join("a.png"), inside.join("own.png")).unwrap();
    let (closed, open) = (Rig::new(&[]), Rig::new(&["--allow-dir", inside.to_str().unwrap()]));
    let base = inside.display();
    let good = [
        format!("{base}/a.png"),
        format!("file://{base}/a.png").replace(' ', "%20"),
        format!("file://localhost{base}/own.png").replace(' ', "%20"),
        "a.png".to_owned(),
    ];
    for url in &good {
        let reply = open.chat(&about(&[url], "What?"));
        assert_eq!(reply.status, 200, "{url}: {reply:?}");
        let refused = closed.chat(&about(&[url], "What?"));
        assert!(refused.status == 400 && refused.error().contains("--allow-dir"), "{url}: {refused:?}");
    }
    let bad = [
        format!("{}/a.png", outside.display()),
        format!("{base}/../outside/a.png"),
        "../outside/a.png".to_owned(),
        format!("file://{base}/%2e%2e/outside/a.png").replace(' ', "%20"),
        format!("{base}/link.png"),
        format!("{base}/folder/a.png"),
        format!("{base}/not-there.png"),
        "/etc/passwd".to_owned(),
        "/dev/zero".to_owned(),
        format!("{base}/a.png\0"),
    ];
    let mut messages = std::collections::BTreeSet::new();
    for url in &bad {
        let reply = open.chat(&about(&[url], "What?"));
        assert_eq!(reply.status, 400, "{url}: {reply:?}");
        assert_eq!(reply.json()["error"]["param"], "messages[0].content[0].image_url");
        messages.insert(reply.error().split_once(": ").unwrap().1.to_owned());
    }
    assert_eq!(messages.len(), 1, "whether a file is there is not told: {messages:?}");
    let reply = open.chat(&about(&["https://example.com/a.png"], "What?"));
    assert!(reply.status == 400 && reply.error().contains("not fetched from the network"), "{reply:?}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name_and_what_changes_nothing_is_ignored() {
    let rig = Rig::new(&["--max-tokens", "100", "--max-pictures", "1"]);
    for (fields, param) in [
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"tools": [{"type": "function"}]}), "tools"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"presence_penalty": 0.5}), "presence_penalty"),
        (json!({"frobnicate": 1}), "frobnicate"),
        (json!({"temperature": -1}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"top_p": 7}), "top_p"),
        (json!({"min_p": 2}), "min_p"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": 101}), "max_tokens"),
        (json!({"stop": [1]}), "stop"),
        (json!({"stop": ""}), "stop"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "assistant", "content": "a"}]}), "messages[0]"),
        (json!({"messages": [{"role": "tool", "content": "a"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": "<image>"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}), "messages[0].content[0]"),
        (json!({"model": null}), "model"),
    ] {
        let reply = rig.chat(&with(question("a"), fields.clone()));
        assert_eq!(reply.status, 400, "{fields}: {reply:?}");
        assert_eq!(reply.json()["error"]["param"], param, "{fields}: {reply:?}");
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    }
    let neutral = json!({
        "n": 1, "user": "me", "metadata": {"a": "b"}, "store": false, "seed": -3, "top_k": -1, "min_p": 0.1,
        "repetition_penalty": 1.1, "temperature": 0, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0.0,
        "logprobs": false, "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "stop": null,
        "stream": false, "logit_bias": {}, "do_sample": false, "parallel_tool_calls": true,
    });
    let reply = rig.chat(&with(question("a"), neutral));
    assert_eq!(reply.status, 200, "{reply:?}");
    let picture = data_url(&std::fs::read(Path::new(ROOT).join(PICTURE)).unwrap());
    let reply = rig.chat(&about(&[&picture, &picture], "a"));
    assert!(reply.status == 400 && reply.error().contains("at most 1"), "{reply:?}");
}

#[test]
fn questions_are_waiting_at_the_worker_together_and_a_full_line_is_told_to_come_back() {
    let rig = Rig::with(&["--max-waiting", "2"], &[("LIGHTBOX_FAKE_TOKEN_MS", "20")]);
    let long = question(&"word ".repeat(100));
    let (mut first, mut second) = (rig.open(&long), rig.open(&question("second")));
    rig.until_open(2);
    let full = rig.chat(&question("third"));
    assert_eq!((full.status, &full.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    assert!(full.head.contains("retry-after: "), "{}", full.head);
    assert_eq!((read_reply(&mut first).status, read_reply(&mut second).status), (200, 200));
    rig.until_open(0);
    assert_eq!(rig.chat(&question("third")).status, 200);
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    let rig = Rig::with(&["--timeout", "1"], &[("LIGHTBOX_FAKE_TOKEN_MS", "50")]);
    let long = question(&"word ".repeat(10_000));
    let reply = rig.chat(&long);
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (504, &json!("timeout")));
    let stream = rig.chat(&with(long, json!({"stream": true}))).events();
    let last: Value = serde_json::from_str(stream.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "timeout", "{last}");
    rig.until_open(0);
}
