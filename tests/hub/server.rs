//! A Hub of a few files on this machine, that fails as it is told: Hugging Face's routes, small files by a relative
//! redirect, large ones by one to another host ("CDN") that must not see the token; and ModelScope's.

use super::http::{Head, refuse, reply};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const TOKEN: &str = "hf_good";
/// Files from so many bytes on come from the CDN.
const LARGE: usize = 10_000;

/// What goes wrong with the body of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// One byte in the middle is another.
    Flip,
    /// The file is one byte longer than the listing says.
    TooLong,
    /// An HTML page, with status 200.
    Page,
    /// The Hub itself, or for large files the CDN, answers so.
    Status(u16),
    /// Ranges are not known.
    NoRange,
    /// So many bytes, then nothing until the server is dropped.
    Stall(usize),
}

#[derive(Debug, Clone)]
pub struct Request {
    pub cdn: bool,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

struct File {
    path: String,
    bytes: Vec<u8>,
    hash: String,
}

struct Shared {
    files: Vec<File>,
    gated: bool,
    /// Added to the size of the last file in the listing.
    claimed: u64,
    cdn: String,
    /// Which file, what, how often.
    faults: Mutex<Vec<(String, Fault, usize)>>,
    log: Mutex<Vec<Request>>,
    over: (Mutex<bool>, Condvar),
}

pub struct Server {
    pub url: String,
    shared: Arc<Shared>,
}

/// Ends what stalls; threads that wait for connections end with the test's process.
impl Drop for Server {
    fn drop(&mut self) {
        *self.shared.over.0.lock().unwrap() = true;
        self.shared.over.1.notify_all();
    }
}

impl Server {
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        Self::with(files, false, 0)
    }

    pub fn gated(files: &[(&str, &[u8])]) -> Self {
        Self::with(files, true, 0)
    }

    /// The last file is said to be so much larger.
    pub fn claiming(files: &[(&str, &[u8])], more: u64) -> Self {
        Self::with(files, false, more)
    }

    fn with(files: &[(&str, &[u8])], gated: bool, claimed: u64) -> Self {
        let (hub, cdn) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let shared = Arc::new(Shared {
            files: files
                .iter()
                .map(|(path, bytes)| File { path: (*path).to_owned(), bytes: bytes.to_vec(), hash: hash(bytes) })
                .collect(),
            gated,
            claimed,
            cdn: format!("http://localhost:{}", cdn.local_addr().unwrap().port()),
            faults: Mutex::default(),
            log: Mutex::default(),
            over: Default::default(),
        });
        let url = format!("http://{}", hub.local_addr().unwrap());
        for (listener, is_cdn) in [(hub, false), (cdn, true)] {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = shared.clone();
                    std::thread::spawn(move || shared.serve(stream, is_cdn));
                }
            });
        }
        Self { url, shared }
    }

    /// The next `times` bodies of this file have this fault.
    pub fn fail(&self, path: &str, fault: Fault, times: usize) {
        self.shared.faults.lock().unwrap().push((path.to_owned(), fault, times));
    }

    pub fn log(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Requests for the bytes of a file: where they began.
    pub fn loads(&self, path: &str) -> Vec<u64> {
        let file = self.shared.files.iter().find(|file| file.path == path).unwrap();
        let of_file = |request: &&Request| request.path.contains(&file.hash);
        let begin = |range: &String| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
        self.log().iter().filter(of_file).map(|request| request.range.as_ref().map_or(0, begin)).collect()
    }
}

/// The name of a content in the cache.
pub fn hash(bytes: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() >= LARGE {
        return hex(&Sha256::digest(bytes));
    }
    let mut git = Sha1::new();
    git.update(format!("blob {}\0", bytes.len()));
    git.update(bytes);
    hex(&git.finalize())
}

