//! Commits by the Hub's API: which files are large ones, and the lines of a commit, where small ones are in the lines and
//! large ones are named by their hash.

use super::HubError;
use super::answer::network;
use super::background::apart;
use super::client::{Client, Content, PATIENCE};
use super::folder::LocalFile;
use super::hash::Hash;
use super::progress::Meter;
use super::repo::{Listing, Repo, encode, is_hex, list};
use super::retry::Retries;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// The Hub tells of so many files at once what they are.
const PREUPLOAD: usize = 256;
/// Commits of many thousand files take longer than proxies wait.
const FILES: usize = 1000;
/// Contents of small files in one commit, before they are written as text.
const SMALL_BYTES: u64 = 64 << 20;

/// How the Hub wants a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Small,
    Large,
    /// The repository's .gitignore names it.
    Ignored,
}

/// A file that is to be committed: a large one by its SHA-256, a small one by git's hash.
pub(super) type Change<'a> = (&'a LocalFile, Hash);

pub(super) struct Commits<'a> {
    pub client: &'a Client,
    pub repo: &'a Repo,
    pub message: &'a str,
}

/// What became of it.
pub(super) struct Committed {
    pub commit: String,
    pub url: String,
}

impl Commits<'_> {
    /// What the Hub says about each file, by its name, its size and how it begins.
    pub fn modes(&self, files: &[LocalFile]) -> Result<Vec<Mode>, HubError> {
        let mut modes = Vec::with_capacity(files.len());
        for files in files.chunks(PREUPLOAD) {
            let about = |file: &LocalFile| {
                let sample = BASE64_STANDARD.encode(file.sample()?);
                Ok(json!({"path": file.path, "sample": sample, "size": file.bytes}))
            };
            let ask = json!({"files": files.iter().map(about).collect::<Result<Vec<Value>, HubError>>()?});
            let answer = self.client.post_json(self.repo, &self.url("preupload"), Content::Json, &ask)?;
            for file in files {
                let of_file = |answer: &&Value| answer["path"] == file.path.as_str();
                let answer = answer["files"].as_array().and_then(|answers| answers.iter().find(of_file));
                modes.push(answer.and_then(|answer| mode(file, answer)).ok_or_else(|| HubError::Content {
                    file: file.path.clone(),
                    what: "the Hub does not say whether it is a large file".into(),
                })?);
            }
        }
        Ok(modes)
    }

    /// Commits all changes on top of `parent`, in one commit if they are not too many. The contents of large files are
    /// there already.
    pub fn commit(&self, changes: &[Change], parent: &str, meter: &mut Meter) -> Result<Committed, HubError> {
        let portions = portions(changes);
        let mut last = Committed { commit: parent.to_owned(), url: self.repo.page(self.client.endpoint()) };
        for (i, portion) in portions.iter().enumerate() {
            let message = match portions.len() {
                1 => self.message.to_owned(),
                n => format!("{} ({} of {n})", self.message, i + 1),
            };
            last = self.portion(portion, &message, &last.commit, meter)?;
            for (file, _) in portion.iter().filter(|(_, hash)| matches!(hash, Hash::GitSha1(_))) {
                meter.begin(&file.path, file.bytes)?;
                meter.finish()?;
            }
        }
        Ok(last)
    }

    fn portion(
        &self,
        changes: &[Change],
        message: &str,
        parent: &str,
        meter: &mut Meter,
    ) -> Result<Committed, HubError> {
        let body = lines(changes, message, parent)?;
        let mut retries = Retries::new(self.client);
        loop {
            meter.note("the Hub makes the commit".into());
            let (client, repo, url, body) = (self.client.clone(), self.repo.clone(), self.url("commit"), body.clone());
            let error = match apart(meter, 0, move |_| send(&client, &repo, &url, &body)) {
                Ok(committed) => return Ok(committed),
                Err(error) => error,
            };
            retries.again("the commit", error, 0, meter)?;
            // The answer may have been lost and not the commit.
            let listing = list(self.repo, self.client)?;
            if changes.iter().all(|change| is_there(&listing, change)) {
                let url = format!("{}/commit/{}", self.repo.page(self.client.endpoint()), listing.commit);
                return Ok(Committed { commit: listing.commit, url });
            }
        }
    }

    fn url(&self, what: &str) -> String {
        format!("{}/{what}/{}", self.repo.api(self.client.endpoint()), encode(&self.repo.revision, false))
    }
}

