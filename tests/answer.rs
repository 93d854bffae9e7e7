//! The worker of the Chat screen from the outside: JSON lines to the built programs. What both must do alike is asked of
//! the fake engine, and of the real one where it is built (`make build`).

use lightbox_core::args::Dtype;
use lightbox_core::chat::{
    Ask, AskOptions, Conversation, Done, Finish, Loading, Message, ModelChoice, Reply, Request, Role,
};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);
const PICTURE: &str = "tests/golden/images/ct_small.png";

struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    replies: Receiver<Reply>,
}

impl Worker {
    fn start(program: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        for name in ["LIGHTBOX_FAKE_TOKEN_MS", "LIGHTBOX_FAKE_LOAD_MS", "LIGHTBOX_FAKE_DIE_ON"] {
            command.env_remove(name);
        }
        command.arg("answer").current_dir(env!("CARGO_MANIFEST_DIR")).envs(env.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (send, replies) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let line = line.unwrap();
                let _ = send.send(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}")));
            }
        });
        let worker = Self { child, stdin, replies };
        assert!(matches!(worker.next(), Reply::Ready { devices, .. } if devices.contains(&"cpu".to_owned())));
        worker
    }

    fn fake(env: &[(&str, &str)]) -> Self {
        let program = beside("lightbox-fake-engine");
        assert!(program.exists(), "{} is missing: run `cargo build` first", program.display());
        Self::start(&program, env)
    }

    fn send(&mut self, request: &Request) {
        writeln!(self.stdin.as_mut().unwrap(), "{}", serde_json::to_string(request).unwrap()).unwrap();
    }

    #[track_caller]
    fn next(&self) -> Reply {
        self.replies.recv_timeout(DEADLINE).expect("a reply in time")
    }

    #[track_caller]
    fn done(&self) -> Done {
        loop {
            match self.next() {
                Reply::Done(done) => return done,
                Reply::Failed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }

    #[track_caller]
    fn until(&self, what: impl Fn(&Reply) -> bool) {
        while !what(&self.next()) {}
    }

    #[track_caller]
    fn ends(mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the worker goes on");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_lightbox")).with_file_name(name)
}

fn question(id: u64, text: &str, images: &[&str], adapters: &[&Path]) -> Ask {
    let images = images.iter().map(PathBuf::from).collect();
    let adapters = adapters.iter().map(|dir| dir.to_path_buf()).collect();
    Ask {
        id,
        model: ModelChoice { model: "assets/demo-model".into(), adapters, dtype: Dtype::F32, device: "cpu".into() },
        conversation: Conversation {
            system: None,
            messages: vec![Message { role: Role::User, content: text.into(), images }],
        },
        options: AskOptions { do_sample: Some(false), max_new_tokens: Some(24), ..AskOptions::default() },
    }
}

fn ask(id: u64, text: &str) -> Request {
    Request::Ask(question(id, text, &[], &[]))
}

