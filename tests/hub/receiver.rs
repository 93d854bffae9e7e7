//! A Hub that takes uploads: Hugging Face's routes in memory, large contents by a storage host that must not see the
//! token. It fails as it is told.

use crate::http::{Head, refuse, reply};
use crate::repositories::{Answer, Commit, Content, Repo, State, refused};
use crate::server::TOKEN;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// May read and not write.
pub const READER: &str = "hf_reader";
/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The connection is cut after so many bytes of what is sent.
    Cut(usize),
    /// Answered so, and nothing is done.
    Status(u16),
    /// Done, and the connection is cut instead of an answer.
    Lost,
    /// So many bytes are taken, then nothing until the server is dropped.
    Stall(usize),
}

#[derive(Debug, Clone)]
pub struct Request {
    pub storage: bool,
    pub method: String,
    pub path: String,
    pub token: Option<String>,
    /// What was sent, of storage requests only how much.
    pub body: Vec<u8>,
    pub bytes: usize,
}

struct Shared {
    url: String,
    storage: String,
    /// Larger objects come in parts of so many bytes.
    part: usize,
    state: Mutex<State>,
    /// A part of the path, what, how often.
    faults: Mutex<Vec<(String, Fault, usize)>>,
    log: Mutex<Vec<Request>>,
    over: (Mutex<bool>, Condvar),
}

pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        *self.shared.over.0.lock().unwrap() = true;
        self.shared.over.1.notify_all();
    }
}

impl Receiver {
    pub fn new() -> Self {
        Self::in_parts(usize::MAX)
    }

