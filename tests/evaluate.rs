//! `lightbox predict`, `evaluate` and `report` from the outside: both real programs, the embedded model.
//! They need `lightbox-engine` beside `lightbox` (`make build`).

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LIGHTBOX: &str = env!("CARGO_BIN_EXE_lightbox");

fn engine() -> PathBuf {
    let engine = Path::new(LIGHTBOX).with_file_name("lightbox-engine");
    assert!(engine.exists(), "{} is missing: run `make build`, then this test again", engine.display());
    engine
}

fn lightbox() -> Command {
    engine();
    let mut command = Command::new(LIGHTBOX);
    command.env_remove("LIGHTBOX_ENGINE").env("OMP_NUM_THREADS", "1").current_dir(ROOT);
    command
}

fn run(args: &[&str]) -> Output {
    lightbox().args(args).output().unwrap()
}

fn err(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[track_caller]
fn ok(out: Output) -> String {
    assert!(out.status.success(), "{}\n{}\n{}", out.status, String::from_utf8_lossy(&out.stdout), err(&out));
    String::from_utf8(out.stdout).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}"))).collect()
}

/// Forty samples, two with a picture, one with hostile text, and one whose picture is missing.
fn data_set(dir: &Path) {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let picture = Path::new(ROOT).join("tests/golden/images/ct_small.png").display().to_string();
    let rows: Vec<Value> = (0..40)
        .map(|i| {
            let (question, images) = match i {
                0 | 7 => ("<image>Describe the image.".to_owned(), vec![picture.as_str()]),
                5 => ("<image>Lost.".to_owned(), vec!["not-there.png"]),
                _ => (format!("Question {i}{}", " again".repeat(i)), vec![]),
            };
            let answer = match i {
                3 => "<script>alert(1)</script>\u{1b}[2J on the left".to_owned(),
                _ => format!("Answer {i}, on the {} side.", if i % 2 == 0 { "left" } else { "right" }),
            };
            json!({"messages": [turn("user", &question), turn("assistant", &answer)], "images": images})
        })
        .collect();
    std::fs::write(dir.join("set.json"), json!(rows).to_string()).unwrap();
    let info = json!({"set": {"file_name": "set.json", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}});
    std::fs::write(dir.join("dataset_info.json"), info.to_string()).unwrap();
    std::fs::write(dir.join("classes.yaml"), "classes:\n  side:\n    left: [left, 左侧]\n    right: [right]\n")
        .unwrap();
}

/// `predict` over that set into `out`, one question at a time.
fn predict_args<'a>(data: &'a str, out: &'a str, tokens: &'a str) -> Vec<&'a str> {
    let fixed =
        ["predict", "--model", "assets/demo-model", "--dataset", "set", "--greedy", "--device", "cpu", "--json"];
    let own = ["--dataset-dir", data, "--output-dir", out, "--max-new-tokens", tokens, "--batch-size", "1"];
    fixed.into_iter().chain(own).collect()
}

