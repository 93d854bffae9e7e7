//! What the Hub of [`crate::receiver`] holds, and how its repositories change.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Files from so many bytes on are large ones.
const LARGE: usize = 10_000;

#[derive(Default)]
pub struct State {
    pub repos: BTreeMap<String, Repo>,
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Of objects that come in parts.
    parts: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    /// Signed addresses so far.
    pub signed: usize,
    /// New repositories are public, whatever was asked.
    pub always_public: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    pub id: String,
    pub message: String,
    pub files: BTreeMap<String, Content>,
    /// Paths that this commit names.
    pub named: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Small(Vec<u8>),
    /// By its SHA-256.
    Large(String, u64),
}

#[derive(Debug, Default)]
pub struct Repo {
    pub private: bool,
    pub branches: BTreeMap<String, Vec<Commit>>,
}

impl Repo {
    pub fn new(private: bool) -> Self {
        let made = BTreeMap::from([(".gitattributes".to_owned(), Content::Small(b"*.safetensors".to_vec()))]);
        let first = Commit::new("initial commit", made, Vec::new());
        Self { private, branches: BTreeMap::from([("main".to_owned(), vec![first])]) }
    }
}

impl Commit {
    pub fn new(message: &str, files: BTreeMap<String, Content>, named: Vec<String>) -> Self {
        let id = hex(&Sha1::digest(format!("{message}{files:?}")));
        Self { id, message: message.to_owned(), files, named }
    }
}

impl Content {
    /// As the listing tells it.
    fn entry(&self, path: &str) -> Value {
        match self {
            Self::Small(bytes) => json!({"type": "file", "path": path, "size": bytes.len(), "oid": git_hash(bytes)}),
            Self::Large(oid, bytes) => json!({
                "type": "file", "path": path, "size": bytes, "oid": git_hash(oid.as_bytes()),
                "lfs": {"oid": oid, "size": bytes, "pointerSize": 134},
            }),
        }
    }
}

