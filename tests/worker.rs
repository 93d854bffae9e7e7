//! `lightbox train`, `chat`, `score`, `predict` and `demo` from the outside: both real programs, the embedded model.
//! They need `lightbox-engine` beside `lightbox` (`make build`).

use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn lightbox() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_lightbox"));
    let engine = program.with_file_name("lightbox-engine");
    assert!(engine.exists(), "{} is missing: run `make build`, then this test again", engine.display());
    let mut command = Command::new(program);
    command.env_remove("LIGHTBOX_ENGINE").current_dir(ROOT);
    command
}

fn run<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    lightbox().args(args).output().unwrap()
}

#[track_caller]
fn ok(out: Output) -> String {
    assert!(
        out.status.success(),
        "{}\nstdout: {}\nstderr: {}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        err(&out)
    );
    String::from_utf8(out.stdout).unwrap()
}

fn err(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}"))).collect()
}

const PICTURES: [&str; 2] = ["tests/golden/images/ct_small.png", "tests/golden/images/mr_small.png"];

/// A data set of five samples: one and two pictures, text only, several turns, and one whose picture is missing.
fn data_set(dir: &Path) {
    let picture = |i: usize| Path::new(ROOT).join(PICTURES[i]).display().to_string();
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let rows = json!([
        {"messages": [turn("user", "<image>Describe the image."), turn("assistant", "The image shows no shape.")], "images": [picture(0)]},
        {"messages": [turn("user", "<image><image>Compare."), turn("assistant", "Both are grey.")], "images": [picture(0), picture(1)]},
        {"messages": [turn("user", "Who are you?"), turn("assistant", "A model.")], "images": []},
        {"messages": [turn("user", "<image>What?"), turn("assistant", "A scan."), turn("user", "Sure?"), turn("assistant", "Yes.")], "images": [picture(1)]},
        {"messages": [turn("user", "<image>Lost."), turn("assistant", "Nothing.")], "images": ["not-there.png"]},
    ]);
    std::fs::write(dir.join("set.json"), rows.to_string()).unwrap();
    let info = json!({"set": {"file_name": "set.json", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}});
    std::fs::write(dir.join("dataset_info.json"), info.to_string()).unwrap();
}

