//! The workbench from end to end in a real pseudo-terminal, as its tour leads: make the demo, browse, see what the model
//! sees, change the profile, train, watch, leave, come back, ask, compare. Once with the fake engine, and once with the
//! real one on the CPU (it needs `lightbox-engine` beside `lightbox`: `make build`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use termlens::{Key, Screen, Terminal};

const LIGHTBOX: &str = env!("CARGO_BIN_EXE_lightbox");
const DEADLINE: Duration = Duration::from_secs(90);

struct Desk {
    temp: tempfile::TempDir,
    engine: PathBuf,
}

impl Desk {
    /// A folder of its own, and an engine: `lightbox-engine` or `lightbox-fake-engine`.
    fn new(engine: &str) -> Self {
        let engine = Path::new(LIGHTBOX).with_file_name(engine);
        assert!(engine.exists(), "{} is missing: run `make build`, then this test again", engine.display());
        Self { temp: tempfile::tempdir().unwrap(), engine }
    }

    fn vars(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LIGHTBOX_ENGINE", self.engine.display().to_string()),
            ("LIGHTBOX_STATE", self.temp.path().join("state").display().to_string()),
            ("LIGHTBOX_FAKE_STEP_MS", "40".into()),
            ("LIGHTBOX_GRAPHICS", "blocks".into()),
            ("TERM", "xterm-256color".into()),
            ("LANG", "C.UTF-8".into()),
            ("LC_ALL", "C.UTF-8".into()),
        ]
    }

    fn open(&self, args: &[&str]) -> Terminal {
        let terminal =
            Terminal::builder().size(140, 44).timeout(DEADLINE).current_dir(self.temp.path()).envs(self.vars());
        terminal.args(args).spawn(LIGHTBOX).unwrap()
    }

    /// The same program as a command.
    fn run(&self, args: &[&str]) -> String {
        let output =
            Command::new(LIGHTBOX).args(args).current_dir(self.temp.path()).envs(self.vars()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Nothing that was started outlives its test.
impl Drop for Desk {
    fn drop(&mut self) {
        let args = ["runs", "stop", "--kill", "--wait", "10", "lightbox-demo/adapter"];
        let _ = Command::new(LIGHTBOX).args(args).current_dir(self.temp.path()).envs(self.vars()).output();
    }
}

fn see(terminal: &mut Terminal, what: &str) {
    terminal.wait_until(|screen| screen.contains(what)).unwrap();
}

fn press(terminal: &mut Terminal, keys: &str) {
    for key in keys.chars() {
        terminal.send(Key::Char(key)).unwrap();
    }
}

fn alt(terminal: &mut Terminal, key: char) {
    terminal.send_str(&format!("\x1b{key}")).unwrap();
}

/// The whole way of the tour. `answers` tells an answer of the tuned model from one of the base model.
fn the_whole_way(desk: &Desk, steps: &str, answered: &dyn Fn(&Screen) -> bool, compared: &dyn Fn(&Screen) -> bool) {
    let mut t = desk.open(&[]);
    see(&mut t, "Tour 1/10");
    t.send(Key::F(8)).unwrap();
    see(&mut t, "Tour 2/10");
    assert!(desk.temp.path().join("lightbox-demo/data/dataset_info.json").exists());

    // browse: a sample with its picture and its conversation
    t.wait_until(|s| s.contains("phantoms") && s.contains("/ 600") && s.contains("Answer")).unwrap();
    t.wait_until(|s| s.contains("▀") || s.contains("▄")).unwrap();
    press(&mut t, "jj");
    see(&mut t, "Tour 3/10");
    press(&mut t, "t");
    t.wait_until(|s| s.contains("Tour 4/10") && s.contains("im_start") && s.contains("picture 1")).unwrap();

    // the profile: search a key, change it, see it in the command
    press(&mut t, "2");
    t.wait_until(|s| s.contains("Tour 5/10") && s.contains("lightbox-demo/demo.yaml")).unwrap();
    press(&mut t, "/");
    t.send_str("max_steps").unwrap();
    see(&mut t, "max_steps");
    t.send(Key::Enter).unwrap();
    t.wait_stable(Duration::from_millis(200)).unwrap();
    t.send(Key::Enter).unwrap();
    t.wait_stable(Duration::from_millis(200)).unwrap();
    t.send_str("\x15").unwrap(); // ctrl-u: the field is empty
    t.send_str(steps).unwrap();
    t.send(Key::Enter).unwrap();
    t.wait_until(|s| {
        s.contains("changed here; the file has 550") && s.contains(&format!("Updates            {steps}"))
    })
    .unwrap();

    // train
    t.send(Key::Esc).unwrap();
    t.wait_stable(Duration::from_millis(200)).unwrap();
    press(&mut t, "s");
    see(&mut t, "Start the run");
    press(&mut t, "y");
    t.wait_until(|s| s.contains("Tour 6/10") && s.contains("running")).unwrap();
    t.wait_until(|s| s.contains("smoothed") && s.contains("step ") && s.contains("tokens/s")).unwrap();

    // leave: the run goes on; come back: it is seen again
    press(&mut t, "q");
    see(&mut t, "yes"); // the changed profile is not saved
    press(&mut t, "y");
    assert!(t.wait_exit().unwrap().success());
    assert!(!t.screen().alternate_screen(), "the terminal is given back");
    assert!(desk.run(&["runs", "list"]).contains("adapter"));
    let mut t = desk.open(&["--screen", "runs"]);
    t.wait_until(|s| s.contains("adapter") && s.contains("loss") && s.contains("Tour 6/10")).unwrap();
    t.wait_until(|s| s.contains("finished")).unwrap();

    // ask the tuned model, then both
    t.send(Key::F(8)).unwrap();
    see(&mut t, "Tour 7/10");
    t.send(Key::F(8)).unwrap();
    see(&mut t, "Tour 8/10");
    press(&mut t, "4");
    see(&mut t, "model + adapter");
    see(&mut t, "sample.png");
    t.send_str("What does the scan show?").unwrap();
    t.send(Key::Enter).unwrap();
    t.wait_until(|s| s.contains("Tour 9/10") && answered(s)).unwrap();
    alt(&mut t, 'c');
    t.wait_until(|s| s.contains("Tour 10/10") && compared(s)).unwrap();

    // keep what was said
    alt(&mut t, 'w');
    see(&mut t, "Markdown");
    t.send(Key::Enter).unwrap();
    see(&mut t, "chat.md");
    t.send(Key::Enter).unwrap();
    see(&mut t, "Saved:");
    let saved = std::fs::read_to_string(desk.temp.path().join("chat.md")).unwrap();
    assert!(saved.contains("What does the scan show?") && saved.contains("sample.png"), "{saved}");
    t.send(Key::F(8)).unwrap();
    t.wait_until(|s| !s.contains("Tour")).unwrap();
    t.send(Key::Esc).unwrap();
    t.wait_stable(Duration::from_millis(200)).unwrap();
    press(&mut t, "q");
    assert!(t.wait_exit().unwrap().success());
}

#[test]
fn the_tour_goes_all_the_way_with_the_fake_engine() {
    let desk = Desk::new("lightbox-fake-engine");
    let answered = |s: &Screen| s.contains("adapter with 1 picture answers: What does the scan show?");
    let compared = |s: &Screen| answered(s) && s.contains("model with 1 picture answers: What does the scan show?");
    the_whole_way(&desk, "60", &answered, &compared);
}

/// A few updates teach nothing; what counts is that a real model is trained and speaks, tuned and not.
#[test]
fn the_tour_goes_all_the_way_with_the_real_engine_on_the_cpu() {
    let desk = Desk::new("lightbox-engine");
    let answered = |s: &Screen| s.contains("tok/s · first after");
    let compared = |s: &Screen| (0..44).any(|row| s.row_text(row).matches("tok/s").count() == 2 || count(s) >= 2);
    the_whole_way(&desk, "12", &answered, &compared);
    let run = desk.run(&["runs", "show", "lightbox-demo/adapter", "--json"]);
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    assert_eq!((run["state"].as_str(), run["step"].as_u64()), (Some("finished"), Some(12)), "{run}");
    assert!(desk.temp.path().join("lightbox-demo/adapter/adapter_model.safetensors").exists());
}

fn count(screen: &Screen) -> usize {
    (0..44).map(|row| screen.row_text(row).matches("tok/s").count()).sum()
}

/// The screen of a run that is going on, from nothing: what someone does who has lost the connection.
#[test]
fn after_a_lost_connection_the_run_is_seen_again_at_once() {
    let desk = Desk::new("lightbox-fake-engine");
    desk.run(&["demo", "--headless", "--prepare", "--quick"]);
    desk.run(&["train", "lightbox-demo/demo.yaml", "max_steps=100000", "--detach"]);
    let mut lost = desk.open(&["--screen", "runs"]);
    see(&mut lost, "running");
    drop(lost); // its terminal is gone
    let mut again = desk.open(&["--screen", "runs"]);
    again.wait_until(|s| s.contains("running") && s.contains("smoothed") && s.contains("adapter")).unwrap();
    let step = |s: &Screen| -> Option<u64> {
        let row = (0..44).map(|row| s.row_text(row)).find(|row| row.contains("step  "))?;
        row.split("step").nth(1)?.trim_start().split('/').next()?.parse().ok()
    };
    let before = step(&again.screen());
    again.wait_until(|s| step(s) > before).unwrap();
    press(&mut again, "q");
    assert!(again.wait_exit().unwrap().success());
}

fn rows(screen: &Screen) -> Vec<String> {
    (0..44).map(|row| screen.row_text(row).trim_end().to_owned()).collect()
}

/// The last line that has something, and the one before it.
fn last_lines(screen: &Screen) -> (String, String) {
    let mut lines = rows(screen).into_iter().rev().filter(|row| !row.is_empty());
    (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

/// `lightbox chat` without a question.
#[test]
fn a_conversation_in_the_shell_streams_is_stopped_and_goes_on() {
    let desk = Desk::new("lightbox-engine");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (model, images) = (root.join("assets/demo-model"), root.join("tests/golden/images"));
    // So hot that it hardly ends by itself.
    let settings = "--device cpu --dtype f32 --temperature 9 --top-k 0 --seed 3 --max-new-tokens 5000";
    let mut args = vec!["chat", "--model", model.to_str().unwrap()];
    args.extend(settings.split(' '));
    let mut t = desk.open(&args);
    let enter = |t: &mut Terminal, text: &str| {
        t.send_str(text).unwrap();
        t.send(Key::Enter).unwrap();
    };
    see(&mut t, "/exit ends");
    enter(&mut t, "/image no/such.png");
    see(&mut t, "no/such.png: there is no such file");
    // Tab completes the name.
    t.send_str(&format!("/image {}/ct_s\t", images.display())).unwrap();
    see(&mut t, "ct_small.png");
    t.send(Key::Enter).unwrap();
    see(&mut t, "1 picture(s) wait for the next question.");
    enter(&mut t, "What is this?");
    // Ctrl-C while it speaks ends the answer, not the program. Where the answer ended by itself meanwhile, then again.
    let speaks = |s: &Screen| {
        let rows = rows(s);
        let asked = rows.iter().rposition(|row| row == "> What is this?");
        asked.is_none_or(|asked| rows.get(asked + 1).is_some_and(|row| !row.is_empty()))
    };
    let stop = |t: &mut Terminal| {
        t.wait_until(speaks).unwrap();
        t.send_str("\x03").unwrap();
        t.wait_until(|s| last_lines(s).0 == ">").unwrap();
        last_lines(&t.screen()).1.ends_with("[stopped]")
    };
    while !stop(&mut t) {
        enter(&mut t, "What is this?");
    }
    // In a line of its own it says how to leave; what was begun is thrown away.
    t.send_str("half a quest\x03").unwrap();
    t.wait_until(|s| last_lines(s) == (">".into(), "/exit or Ctrl-D ends.".into())).unwrap();
    enter(&mut t, "/clear");
    t.wait_until(|s| last_lines(s) == (">".into(), "The conversation is empty.".into())).unwrap();
    // Earlier lines come back.
    t.send(Key::Up).unwrap();
    t.wait_until(|s| last_lines(s).0 == "> /clear").unwrap();
    t.send(Key::Up).unwrap();
    t.wait_until(|s| last_lines(s).0 == "> What is this?").unwrap();
    t.send(Key::Enter).unwrap();
    while !stop(&mut t) {
        enter(&mut t, "What is this?");
    }
    t.send_str("\x04").unwrap();
    assert!(t.wait_exit().unwrap().success());
}