fn start_engine(args: &[&str]) -> Child {
    Command::new(engine())
        .args(args)
        .env("OMP_NUM_THREADS", "1")
        .current_dir(ROOT)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the journal has so many answers and the process still runs.
fn until_answers(n: usize, journal: &Path, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let answers = || std::fs::read_to_string(journal).unwrap_or_default().lines().count().saturating_sub(1);
    while answers() < n {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        assert!(Instant::now() < deadline, "no {n} answers within 120 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a signal to our own child, which was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

#[test]
fn predict_killed_or_stopped_goes_on_and_gives_the_same_file_as_an_uninterrupted_one() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    let data = temp.path().to_str().unwrap();
    let (whole, broken) = (temp.path().join("whole"), temp.path().join("broken"));
    let (whole_dir, broken_dir) = (whole.to_str().unwrap(), broken.to_str().unwrap());
    let summary = lines(&ok(run(&predict_args(data, whole_dir, "24")))).pop().unwrap();
    assert_eq!((&summary["samples"], &summary["skipped"]), (&json!(39), &json!(1)));

    let journal = broken.join("generated_predictions.jsonl.partial");
    let args = predict_args(data, broken_dir, "24");
    let mut child = start_engine(&args);
    until_answers(2, &journal, &mut child);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let mut child = start_engine(&args);
    until_answers(5, &journal, &mut child);
    // While it stands still nobody else answers into its file, not even anew.
    signal(&child, libc::SIGSTOP);
    for more in [&[][..], &["--fresh"]] {
        let out = run(&[&args[..], more].concat());
        assert_eq!(out.status.code(), Some(23), "{}", err(&out));
        assert!(err(&out).contains("another process is answering into"), "{}", err(&out));
    }
    signal(&child, libc::SIGINT);
    signal(&child, libc::SIGCONT);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(3), "{}", err(&out));
    assert!(err(&out).contains("answers are kept"), "{}", err(&out));

    // Other settings are refused in words, and nothing is lost by that.
    let refused = run(&predict_args(data, broken_dir, "23"));
    assert_eq!(refused.status.code(), Some(10), "{}", err(&refused));
    assert!(err(&refused).contains("max_new_tokens: 24 then, 23 now"), "{}", err(&refused));

    let out = run(&args);
    assert!(err(&out).contains("answers are there from before"), "{}", err(&out));
    let progress = lines(&ok(out));
    assert!(progress.iter().all(|l| l["event"] == "progress" || l["event"] == "done"));
    let read = |dir: &Path| std::fs::read_to_string(dir.join("generated_predictions.jsonl")).unwrap();
    assert_eq!(read(&broken), read(&whole));
    assert!(!journal.exists());

    // A finished one is not computed again, unless that is asked for.
    let again = lines(&ok(run(&args))).pop().unwrap();
    assert_eq!((&again["samples"], &again["tokens"]), (&json!(39), &json!(0)));
    let mut fresh = predict_args(data, broken_dir, "23");
    fresh.push("--fresh");
    assert!(lines(&ok(run(&fresh))).pop().unwrap()["tokens"].as_u64() > Some(0));
}

#[test]
fn predict_leaves_llama_factorys_files_and_the_losses_of_score() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    let data = temp.path().to_str().unwrap();
    let out = temp.path().join("out");
    let mut args = predict_args(data, out.to_str().unwrap(), "8");
    let classes = temp.path().join("classes.yaml");
    args.extend(["--classes", classes.to_str().unwrap(), "--max-samples", "9"]);
    ok(run(&args));
    let rows = lines(&std::fs::read_to_string(out.join("generated_predictions.jsonl")).unwrap());
    assert_eq!(rows.iter().map(|r| r["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6, 7, 8]);
    assert_eq!(rows[0]["label"], "Answer 0, on the left side.\n", "with the template's newline");
    assert!(rows[0]["prompt"].as_str().unwrap().starts_with("<|im_start|>system\n"));
    assert!(rows[0]["images"][0].as_str().unwrap().ends_with("ct_small.png"));
    let results: Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("predict_results.json")).unwrap()).unwrap();
    for key in ["bleu-4", "rouge-1", "rouge-2", "rouge-l", "runtime", "samples_per_second", "steps_per_second"] {
        assert!(results[format!("predict_{key}")].is_number(), "{key}: {results}");
    }
    assert!(results["predict_accuracy_side"].is_number() && results["predict_exact_match"].is_number(), "{results}");

    let score = ["score", "--model", "assets/demo-model", "--dataset-dir", data, "--dataset", "set", "--device", "cpu"];
    let score = lines(&ok(run(&[&score[..], &["--max-samples", "9", "--json"]].concat())));
    let (mean, samples) = score.split_last().unwrap();
    for (ours, theirs) in rows.iter().zip(samples) {
        for key in ["index", "loss_sum", "n_target_tokens"] {
            assert_eq!(ours[key], theirs[key], "{key}");
        }
    }
    let loss = results["predict_loss"].as_f64().unwrap();
    assert!((loss - mean["mean"].as_f64().unwrap()).abs() < 1e-9);
    assert!((results["predict_perplexity"].as_f64().unwrap() - loss.exp()).abs() < 1e-6);
}

/// An adapter after two updates on that set: `run` in the folder.
fn trained(dir: &Path) -> PathBuf {
    let adapter = dir.join("run");
    let (dataset_dir, output_dir) =
        (format!("dataset_dir={}", dir.display()), format!("output_dir={}", adapter.display()));
    let train = ["train", "profiles/demo.yaml", "model_name_or_path=assets/demo-model", "dataset=set", "max_steps=2"];
    ok(run(&[&train[..], &[&dataset_dir, &output_dir, "device=cpu"]].concat()));
    adapter
}

#[test]
fn answers_during_a_training_are_those_of_predict_on_what_it_left() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    let data = temp.path().to_str().unwrap();
    let adapter = temp.path().join("run");
    let keys = [
        "model_name_or_path=assets/demo-model",
        "dataset=set",
        "eval_dataset=set",
        "max_steps=2",
        "per_device_train_batch_size=4",
        "eval_strategy=steps",
        "eval_steps=2",
        "predict_with_generate=true",
        "eval_generate_samples=0",
        "per_device_eval_batch_size=8",
        "max_new_tokens=12",
        "device=cpu",
    ];
    let (dataset_dir, output_dir) = (format!("dataset_dir={data}"), format!("output_dir={}", adapter.display()));
    ok(run(&[&["train", "profiles/demo.yaml", &dataset_dir, &output_dir], &keys[..]].concat()));

    // Settings come from the profile beside the adapter; only the drawing has to be turned off.
    let (model, out) = (adapter.to_str().unwrap(), temp.path().join("out"));
    let args =
        ["predict", "--model", "assets/demo-model", "--adapter", model, "--dataset-dir", data, "--dataset", "set"];
    let more = ["--greedy", "--no-loss", "--batch-size", "8", "--device", "cpu", "--output-dir", out.to_str().unwrap()];
    ok(run(&[&args[..], &more].concat()));
    let file = "generated_predictions.jsonl";
    let ours = std::fs::read_to_string(adapter.join("samples/step-00000002").join(file)).unwrap();
    assert_eq!(lines(&ours).len(), 39, "all samples but the bad one");
    assert_eq!(ours, std::fs::read_to_string(out.join(file)).unwrap());
    let results = |path: PathBuf| serde_json::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (eval, predict) = (results(adapter.join("eval_results.json")), results(out.join("predict_results.json")));
    for key in ["bleu-4", "bleu-4_stripped", "rouge-1", "rouge-2", "rouge-l", "exact_match", "exact_match_strict"] {
        assert!(eval[format!("eval_{key}")].is_number(), "{key}: {eval}");
        assert_eq!(eval[format!("eval_{key}")], predict[format!("predict_{key}")], "{key}");
    }
    let shown: Value = serde_json::from_str(&ok(run(&["runs", "show", model, "--json"]))).unwrap();
    assert_eq!(shown["evaluation"]["eval_bleu-4"], eval["eval_bleu-4"]);
    assert!(ok(run(&["runs", "show", model])).contains("exact match"), "and for people");
}

#[test]
fn compare_asks_all_models_about_every_picture_of_a_folder() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    let adapter = trained(temp.path()).display().to_string();
    let slices = temp.path().join("slices");
    std::fs::create_dir(&slices).unwrap();
    let picture = Path::new(ROOT).join("tests/golden/images/ct_small.png");
    for name in ["s10.png", "s2.png", "s1.png"] {
        std::fs::copy(&picture, slices.join(name)).unwrap();
    }
    std::fs::write(slices.join("notes.txt"), "no picture").unwrap();
    let folder = slices.display().to_string();
    let compare = ["compare", "--adapter", &adapter, "--prompt", "Describe the image.", "--greedy", "--device", "cpu"];
    let args = [&compare[..], &["--max-new-tokens", "12", "--images", &folder]].concat();
    let rows = lines(&ok(run(&[&args[..], &["--json", "--batch-size", "2"]].concat())));
    let names: Vec<&str> = rows.iter().map(|r| r["images"][0].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["s1.png", "s2.png", "s10.png"]);
    // The answers are those of `chat`, with the adapter and without it.
    let answer = |row: &Value, i: usize| row["answers"][i]["text"].as_str().unwrap().to_owned();
    for (i, with) in [(0, None), (1, Some(&adapter))] {
        let image = slices.join("s2.png").display().to_string();
        let mut chat =
            vec!["chat", "--model", "assets/demo-model", "--image", &image, "--prompt", "Describe the image."];
        chat.extend(["--greedy", "--device", "cpu", "--max-new-tokens", "12", "--json"]);
        // pictures as in training, for base and adapter alike
        chat.extend(["--image-max-pixels", "12544", "--image-min-pixels", "12544"]);
        chat.extend(with.iter().flat_map(|dir| ["--adapter", dir.as_str()]));
        let alone = lines(&ok(run(&chat))).pop().unwrap();
        assert!(rows.iter().all(|row| answer(row, i) == alone["text"].as_str().unwrap()), "{rows:?}\n{alone}");
    }
    for (name, words) in
        [("t.md", "slices/s10.png"), ("t.csv", "\"image\",\"prompt\",\"base\",\"run\""), ("t.jsonl", "s1.png")]
    {
        let table = temp.path().join(name);
        let said = ok(run(&[&args[..], &["--output", table.to_str().unwrap()]].concat()));
        assert!(said.contains("3 questions to 2 models"), "{said}");
        let text = std::fs::read_to_string(&table).unwrap();
        assert!(text.contains(words) && text.contains(answer(&rows[0], 1).lines().next().unwrap()), "{text}");
    }

    // One picture that is none does not cost the others their answers.
    std::fs::write(slices.join("s3.png"), "no picture").unwrap();
    let out = run(&[&args[..], &["--json"]].concat());
    assert_eq!(out.status.code(), Some(11), "{}", err(&out));
    let rows = lines(&String::from_utf8(out.stdout.clone()).unwrap());
    assert!(rows[2]["answers"][0]["error"].as_str().unwrap().contains("s3.png"), "{rows:?}");
    assert!(err(&out).contains("2 of 8 answers") && !answer(&rows[3], 0).is_empty(), "{}", err(&out));
    for (extra, words) in
        [(&["--no-base", "--output", "x.txt"][..], ".md, .csv or .jsonl"), (&["--adapter", &adapter], "twice")]
    {
        let out = run(&[&args[..], extra].concat());
        assert!(!out.status.success() && err(&out).contains(words), "{}", err(&out));
    }
}