#[test]
fn score_prints_one_line_a_sample_and_the_mean_and_names_what_it_left_out() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    let args = [
        "score",
        "--model",
        "assets/demo-model",
        "--dataset-dir",
        temp.path().to_str().unwrap(),
        "--dataset",
        "set",
        "--device",
        "cpu",
        "--json",
    ];
    let out = run(args);
    assert!(err(&out).contains("not-there.png"), "{}", err(&out));
    let rows = lines(&ok(out));
    let (summary, samples) = rows.split_last().unwrap();
    assert_eq!(samples.iter().map(|r| r["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let sum: f64 = samples.iter().map(|r| r["loss_sum"].as_f64().unwrap()).sum();
    let tokens: u64 = samples.iter().map(|r| r["n_target_tokens"].as_u64().unwrap()).sum();
    assert!((summary["mean"].as_f64().unwrap() - sum / tokens as f64).abs() < 1e-9);
    assert_eq!((summary["samples"].as_u64(), summary["skipped"].as_u64()), (Some(4), Some(1)));
}

#[test]
fn export_makes_a_folder_that_answers_the_same_and_refuses_a_used_one() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("exported");
    let args = ["export", "--model", "assets/demo-model", "--out", out.to_str().unwrap(), "--verify", "--json"];
    let rows = lines(&ok(run(args)));
    let (done, progress) = rows.split_last().unwrap();
    assert!(progress.iter().all(|r| r["event"] == "progress" && r["done"].as_u64() <= r["total"].as_u64()));
    assert_eq!((done["event"].as_str(), done["verify"]["max_abs_diff"].as_f64()), (Some("done"), Some(0.0)));
    let chat = |model: &str| {
        let args = ["chat", "--model", model, "--greedy", "--max-new-tokens", "8", "--device", "cpu", "--json"];
        lines(&ok(run(args.into_iter().chain(["--image", PICTURES[0], "--prompt", "Describe the image."]))))
    };
    assert_eq!(chat(out.to_str().unwrap())[0]["token_ids"], chat("assets/demo-model")[0]["token_ids"]);
    let again = run(args);
    assert_eq!(again.status.code(), Some(10), "{}", err(&again));
}

#[test]
fn chat_and_predict_give_the_same_greedy_answer() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    let file = temp.path().join("answers.jsonl");
    let common =
        ["--model", "assets/demo-model", "--greedy", "--max-new-tokens", "24", "--device", "cpu", "--dtype", "f32"];
    let mut args = vec![
        "predict",
        "--dataset-dir",
        temp.path().to_str().unwrap(),
        "--dataset",
        "set",
        "--output",
        file.to_str().unwrap(),
        "--json",
    ];
    args.extend(common);
    let summary = lines(&ok(run(args))).pop().unwrap();
    assert_eq!((summary["samples"].as_u64(), summary["skipped"].as_u64()), (Some(4), Some(1)));
    let answers = lines(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(
        answers[0]["label"], "The image shows no shape.\n",
        "with the template's newline, as LLaMA-Factory has it"
    );

    let chat = |extra: &[&str]| -> Vec<Value> {
        let mut args = vec!["chat", "--json"];
        args.extend(common);
        args.extend(extra);
        lines(&ok(run(args)))
    };
    let one = chat(&["--image", PICTURES[0], "--prompt", "Describe the image."]);
    assert_eq!(one[0]["text"], answers[0]["predict"]);
    assert!(one[0]["prompt_tokens"].as_u64().unwrap() > 16 && one[0]["timing"]["seconds"].as_f64().unwrap() > 0.0);
    let two = chat(&["--image", PICTURES[0], "--image", PICTURES[1], "--prompt", "Compare."]);
    assert_eq!(two[0]["text"], answers[1]["predict"]);
    assert_eq!(chat(&["--prompt", "Who are you?"])[0]["text"], answers[2]["predict"]);
    // Several turns: the second answer depends on the first, and both are there.
    let turns = chat(&["--image", PICTURES[1], "--prompt", "What?", "--prompt", "Sure?"]);
    assert_eq!(turns.len(), 2);
    assert!(turns[1]["prompt_tokens"].as_u64() > turns[0]["prompt_tokens"].as_u64());
    // Sampling repeats with its seed.
    let sampled = |seed| {
        let args = [
            "chat",
            "--json",
            "--model",
            "assets/demo-model",
            "--device",
            "cpu",
            "--temperature",
            "1.5",
            "--max-new-tokens",
            "16",
            "--prompt",
            "Hello?",
            "--seed",
            seed,
        ];
        lines(&ok(run(args)))[0]["token_ids"].clone()
    };
    assert_eq!(sampled("5"), sampled("5"));
}

#[test]
fn a_conversation_reads_questions_and_commands_line_by_line() {
    let mut child = lightbox()
        .args(["chat", "--model", "assets/demo-model", "--greedy", "--max-new-tokens", "12", "--device", "cpu"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let talk = format!(
        "Hello\n/image {}\nDescribe the image.\n/image nowhere.png\n<image>lost mark\n/clear\n/exit\nnever read\n",
        PICTURES[0]
    );
    child.stdin.take().unwrap().write_all(talk.as_bytes()).unwrap();
    let out = ok(child.wait_with_output().unwrap());
    for part in [
        "1 picture(s) wait",
        "nowhere.png: there is no such file",
        "The question was not asked",
        "The conversation is empty",
    ] {
        assert!(out.contains(part), "{part:?} is not in\n{out}");
    }
}

#[test]
fn training_leaves_a_run_that_can_be_continued_and_asked() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    let run_dir = temp.path().join("run");
    let dataset_dir = format!("dataset_dir={}", temp.path().display());
    let output_dir = format!("output_dir={}", run_dir.display());
    let train = |extra: &[&str]| {
        let mut args = vec![
            "train",
            "profiles/demo.yaml",
            "model_name_or_path=assets/demo-model",
            &dataset_dir,
            "dataset=set",
            &output_dir,
            "device=cpu",
            "save_steps=2",
        ];
        args.extend(extra);
        run(args)
    };
    let out = train(&["max_steps=2"]);
    assert!(err(&out).contains("left out") && err(&out).contains("not-there.png"), "{}", err(&out));
    ok(out);
    let read =
        |name: &str| -> Value { serde_json::from_str(&std::fs::read_to_string(run_dir.join(name)).unwrap()).unwrap() };
    assert_eq!(read("state.json")["state"], "finished");
    // The same folder goes on from its checkpoint, with changed settings.
    ok(run(["train", "--resume", run_dir.to_str().unwrap(), "max_steps=4"]));
    assert_eq!(read("trainer_state.json")["global_step"], 4);
    let answer = ok(run([
        "chat",
        "--adapter",
        run_dir.to_str().unwrap(),
        "--prompt",
        "Hello",
        "--greedy",
        "--max-new-tokens",
        "4",
        "--json",
    ]));
    assert!(
        lines(&answer)[0]["token_ids"].as_array().unwrap().len() <= 4,
        "model and picture limits come from the run's profile"
    );
}

#[test]
fn what_is_wrong_is_named_with_an_exit_code_of_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let profile = temp.path().join("p.yaml");
    std::fs::write(&profile, "stage: sft\nlearning_rat: 1e-4\n").unwrap();
    let out = run(["train", profile.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(10));
    assert!(err(&out).contains("learning_rate") && err(&out).contains("p.yaml"), "did you mean: {}", err(&out));

    let out = run(["chat", "--model", temp.path().to_str().unwrap(), "--prompt", "x"]);
    assert_eq!(out.status.code(), Some(12));
    assert!(err(&out).contains("config.json"), "{}", err(&out));

    let out = run(["chat", "--model", "assets/demo-model", "--image", "no.png", "--prompt", "x"]);
    assert_eq!(out.status.code(), Some(11));
    assert!(err(&out).contains("no.png"), "{}", err(&out));

    let out =
        lightbox().env("LIGHTBOX_ENGINE", temp.path().join("gone")).args(["chat", "--prompt", "x"]).output().unwrap();
    assert_eq!(out.status.code(), Some(127));
    let out = run(["chat", "--device", "cuda:99", "--model", "assets/demo-model", "--prompt", "x"]);
    assert_eq!(out.status.code(), Some(24));
    assert!(err(&out).contains("cuda:99"), "{}", err(&out));
}

/// A run is not its watcher's: SIGTERM to the watcher leaves it alone; SIGTERM to the worker lets it save where it is, and
/// the same command goes on from there.
#[test]
fn a_terminated_run_leaves_a_checkpoint_and_goes_on_from_it() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    let run_dir = temp.path().join("run");
    let dataset_dir = format!("dataset_dir={}", temp.path().display());
    let output_dir = format!("output_dir={}", run_dir.display());
    let model = "model_name_or_path=assets/demo-model";
    let args = [
        "train",
        "profiles/demo.yaml",
        model,
        &dataset_dir,
        "dataset=set",
        &output_dir,
        "device=cpu",
        "max_steps=100000",
    ];
    let mut watcher = lightbox().args(args).stderr(Stdio::null()).spawn().unwrap();
    let steps = || {
        let text = std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap_or_default();
        text.lines().filter(|l| l.contains("\"type\":\"step\"")).count()
    };
    let read =
        |name: &str| -> Option<Value> { serde_json::from_str(&std::fs::read_to_string(run_dir.join(name)).ok()?).ok() };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    let until = |what: &str, seen: &mut dyn FnMut() -> bool| {
        while !seen() {
            assert!(std::time::Instant::now() < deadline, "{what}: not within 120 s");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    until("three updates", &mut || {
        assert!(watcher.try_wait().unwrap().is_none(), "the watcher ended");
        steps() >= 3
    });
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(watcher.id() as i32, libc::SIGTERM) };
    assert_eq!(watcher.wait().unwrap().code(), Some(143));
    let before = steps();
    until("another update", &mut || steps() > before);
    let worker = read("worker.json").unwrap();
    let (worker, supervisor) = (worker["pid"].as_i64().unwrap(), worker["supervisor"].as_i64().unwrap());
    // SAFETY: a signal to the worker that this test has started.
    unsafe { libc::kill(worker as i32, libc::SIGTERM) };
    until("the supervisor's end", &mut || !Path::new(&format!("/proc/{supervisor}/exe")).exists());
    let state = read("state.json").unwrap();
    let step = state["step"].as_u64().unwrap();
    assert_eq!(
        (state["state"].as_str(), state["checkpoint"].as_str()),
        (Some("stopped"), Some(&*format!("checkpoint-{step}")))
    );
    let out = run(["train", "--resume", run_dir.to_str().unwrap(), &format!("max_steps={}", step + 2)]);
    assert!(err(&out).contains(&format!("resumed at step {step}")), "{}", err(&out));
    ok(out);
}

/// The worker's library cannot be found: data commands and `--version` do not care, training says what to do.
#[test]
fn a_broken_libtorch_is_explained_and_stops_only_what_needs_it() {
    let temp = tempfile::tempdir().unwrap();
    let engine = temp.path().join("lightbox-engine");
    std::fs::write(&engine, "#!/bin/sh\necho 'error while loading shared libraries: libtorch_cpu.so' >&2\nexit 127\n")
        .unwrap();
    std::fs::set_permissions(&engine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let broken = |args: &[&str]| lightbox().env("LIGHTBOX_ENGINE", &engine).args(args).output().unwrap();
    assert!(ok(broken(&["--version"])).starts_with("lightbox "));
    data_set(temp.path());
    ok(broken(&["data", "list", "--dataset-dir", temp.path().to_str().unwrap()]));
    let out = broken(&["chat", "--model", "assets/demo-model", "--prompt", "x"]);
    assert_eq!(out.status.code(), Some(127));
    assert!(err(&out).contains("make build"), "{}", err(&out));
    // `lightbox` itself is not linked with it.
    let program = std::fs::read(env!("CARGO_BIN_EXE_lightbox")).unwrap();
    assert!(!program.windows(12).any(|w| w == b"libtorch_cpu"), "lightbox links libtorch");
}

#[test]
fn the_demo_teaches_the_model_what_it_did_not_know() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("demo");
    let out = lightbox()
        .args(["demo", "--headless", "--quick", "--json", "--dir", dir.to_str().unwrap()])
        // Both cores: this is the longest test, and its bar leaves room for other sums.
        .env("OMP_NUM_THREADS", "2")
        .output()
        .unwrap();
    let last = ok(out).lines().last().map(str::to_owned).unwrap();
    let result: Value = serde_json::from_str(&last).unwrap();
    let number = |key: &str| result[key].as_f64().unwrap_or_else(|| panic!("{key}: {result}"));
    assert!(number("accuracy_before") < 0.2, "{result}");
    assert!(number("accuracy_after") > 0.7, "{result}");
    assert!(number("loss_last") < number("loss_first") / 10.0, "{result}");
    assert!(number("seconds") > 0.0);
    let adapter = PathBuf::from(result["adapter"].as_str().unwrap());
    assert!(
        adapter.join("adapter_model.safetensors").exists()
            || Path::new(ROOT).join(&adapter).join("adapter_model.safetensors").exists()
    );

    // A second run finds everything done, and computes the same numbers from the same answers.
    let again = ok(lightbox()
        .args(["demo", "--headless", "--quick", "--json", "--dir", dir.to_str().unwrap()])
        .output()
        .unwrap());
    let again: Value = serde_json::from_str(again.lines().last().unwrap()).unwrap();
    assert_eq!(again["accuracy_after"], result["accuracy_after"]);
    assert!(again["seconds"].as_f64().unwrap() < number("seconds") / 2.0, "{again}");
}

/// The embedded model in a Hub's cache, as a download leaves it.
fn cached_model(cache: &Path) {
    let (commit, root) = ("0123456789abcdef0123456789abcdef01234567", cache.join("models--org--tiny"));
    let snapshot = root.join("snapshots").join(commit);
    std::fs::create_dir_all(root.join("refs")).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::write(root.join("refs/main"), commit).unwrap();
    for file in std::fs::read_dir(Path::new(ROOT).join("assets/demo-model")).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), snapshot.join(file.file_name())).unwrap();
    }
}