#[test]
fn the_fake_engine_says_who_was_asked_what_word_by_word() {
    let temp = tempfile::tempdir().unwrap();
    let tuned = temp.path().join("checkpoint-40");
    std::fs::create_dir(&tuned).unwrap();
    let mut worker = Worker::fake(&[]);
    worker.send(&Request::Ask(question(1, "<image>What is this?", &[PICTURE, PICTURE], &[&tuned])));
    let model = question(1, "", &[], &[&tuned]).model;
    assert_eq!(worker.next(), Reply::Loading { model, what: Loading::Base });
    assert!(matches!(worker.next(), Reply::Loaded { .. }));
    assert_eq!(worker.next(), Reply::Started { id: 1, prompt_tokens: 35, image_tokens: 32 });
    let mut pieces = vec![];
    let done = loop {
        match worker.next() {
            Reply::Text { id: 1, text } => pieces.push(text),
            Reply::Done(done) => break done,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(pieces, ["checkpoint-40", " with", " 2", " pictures", " answers:", " What", " is", " this?"]);
    assert_eq!((done.text, done.tokens, done.finish), (pieces.concat(), 8, Finish::Stop));

    worker.send(&ask(2, "And you?"));
    assert!(matches!(worker.next(), Reply::Loading { what: Loading::Adapter, .. }), "the base stays");
    assert_eq!(worker.done().text, "demo-model with 0 pictures answers: And you?");
    let mut short = question(3, "a b c d e f g", &[], &[]);
    short.options.max_new_tokens = Some(3);
    worker.send(&Request::Ask(short));
    assert_eq!(worker.done().finish, Finish::Length);
    worker.send(&Request::Quit);
    assert!(worker.ends().success());
}

#[test]
fn the_fake_engine_can_be_stopped_while_it_speaks_loads_and_lets_wait() {
    let mut worker = Worker::fake(&[("LIGHTBOX_FAKE_TOKEN_MS", "20")]);
    worker.send(&ask(1, &"word ".repeat(20)));
    worker.send(&ask(2, "waits"));
    worker.until(|reply| matches!(reply, Reply::Text { id: 1, .. }));
    worker.send(&ask(1, "the same id"));
    worker.until(|reply| matches!(reply, Reply::Failed { id: None, .. }));
    worker.send(&Request::Stop { id: 2 });
    let waited = worker.done();
    assert_eq!((waited.id, waited.finish, waited.tokens), (2, Finish::Cancelled, 0));
    worker.send(&Request::Stop { id: 1 });
    let spoke = worker.done();
    assert_eq!((spoke.id, spoke.finish), (1, Finish::Cancelled));
    assert!((1..20).contains(&spoke.tokens) && spoke.text.starts_with("demo-model"));
    worker.send(&Request::Stop { id: 1 }); // too late: nothing happens
    worker.send(&ask(3, "on"));
    assert_eq!(worker.done().id, 3);

    // Far longer than the deadline: `done` can only come because the question does not wait for the model.
    let mut worker = Worker::fake(&[("LIGHTBOX_FAKE_LOAD_MS", "600000")]);
    worker.send(&ask(1, "loads"));
    worker.until(|reply| matches!(reply, Reply::Loading { .. }));
    worker.send(&Request::Stop { id: 1 });
    assert_eq!(worker.done().finish, Finish::Cancelled);
    // And the end of stdin does not wait either.
    worker.stdin = None;
    assert!(worker.ends().success());
}

#[test]
fn the_fake_engine_fails_and_dies_as_the_real_one_may() {
    let mut worker = Worker::fake(&[("LIGHTBOX_FAKE_DIE_ON", "poison")]);
    worker.send(&Request::Ask(question(1, "What?", &["no/such.png"], &[])));
    worker.until(|r| matches!(r, Reply::Failed { id: Some(1), error, .. } if error.contains("no/such.png")));
    let mut gone = question(2, "What?", &[], &[]);
    gone.model.model = "no/such/model".into();
    worker.send(&Request::Ask(gone));
    worker.until(|r| matches!(r, Reply::Failed { id: Some(2), error, .. } if error.contains("no such model folder")));
    writeln!(worker.stdin.as_mut().unwrap(), "{{\"do\":\"sing\",\"id\":3}}").unwrap();
    worker.until(|r| matches!(r, Reply::Failed { id: Some(3), .. }));
    worker.send(&ask(4, "poisonous is another word"));
    assert_eq!(worker.done().id, 4, "it lives on");
    worker.send(&ask(5, "some poison"));
    assert_eq!(worker.ends().code(), Some(70));
}

#[test]
fn the_real_engine_answers_stops_and_ends_with_its_stdin() {
    let program = beside("lightbox-engine");
    if !program.exists() {
        println!("skipped: {} is not built; `make build` does it", program.display());
        return;
    }
    let mut worker = Worker::start(&program, &[]);
    worker.send(&Request::Ask(question(1, "Describe the image.", &[PICTURE], &[])));
    let answer = worker.done();
    let chat = Command::new(&program)
        .args(["chat", "--model", "assets/demo-model", "--device", "cpu", "--dtype", "f32", "--greedy", "--json"])
        .args(["--max-new-tokens", "24", "--image", PICTURE, "--prompt", "Describe the image."])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let chat: serde_json::Value = serde_json::from_slice(&chat.stdout).unwrap();
    assert_eq!(chat["text"], answer.text.as_str());
    assert_eq!(chat["token_ids"].as_array().map(Vec::len), Some(answer.tokens));
    assert_eq!(chat["prompt_tokens"], answer.prompt_tokens);

    worker.send(&Request::Ask(question(2, "What?", &["no/such.png"], &[])));
    worker.until(|r| matches!(r, Reply::Failed { id: Some(2), error, .. } if error.contains("no/such.png")));
    // So hot that it goes on for hundreds of tokens: in the middle of it stdin ends, and the worker with it.
    let mut long = question(3, "Hello", &[], &[]);
    let options = AskOptions {
        do_sample: Some(true),
        temperature: Some(1000.0),
        top_k: Some(0),
        top_p: Some(1.0),
        seed: Some(2),
        ..long.options
    };
    long.options = AskOptions { max_new_tokens: Some(100_000), ..options };
    worker.send(&Request::Ask(long));
    worker.until(|reply| matches!(reply, Reply::Text { id: 3, .. }));
    worker.stdin = None;
    assert!(worker.ends().success());
}