#[test]
fn evaluate_compares_base_and_adapter_from_one_model_and_report_does_the_same_from_files() {
    let temp = tempfile::tempdir().unwrap();
    data_set(temp.path());
    let data = temp.path().to_str().unwrap();
    let (adapter, out) = (trained(temp.path()), temp.path().join("evaluation"));
    let classes = temp.path().join("classes.yaml");
    let (adapter, out_dir, classes) = (adapter.to_str().unwrap(), out.to_str().unwrap(), classes.to_str().unwrap());
    let args = ["evaluate", "--adapter", adapter, "--dataset-dir", data, "--dataset", "set", "--device", "cpu"];
    let args =
        [&args[..], &["--greedy", "--max-new-tokens", "8", "--output-dir", out_dir, "--classes", classes, "--json"]];
    let told = lines(&ok(run(&args.concat())));
    let last = told.last().unwrap();
    assert_eq!((&last["models"], &last["samples"]), (&json!(["base", "run"]), &json!(39)));
    let loss = last["measures"].as_array().unwrap().iter().find(|m| m["key"] == "loss").unwrap();
    let (base, tuned) = (loss["values"][0]["value"].as_f64().unwrap(), loss["values"][1]["value"].as_f64().unwrap());
    assert!(tuned < base, "two updates help: {base} {tuned}");
    let html = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("data:image/jpeg;base64,") && html.contains("alert(1)"));
    assert!(!html.contains("<script") && !html.contains('\u{1b}'));
    assert!(out.join("report.md").exists() && out.join("report-pictures/0-1.jpg").exists());

    // The answers of the tuned model are those of `predict` with its adapter: the base under it is not changed.
    let alone = temp.path().join("alone.jsonl");
    let predict = ["predict", "--adapter", adapter, "--dataset-dir", data, "--dataset", "set", "--device", "cpu"];
    let predict = [&predict[..], &["--greedy", "--max-new-tokens", "8", "--output", alone.to_str().unwrap()]].concat();
    ok(run(&predict));
    assert_eq!(std::fs::read(&alone).unwrap(), std::fs::read(out.join("run.jsonl")).unwrap());
    assert!(temp.path().join("alone.results.json").exists());
    // Again: nothing is answered twice.
    let again = lines(&ok(run(&args.concat())));
    assert!(again.iter().filter(|l| l["event"] == "answered").all(|l| l["new"] == 0));
    assert_eq!(again.last().unwrap()["measures"], last["measures"]);

    // From files, without a worker. A terminal sees no control code of theirs.
    let files = [out.join("base.jsonl"), alone];
    let report = temp.path().join("report");
    let printed = lightbox()
        .env("LIGHTBOX_ENGINE", "/nowhere")
        .args(["report", files[0].to_str().unwrap(), &format!("tuned\u{1b}[2J={}", files[1].display())])
        .args(["--output-dir", report.to_str().unwrap(), "--classes", classes])
        .output()
        .unwrap();
    let printed = ok(printed);
    assert!(printed.contains("ROUGE-L") && !printed.contains('\u{1b}'), "{printed}");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(report.join("report.json")).unwrap()).unwrap();
    assert_eq!(json["comparison"]["measures"], last["measures"]);
    // In the language of the option, else of the workbench's settings, else of the locale.
    let state = temp.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let title = |lang: &[&str], locale: &str| {
        let mut command = lightbox();
        command.env("LIGHTBOX_STATE", &state).env_remove("LC_ALL").env_remove("LC_MESSAGES").env("LANG", locale);
        command.args(["report", files[0].to_str().unwrap(), "--output-dir", report.to_str().unwrap()]).args(lang);
        ok(command.output().unwrap());
        let text = std::fs::read_to_string(report.join("report.md")).unwrap();
        text.lines().next().unwrap().to_owned()
    };
    let (english, chinese) = ("# Evaluation: base", "# 评估：base");
    assert_eq!(title(&[], "C.UTF-8"), english);
    assert_eq!(title(&[], "zh_CN.UTF-8"), chinese);
    std::fs::write(state.join("settings.yaml"), "language: zh\n").unwrap();
    assert_eq!(title(&[], "C.UTF-8"), chinese);
    assert_eq!(title(&["--lang", "en"], "C.UTF-8"), english);
}