#[test]
fn a_model_is_trained_asked_and_merged_by_its_hub_name() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    cached_model(&temp.path().join("hub"));
    let at = |name: &str| temp.path().join(name).display().to_string();
    let run = |args: &[&str]| lightbox().env("HF_HUB_CACHE", at("hub")).args(args).output().unwrap();
    let (dataset_dir, output_dir) = (format!("dataset_dir={}", at("")), format!("output_dir={}", at("run")));
    let keys = ["model_name_or_path=org/tiny", &dataset_dir, "dataset=set", &output_dir, "device=cpu", "max_steps=2"];
    ok(run(&[&["train", "profiles/demo.yaml"], &keys[..]].concat()));
    let config = std::fs::read_to_string(temp.path().join("run/adapter_config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["base_model_name_or_path"], "org/tiny", "a name, and no folder of this machine");
    // without its profile the adapter still finds its base, by the name
    let adapter = at("adapter");
    std::fs::create_dir(&adapter).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(temp.path().join("run").join(file), Path::new(&adapter).join(file)).unwrap();
    }
    let ask = ["--prompt", "Hello", "--greedy", "--max-new-tokens", "2", "--json"];
    let by_adapter = ok(run(&[&["chat", "--adapter", &adapter], &ask[..]].concat()));
    let by_names = ok(run(&[&["chat", "--model", "org/tiny", "--adapter", &adapter], &ask[..]].concat()));
    assert_eq!(lines(&by_adapter)[0]["token_ids"], lines(&by_names)[0]["token_ids"]);
    ok(run(&["export", "--model", "org/tiny", "--adapter", &adapter, "--out", &at("merged")]));
    let card = std::fs::read_to_string(temp.path().join("merged/README.md")).unwrap();
    assert!(card.contains("org/tiny"), "{card}");
    let gone = run(&[&["chat", "--model", "org/gone"], &ask[..]].concat());
    assert!(err(&gone).contains("`lightbox download model org/gone`"), "{}", err(&gone));
}
