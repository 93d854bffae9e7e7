//! `lightbox push` as people and scripts run it, and Python's huggingface_hub against the same Hub.

use crate::content;
use crate::receiver::{Fault, Receiver};
use crate::rig::{clean, text};
use crate::server::TOKEN;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

struct Rig {
    receiver: Receiver,
    temp: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = temp.path().join("out").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write("README.md", b"# A model\n");
        write("adapter_model.safetensors", &content(5, 200_000));
        write("sub/a b.txt", b"text");
        Self { receiver: Receiver::new(), temp }
    }

    fn clean(&self, program: &str) -> Command {
        clean(program, &self.receiver.url, self.temp.path())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.clean(env!("CARGO_BIN_EXE_lightbox"));
        command.arg("push").args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).env("HF_TOKEN", TOKEN).output().unwrap()
    }
}

#[test]
fn the_address_of_the_commit_is_printed_and_the_second_time_nothing_is_done() {
    let rig = Rig::new();
    std::os::unix::fs::symlink("/etc/hostname", rig.temp.path().join("out/link")).unwrap();
    let output = rig.run(&["out", "me/model", "--private", "--message", "first"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("not sent (a link out of the folder") && said.contains("3 files"), "{said}");
    assert!(said.contains("to a new private model me/model") && !said.contains(TOKEN), "{said}");
    let commits = rig.receiver.commits("models/me/model", "main");
    assert_eq!((commits.len(), commits[0].message.as_str()), (1, "first"));
    assert!(text(&output.stdout).trim().ends_with(&commits[0].id), "{}", text(&output.stdout));
    let again = rig.run(&["out", "me/model"]);
    assert!(text(&again.stderr).contains("nothing to do"), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout).trim(), format!("{}/me/model", rig.receiver.url));
}

