//! Input that means harm, or comes from a broken program.

use crate::rig::{PICTURE, ROOT, Rig, about, data_url, question, read_reply, request};
use serde_json::json;
use std::io::{BufReader, Read, Write};
use std::path::Path;

#[test]
fn bodies_that_are_no_request_are_answered_and_the_server_goes_on() {
    let rig = Rig::new(&["--max-body", "100000"]);
    let post = |body: &[u8]| rig.request("POST", "/v1/chat/completions", &[], body);
    let deep = [b"{\"model\":".as_slice(), &[b'['; 50_000], b"}"].concat();
    let deep_message = format!(r#"{{"model":"demo-model","messages":{}{}}}"#, "[".repeat(40_000), "]".repeat(40_000));
    for body in [
        &b""[..],
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{\"model\": \"\xc3\x28\"}",
        b"{\"model\": 1e999}",
        &deep,
        deep_message.as_bytes(),
        br#"{"model":"demo-model","messages":[1,2]}"#,
        br#"{"model":"demo-model","messages":[{"role":"user","content":[7,"a",null]}]}"#,
        br#"{"model":"demo-model","messages":[{"role":"user","content":[{"type":"image_url","image_url":7}]}]}"#,
        br#"{"model":"demo-model","messages":[{"role":"user","content":"a","tool_calls":[1]}]}"#,
    ] {
        let reply = post(body);
        assert_eq!(reply.status, 400, "{reply:?}");
        reply.error();
    }
    assert_eq!(rig.chat(&question("on")).status, 200);
}

#[test]
fn a_body_over_the_limit_is_refused_before_and_while_it_comes() {
    let rig = Rig::new(&["--max-body", "1000"]);
    // Announced: nothing of it has to be sent.
    let mut stream = rig.connect();
    stream.write_all(&request("POST", "/v1/chat/completions", &["Content-Length: 99999999999"], b"")).unwrap();
    let reply = read_reply(&mut BufReader::new(stream));
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (413, &json!("body_too_large")));
    // Not announced: it ends at the limit.
    let mut stream = rig.connect();
    let chunks = format!("7d1\r\n{}\r\n", "x".repeat(2001));
    let head = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
        "",
        "",
    ];
    stream.write_all((head.join("\r\n") + &chunks).as_bytes()).unwrap();
    assert_eq!(read_reply(&mut BufReader::new(stream)).status, 413);
    rig.until_open(0);
}

#[test]
fn a_request_with_two_lengths_is_refused_and_nothing_behind_it_is_read() {
    let rig = Rig::new(&[]);
    let smuggled = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let heads = [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", smuggled.len() + 5),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}", smuggled.len() + 5),
        "Content-Length: 5\r\nContent-Length: 50".to_owned(),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding: xchunked\r\nContent-Length: 5".to_owned(),
        "Content-Length: +5".to_owned(),
        "Content-Length : 5".to_owned(),
        "X-Folded: a\r\n b\r\nContent-Length: 5\r\nContent-Length: 50".to_owned(),
    ];
    for lengths in heads {
        let mut stream = rig.connect();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lengths}\r\n\r\n"
        );
        stream.write_all(format!("{head}0\r\n\r\n{smuggled}").as_bytes()).unwrap();
        let mut all = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut all);
        let all = String::from_utf8_lossy(&all);
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{lengths}: {all}");
        assert!(all.starts_with("HTTP/1.1 4"), "{lengths}: {all}");
    }
    assert_eq!(rig.get("/v1/models").status, 200);
}

#[test]
fn pictures_that_are_none_are_the_client_s_fault() {
    let rig = Rig::new(&[]);
    let png = std::fs::read(Path::new(ROOT).join(PICTURE)).unwrap();
    let mut damaged = png.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    // A header that promises 16384 x 16000 pixels.
    let mut bomb = png.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x3e, 0x80]);
    let bad = [
        "data:".to_owned(),
        "data:image/png;base64,".to_owned(),
        "data:image/png;base64,@@@@".to_owned(),
        "data:image/png,abc".to_owned(),
        "data:image/png;base64,aGVsbG8=".to_owned(),
        data_url(&png[..png.len() / 2]),
        data_url(&damaged),
        data_url(&bomb),
        data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "HTTP://169.254.169.254/latest/meta-data".to_owned(),
        "gopher://x".to_owned(),
        String::new(),
    ];
    for url in &bad {
        let reply = rig.chat(&about(&[url], "What?"));
        assert_eq!(reply.status, 400, "{}: {reply:?}", &url[..url.len().min(60)]);
        assert_eq!(reply.json()["error"]["param"], "messages[0].content[0].image_url");
    }
    // Without padding, as some libraries write it; and a wrong type, which nobody believes anyway.
    let unpadded = data_url(&png).trim_end_matches('=').replace("image/png", "image/jpeg");
    assert_eq!(rig.chat(&about(&[&unpadded], "What?")).status, 200);
}

#[test]
fn many_connections_and_half_requests_do_not_keep_others_waiting() {
    let rig = Rig::new(&[]);
    let half = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
    let mut held = Vec::new();
    for i in 0..200 {
        let mut stream = rig.connect();
        // Some say nothing, some half a head, some half a body: the last ones take places in the line.
        stream.write_all(&half[..[0, 40, half.len()][if i < 180 { i % 2 } else { 2 }]]).unwrap();
        held.push(stream);
    }
    rig.until_open(20);
    assert_eq!(rig.chat(&question("on")).status, 200);
    drop(held);
    rig.until_open(0);
}

#[test]
fn what_a_client_writes_reaches_the_log_without_control_codes() {
    let rig = Rig::new(&[]);
    let mut body = question("a");
    body["model"] = json!("evil\u{1b}]0;title\u{7}\nfake line");
    assert_eq!(rig.chat(&body).status, 404);
    let line = rig.says("POST /v1/chat/completions");
    assert!(!line.trim_end().contains(char::is_control) && line.contains(" 404 "), "{line:?}");
}
