//! A server in a process of its own and a client that says exactly the bytes that a test wants.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_secs(60);
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
pub const PICTURE: &str = "tests/golden/images/ct_small.png";

pub struct Rig {
    child: Child,
    pub port: u16,
    pub models: Value,
    /// Lines of stderr.
    said: Receiver<String>,
}

/// The demo's model on the CPU, over the fake engine.
pub fn command() -> Command {
    let mut command = without_model();
    command.args(["--model", "assets/demo-model", "--device", "cpu", "--dtype", "f32"]);
    command
}

/// The command line without a model, over the fake engine.
pub fn without_model() -> Command {
    let fake = beside("lightbox-fake-engine");
    assert!(fake.exists(), "{} is missing: run `cargo build` first", fake.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
    for name in ["LIGHTBOX_FAKE_TOKEN_MS", "LIGHTBOX_FAKE_LOAD_MS", "LIGHTBOX_FAKE_DIE_ON", "LIGHTBOX_API_KEY"] {
        command.env_remove(name);
    }
    command.current_dir(ROOT).env("LIGHTBOX_ENGINE", fake);
    command.args(["serve", "--port", "0", "--json"]);
    command
}

pub fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_lightbox")).with_file_name(name)
}

impl Rig {
    pub fn new(args: &[&str]) -> Self {
        Self::with(args, &[])
    }

    pub fn with(args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = command();
        command.args(args).envs(env.iter().copied());
        Self::start(command)
    }

    /// Waits for the line that says where it listens.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, said) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|n| n > 0) {
                let _ = send.send(std::mem::take(&mut line));
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(start) = serde_json::from_str::<Value>(&line) else {
            panic!("no start line, but: {:?}", said.iter().collect::<Vec<_>>());
        };
        assert_eq!(start["event"], "listening");
        let port = start["port"].as_u64().unwrap() as u16;
        Self { child, port, models: start["models"].clone(), said }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// One request on a connection of its own.
    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream.write_all(&request(method, path, headers, body)).unwrap();
        read_reply(&mut BufReader::new(stream))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], b"")
    }

    pub fn chat(&self, body: &Value) -> Reply {
        self.request("POST", "/v1/chat/completions", &[], body.to_string().as_bytes())
    }

    /// A question, sent; the answer is not waited for.
    pub fn open(&self, body: &Value) -> BufReader<TcpStream> {
        let mut stream = self.connect();
        stream.write_all(&request("POST", "/v1/chat/completions", &[], body.to_string().as_bytes())).unwrap();
        BufReader::new(stream)
    }

    /// The first line of stderr with this in it; lines before it are gone.
    #[track_caller]
    pub fn says(&self, what: &str) -> String {
        let end = Instant::now() + DEADLINE;
        let mut before = String::new();
        loop {
            match self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(what) => return line,
                Ok(line) => before += &line,
                Err(e) => panic!("{e}: no line with {what:?} in\n{before}"),
            }
        }
    }

    /// Asks /health until so many requests are open.
    #[track_caller]
    pub fn until_open(&self, open: u64) {
        let end = Instant::now() + DEADLINE;
        while self.get("/health").json()["open_requests"] != open {
            assert!(Instant::now() < end, "not {open} open requests");
            std::thread::yield_now();
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to a child that was not waited for yet.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// The process that answers: the server's only child.
    pub fn worker(&self) -> i32 {
        children(self.child.id())[0]
    }

    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the server goes on");
            std::thread::yield_now();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child belongs to the thread that started it.
pub fn children(pid: u32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// A request as bytes; a header of `headers` replaces the usual one of its name.
pub fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let length = format!("Content-Length: {}", body.len());
    for usual in ["Host: localhost", "Content-Type: application/json", &length] {
        let name = usual.split(':').next().unwrap();
        if !headers.iter().any(|header| header.starts_with(name)) {
            head += &format!("{usual}\r\n");
        }
    }
    for header in headers {
        head += &format!("{header}\r\n");
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The message of an error in OpenAI's shape.
    #[track_caller]
    pub fn error(&self) -> String {
        let json = self.json();
        assert!(json["error"]["type"].is_string() && json["error"].get("param").is_some(), "{json}");
        json["error"]["message"].as_str().unwrap().to_owned()
    }

    /// The events of a stream.
    pub fn events(&self) -> Vec<String> {
        let text = std::str::from_utf8(&self.body).expect("whole characters");
        let events = text.split("\n\n").filter(|event| !event.is_empty());
        events.map(|event| event.strip_prefix("data: ").expect("an event").to_owned()).collect()
    }
}

#[track_caller]
pub fn read_reply(stream: &mut impl BufRead) -> Reply {
    let (status, head) = read_head(stream);
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut body = Vec::new();
    if value("transfer-encoding:") == Some("chunked") {
        while let Some(chunk) = read_chunk(stream) {
            body.extend(chunk);
        }
    } else {
        body.resize(value("content-length:").unwrap_or("0").parse().unwrap(), 0);
        stream.read_exact(&mut body).unwrap();
    }
    Reply { status, head, body }
}

#[track_caller]
pub fn read_head(stream: &mut impl BufRead) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "the connection ended in the head: {head:?}");
    }
    let status = head.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    (status, head.to_lowercase())
}

/// A piece of a body in pieces; `None`: the last one was it.
pub fn read_chunk(stream: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let size = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk).unwrap();
    chunk.truncate(size);
    (size > 0).then_some(chunk)
}

pub fn question(text: &str) -> Value {
    json!({"model": "demo-model", "messages": [{"role": "user", "content": text}]})
}

/// A question about pictures, the text after them.
pub fn about(urls: &[&str], text: &str) -> Value {
    let mut parts: Vec<Value> =
        urls.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url, "detail": "auto"}})).collect();
    parts.push(json!({"type": "text", "text": text}));
    json!({"model": "demo-model", "messages": [{"role": "user", "content": parts}]})
}

pub fn data_url(bytes: &[u8]) -> String {
    use base64::Engine;
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}
