//! Profiles and commands that name models and data sets as the Hub does: what is missing is asked about, loaded, and then
//! used without a network. Training is the fake engine's; what the engine makes of a Hub name is in `tests/worker.rs`.

use crate::pty::Pty;
use crate::rig::{Files, Rig, WEIGHTS};
use crate::server::{Fault, Server, TOKEN};
use serde_json::{Value, json};
use std::process::Output;

const CARD: &str = "---\nconfigs:\n- config_name: scans\n  data_files:\n  - split: train\n    path: scans/train.jsonl\n  \
    - split: test\n    path: scans/test.jsonl\n- config_name: chat\n  data_files: chat/*.jsonl\n---\n# A data set\n";
const ROW: &str =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}]}\n";
const ALPACA: &str = "{\"ask\": \"q\", \"say\": \"a\"}\n";
/// A model and a data set of the Hub.
const NAMED: &str = "model_name_or_path: org/model\ndataset: org/data:scans\n";

/// One set of files is model, adapter and data set.
fn rig(server: impl FnOnce(Files<'_>) -> Server) -> Rig {
    let (two, one) = (ROW.repeat(2), ROW.as_bytes());
    let files: Files<'_> = &[
        ("README.md", CARD.as_bytes()),
        ("adapter_config.json", b"{}"),
        ("adapter_model.safetensors", b"x"),
        ("chat/a.jsonl", ALPACA.as_bytes()),
        ("config.json", b"{}\n"),
        ("scans/test.jsonl", one),
        ("scans/train.jsonl", two.as_bytes()),
    ];
    Rig::new(server, files, 500_000)
}

impl Rig {
    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `profile.yaml` with these lines, for a run in `run`.
    fn profile(&self, lines: &str) {
        let text = format!(
            "stage: sft\ndo_train: true\ntemplate: qwen2_vl\ndataset_dir: data\nmax_steps: 4\ndevice: cpu\noutput_dir: run\n{lines}"
        );
        self.write("profile.yaml", &text);
    }

    fn offline(&self, args: &[&str]) -> Output {
        self.command(args).env("HF_HUB_OFFLINE", "1").output().unwrap()
    }

    /// Does what a refusal says: runs every command that it names.
    #[track_caller]
    fn obey(&self, said: &str) -> usize {
        let quoted = said.split('`').filter(|part| part.starts_with("lightbox download "));
        let commands: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .chain(quoted)
            .filter(|c| c.starts_with("lightbox "))
            .collect();
        for command in &commands {
            let words: Vec<&str> = command.split(' ').skip(1).collect();
            let output = self.run(&words);
            assert!(output.status.success(), "{command}: {}", err(&output));
        }
        commands.len()
    }

    #[track_caller]
    fn is_trained(&self, dir: &str) {
        let state: Value = serde_json::from_slice(&std::fs::read(self.path(dir).join("state.json")).unwrap()).unwrap();
        assert_eq!(state["state"], "finished", "{state}");
    }

    /// The first data set of `data list --json`.
    #[track_caller]
    fn listed(&self, name: &str, env: &[(&str, &str)]) -> Value {
        let mut command = self.command(&["data", "list", name, "--json"]);
        let output = command.env("HF_HUB_OFFLINE", "1").envs(env.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", err(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()[0].take()
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn ok(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, err(output));
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) -> String {
    let said = err(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "{word}: {said}"));
    said
}

#[test]
fn without_consent_nothing_is_loaded_and_the_commands_that_are_named_are_all_it_takes() {
    let rig = rig(Server::new);
    rig.profile(&format!("{NAMED}adapter_name_or_path: org/model\n"));
    let said = refused(&rig.run(&["train", "profile.yaml", "--detach"]), 10, &["--yes", "org/model", "org/data"]);
    assert!(rig.server.log().is_empty(), "nobody was asked");
    assert!(!rig.path("run").exists() && !rig.path("hf").exists(), "and nothing was written");
    assert_eq!(rig.obey(&said), 3);
    ok(&rig.offline(&["train", "profile.yaml"]));
    rig.is_trained("run");
}

#[test]
fn with_consent_what_is_named_is_loaded_and_no_more_and_is_there_without_a_network() {
    let rig = rig(Server::new);
    rig.profile(NAMED);
    let output = rig.run(&["train", "profile.yaml", "--yes", "--json"]);
    ok(&output);
    rig.is_trained("run");
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok(), "stdout is the run's alone");
    let said = err(&output);
    assert!(
        said.contains("model org/model (8 files, ") && said.contains("config scans, split train, 2 files, "),
        "{said}"
    );
    let loaded = |file: &str| {
        rig.server.log().iter().filter(|r| r.path.contains("org/data/resolve") && r.path.ends_with(file)).count()
    };
    assert_eq!((loaded("scans/train.jsonl"), loaded("scans/test.jsonl"), loaded("chat/a.jsonl")), (1, 0, 0));
    let requests = rig.server.log().len();
    ok(&rig.run(&["train", "profile.yaml", "output_dir=second"]));
    rig.is_trained("second");
    assert_eq!(rig.server.log().len(), requests, "what is here is not asked about");
    ok(&rig.offline(&["train", "--resume", "run", "max_steps=6"]));
    // the run remembers the name, as adapters do
    let kept = std::fs::read_to_string(rig.path("run/profile.yaml")).unwrap();
    assert!(kept.contains("model_name_or_path: org/model\n") && kept.contains("org/data:scans"), "{kept}");