    pub fn in_parts(part: usize) -> Self {
        let (hub, storage) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let url = format!("http://{}", hub.local_addr().unwrap());
        let shared = Arc::new(Shared {
            url: url.clone(),
            storage: format!("http://localhost:{}", storage.local_addr().unwrap().port()),
            part,
            state: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::default(),
            over: Default::default(),
        });
        for (listener, is_storage) in [(hub, false), (storage, true)] {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = shared.clone();
                    std::thread::spawn(move || shared.serve(stream, is_storage));
                }
            });
        }
        Self { url, shared }
    }

    /// The next `times` requests whose path has this part have this fault.
    pub fn fail(&self, path: &str, fault: Fault, times: usize) {
        self.shared.faults.lock().unwrap().push((path.to_owned(), fault, times));
    }

    pub fn make_all_public(&self) {
        self.shared.state.lock().unwrap().always_public = true;
    }

    /// A repository that is there already.
    pub fn make(&self, repo: &str, private: bool) {
        self.shared.state.lock().unwrap().repos.insert(repo.to_owned(), Repo::new(private));
    }

    /// Somebody else's commit.
    pub fn change(&self, repo: &str, path: &str) {
        let mut state = self.shared.state.lock().unwrap();
        let branch = state.repos.get_mut(repo).unwrap().branches.get_mut("main").unwrap();
        let mut files = branch.last().unwrap().files.clone();
        files.insert(path.to_owned(), Content::Small(b"theirs".to_vec()));
        branch.push(Commit::new("theirs", files, vec![path.to_owned()]));
    }

    pub fn is_private(&self, repo: &str) -> Option<bool> {
        self.shared.state.lock().unwrap().repos.get(repo).map(|repo| repo.private)
    }

    /// Of `models/ORG/NAME`, without the first one that makes the repository.
    pub fn commits(&self, repo: &str, branch: &str) -> Vec<Commit> {
        let state = self.shared.state.lock().unwrap();
        let commits = state.repos.get(repo).and_then(|repo| repo.branches.get(branch));
        commits.map_or(Vec::new(), |commits| commits[1..].to_vec())
    }

    /// What a download of the newest commit would bring, without what the Hub made itself.
    pub fn files(&self, repo: &str, branch: &str) -> BTreeMap<String, Vec<u8>> {
        let state = self.shared.state.lock().unwrap();
        let commit = state.repos[repo].branches[branch].last().unwrap();
        let files = commit.files.iter().filter(|(path, _)| *path != ".gitattributes");
        let bytes = |content: &Content| match content {
            Content::Small(bytes) => bytes.clone(),
            Content::Large(oid, _) => state.objects[oid].clone(),
        };
        files.map(|(path, content)| (path.clone(), bytes(content))).collect()
    }

    pub fn log(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Requests whose method and path have this part.
    pub fn asked(&self, what: &str) -> Vec<Request> {
        let is_one = |request: &Request| format!("{} {}", request.method, request.path).contains(what);
        self.log().into_iter().filter(is_one).collect()
    }

    pub fn forget_log(&self) {
        self.shared.log.lock().unwrap().clear();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, storage: bool) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(head) = Head::read(&mut reader) else { return };
        let fault = self.fault(&head.path);
        let most = match fault {
            Some(Fault::Cut(n) | Fault::Stall(n)) => n,
            _ => usize::MAX,
        };
        let Some(body) = head.body(&mut reader, most) else { return };
        let (method, path, token) = (head.method.clone(), head.path.clone(), head.token());
        let (bytes, kept) = (body.len(), if storage { Vec::new() } else { body.clone() });
        let request = Request { storage, method, path, token, body: kept, bytes };
        self.log.lock().unwrap().push(request);
        let answer = match fault {
            Some(Fault::Cut(_)) => return,
            Some(Fault::Stall(_)) => {
                let mut over = self.over.0.lock().unwrap();
                while !*over {
                    over = self.over.1.wait(over).unwrap();
                }
                return;
            }
            Some(Fault::Status(status)) => refused(status, "as it was told"),
            Some(Fault::Lost) => {
                self.answer(&head, &body, storage);
                return;
            }
            None => self.answer(&head, &body, storage),
        };
        // The client may be gone; that is its right.
        let _ = match answer {
            Answer::Json(json) => {
                reply(&mut stream, "200 OK", "Content-Type: application/json\r\n", json.to_string().as_bytes())
            }
            Answer::Tag(tag) => reply(&mut stream, "200 OK", &format!("ETag: \"{tag}\"\r\n"), b""),
            Answer::Refused(status, code, said) => refuse(&mut stream, status, code, &said),
        };
    }

    fn fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let (_, fault, times) = faults.iter_mut().find(|(part, _, times)| path.contains(part) && *times > 0)?;
        *times -= 1;
        Some(fault.clone())
    }

    fn answer(&self, head: &Head, body: &[u8], storage: bool) -> Answer {
        let (path, query) = head.path.split_once('?').unwrap_or((&head.path, ""));
        let mut state = self.state.lock().unwrap();
        if storage {
            let oid = path.trim_start_matches("/storage/");
            return state.store(oid, query, body);
        }
        if let Some(oid) = path.strip_prefix("/complete/") {
            return state.complete(oid, &serde_json::from_slice(body).unwrap());
        }
        if let Some(oid) = path.strip_prefix("/verify/") {
            let is_there = state.objects.contains_key(oid);
            return if is_there { Answer::Json(json!({})) } else { refused(422, "no such object") };
        }
        let token = head.token();
        if token.as_ref().is_some_and(|token| !token.starts_with("hf_")) {
            return refused(401, "Invalid credentials in Authorization header");
        }
        let may_write = token.as_deref() == Some(TOKEN);
        let json = || serde_json::from_slice::<Value>(body).unwrap();
        if path == "/api/validate-yaml" {
            return match json()["content"].as_str().unwrap().contains("base_model: /") {
                true => refused(400, r#""base_model" with value "/models/x" is not valid."#),
                false => Answer::Json(json!({"errors": [], "warnings": []})),
            };
        }
        if path == "/api/repos/create" {
            return state.create(&json(), may_write, &self.url);
        }
        if let Some(repo) = path.strip_suffix(".git/info/lfs/objects/batch") {
            let repo = repo.trim_start_matches('/');
            let name = if repo.starts_with("datasets/") { repo.to_owned() } else { format!("models/{repo}") };
            return match state.repos.contains_key(&name) && may_write {
                true => self.batch(&mut state, &json()),
                false => refused(403, "Forbidden"),
            };
        }
        let parts: Vec<&str> = path.trim_start_matches("/api/").splitn(4, '/').collect();
        let [kind, org, name, rest @ ..] = &parts[..] else { return refused(404, "no such page") };
        let repo = format!("{kind}/{org}/{name}");
        let missing = || Answer::Refused(404, "RepoNotFound", "Repository not found".into());
        let Some(state) = Some(&mut *state).filter(|state| state.repos.contains_key(&repo)) else { return missing() };
        let Some(rest) = rest.first() else { return Answer::Json(json!({"private": state.repos[&repo].private})) };
        let (what, revision) = rest.split_once('/').unwrap();
        if head.method == "POST" && !may_write {
            return refused(403, "you only have read access");
        }
        state.of_repo(&repo, what, &revision.replace("%2F", "/"), body, &self.url)
    }

    fn batch(&self, state: &mut State, ask: &Value) -> Answer {
        assert_eq!((&ask["operation"], &ask["hash_algo"]), (&"upload".into(), &"sha256".into()));
        let mut objects = Vec::new();
        for object in ask["objects"].as_array().unwrap() {
            let (oid, bytes) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap() as usize);
            let mut answer = object.clone();
            if !state.objects.contains_key(oid) {
                state.signed += 1;
                let signed = format!("{}/storage/{oid}?Signature=secret{}", self.storage, state.signed);
                let upload = match bytes > self.part {
                    false => json!({"href": signed, "header": {}}),
                    true => {
                        let mut header = json!({"chunk_size": self.part.to_string()});
                        for number in 1..=bytes.div_ceil(self.part) {
                            header[format!("{number:05}")] = format!("{signed}&part={number}").into();
                        }
                        json!({"href": format!("{}/complete/{oid}", self.url), "header": header})
                    }
                };
                let verify = json!({"href": format!("{}/verify/{oid}", self.url)});
                answer["actions"] = json!({"upload": upload, "verify": verify});
            }
            objects.push(answer);
        }
        Answer::Json(json!({"transfer": "basic", "objects": objects}))
    }
}
