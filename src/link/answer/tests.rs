//! The handle over real processes: the fake engine, and shell scripts for workers that misbehave.

use super::*;
use lightbox_core::args::Dtype;
use lightbox_core::chat::{Ask, AskOptions, Conversation, Finish, Message, ModelChoice, Role};
use std::path::Path;

const DEADLINE: Duration = Duration::from_secs(60);

fn fake() -> Command {
    // Tests run in target/PROFILE/deps, programs lie in target/PROFILE.
    let own = std::env::current_exe().unwrap();
    let engine = own.ancestors().nth(2).unwrap().join("lightbox-fake-engine");
    assert!(engine.exists(), "{} is missing: run `cargo build` first", engine.display());
    let mut command = Command::new(engine);
    command.arg("answer");
    for name in ["LIGHTBOX_FAKE_TOKEN_MS", "LIGHTBOX_FAKE_LOAD_MS", "LIGHTBOX_FAKE_DIE_ON"] {
        command.env_remove(name);
    }
    command
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn start(command: Command) -> (Answerer, Receiver<Event>) {
    let (send, events) = channel();
    (Answerer::start_as(command, move |event| drop(send.send(event))).unwrap(), events)
}

#[track_caller]
fn died(events: &Receiver<Event>) -> Died {
    loop {
        if let Event::Died(died) = events.recv_timeout(DEADLINE).unwrap() {
            return died;
        }
    }
}

fn ask(id: u64, text: &str) -> Request {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model");
    let messages = vec![Message { role: Role::User, content: text.into(), images: vec![] }];
    Request::Ask(Ask {
        id,
        model: ModelChoice { model, adapters: vec![], dtype: Dtype::Auto, device: "auto".into() },
        conversation: Conversation { system: None, messages },
        options: AskOptions::default(),
    })
}

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn questions_are_answered_and_dropping_the_handle_ends_the_worker_without_news() {
    let (answerer, events) = start(fake());
    let pid = lock(&answerer.child).id();
    answerer.send(&ask(1, "one two three")).unwrap();
    let mut pieces = String::new();
    let done = loop {
        match events.recv_timeout(DEADLINE).unwrap() {
            Event::Reply(Reply::Text { id: 1, text }) => pieces += &text,
            Event::Reply(Reply::Done(done)) => break done,
            Event::Reply(Reply::Failed { error, .. }) => panic!("{error}"),
            Event::Reply(_) => {}
            Event::Died(died) => panic!("{died}"),
        }
    };
    assert_eq!((done.id, done.finish), (1, Finish::Stop));
    assert_eq!(pieces, "demo-model with 0 pictures answers: one two three");
    assert_eq!(done.text, pieces);
    drop(answerer);
    assert!(events.recv_timeout(DEADLINE).is_err(), "no news, and the channel closes");
    assert!(!is_running(pid));
}

#[test]
fn a_worker_in_the_middle_of_an_answer_goes_when_it_is_dropped() {
    let mut slow = fake();
    slow.env("LIGHTBOX_FAKE_TOKEN_MS", "600000");
    let (answerer, events) = start(slow);
    answerer.send(&ask(1, "x")).unwrap();
    while !matches!(events.recv_timeout(DEADLINE).unwrap(), Event::Reply(Reply::Started { .. })) {}
    let pid = lock(&answerer.child).id();
    drop(answerer);
    assert!(events.recv_timeout(DEADLINE).is_err());
    assert!(!is_running(pid));
}

#[test]
fn a_worker_that_does_not_listen_is_killed_and_nobody_waits_for_it() {
    // `exec`: the shell itself, so that no grandchild is left behind.
    let (answerer, events) = start(shell("exec sleep 600"));
    let pid = lock(&answerer.child).id();
    for id in 0..1000 {
        answerer.send(&ask(id, &"a pipe is full after 64 KB ".repeat(10))).unwrap();
    }
    let started = Instant::now();
    drop(answerer);
    assert!(started.elapsed() < MOMENT + Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(events.recv_timeout(DEADLINE).is_err(), "its end was wanted");
    assert!(!is_running(pid));
}

#[test]
fn a_death_in_the_middle_of_an_answer_is_told_with_the_last_words() {
    let mut deadly = fake();
    deadly.env("LIGHTBOX_FAKE_DIE_ON", "poison");
    let (answerer, events) = start(deadly);
    answerer.send(&ask(1, "a cup of poison please")).unwrap();
    let death = died(&events);
    assert_eq!((death.code, death.signal), (Some(70), None));
    assert!(death.to_string().contains("exit code 70\nthe question says poison"), "{death}");
    let end = Instant::now() + DEADLINE;
    while answerer.send(&ask(2, "x")).is_ok() {
        assert!(Instant::now() < end, "a dead worker takes no questions");
    }
}

#[test]
fn a_signal_and_a_missing_libtorch_are_explained() {
    let (_answerer, events) = start(shell("kill -9 $$"));
    let death = died(&events);
    assert_eq!((death.code, death.signal), (None, Some(9)));
    assert!(death.to_string().contains("memory ran out"), "{death}");

    let (_answerer, events) = start(shell("echo 'libtorch_cpu.so: \x1b[31mcannot open' >&2; exit 127"));
    let text = died(&events).to_string();
    assert!(
        text.starts_with(worker::NO_LIBTORCH) && text.contains("cannot open") && !text.contains('\x1b'),
        "{text:?}"
    );
}

#[test]
fn only_the_end_of_a_long_stderr_is_kept_and_what_is_no_reply_is_said() {
    let (_answerer, events) =
        start(shell("echo hello; i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done"));
    let Event::Reply(Reply::Failed { id: None, error, .. }) = events.recv_timeout(DEADLINE).unwrap() else { panic!() };
    assert!(error.contains("no reply"), "{error}");
    let death = died(&events);
    assert_eq!(death.last_stderr.len(), STDERR_LINES);
    assert_eq!(death.last_stderr.last().unwrap(), "line 1999");
}

#[test]
fn a_program_that_is_not_there_is_an_error_at_once() {
    let error = Answerer::start_as(Command::new("/nowhere/lightbox-engine"), |_| {}).err().unwrap();
    assert!(format!("{error:#}").contains("cannot start /nowhere/lightbox-engine"), "{error:#}");
}