#[test]
fn an_adapter_whose_base_is_a_folder_of_this_machine_is_told() {
    let rig = Rig::new();
    std::fs::write(rig.temp.path().join("out/adapter_config.json"), r#"{"base_model_name_or_path": "hf"}"#).unwrap();
    let told = |output: &Output| text(&output.stderr).contains("adapter_config.json is sent as it is, with hf as");
    assert!(!told(&rig.run(&["out", "me/model"])), "no folder, so it may be a name");
    std::fs::create_dir_all(rig.temp.path().join("hf")).unwrap();
    assert!(told(&rig.run(&["out", "me/model"])));
}

#[test]
fn json_is_one_object_a_line_and_ends_with_what_was_done() {
    let rig = Rig::new();
    let args = ["out", "me/data", "--kind", "dataset", "--revision", "v2", "--exclude", "*.md", "--json", "--yes"];
    let output = rig.run(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, before) = lines.split_last().unwrap();
    assert!(before.iter().all(|line| line["event"] == "progress"), "{before:?}");
    assert!(before.is_sorted_by_key(|line| line["phase"] == "sending"), "one phase after the other: {before:?}");
    for phase in ["comparing", "sending"] {
        let of_phase: Vec<&Value> = before.iter().filter(|line| line["phase"] == phase).collect();
        let done = |key: &str| of_phase.iter().map(|line| line[key].as_u64().unwrap()).collect::<Vec<_>>();
        for (key, all) in [("done_bytes", 200_004), ("files_done", 2)] {
            let done = done(key);
            assert!(
                done.is_sorted() && done.first() == Some(&0) && done.last() == Some(&all),
                "{phase} {key}: {done:?}"
            );
        }
        let without_speed = |line: &Value| {
            let mut line = line.clone();
            line.as_object_mut().unwrap().remove("bytes_per_second");
            line
        };
        assert!(of_phase.windows(2).all(|two| without_speed(two[0]) != without_speed(two[1])), "twice: {of_phase:?}");
    }
    assert_eq!((&last["event"], &last["files"], &last["created"]), (&"done".into(), &2.into(), &true.into()));
    assert_eq!(last["commit"], rig.receiver.commits("datasets/me/data", "v2")[0].id.as_str());
    assert_eq!(rig.receiver.files("datasets/me/data", "v2").len(), 2);
}

#[test]
fn a_stored_login_is_enough_and_without_one_nothing_is_read() {
    let rig = Rig::new();
    let output = rig.command(&["no-such-folder", "me/model"]).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(said.contains("needs a token") && said.contains("HF_TOKEN"), "{said}");
    std::fs::create_dir_all(rig.temp.path().join("hf")).unwrap();
    std::fs::write(rig.temp.path().join("hf/token"), format!("{TOKEN}\n")).unwrap();
    let output = rig.command(&["out", "me/model"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn ctrl_c_commits_nothing_and_the_same_command_goes_on() {
    let rig = Rig::new();
    rig.receiver.fail("/storage/", Fault::Stall(100_000), 1);
    let mut command = rig.command(&["out", "me/model", "--json"]);
    let mut child = command.env("HF_TOKEN", TOKEN).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    for line in lines {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["phase"] == "sending" && line["file"] == "adapter_model.safetensors" && line["file_done"] != 0 {
            // SAFETY: a signal to a child that was not waited for yet.
            assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
        }
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("the same command goes on"), "{}", text(&output.stderr));
    assert_eq!(rig.receiver.commits("models/me/model", "main"), []);
    let output = rig.run(&["out", "me/model"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(rig.receiver.files("models/me/model", "main").len(), 3);
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let rig = Rig::new();
    rig.receiver.make("models/me/public", false);
    for (args, code, said) in [
        (&["out", "model"][..], 10, "names no account"),
        (&["out", "../model"], 10, "is no name of a repository"),
        (&["nowhere", "me/model"], 10, "there is no nowhere"),
        (&["out/README.md", "me/model"], 10, "is a file"),
        (&["out", "me/model", "--include", "*.gguf"], 10, "no file to send"),
        (&["out", "me/model", "--revision", "../x"], 10, "no branch"),
        (&["out", "me/public", "--private"], 10, "is public"),
        (&["out", "others/model"], 10, "write permission"),
        (&["out", "me/model", "--kind", "picture"], 2, "picture"),
    ] {
        let output = rig.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    let output = rig.command(&["out", "me/model"]).env("HF_TOKEN", TOKEN).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(text(&output.stderr).contains("HF_HUB_OFFLINE"), "{}", text(&output.stderr));
    assert!(rig.receiver.asked("PUT").is_empty());
}

/// Both ways of the same folder into the same Hub end with the same files, and tell the Hub the same things.
#[test]
fn the_hub_gets_what_huggingface_hub_sends() {
    let Some(python) = std::env::var_os("LIGHTBOX_REFERENCE_PYTHON").map(PathBuf::from) else {
        eprintln!("skipped: LIGHTBOX_REFERENCE_PYTHON names no Python with huggingface_hub");
        return;
    };
    let (ours, theirs) = (Rig::new(), Rig::new());
    let output = ours.run(&["out", "me/model", "--message", "m"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let script = "from huggingface_hub import HfApi\napi = HfApi()\napi.create_repo('me/model', exist_ok=True)\n\
        print(api.upload_folder(repo_id='me/model', folder_path='out', commit_message='m').oid)\n";
    let mut command = theirs.clean(python.to_str().unwrap());
    command.args(["-c", script]).env("HF_TOKEN", TOKEN).env("HF_HUB_DISABLE_XET", "1");
    let output = command.env("HF_HUB_DISABLE_TELEMETRY", "1").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));

    let commits = |rig: &Rig| rig.receiver.commits("models/me/model", "main");
    assert_eq!(commits(&ours), commits(&theirs));
    assert_eq!(text(&output.stdout).trim(), commits(&ours)[0].id);
    let posts = |rig: &Rig| {
        let posts = rig.receiver.asked("POST ").into_iter().chain(rig.receiver.asked("PUT "));
        let path = |path: &str| path.split('?').next().unwrap().to_owned();
        posts.map(|request| (path(&request.path), request.bytes > 0)).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(posts(&ours), posts(&theirs));
    let body = |rig: &Rig, what: &str| {
        let body = rig.receiver.asked(what).remove(0).body;
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect::<Vec<Value>>()
    };
    for what in ["/preupload/main", "/info/lfs/objects/batch"] {
        assert_eq!(body(&ours, what), body(&theirs, what), "{what}");
    }
    let (mut mine, their) = (body(&ours, "/commit/main"), body(&theirs, "/commit/main"));
    // They do not say on top of what they commit.
    assert!(mine[0]["value"].as_object_mut().unwrap().remove("parentCommit").is_some());
    assert_eq!(mine, their);
}