    let set = rig.listed("org/data:scans", &[]);
    assert_eq!((&set["samples"], &set["format"]), (&json!(2), &json!("openai")), "{set}");
    assert!(set["notes"][0].as_str().unwrap().contains("config scans, split train"), "{set}");
    // a part that was not loaded is known, and is not mistaken for the one that was
    let other = rig.listed("org/data:chat", &[]);
    assert!(other["error"].as_str().unwrap().contains("lightbox download dataset org/data --subset chat"), "{other}");
    let several = rig.listed("org/data", &[]);
    assert!(several["error"].as_str().unwrap().contains("scans, chat"), "{several}");
}

#[test]
fn entries_of_dataset_info_name_data_of_either_hub() {
    let rig = rig(Server::new);
    let info = json!({
        "chat": {"hf_hub_url": "org/data", "subset": "chat", "columns": {"prompt": "ask", "response": "say"}},
        "tests": {"ms_hub_url": "org/data", "subset": "scans", "split": "test", "formatting": "openai",
            "columns": {"messages": "messages"}, "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}},
        "both": {"hf_hub_url": "org/none", "ms_hub_url": "org/data", "folder": "chat", "columns": {"prompt": "ask", "response": "say"}},
        "none": {"hf_hub_url": "org/data", "subset": "scans", "split": "dev"},
    });
    rig.write("data/dataset_info.json", &info.to_string());
    let modelscope = [("USE_MODELSCOPE_HUB", "1")];
    for (name, env, source, rows) in [
        ("chat", &[][..], "", 1),
        ("tests", &[], "--source modelscope ", 1),
        ("both", &modelscope, "--source modelscope ", 1),
    ] {
        let said = rig.listed(name, env)["error"].as_str().unwrap().to_owned();
        assert!(said.contains(&format!("`lightbox download dataset org/data {source}--")), "{name}: {said}");
        assert_eq!(rig.obey(&said), 1, "{name}");
        let set = rig.listed(name, env);
        assert_eq!(set["samples"], json!(rows), "{name}: {set}");
        let shown =
            rig.command(&["data", "show", name, "--index", "0", "--json"]).envs(env.iter().copied()).output().unwrap();
        ok(&shown);
        assert!(String::from_utf8_lossy(&shown.stdout).contains("\"q\""), "{name}");
    }
    // what one Hub has is not taken for what the other has
    let test = json!({"other": {"hf_hub_url": "org/data", "subset": "scans", "split": "test"}});
    rig.write("more/dataset_info.json", &test.to_string());
    let output = rig.offline(&["data", "check", "other", "--dataset-dir", "more"]);
    refused(&output, 10, &["`lightbox download dataset org/data --subset scans --split test`"]);
    // without the variable it is the other repository, which is not here
    assert!(rig.listed("both", &[])["error"].as_str().unwrap().contains("org/none"));
    let said = rig.listed("none", &[])["error"].as_str().unwrap().to_owned();
    assert!(said.contains("no split \"dev\"") && said.contains("test, train"), "{said}");
    // and trained on
    rig.write("model/config.json", "{}");
    rig.profile("model_name_or_path: model\ndataset: chat,tests\n");
    ok(&rig.offline(&["train", "profile.yaml"]));
}

#[test]
fn a_repository_of_several_configs_is_not_loaded_before_one_is_named() {
    let rig = rig(Server::new);
    rig.profile("model_name_or_path: org/model\ndataset: org/data\n");
    refused(&rig.run(&["train", "profile.yaml", "--yes"]), 10, &["several configs: scans, chat", "org/data:CONFIG"]);
    refused(&rig.run(&["download", "dataset", "org/data", "--rows"]), 10, &["several configs"]);
    refused(&rig.run(&["download", "model", "org/model", "--rows"]), 2, &["data sets"]);
    assert!(!rig.path("run").exists() && !rig.path("hf/hub").exists());
}

#[test]
fn a_gated_repository_says_what_to_do_and_the_profile_s_token_opens_it() {
    let rig = rig(Server::gated);
    rig.profile(NAMED);
    let page = format!("{}/datasets/org/data", rig.server.url);
    refused(&rig.run(&["train", "profile.yaml", "--yes"]), 10, &["is gated", "HF_TOKEN", &page]);
    assert!(!rig.path("run").exists());
    rig.profile(&format!("{NAMED}hf_hub_token: {TOKEN}\n"));
    let output = rig.run(&["train", "profile.yaml", "--yes"]);
    ok(&output);
    assert!(!err(&output).contains(TOKEN));
    assert!(rig.server.log().iter().all(|request| !request.cdn || request.token.is_none()));
}

#[test]
fn a_folder_or_file_of_that_name_wins() {
    let rig = rig(Server::new);
    rig.profile("model_name_or_path: org/model\ndataset: org/data\n");
    rig.write("org/model/config.json", "{}");
    std::fs::create_dir_all(rig.path("org")).unwrap();
    rig.write("org/data", ROW);
    // a file without an ending is no data set, but it is what was named: nobody is asked, and it is read as it is
    ok(&rig.run(&["train", "profile.yaml"]));
    assert!(rig.server.log().is_empty());
}

#[test]
fn what_cannot_be_loaded_is_said_and_nothing_is_started() {
    let rig = rig(Server::new);
    rig.profile(NAMED);
    refused(&rig.offline(&["train", "profile.yaml", "--yes"]), 10, &["org/model", "HF_HUB_OFFLINE"]);
    let train = |key: &str| rig.run(&["train", "profile.yaml", "--yes", key]);
    refused(&train("model_name_or_path=org/none"), 10, &["model org/none", "is the name right"]);
    refused(&train("model_revision=v9"), 10, &["org/model", "v9"]);
    refused(&train("dataset=org/data:nothing"), 10, &["no config \"nothing\"", "scans, chat"]);
    // of another cache, the command says so
    let said =
        refused(&rig.run(&["train", "profile.yaml", "cache_dir=my-cache"]), 10, &["HF_HUB_CACHE=my-cache lightbox"]);
    assert!(said.contains("\n  lightbox download dataset org/data --subset scans"), "{said}");
    ok(&rig.run(&["train", "profile.yaml", "--yes", "cache_dir=my-cache"]));
    assert!(rig.path("my-cache/models--org--model").exists() && !rig.path("hf/hub/models--org--model").exists());
}

#[test]
fn commands_that_ask_a_model_find_it_by_its_name_or_say_how_to_get_it() {
    let rig = rig(Server::new);
    let chat = |args: &[&str]| rig.run(&[&["serve", "--port", "0"], args].concat());
    let said = refused(&chat(&["--model", "org/model"]), 10, &["no folder org/model"]);
    assert_eq!(rig.obey(&said), 1);
    // an adapter that was trained on a Hub name finds its base by it
    rig.write("adapter/adapter_config.json", r#"{"base_model_name_or_path": "org/other"}"#);
    refused(&chat(&["--adapter", "adapter"]), 10, &["`lightbox download model org/other`"]);
    let estimate = rig.run(&["estimate", "profile.yaml"]);
    assert!(!estimate.status.success());
    rig.profile("model_name_or_path: org/gone\ndataset: org/data:scans\n");
    refused(
        &rig.run(&["estimate", "profile.yaml"]),
        10,
        &["download model org/gone", "download dataset org/data --subset scans"],
    );
}

/// `lightbox train` on a terminal.
fn ask(rig: &Rig, args: &[&str]) -> Pty {
    let mut pty = Pty::sized(rig.command(&[&["train", "profile.yaml", "--detach"], args].concat()), 200, 20);
    pty.wait_for("[y/N]");
    pty
}

#[test]
fn on_a_terminal_it_is_asked_once_with_sizes_and_no_means_nothing() {
    let rig = rig(Server::new);
    rig.profile(NAMED);
    let mut pty = ask(&rig, &[]);
    let seen = String::from_utf8_lossy(&pty.seen).into_owned();
    assert!(
        seen.contains("model org/model (8 files, 50")
            && seen.contains("are not on this machine")
            && seen.contains("are free"),
        "{seen}"
    );
    pty.send(b"n\r");
    assert_eq!(pty.wait_exit().code(), Some(3));
    assert!(!rig.path("run").exists() && !rig.path("hf").exists());
    let mut pty = ask(&rig, &[]);
    pty.send(b"y\r");
    assert!(pty.wait_exit().success(), "{}", String::from_utf8_lossy(&pty.seen));
    assert_eq!(String::from_utf8_lossy(&pty.seen).matches("[y/N]").count(), 1);
    ok(&rig.offline(&["runs", "show", "run"]));
}

#[test]
fn ctrl_c_stops_the_download_and_the_next_start_goes_on_there() {
    let rig = rig(Server::new);
    rig.server.fail(WEIGHTS, Fault::Stall(200_000), 1);
    rig.profile(NAMED);
    let mut pty = ask(&rig, &[]);
    pty.send(b"y\r");
    pty.wait_for("200 kB of 500 kB");
    pty.send(b"\x03");
    assert_eq!(pty.wait_exit().code(), Some(3), "{}", String::from_utf8_lossy(&pty.seen));
    assert!(!rig.path("run").exists());
    ok(&rig.run(&["train", "profile.yaml", "--yes"]));
    assert_eq!(rig.server.loads(WEIGHTS), [0, 200_000]);
}
