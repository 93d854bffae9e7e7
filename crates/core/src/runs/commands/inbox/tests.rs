use super::super::{CheckpointNow, EvaluateNow, SampleNow, Stop, StopWhen, by, send};
use super::*;
use crate::runs::edits::Edit;
use std::os::unix::fs::PermissionsExt;

fn run() -> (tempfile::TempDir, RunDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = RunDir::create(folder.path().join("run")).unwrap();
    (folder, dir)
}

fn put(dir: &RunDir, id: &str, text: &str) {
    std::fs::write(file(&dir.join(RunDir::COMMANDS), id), text).unwrap();
}

#[test]
fn every_command_arrives_once_and_in_order_as_it_was_sent() {
    let (_folder, dir) = run();
    let commands = [
        Command::Pause,
        Command::Resume,
        Command::Stop(Stop { when: StopWhen::AfterEval, checkpoint: false }),
        Command::Kill,
        Command::CheckpointNow(CheckpointNow { pin: true, label: Some("before the change".into()) }),
        Command::EvaluateNow(EvaluateNow { limit: Some(5) }),
        Command::SampleNow(SampleNow { prompt: Some("<image>What\nis it?".into()), n: 2, ..SampleNow::default() }),
        Command::Set(Edit::LrScale(0.5)),
        Command::Ping,
    ];
    let mut inbox = Inbox::new(&dir);
    for command in &commands {
        send(&dir, command.clone(), "me@here").unwrap();
    }
    assert_eq!(waiting(&dir).len(), commands.len());
    let received = inbox.poll();
    for (received, command) in received.iter().zip(&commands) {
        assert_eq!((received.command.as_ref(), received.by.as_str()), (Ok(command), "me@here"));
        assert_eq!(received.name(), command.name());
    }
    assert_eq!(received.len(), commands.len());
    assert_eq!(inbox.poll(), [], "though the files are still there");
    received.iter().for_each(|r| inbox.done(&r.id));
    assert_eq!(waiting(&dir), []);
    put(&dir, &received[0].id, "{}");
    assert_eq!(inbox.poll(), [], "the same id again");
}

#[test]
fn peeking_takes_nothing_out() {
    let (_folder, dir) = run();
    let mut inbox = Inbox::new(&dir);
    send(&dir, Command::Pause, "").unwrap();
    let id = send(&dir, Command::Kill, "").unwrap();
    assert!(inbox.peek(|c| matches!(c, Command::Ping)).is_none());
    assert_eq!(inbox.peek(|c| matches!(c, Command::Kill)).unwrap().id, id);
    inbox.done(&id);
    assert_eq!(inbox.poll().len(), 1);
}

#[test]
fn whatever_lies_in_the_box_gets_an_answer_and_nothing_hangs() {
    let (folder, dir) = run();
    let mut inbox = Inbox::new(&dir);
    let path = dir.join(RunDir::COMMANDS);
    let long = format!(r#"{{"v":1,"id":"07","cmd":"ping","by":"{}"}}"#, "x".repeat(MAX_BYTES));
    for (id, text, _) in cases(&long) {
        put(&dir, id, text);
    }
    std::fs::write(folder.path().join("secret"), r#"{"v":1,"id":"20","cmd":"kill"}"#).unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), file(&path, "20")).unwrap();
    let pipe = std::ffi::CString::new(file(&path, "21").to_str().unwrap()).unwrap();
    // SAFETY: the name ends in NUL.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    std::fs::create_dir(file(&path, "22")).unwrap();
    std::fs::write(path.join(".tmp-x.json"), "half").unwrap();
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    let received = inbox.poll();
    let links = [("20", "", "symbolic link"), ("21", "", "no plain file"), ("22", "", "no plain file")];
    let expected: Vec<_> = cases(&long).into_iter().chain(links).collect();
    assert_eq!(received.len(), expected.len());
    for (received, (id, text, says)) in received.iter().zip(expected) {
        let why = received.command.as_ref().unwrap_err();
        assert!(received.id == id && why.contains(says), "{text:.200}: {why}");
        assert!(!why.chars().any(char::is_control), "{why:?}");
    }
    assert_eq!(received[3].name(), "format_disk");
}

fn cases(long: &str) -> Vec<(&'static str, &str, &'static str)> {
    vec![
        ("00", "", "not a command"),
        ("01", "{\"v\":1,\"id\":\"01\",\"cmd\":\"st", "not a command"),
        ("02", "[1]", "not a command"),
        ("03", r#"{"v":1,"id":"03","cmd":"format_disk"}"#, "unknown variant `format_disk`"),
        ("04", r#"{"v":2,"id":"04","cmd":"stop"}"#, "newer"),
        ("05", r#"{"v":1,"id":"55","cmd":"stop"}"#, "file's name"),
        ("06", r#"{"id":"06","cmd":"stop"}"#, "no version"),
        ("07", long, "longer than"),
        ("08", r#"{"v":1,"id":"08","cmd":"sample_now","args":{"n":65}}"#, "at most 64"),
        ("09", r#"{"v":1,"id":"09","cmd":"set","args":{"key":"lr_scale","value":-1}}"#, "0 or more"),
        ("10", r#"{"v":1,"id":"10","cmd":"set"}"#, "not a command"),
        ("11", r#"{"v":1,"id":"11","cmd":"\u001b]52;c;eA==\u0007"}"#, "not a command"),
    ]
}

#[test]
fn arguments_may_be_left_out() {
    let (_folder, dir) = run();
    let mut inbox = Inbox::new(&dir);
    put(&dir, "1", r#"{"v":1,"id":"1","cmd":"stop"}"#);
    put(&dir, "2", r#"{"v":1,"id":"2","cmd":"pause","args":{}}"#);
    put(&dir, "3", r#"{"v":1,"id":"3","cmd":"ping","args":null,"later":1}"#);
    let commands: Vec<_> = inbox.poll().into_iter().map(|r| r.command.unwrap()).collect();
    assert_eq!(commands, [Command::Stop(Stop::default()), Command::Pause, Command::Ping]);
}

#[test]
fn an_old_stop_does_not_end_a_new_launch_but_an_old_setting_holds() {
    let (_folder, dir) = run();
    for command in [Command::Stop(Stop::default()), Command::Kill, Command::Pause, Command::Set(Edit::SaveSteps(5))] {
        send(&dir, command, "").unwrap();
    }
    let mut same_launch = Inbox::of_launch(&dir, 0);
    assert!(same_launch.poll().iter().all(|r| r.command.is_ok()), "a restart after a crash still obeys");
    let mut later = Inbox::of_launch(&dir, u64::MAX);
    assert!(later.peek(|_| true).is_some_and(|r| r.name() == "set"));
    let received = later.poll();
    for stale in &received[..3] {
        assert!(stale.command.as_ref().unwrap_err().contains("send it again"), "{stale:?}");
    }
    assert!(received[3].command.is_ok());
    send(&dir, Command::Pause, "").unwrap();
    assert!(later.poll()[0].command.is_ok(), "what comes while the worker looks is never stale");
}

#[test]
fn the_box_is_the_owners_and_is_made_where_it_is_missing() {
    let (_folder, dir) = run();
    assert_eq!(waiting(&dir), []);
    send(&dir, Command::Ping, &by()).unwrap();
    let mode = std::fs::metadata(dir.join(RunDir::COMMANDS)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(by().contains('@'));
    let prompt = Some("x".repeat(MAX_BYTES));
    let error = send(&dir, Command::SampleNow(SampleNow { prompt, ..SampleNow::default() }), "").unwrap_err();
    assert!(error.to_string().contains("at most"), "{error}");
}