/// The Hub has this file with this content.
pub(super) fn is_there(listing: &Listing, (file, hash): &Change) -> bool {
    let there = listing.files.binary_search_by(|there| there.path.as_str().cmp(&file.path));
    there.is_ok_and(|at| listing.files[at].hash == *hash)
}

fn mode(file: &LocalFile, answer: &Value) -> Option<Mode> {
    match answer["uploadMode"].as_str()? {
        _ if answer["shouldIgnore"] == true => Some(Mode::Ignored),
        // The storage takes no empty objects.
        "lfs" if file.bytes > 0 => Some(Mode::Large),
        "lfs" | "regular" => Some(Mode::Small),
        _ => None,
    }
}

fn portions<'a, 'b>(changes: &'b [Change<'a>]) -> Vec<&'b [Change<'a>]> {
    let (mut portions, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (i, (file, hash)) in changes.iter().enumerate() {
        let small = if matches!(hash, Hash::GitSha1(_)) { file.bytes } else { 0 };
        if i > start && (i - start == FILES || bytes + small > SMALL_BYTES) {
            portions.push(&changes[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += small;
    }
    portions.push(&changes[start..]);
    portions
}

/// The body of a commit.
fn lines(changes: &[Change], message: &str, parent: &str) -> Result<Vec<u8>, HubError> {
    let mut body = Vec::new();
    let mut line = |key: &str, value: Value| {
        body.extend(json!({"key": key, "value": value}).to_string().into_bytes());
        body.push(b'\n');
    };
    // With its parent, a commit that is made twice, or on top of what nobody has seen, is refused.
    line("header", json!({"summary": message, "description": "", "parentCommit": parent}));
    for (file, hash) in changes {
        match hash {
            Hash::Sha256(oid) => {
                line("lfsFile", json!({"path": file.path, "algo": "sha256", "oid": oid, "size": file.bytes}));
            }
            Hash::GitSha1(_) => {
                let content = BASE64_STANDARD.encode(file.content(hash)?);
                line("file", json!({"content": content, "path": file.path, "encoding": "base64"}));
            }
        }
    }
    Ok(body)
}

fn send(client: &Client, repo: &Repo, url: &str, body: &[u8]) -> Result<Committed, HubError> {
    let answer = client.post(url, Content::Lines, body, PATIENCE)?;
    if answer.status() == 412 {
        let what = "was changed by somebody else meanwhile, and nothing was committed on top of that";
        return Err(HubError::Wrong(format!("{repo} {what}. The same command looks at it anew")));
    }
    if !answer.is_success() {
        return Err(client.refusal(repo, answer));
    }
    let answer = answer.json()?;
    let commit = answer["commitOid"].as_str().filter(|oid| is_hex(oid, 40));
    let commit = commit.ok_or_else(|| network(url, "it names no commit"))?.to_owned();
    let page = || format!("{}/commit/{commit}", repo.page(client.endpoint()));
    let url = answer["commitUrl"].as_str().map_or_else(page, str::to_owned);
    Ok(Committed { commit, url })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Filters, Folder};

    #[test]
    fn many_or_much_is_more_than_one_commit() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a"), "x").unwrap();
        let mut file = Folder::read(temp.path(), &Filters::default()).unwrap().files.remove(0);
        let (small, large) = (Hash::GitSha1(String::new()), Hash::Sha256(String::new()));
        let sizes = |changes: Vec<Change>| portions(&changes).iter().map(|portion| portion.len()).collect::<Vec<_>>();
        assert_eq!(sizes(vec![(&file, small.clone()); 1000]), [1000]);
        assert_eq!(sizes(vec![(&file, large.clone()); 2001]), [1000, 1000, 1]);
        file.bytes = 40 << 20;
        assert_eq!(sizes(vec![(&file, small.clone()); 3]), [1, 1, 1]);
        assert_eq!(sizes(vec![(&file, large); 3]), [3], "large contents are not in the commit");
    }
}