#[test]
fn what_is_wrong_is_named_before_any_work() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name).display().to_string();
    std::fs::write(temp.path().join("classes.yaml"), "classes:\n  side:\n    left: [left]\n    right: [/(/]\n")
        .unwrap();
    std::fs::write(temp.path().join("a.jsonl"), "{\"prompt\":\"\",\"predict\":\"a\",\"label\":\"x\\n\"}\n").unwrap();
    std::fs::write(temp.path().join("b.jsonl"), "{\"prompt\":\"\",\"predict\":\"a\",\"label\":\"y\\n\"}\n").unwrap();
    std::fs::write(temp.path().join("c.jsonl"), "{\"prompt\":\"\"}\n").unwrap();
    let out_dir = path("report");
    let report = |files: &[&str], more: &[&str]| {
        let files: Vec<String> = files.iter().map(|f| path(f)).collect();
        let mut args = vec!["report", "--output-dir", &out_dir];
        args.extend(files.iter().map(String::as_str));
        args.extend(more);
        run(&args)
    };
    let classes = path("classes.yaml");
    for (out, code, part) in [
        (report(&["a.jsonl"], &["--classes", &classes]), 10, "line 4"),
        (report(&["a.jsonl", "b.jsonl"], &[]), 11, "another label"),
        (report(&["c.jsonl"], &[]), 11, "line 1"),
        (report(&["gone.jsonl"], &[]), 11, "gone.jsonl"),
        (report(&["a.jsonl", "a.jsonl"], &[]), 2, "NAME=FILE"),
        (run(&["evaluate", "--model", "assets/demo-model", "--dataset", "x", "--no-base"]), 2, "nothing to evaluate"),
    ] {
        assert_eq!(out.status.code(), Some(code), "{}", err(&out));
        assert!(err(&out).contains(part), "{part}: {}", err(&out));
    }
    assert!(!temp.path().join("report").exists());
}