impl Shared {
    fn serve(&self, stream: TcpStream, cdn: bool) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(head) = Head::read(&mut reader) else { return };
        let (range, token) = (head.header("range"), head.token());
        let request = Request { cdn, path: head.path, range, token };
        self.log.lock().unwrap().push(request.clone());
        // The client may be gone; that is its right.
        let _ = self.answer(stream, &request);
    }

    fn answer(&self, mut out: TcpStream, request: &Request) -> std::io::Result<()> {
        let path = request.path.split('?').next().unwrap();
        if !request.cdn && request.token.as_ref().is_some_and(|token| !token.starts_with("hf_")) {
            return refuse(&mut out, 401, "", "Invalid credentials in Authorization header");
        }
        if request.cdn || path.starts_with("/api/resolve-cache/") {
            let file = self.files.iter().find(|file| request.path.contains(&file.hash)).unwrap();
            return self.body(out, request, &file.path, &file.bytes);
        }
        if path.starts_with("/api/v1/") {
            return self.scope(out, request);
        }
        let known =
            ["models/org/model/revision/main", "datasets/org/data/revision/main", "datasets/org/data/revision/v%2F1"];
        if known.iter().any(|known| path.strip_prefix("/api/") == Some(known)) {
            return reply(&mut out, "200 OK", "", format!("{{\"sha\": \"{COMMIT}\"}}").as_bytes());
        }
        if path.contains("/revision/") && path.contains("/org/model/") {
            return refuse(&mut out, 404, "RevisionNotFound", "Invalid rev id");
        }
        if path.ends_with(&format!("/tree/{COMMIT}")) {
            return self.listing(&mut out, request);
        }
        if let Some((_, file)) = path.split_once(&format!("/resolve/{COMMIT}/")) {
            return self.file(&mut out, request, &file.replace("%20", " "));
        }
        refuse(&mut out, 401, "RepoNotFound", "Repository not found")
    }

    /// Two entries a page, folders among them.
    fn listing(&self, out: &mut TcpStream, request: &Request) -> std::io::Result<()> {
        let mut entries = vec![serde_json::json!({"type": "directory", "oid": COMMIT, "size": 0, "path": "sub"})];
        for (i, File { path, bytes, hash }) in self.files.iter().enumerate() {
            let more = if i + 1 == self.files.len() { self.claimed } else { 0 };
            let size = bytes.len() as u64 + more;
            let mut entry = serde_json::json!({"type": "file", "oid": COMMIT, "size": size, "path": path});
            match bytes.len() >= LARGE {
                true => entry["lfs"] = serde_json::json!({"oid": hash, "size": size, "pointerSize": 134}),
                false => entry["oid"] = hash.as_str().into(),
            }
            entries.push(entry);
        }
        let first: usize = request.path.split("cursor=").nth(1).map_or(0, |cursor| cursor.parse().unwrap());
        let plain = request.path.split('?').next().unwrap();
        let next =
            format!("Link: <https://original.example{plain}?recursive=true&cursor={}>; rel=\"next\"\r\n", first + 2);
        let page: Vec<_> = entries.iter().skip(first).take(2).collect();
        let head = if first + 2 < entries.len() { next } else { String::new() };
        reply(out, "200 OK", &head, &serde_json::to_vec(&page)?)
    }

    fn file(&self, out: &mut TcpStream, request: &Request, file: &str) -> std::io::Result<()> {
        if self.gated && request.token.as_deref() != Some(TOKEN) {
            let status = if request.token.is_some() { 403 } else { 401 };
            return refuse(out, status, "GatedRepo", "Access to this repository is restricted");
        }
        let File { bytes, hash, .. } = self.files.iter().find(|known| known.path == file).unwrap();
        let location = match bytes.len() >= LARGE {
            true => format!("{}/_cdn/{hash}?Signature=secret", self.cdn),
            false => format!("/api/resolve-cache/models/org/model/{COMMIT}/{hash}?etag=x"),
        };
        reply(out, "302 Found", &format!("Location: {location}\r\nX-Repo-Commit: {COMMIT}\r\n"), b"Found")
    }

    /// ModelScope's routes: listings that are cut at 3000 entries or come in pages, small files without ranges.
    fn scope(&self, mut out: TcpStream, request: &Request) -> std::io::Result<()> {
        let (path, query) = request.path.split_once('?').unwrap();
        let asked = |key: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or_default().replace("%2F", "/").replace("%20", " ")
        };
        let known = ["/api/v1/models/org/model/repo", "/api/v1/datasets/org/data/repo"];
        if !known.iter().any(|known| path.starts_with(known)) || asked("Revision") != "master" {
            let said = r#"{"Code": 10010205001, "Success": false, "Message": "not found, says ModelScope"}"#;
            return reply(&mut out, "404 Not Found", "", said.as_bytes());
        }
        if path.ends_with("/repo") {
            let File { path, bytes, hash } = self.files.iter().find(|file| file.path == asked("FilePath")).unwrap();
            if bytes.len() >= LARGE {
                let location = format!("Location: {}/_cdn/{hash}?Signature=secret\r\n", self.cdn);
                return reply(&mut out, "302 Found", &location, b"");
            }
            return self.body(out, &Request { range: None, ..request.clone() }, path, bytes);
        }
        if let Some(Fault::Status(status)) = self.fault(&format!("page {}", asked("PageNumber"))) {
            return refuse(&mut out, status, "", "by mistake");
        }
        let (root, recursive) = (asked("Root"), asked("Recursive") == "True");
        let prefix = if root.is_empty() { String::new() } else { format!("{root}/") };
        let mut entries = std::collections::BTreeMap::new();
        for File { path, bytes, .. } in self.files.iter().filter(|file| file.path.starts_with(&prefix)) {
            for (at, _) in path[prefix.len()..].match_indices('/') {
                let folder = &path[..prefix.len() + at];
                entries.insert(folder, serde_json::json!({"Type": "tree", "Path": folder, "Size": 0, "Sha256": ""}));
            }
            let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let entry = serde_json::json!({"Type": "blob", "Path": path, "Size": bytes.len(), "Sha256": sha256});
            entries.insert(path, entry);
        }
        entries.retain(|path, _| recursive || !path[prefix.len()..].contains('/'));
        let (first, most) = match asked("PageNumber").parse::<usize>() {
            Ok(number) => ((number - 1) * 200, 200),
            Err(_) => (0, 3000),
        };
        let page: Vec<_> = entries.into_values().skip(first).take(most).collect();
        let answer = serde_json::json!({"Code": 200, "Success": true, "Data": {"Files": page}});
        reply(&mut out, "200 OK", "", answer.to_string().as_bytes())
    }

    fn fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let (_, fault, times) = faults.iter_mut().find(|(name, _, times)| name == path && *times > 0)?;
        *times -= 1;
        Some(fault.clone())
    }

    fn body(&self, mut out: TcpStream, request: &Request, path: &str, bytes: &[u8]) -> std::io::Result<()> {
        let fault = self.fault(path);
        let mut bytes = bytes.to_vec();
        match fault {
            Some(Fault::Status(status)) => return refuse(&mut out, status, "", "as it was told"),
            Some(Fault::Page) => {
                let page = "<html><head><title>Log in to the \x1b[31mnetwork</title></head></html>";
                return reply(&mut out, "200 OK", "Content-Type: text/html\r\n", page.as_bytes());
            }
            Some(Fault::Flip) => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            Some(Fault::TooLong) => bytes.push(b'x'),
            _ => {}
        }
        let range = request.range.as_ref().filter(|_| fault != Some(Fault::NoRange));
        let from = range.map_or(0, |range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
        let (status, range) = match range {
            Some(_) => {
                ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()))
            }
            None => ("200 OK", String::new()),
        };
        let body = &bytes[from..];
        write!(out, "HTTP/1.1 {status}\r\n{range}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
        match fault {
            Some(Fault::Cut(n)) => out.write_all(&body[..n.min(body.len())])?,
            Some(Fault::Stall(n)) => {
                out.write_all(&body[..n])?;
                let mut over = self.over.0.lock().unwrap();
                while !*over {
                    over = self.over.1.wait(over).unwrap();
                }
            }
            _ => out.write_all(body)?,
        }
        out.shutdown(Shutdown::Write)
    }
}