fn git_hash(bytes: &[u8]) -> String {
    let mut git = Sha1::new();
    git.update(format!("blob {}\0", bytes.len()));
    git.update(bytes);
    hex(&git.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is answered: status, `X-Error-Code` and words, or JSON.
pub enum Answer {
    Json(Value),
    Tag(String),
    Refused(u16, &'static str, String),
}

pub fn refused(status: u16, said: &str) -> Answer {
    Answer::Refused(status, "", said.to_owned())
}

impl State {
    pub fn create(&mut self, ask: &Value, may_write: bool, url: &str) -> Answer {
        let (account, name) = (ask["organization"].as_str().unwrap(), ask["name"].as_str().unwrap());
        if !may_write || account != "me" {
            return refused(403, &format!("You don't have the rights to create a model under the namespace {account}"));
        }
        let id = format!("{}s/{account}/{name}", ask["type"].as_str().unwrap_or("model"));
        if self.repos.contains_key(&id) {
            return refused(409, "You already created this model repo");
        }
        let private = ask["private"] == true || ask["visibility"] == "private";
        self.repos.insert(id, Repo::new(private && !self.always_public));
        Answer::Json(json!({"url": format!("{url}/{account}/{name}")}))
    }

    pub fn store(&mut self, oid: &str, query: &str, body: &[u8]) -> Answer {
        match query.split_once("&part=") {
            Some((_, part)) => {
                self.parts.entry(oid.to_owned()).or_default().insert(part.parse().unwrap(), body.to_vec());
            }
            None if hex(&Sha256::digest(body)) == oid => drop(self.objects.insert(oid.to_owned(), body.to_vec())),
            None => return refused(400, "another content"),
        }
        Answer::Tag(hex(&Sha1::digest(body)))
    }

    pub fn complete(&mut self, oid: &str, ask: &Value) -> Answer {
        let parts = self.parts.remove(oid).unwrap_or_default();
        let tags: Vec<Value> = parts
            .iter()
            .map(|(number, part)| json!({"partNumber": number, "etag": format!("\"{}\"", hex(&Sha1::digest(part)))}))
            .collect();
        if ask["oid"] != oid || ask["parts"] != Value::from(tags) {
            return refused(400, "these are not the parts");
        }
        let whole: Vec<u8> = parts.into_values().flatten().collect();
        assert_eq!(hex(&Sha256::digest(&whole)), oid);
        self.objects.insert(oid.to_owned(), whole);
        Answer::Json(json!({}))
    }

    pub fn of_repo(&mut self, repo: &str, what: &str, revision: &str, body: &[u8], url: &str) -> Answer {
        let branches = &mut self.repos.get_mut(repo).unwrap().branches;
        let no_revision = || Answer::Refused(404, "RevisionNotFound", format!("Invalid rev id: {revision}"));
        match what {
            "branch" => {
                let main = branches["main"].clone();
                return match branches.insert(revision.to_owned(), main) {
                    None => Answer::Json(json!({})),
                    Some(_) => refused(409, "Reference already exists"),
                };
            }
            "tree" => {
                let mut commits = branches.values().flatten();
                let Some(commit) = commits.find(|commit| commit.id == revision) else { return no_revision() };
                return Answer::Json(commit.files.iter().map(|(path, content)| content.entry(path)).collect());
            }
            _ => {}
        }
        let Some(commits) = branches.get_mut(revision) else { return no_revision() };
        let newest = commits.last().unwrap();
        match what {
            "revision" => Answer::Json(json!({"sha": newest.id})),
            "preupload" => {
                let ask: Value = serde_json::from_slice(body).unwrap();
                let about = |file: &Value| {
                    let (path, bytes) = (file["path"].as_str().unwrap(), file["size"].as_u64().unwrap() as usize);
                    assert!(BASE64_STANDARD.decode(file["sample"].as_str().unwrap()).unwrap().len() == bytes.min(512));
                    let large = bytes >= LARGE || path.ends_with(".safetensors");
                    let there = newest.files.get(path).map(|content| content.entry(path));
                    let oid = there.map(|entry| if large { entry["lfs"]["oid"].clone() } else { entry["oid"].clone() });
                    json!({
                        "path": path, "uploadMode": if large { "lfs" } else { "regular" },
                        "shouldIgnore": path.ends_with(".ignored"), "oid": oid,
                    })
                };
                let files: Vec<Value> = ask["files"].as_array().unwrap().iter().map(about).collect();
                Answer::Json(json!({"files": files}))
            }
            "commit" => {
                let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                let mut next = || lines.next().map(|line| serde_json::from_slice::<Value>(line).unwrap());
                let header = next().unwrap();
                assert_eq!(header["key"], "header");
                if header["value"]["parentCommit"].as_str().is_some_and(|parent| parent != newest.id) {
                    return refused(412, "the branch has moved on");
                }
                let (mut files, mut named) = (newest.files.clone(), Vec::new());
                while let Some(line) = next() {
                    let value = &line["value"];
                    let path = value["path"].as_str().unwrap().to_owned();
                    let content = match line["key"].as_str().unwrap() {
                        "file" => Content::Small(BASE64_STANDARD.decode(value["content"].as_str().unwrap()).unwrap()),
                        "lfsFile" => {
                            let oid = value["oid"].as_str().unwrap();
                            let Some(object) = self.objects.get(oid) else { return refused(400, "no such object") };
                            Content::Large(oid.to_owned(), object.len() as u64)
                        }
                        key => return refused(400, &format!("unknown key {key}")),
                    };
                    named.push(path.clone());
                    files.insert(path, content);
                }
                let commit = Commit::new(header["value"]["summary"].as_str().unwrap(), files, named);
                let answer = json!({
                    "success": true, "commitOid": commit.id, "hookOutput": "",
                    "commitUrl": format!("{url}/{repo}/commit/{}", commit.id),
                });
                commits.push(commit);
                Answer::Json(answer)
            }
            what => refused(404, &format!("no route {what}")),
        }
    }
}
