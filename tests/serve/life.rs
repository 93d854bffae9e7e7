//! The server and its worker from start to end.

use crate::rig::{DEADLINE, Rig, beside, children, command, question, read_chunk, read_head, read_reply};
use serde_json::{Value, json};
use std::io::{BufRead, Write};

fn streamed(text: &str) -> Value {
    json!({"model": "demo-model", "stream": true, "messages": [{"role": "user", "content": text}]})
}

#[test]
fn a_worker_that_dies_is_started_again_and_open_requests_are_told() {
    let rig = Rig::with(&[], &[("LIGHTBOX_FAKE_DIE_ON", "poison"), ("LIGHTBOX_FAKE_TOKEN_MS", "20")]);
    // One speaks, one waits behind it; then comes the one that kills.
    let mut speaking = rig.open(&streamed("a b c d e f g h i j k l m n o p"));
    assert_eq!(read_head(&mut speaking).0, 200);
    let mut poison = rig.open(&question("some poison"));
    rig.until_open(2);
    let mut waiting = rig.open(&question("never heard"));
    rig.until_open(3);
    while read_chunk(&mut speaking).is_some() {}
    for lost in [&mut poison, &mut waiting] {
        let reply = read_reply(lost);
        assert_eq!((reply.status, &reply.json()["error"]["type"]), (503, &json!("server_error")), "{reply:?}");
        assert!(reply.error().contains("worker died") && reply.head.contains("retry-after: "), "{reply:?}");
    }
    rig.says("it is started again");
    assert_eq!(rig.chat(&question("on")).status, 200);
}

#[test]
fn a_worker_killed_while_it_speaks_ends_the_stream_with_an_error_and_without_done() {
    let rig = Rig::with(&[], &[("LIGHTBOX_FAKE_TOKEN_MS", "20")]);
    let mut stream = rig.open(&streamed(&"word ".repeat(100_000)));
    assert_eq!(read_head(&mut stream).0, 200);
    read_chunk(&mut stream).unwrap();
    let worker = rig.worker();
    // SAFETY: a plain system call; the worker is the server's child, which lives.
    assert_eq!(unsafe { libc::kill(worker, libc::SIGKILL) }, 0);
    let mut last = Vec::new();
    while let Some(chunk) = read_chunk(&mut stream) {
        last = chunk;
    }
    let event = String::from_utf8(last).unwrap();
    let json: Value = serde_json::from_str(event.trim_end().trim_start_matches("data: ")).unwrap();
    assert_eq!(json["error"]["code"], "worker_unavailable", "{json}");
    assert_eq!(rig.chat(&question("on")).status, 200);
}

#[test]
fn a_worker_that_talks_nonsense_is_lived_with_and_is_told_of() {
    let temp = tempfile::tempdir().unwrap();
    let script = temp.path().join("engine");
    let write = |text: String| {
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let with_script = || {
        let mut command = command();
        command.env("LIGHTBOX_ENGINE", &script);
        command
    };
    // When the model is loaded: a word for nobody, bytes that are no UTF-8, JSON that is no reply.
    let fake = beside("lightbox-fake-engine");
    let nonsense = r#"s/.*"event":"loaded".*/&\n{"event":"text","id":99,"text":"x"}\n\xff\xfe\n[]/"#;
    write(format!("#!/bin/sh\n{} \"$@\" | sed -u '{nonsense}'\n", fake.display()));
    let rig = Rig::start(with_script());
    rig.says("no reply");
    assert_eq!(rig.chat(&question("on")).status, 200);
    // Instead of a model: the server does not start.
    write("#!/bin/sh\necho '{'\ncat >/dev/null\n".to_owned());
    let output = with_script().output().unwrap();
    assert_eq!(output.status.code(), Some(12));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no reply"));
}

#[test]
fn a_client_that_goes_away_stops_its_answer() {
    let rig = Rig::with(&["--max-waiting", "2"], &[("LIGHTBOX_FAKE_TOKEN_MS", "20")]);
    // Each would take half an hour.
    let endless = "word ".repeat(100_000);
    let mut stream = rig.open(&streamed(&endless));
    read_head(&mut stream);
    read_chunk(&mut stream).unwrap();
    let whole = rig.open(&question(&endless));
    rig.until_open(2);
    drop(whole);
    rig.until_open(1);
    drop(stream);
    rig.until_open(0);
    assert_eq!(rig.chat(&question("on")).status, 200);
}

#[test]
fn a_signal_lets_running_answers_finish_and_a_second_one_does_not() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut rig = Rig::with(&[], &[("LIGHTBOX_FAKE_TOKEN_MS", "20")]);
        let mut running = rig.open(&question("a b c d e f g h"));
        rig.until_open(1);
        rig.signal(signal);
        rig.says("ending");
        let reply = read_reply(&mut running);
        assert!(reply.status == 200 && reply.json()["choices"][0]["finish_reason"] == "stop", "{reply:?}");
        assert_eq!(rig.ends().code(), Some(0));
    }
    let mut rig = Rig::with(&[], &[("LIGHTBOX_FAKE_TOKEN_MS", "20")]);
    let _running = rig.open(&question(&"word ".repeat(100_000)));
    rig.until_open(1);
    rig.signal(libc::SIGTERM);
    rig.says("ending");
    rig.signal(libc::SIGTERM);
    rig.says("cut off");
    assert_eq!(rig.ends().code(), Some(0));
}

