//! Repositories and what is in them. Nothing from a listing is believed before it is checked: its paths become file
//! names, its hashes too.

use super::HubError;
use super::client::Client;
use super::hash::Hash;
use super::source::Source;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Of 1000 entries each; the largest repositories have some hundred.
const MAX_PAGES: usize = 10_000;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// As the API names it, and people.
    pub(super) fn singular(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }

    /// As in the API's addresses and in folder names of the cache.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A repository at a branch, tag or commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    pub kind: Kind,
    /// `Qwen/Qwen2-VL-2B-Instruct`
    pub id: String,
    pub revision: String,
}

/// `model Qwen/Qwen2-VL-2B-Instruct`
impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.singular(), self.id)
    }
}

impl Repo {
    /// At its main branch.
    pub fn new(kind: Kind, id: &str) -> Self {
        Self { kind, id: id.to_owned(), revision: "main".to_owned() }
    }

    /// `ORG/NAME`, as repositories are called.
    pub fn is_name(text: &str) -> bool {
        text.contains('/') && Self::new(Kind::Model, text).check().is_ok()
    }

    /// The Hub's own rules for names; with them no id leads out of the cache.
    pub(super) fn check(&self) -> Result<(), HubError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let part_fits = |part: &str| !part.is_empty() && part.len() <= 96 && part.chars().all(plain);
        let edges = |part: &str| !part.starts_with(['-', '.']) && !part.ends_with(['-', '.']);
        let parts: Vec<&str> = self.id.split('/').collect();
        let fits = parts.len() <= 2 && parts.iter().all(|part| part_fits(part) && edges(part));
        if !fits || self.id.contains("--") || self.id.contains("..") {
            let what = "is no name of a repository; it looks like Qwen/Qwen2-VL-2B-Instruct";
            return Err(HubError::Wrong(format!("`{}` {what}", self.id)));
        }
        // It becomes a file of the cache, refs/REVISION.
        if !is_plain_path(&self.revision) || self.revision.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(HubError::Wrong(format!("`{}` is no branch, tag or commit", self.revision)));
        }
        Ok(())
    }

    /// Where people look at it.
    pub(super) fn page(&self, endpoint: &str) -> String {
        let kind = if self.kind == Kind::Dataset { "datasets/" } else { "" };
        format!("{endpoint}/{kind}{}", self.id)
    }

    pub(super) fn api(&self, endpoint: &str) -> String {
        format!("{endpoint}/api/{}/{}", self.kind.plural(), self.id)
    }
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Relative, with `/`; every part is a plain name.
    pub path: String,
    pub bytes: u64,
    pub hash: Hash,
}

/// What a repository holds at a commit.
#[derive(Debug, Clone)]
pub struct Listing {
    pub repo: Repo,
    /// What the revision stands for now.
    pub commit: String,
    /// In the order of their paths.
    pub files: Vec<RemoteFile>,
    pub(super) client: Client,
}

/// Which files: shell patterns over the whole path, where `*` also stands for `/`, as in Python's huggingface_hub.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// None: all.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

/// [`Filters`] that are ones.
pub(super) struct Patterns {
    include: Vec<glob::Pattern>,
    exclude: Vec<glob::Pattern>,
}

impl Filters {
    pub(super) fn read(&self) -> Result<Patterns, HubError> {
        let patterns = |texts: &[String]| -> Result<Vec<glob::Pattern>, HubError> {
            let pattern = |text: &String| {
                // `images/` is the whole folder.
                let text = if text.ends_with('/') { format!("{text}*") } else { text.clone() };
                glob::Pattern::new(&text).map_err(|e| HubError::Wrong(format!("the pattern `{text}`: {e}")))
            };
            texts.iter().map(pattern).collect()
        };
        Ok(Patterns { include: patterns(&self.include)?, exclude: patterns(&self.exclude)? })
    }
}

impl Patterns {
    pub fn want(&self, path: &str) -> bool {
        (self.include.is_empty() || self.name(path)) && !self.exclude.iter().any(|pattern| pattern.matches(path))
    }

