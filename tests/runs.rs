//! `lightbox runs …` over real processes: the built program, supervisors, and the fake engine as worker.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

/// A folder with its own index of runs.
struct Rig {
    temp: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// A profile of 40 updates whose micro-batches take `LIGHTBOX_FAKE_STEP_MS`; `extra` lines go over that.
    fn profile(&self, name: &str, extra: &str) -> String {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let text = format!(
            "stage: sft\ndo_train: true\ntemplate: qwen2_vl\nmodel_name_or_path: {golden}/models/tiny-tied\n\
             dataset_dir: {golden}/llamafactory/data\ndataset: demo\nlearning_rate: 1.0e-3\nmax_steps: 40\n\
             per_device_train_batch_size: 2\nlogging_steps: 5\nsave_steps: 10\ndevice: cpu\noutput_dir: {}\n{extra}",
            self.path(name).display(),
            golden = golden.display()
        );
        let path = self.path(&format!("{name}.yaml"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_lightbox"));
        let engine = program.with_file_name("lightbox-fake-engine");
        assert!(engine.exists(), "{} is missing: run `cargo build --release` first", engine.display());
        let mut command = Command::new(program);
        command.args(args).current_dir(self.temp.path());
        command.env("LIGHTBOX_ENGINE", engine).env("LIGHTBOX_STATE", self.path("state"));
        command.env_remove("LIGHTBOX_FAULTS").env_remove("LIGHTBOX_FAKE_STEP_MS");
        command
    }

    fn lightbox(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command prints that must succeed.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        text_of(self.lightbox(args), args)
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"))
    }

    /// What a command says that must fail, with this code.
    #[track_caller]
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.lightbox(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        text
    }

    /// Starts a run whose micro-batches take so many milliseconds.
    #[track_caller]
    fn train(&self, name: &str, step_ms: u64) {
        let profile = self.profile(name, "");
        let args = ["train", &profile, "--detach", "--json"];
        text_of(self.command(&args).env("LIGHTBOX_FAKE_STEP_MS", step_ms.to_string()).output().unwrap(), &args);
    }

    fn state(&self, name: &str) -> String {
        self.json(&["runs", "show", name])["state"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, what: &str, happened: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !happened() {
            assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn wait_for_state(&self, name: &str, state: &str) {
        self.wait_for(&format!("{name} {state}"), || self.state(name) == state);
    }
}

/// Nothing that was started outlives its test.
impl Drop for Rig {
    fn drop(&mut self) {
        let Ok(runs) = serde_json::from_slice::<Value>(&self.lightbox(&["runs", "list", "--json"]).stdout) else {
            return;
        };
        for run in runs.as_array().into_iter().flatten() {
            if let Some(pid) = run["pid"].as_i64() {
                // SAFETY: a signal to a worker of this test, which a moment ago held the lock of its run.
                unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            }
        }
    }
}

#[track_caller]
fn text_of(output: Output, args: &[&str]) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {}: {error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_live_run_is_steered_and_answers() {
    let rig = Rig::new();
    rig.train("slow", 40);
    rig.wait_for("its first update", || rig.json(&["runs", "show", "slow"])["step"].as_u64() > Some(0));
    assert_eq!(rig.json(&["runs", "pause", "slow"])["status"], "applied");
    rig.wait_for_state("slow", "paused");
    assert!(rig.fails(10, &["runs", "resume", "slow", "max_steps=50"]).contains("paused run keeps its profile"));
    assert_eq!(rig.json(&["runs", "resume", "slow"])["status"], "applied");
    assert_eq!(rig.json(&["runs", "checkpoint", "slow", "--pin", "--label", "a good one"])["status"], "applied");
    let show = rig.json(&["runs", "show", "slow"]);
    let pinned: Vec<&Value> = show["checkpoints"].as_array().unwrap().iter().filter(|c| c["pinned"] == true).collect();
    assert_eq!(pinned.len(), 1, "{show}");
    assert_eq!((&pinned[0]["label"], &pinned[0]["valid"]), (&"a good one".into(), &true.into()));
    assert_eq!(rig.json(&["runs", "set", "slow", "lr_scale=0.5"])["status"], "applied");
    assert!(rig.fails(10, &["runs", "set", "slow", "learning_rate=1"]).contains("cannot be changed"));
    assert!(rig.ok(&["runs", "sample", "slow", "-n", "2"]).contains("> "), "the model's answers");
    rig.ok(&["runs", "stop", "slow"]);
    rig.wait_for_state("slow", "stopped");
    assert!(rig.fails(1, &["runs", "pause", "slow"]).contains("no worker"));
    assert!(rig.ok(&["runs", "logs", "slow", "--events"]).contains("lr_scale set to 0.5"));
    let started = rig.json(&["runs", "resume", "slow", "logging_steps=1"]);
    assert!(started["pid"].as_u64() > Some(0));
    let watched = rig.ok(&["runs", "attach", "slow", "--json"]);
    let lines: Vec<Value> = watched.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["state"].is_string() && lines.iter().skip(1).all(|l| l["type"].is_string()), "{watched}");
    rig.wait_for_state("slow", "finished");
    assert_eq!(rig.json(&["runs", "show", "slow"])["step"], 40);
}

#[test]
fn a_live_run_is_not_deleted_and_what_is_no_runs_neither() {
    let rig = Rig::new();
    rig.train("busy", 200);
    assert!(rig.fails(23, &["runs", "rm", "busy", "--yes"]).contains("another worker has this run"));
    rig.ok(&["runs", "stop", "busy", "--kill"]);
    rig.wait_for("its end", || rig.json(&["runs", "show", "busy"])["pid"].is_null());
    std::fs::write(rig.path("busy/thesis.tex"), "").unwrap();
    rig.wait_for("the lock", || rig.lightbox(&["runs", "rm", "busy", "--yes"]).status.code() == Some(10));
    assert!(rig.fails(10, &["runs", "rm", "busy", "--yes"]).contains("thesis.tex"));
    std::fs::remove_file(rig.path("busy/thesis.tex")).unwrap();
    assert!(rig.fails(2, &["runs", "rm", "busy"]).contains("--yes"), "without a terminal it has to be said");
    rig.ok(&["runs", "rm", "busy", "--yes"]);
    assert!(!rig.path("busy").exists());
    assert!(rig.fails(10, &["runs", "show", "busy"]).contains("busy"));
}

#[test]
fn labels_stay_with_the_run_and_filter_the_list() {
    let rig = Rig::new();
    for name in ["one", "two"] {
        rig.train(name, 0);
        rig.wait_for_state(name, "finished");
    }
    rig.ok(&["runs", "rename", "one", "first"]);
    rig.ok(&["runs", "tag", "first", "+ocr", "scans"]);
    rig.ok(&["runs", "tag", "first", "-scans"]);
    rig.ok(&["runs", "tag", "--rename", "ocr", "text"]);
    rig.ok(&["runs", "note", "first", "the \u{1b}[31mred\u{1b}[0m one"]);
    let list = rig.json(&["runs", "list", "--tag", "text"]);
    assert_eq!((list.as_array().unwrap().len(), &list[0]["name"]), (1, &"first".into()));
    let show = rig.ok(&["runs", "show", "first"]);
    assert!(show.contains("red") && !show.contains('\u{1b}'), "{show}");
    rig.ok(&["runs", "archive", "two"]);
    assert_eq!(rig.json(&["runs", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(rig.json(&["runs", "list", "--all"]).as_array().unwrap().len(), 2);
    rig.ok(&["runs", "pin", "first", "10"]);
    assert!(rig.fails(10, &["runs", "pin", "first", "11"]).contains("no checkpoint-11"));
    rig.ok(&["runs", "rm", "first", "--yes", "--checkpoints-only"]);
    let left = rig.json(&["runs", "show", "first"]);
    assert_eq!(left["checkpoints"].as_array().unwrap().len(), 1, "the pinned one: {left}");
}

#[test]
fn a_fork_goes_on_from_its_checkpoint_and_compares_with_its_parent() {
    let rig = Rig::new();
    rig.train("parent", 0);
    rig.wait_for_state("parent", "finished");
    let fork = rig.json(&["runs", "fork", "parent", "--checkpoint", "20", "learning_rate=5e-4", "--name", "half"]);
    assert_eq!(fork["checkpoint"], "checkpoint-20");
    assert_eq!(fork["dir"], rig.path("parent-fork-1").display().to_string());
    let show = rig.json(&["runs", "show", "half"]);
    assert_eq!(
        (&show["state"], &show["step"], &show["parent"]["checkpoint"]),
        (&"created".into(), &20.into(), &"checkpoint-20".into())
    );
    rig.ok(&["runs", "resume", "half"]);
    rig.wait_for_state("half", "finished");
    let csv = rig.path("curves.csv");
    let compared = rig.json(&["runs", "compare", "parent", "half", "--csv", csv.to_str().unwrap()]);
    assert!(compared["settings"]["learning_rate"].is_array(), "{compared}");
    let half = compared["runs"][1]["loss"].as_object().unwrap();
    assert!(half.contains_key("21") && half.contains_key("40") && !half.contains_key("20"), "{half:?}");
    assert_eq!(std::fs::read_to_string(csv).unwrap().lines().count(), 41);
    assert!(rig.ok(&["runs", "compare", "parent", "half"]).contains("learning_rate"));
    rig.ok(&["runs", "rm", "parent", "--yes"]);
    assert_eq!(rig.json(&["runs", "show", "half", "--verify"])["checkpoints"][0]["valid"], true);
}

#[test]
fn the_queue_goes_on_behind_a_run_that_fails() {
    let rig = Rig::new();
    rig.train("before", 20);
    for (name, extra) in [("q-a", ""), ("q-b", "resume_from_checkpoint: /nowhere\n"), ("q-c", "")] {
        let profile = rig.profile(name, extra);
        assert_eq!(rig.json(&["runs", "queue", "add", &profile])["state"], "waiting", "the device is in use");
    }
    assert_eq!(rig.state("q-c"), "queued");
    assert!(rig.fails(10, &["runs", "queue", "add", "q-c"]).contains("in the queue already"));
    let ended = |name: &str| {
        let path = rig.path(name).join("state.json");
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("finished") || text.contains("failed"))
    };
    // Nobody looks through the program meanwhile: the supervisors alone hand on.
    rig.wait_for("the last of the queue", || ended("q-c"));
    assert_eq!(
        (rig.state("q-a"), rig.state("q-b"), rig.state("q-c")),
        ("finished".into(), "failed".into(), "finished".into())
    );
    let states = || {
        rig.json(&["runs", "queue", "list"])["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["state"].clone())
            .collect::<Vec<_>>()
    };
    rig.wait_for("the queue's own words", || states() == ["done", "failed", "done"]);
    assert!(rig.ok(&["runs", "queue", "list"]).contains("/nowhere"), "the reason");
}

#[test]
fn a_queued_run_that_a_reboot_ended_goes_on() {
    let rig = Rig::new();
    let profile = rig.profile("rebooted", "");
    let add = ["runs", "queue", "add", &profile];
    text_of(rig.command(&add).env("LIGHTBOX_FAKE_STEP_MS", "20").output().unwrap(), &add);
    rig.wait_for("a checkpoint", || rig.json(&["runs", "show", "rebooted"])["checkpoint"].is_string());
    // Supervisor and worker are gone at once, and the boot id is another one: what a restart of the machine leaves.
    let worker: Value = serde_json::from_slice(&std::fs::read(rig.path("rebooted/worker.json")).unwrap()).unwrap();
    for pid in ["supervisor", "pid"] {
        // SAFETY: processes of this test.
        unsafe { libc::kill(worker[pid].as_i64().unwrap() as i32, libc::SIGKILL) };
    }
    let path = rig.path("state/queue.json");
    let mut queue: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    queue["items"][0]["boot_id"] = "before".into();
    std::fs::write(&path, queue.to_string()).unwrap();
    rig.wait_for("its second start", || {
        let queue = rig.json(&["runs", "queue", "start"]);
        queue["items"][0]["starts"] == 2
    });
    rig.wait_for_state("rebooted", "finished");
    assert!(rig.ok(&["runs", "logs", "rebooted", "--events"]).contains("attempt 2 goes on from"));
}

#[test]
fn a_queue_kicked_by_two_processes_at_once_starts_each_run_once() {
    let rig = Rig::new();
    rig.ok(&["runs", "queue", "pause"]);
    for i in 0..5 {
        rig.ok(&["runs", "queue", "add", &rig.profile(&format!("run-{i}"), "")]);
    }
    rig.ok(&["runs", "queue", "unpause"]);
    let all_done = |queue: &Value| queue["items"].as_array().unwrap().iter().all(|item| item["state"] == "done");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let kicks = [0, 1].map(|_| {
            rig.command(&["runs", "queue", "start", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap()
        });
        let queues =
            kicks.map(|kick| serde_json::from_slice::<Value>(&kick.wait_with_output().unwrap().stdout).unwrap());
        if queues.iter().all(all_done) {
            assert!(queues[0]["items"].as_array().unwrap().iter().all(|item| item["starts"] == 1), "{}", queues[0]);
            return;
        }
        assert!(Instant::now() < deadline, "{}", queues[0]);
    }
}

#[test]
fn two_hundred_runs_are_listed_damaged_ones_too() {
    let rig = Rig::new();
    for i in 0..200 {
        let dir = rig.path(&format!("runs/run-{i}"));
        std::fs::create_dir_all(&dir).unwrap();
        let state = if i == 7 {
            "{\"v\": 1, \"sta".to_owned()
        } else {
            format!(r#"{{"v":1,"state":"finished","step":{i},"total_steps":200}}"#)
        };
        std::fs::write(dir.join("state.json"), state).unwrap();
    }
    let begun = Instant::now();
    let list = rig.json(&["runs", "list", "--all"]);
    eprintln!("200 runs listed in {:?}", begun.elapsed());
    assert_eq!(list.as_array().unwrap().len(), 200);
    let damaged: Vec<&Value> = list.as_array().unwrap().iter().filter(|run| run["error"].is_string()).collect();
    assert_eq!((damaged.len(), &damaged[0]["name"]), (1, &"run-7".into()));
    assert!(rig.ok(&["runs", "list"]).contains("run-7: "));
    assert!(rig.fails(10, &["runs", "show", "run-"]).contains("run-"), "a beginning that fits many names them");
}