#[test]
fn the_grace_time_ends_what_does_not_finish() {
    let mut rig = Rig::with(&["--grace", "0"], &[("LIGHTBOX_FAKE_TOKEN_MS", "20")]);
    let _running = rig.open(&question(&"word ".repeat(100_000)));
    rig.until_open(1);
    rig.signal(libc::SIGTERM);
    rig.says("cut off");
    assert_eq!(rig.ends().code(), Some(0));
}

#[test]
fn what_does_not_fit_is_said_before_anything_listens() {
    let refused = |args: &[&str], env: &[(&str, &str)]| {
        let output = command().args(args).envs(env.iter().copied()).output().unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (args, word) in [
        (&["--host", "0.0.0.0"][..], "LIGHTBOX_API_KEY"),
        (&["--api-key", ""], "API key is empty"),
        (&["--allow-dir", "no/such/folder"], "no/such/folder"),
        (&["--adapter", "a=no/such/adapter"], "no/such/adapter"),
        (&["--adapter", "demo-model=assets/demo-model"], "two models are called demo-model"),
        (&["--image-max-pixels", "100", "--image-min-pixels", "200"], "image_min_pixels"),
        (&["--profile", "no/such/profile.yaml"], "no/such/profile.yaml"),
    ] {
        let (code, said) = refused(args, &[]);
        assert!(code == Some(10) && said.contains(word), "{args:?}: {code:?} {said}");
    }
    let taken = Rig::new(&[]);
    let (code, said) = refused(&["--port", &taken.port.to_string()], &[]);
    assert!(code == Some(10) && said.contains("cannot listen on 127.0.0.1:"), "{code:?} {said}");
    let (code, said) = refused(&[], &[("LIGHTBOX_ENGINE", "/bin/false")]);
    assert!(code == Some(1) && said.contains("exit code 1"), "{code:?} {said}");
    let (code, _) = refused(&[], &[("LIGHTBOX_ENGINE", "/no/such/engine")]);
    assert_eq!(code, Some(127));
}

#[test]
fn a_signal_while_the_model_loads_ends_the_server() {
    use std::process::Stdio;
    let mut command = command();
    command.env("LIGHTBOX_FAKE_LOAD_MS", "600000").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // The worker is there as soon as the signals are taken.
    let end = std::time::Instant::now() + DEADLINE;
    while children(child.id()).is_empty() {
        assert!(std::time::Instant::now() < end, "no worker");
        std::thread::yield_now();
    }
    // SAFETY: a signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("", Some(0)));
}

#[test]
fn a_key_is_asked_for_everywhere_but_for_health() {
    let rig = Rig::with(&[], &[("LIGHTBOX_API_KEY", "secret-key")]);
    let body = question("a").to_string();
    let ask = |headers: &[&str]| rig.request("POST", "/v1/chat/completions", headers, body.as_bytes());
    for headers in [
        &[][..],
        &["Authorization: Bearer wrong"],
        &["Authorization: Bearer secret-keyy"],
        &["Authorization: Bearer secret-ke"],
        &["Authorization: Basic secret-key"],
        &["Authorization: secret-key"],
    ] {
        let reply = ask(headers);
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (401, &json!("invalid_api_key")), "{headers:?}");
    }
    assert_eq!(ask(&["Authorization: Bearer secret-key"]).status, 200);
    assert_eq!(ask(&["Authorization: bearer secret-key", "Host: model.example.com"]).status, 200);
    assert_eq!((rig.get("/v1/models").status, rig.get("/health").status), (401, 200));
}

#[test]
fn a_page_from_elsewhere_cannot_ask_a_server_without_a_key() {
    let rig = Rig::new(&[]);
    let body = question("a").to_string();
    let ask = |headers: &[&str]| rig.request("POST", "/v1/chat/completions", headers, body.as_bytes()).status;
    assert_eq!(ask(&["Host: evil.example.com"]), 403);
    assert_eq!(ask(&["Content-Type: text/plain"]), 415);
    for host in ["Host: localhost:8000", "Host: 127.0.0.1:8000", "Host: [::1]:8000"] {
        assert_eq!(ask(&[host, "Content-Type: application/json; charset=utf-8"]), 200, "{host}");
    }
    assert_eq!(rig.request("OPTIONS", "/v1/chat/completions", &[], b"").status, 405);
    assert_eq!(rig.get("/v2/nowhere").status, 404);
    assert_eq!(rig.get("/v1/chat/completions").status, 405);
    let mut kept = rig.connect();
    // A connection is used again.
    for _ in 0..2 {
        kept.write_all(&crate::rig::request("GET", "/health", &[], b"")).unwrap();
        assert_eq!(read_reply(&mut std::io::BufReader::new(&kept)).status, 200);
    }
}