    /// It was asked for by a pattern.
    pub fn name(&self, path: &str) -> bool {
        self.include.iter().any(|pattern| pattern.matches(path))
    }

    /// Something was asked for by a pattern.
    pub fn name_some(&self) -> bool {
        !self.include.is_empty()
    }
}

impl Listing {
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The files that the filters leave.
    ///
    /// # Errors
    /// A pattern that is none, or that leaves nothing.
    pub fn chosen(&self, filters: &Filters) -> Result<Vec<&RemoteFile>, HubError> {
        let patterns = filters.read()?;
        let chosen: Vec<&RemoteFile> = self.files.iter().filter(|file| patterns.want(&file.path)).collect();
        if chosen.is_empty() {
            let some: Vec<&str> = self.files.iter().take(8).map(|file| file.path.as_str()).collect();
            let more = if self.files.len() > some.len() { ", …" } else { "" };
            let what = if self.files.is_empty() { "has no files" } else { "has no file that these patterns leave" };
            let has = if some.is_empty() { String::new() } else { format!("; it has {}{more}", some.join(", ")) };
            return Err(HubError::Wrong(format!("{} {what}{has}", self.repo)));
        }
        Ok(chosen)
    }
}

/// Asks what is in a repository.
///
/// # Errors
/// Unknown names, refusals, no network; and a listing that cannot be one.
pub fn list(repo: &Repo, client: &Client) -> Result<Listing, HubError> {
    repo.check()?;
    match client.source() {
        Source::HuggingFace => list_commit(repo, client),
        Source::ModelScope => super::modelscope::list(repo, client),
    }
}

/// The commit that the revision stands for, then all files of that commit.
fn list_commit(repo: &Repo, client: &Client) -> Result<Listing, HubError> {
    let api = repo.api(client.endpoint());
    let url = format!("{api}/revision/{}", encode(&repo.revision, false));
    let (info, _) = client.get_json(repo, &url)?;
    let commit = info["sha"].as_str().filter(|sha| is_hex(sha, 40));
    let commit = commit.ok_or_else(|| odd(repo, "it names no commit"))?.to_owned();
    let mut files = BTreeMap::new();
    let mut next = Some(format!("{api}/tree/{commit}?recursive=true"));
    let mut pages = 0;
    while let Some(url) = next {
        pages += 1;
        if pages > MAX_PAGES {
            return Err(odd(repo, "it does not end"));
        }
        let (page, after) = client.get_json(repo, &url)?;
        let entries = page.as_array().ok_or_else(|| odd(repo, "a page is no list"))?;
        for entry in entries.iter().filter(|entry| entry["type"] == "file") {
            let file = remote_file(entry).ok_or_else(|| odd(repo, &format!("the entry {entry}")))?;
            files.insert(file.path.clone(), file);
        }
        next = after;
    }
    Ok(Listing { repo: repo.clone(), commit, files: files.into_values().collect(), client: client.clone() })
}

pub(super) fn odd(repo: &Repo, what: &str) -> HubError {
    HubError::Content { file: format!("the listing of {repo}"), what: crate::safe_text::clean_line(what, 300) }
}

fn remote_file(entry: &Value) -> Option<RemoteFile> {
    let path = entry["path"].as_str().filter(|path| is_plain_path(path))?.to_owned();
    let (bytes, hash) = match &entry["lfs"] {
        Value::Null => (entry["size"].as_u64()?, Hash::GitSha1(hex(&entry["oid"], 40)?)),
        lfs => (lfs["size"].as_u64()?, Hash::Sha256(hex(&lfs["oid"], 64)?)),
    };
    Some(RemoteFile { path, bytes, hash })
}

fn hex(value: &Value, digits: usize) -> Option<String> {
    value.as_str().filter(|hex| is_hex(hex, digits)).map(str::to_owned)
}

pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Relative, and every part a plain name: it stays under the folder that it is joined to.
pub(super) fn is_plain_path(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

/// Percent encoding of all but unreserved characters.
pub(super) fn encode(text: &str, keep_slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b'/' if keep_slashes => out.push('/'),
            byte => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_that_would_lead_out_of_the_cache_are_refused() {
        for id in ["Qwen/Qwen2-VL-2B-Instruct", "gpt2", "a_b/c.d-e"] {
            Repo::new(Kind::Model, id).check().unwrap();
        }
        for id in ["", "a/b/c", "../x", "a/..", "/a", "a/", "a//b", "a b/c", "a--b/c", "x/.git", "模型/x"] {
            assert!(Repo::new(Kind::Model, id).check().is_err(), "{id}");
        }
        for (revision, fits) in [("refs/pr/1", true), ("v1.0", true), ("../x", false), ("", false), ("a//b", false)] {
            let repo = Repo { revision: revision.into(), ..Repo::new(Kind::Dataset, "a/b") };
            assert_eq!(repo.check().is_ok(), fits, "{revision}");
        }
    }

    #[test]
    fn an_entry_with_a_path_or_hash_that_is_none_is_refused() {
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        let entry = |path: &str, oid: &str| json!({"type": "file", "path": path, "oid": oid, "size": 3});
        let file = remote_file(&entry("a/b c.json", sha1)).unwrap();
        assert_eq!(file.hash, Hash::GitSha1(sha1.into()));
        for path in ["../a", "/etc/passwd", "a/../../b", "a//b", "", ".", "a\0b"] {
            assert_eq!(remote_file(&entry(path, sha1)), None, "{path}");
        }
        for oid in ["../../../x", "0123", &sha1.to_uppercase()] {
            assert_eq!(remote_file(&entry("a", oid)), None, "{oid}");
        }
        let lfs = json!({"type": "file", "path": "w", "oid": sha1, "size": 9, "lfs": {"oid": sha1, "size": 9}});
        assert_eq!(remote_file(&lfs), None, "a sha256 has 64 digits");
    }

    #[test]
    fn patterns_choose_as_in_python() {
        let file = |path: &str| RemoteFile { path: path.into(), bytes: 1, hash: Hash::GitSha1(String::new()) };
        let client = Client::new("http://hub", std::path::Path::new("cache")).unwrap();
        let files = ["README.md", "data/train-0.parquet", "data/test-0.parquet", "img/a.png"].map(file).to_vec();
        let listing = Listing { repo: Repo::new(Kind::Dataset, "a/b"), commit: String::new(), files, client };
        let chosen = |include: &[&str], exclude: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let filters = Filters { include: texts(include), exclude: texts(exclude) };
            listing.chosen(&filters).map(|files| files.iter().map(|file| file.path.clone()).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[], &[]).unwrap().len(), 4);
        assert_eq!(chosen(&["*.parquet"], &["*test*"]).unwrap(), ["data/train-0.parquet"]);
        assert_eq!(chosen(&["img/"], &[]).unwrap(), ["img/a.png"]);
        let error = chosen(&["*.safetensors"], &[]).unwrap_err().to_string();
        assert!(error.contains("dataset a/b") && error.contains("README.md"), "{error}");
        assert!(chosen(&["a[", "*"], &[]).is_err());
    }

    #[test]
    fn addresses_are_encoded() {
        let repo = Repo::new(Kind::Dataset, "a/b");
        let url = |source, path| Client::of(source, "https://hub", "c".as_ref()).unwrap().file_url(&repo, "c0", path);
        let (hf, scope) = (Source::HuggingFace, Source::ModelScope);
        assert_eq!(url(hf, "a b/图#1?.png"), "https://hub/datasets/a/b/resolve/c0/a%20b/%E5%9B%BE%231%3F.png");
        assert_eq!(url(scope, "a b/c&d"), "https://hub/api/v1/datasets/a/b/repo?Revision=main&FilePath=a%20b%2Fc%26d");
        assert_eq!(encode("refs/pr/1", false), "refs%2Fpr%2F1");
    }
}
