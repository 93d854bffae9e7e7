//! Listings of ModelScope. It names the SHA-256 of every file, but no commit: a snapshot is called after what it holds.
//!
//! The listing of a model ends at 3000 entries without a word, so a large one is asked for folder by folder; that of a
//! data set comes in pages, some of which are refused by mistake.

use super::HubError;
use super::client::Client;
use super::hash::Hash;
use super::repo::{Kind, Listing, RemoteFile, Repo, encode, is_hex, is_plain_path, odd};
use serde_json::Value;
use sha1::{Digest, Sha1};
use std::collections::{BTreeMap, BTreeSet};

/// Entries after which a listing of a model is cut.
const CUT: usize = 3000;
/// Entries of a page.
const PAGE: usize = 200;
/// More is no data set.
const MAX_PAGES: usize = 50_000;

/// The files of a branch or tag.
///
/// # Errors
/// Unknown names, refusals, no network; a listing that cannot be one, or that is cut.
pub(super) fn list(repo: &Repo, client: &Client) -> Result<Listing, HubError> {
    let entries = match repo.kind {
        Kind::Model => of_model(repo, client)?,
        Kind::Dataset => of_dataset(repo, client)?,
    };
    let mut files = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry["Type"] == "blob") {
        let file = remote_file(entry).ok_or_else(|| odd(repo, &format!("the entry {entry}")))?;
        files.insert(file.path.clone(), file);
    }
    let mut hasher = Sha1::new();
    for file in files.values() {
        hasher.update(format!("{}\0{}\n", file.path, file.hash.hex()));
    }
    let commit = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Listing { repo: repo.clone(), commit, files: files.into_values().collect(), client: client.clone() })
}

/// Where its API has a repository; as an address of its own, that of its files.
pub(super) fn api(repo: &Repo, endpoint: &str) -> String {
    format!("{endpoint}/api/v1/{}/{}/repo", repo.kind.plural(), repo.id)
}

fn of_model(repo: &Repo, client: &Client) -> Result<Vec<Value>, HubError> {
    let (api, revision) = (api(repo, client.endpoint()), encode(&repo.revision, false));
    let all = entries(repo, client, &format!("{api}/files?Revision={revision}&Recursive=True"))?;
    if all.len() < CUT {
        return Ok(all);
    }
    let (mut found, mut todo, mut seen) = (Vec::new(), vec![String::new()], BTreeSet::new());
    while let Some(folder) = todo.pop() {
        let root = encode(&folder, false);
        let here = entries(repo, client, &format!("{api}/files?Revision={revision}&Recursive=False&Root={root}"))?;
        if here.len() >= CUT {
            let what = format!("`{folder}/` has {CUT} entries or more, and only the first ones are told");
            return Err(HubError::Wrong(format!("{repo}: {what}. Another source may have it whole")));
        }
        for entry in here {
            match entry["Path"].as_str() {
                Some(path) if entry["Type"] == "tree" => {
                    if seen.insert(path.to_owned()) {
                        todo.push(path.to_owned());
                    }
                }
                _ => found.push(entry),
            }
        }
    }
    Ok(found)
}

fn of_dataset(repo: &Repo, client: &Client) -> Result<Vec<Value>, HubError> {
    let (api, revision) = (api(repo, client.endpoint()), encode(&repo.revision, false));
    let mut found = Vec::new();
    for number in 1..=MAX_PAGES {
        let url = format!("{api}/tree?Revision={revision}&Recursive=True&PageNumber={number}&PageSize={PAGE}");
        let page = entries(repo, client, &url)?;
        let is_last = page.len() < PAGE;
        found.extend(page);
        if is_last {
            return Ok(found);
        }
    }
    Err(odd(repo, "it does not end"))
}

fn entries(repo: &Repo, client: &Client, url: &str) -> Result<Vec<Value>, HubError> {
    // A refusal by mistake is another answer the next time.
    let mut answer = client.get_json(repo, url);
    for _ in 0..2 {
        if matches!(answer, Err(HubError::Status { status: 403, .. })) {
            std::thread::sleep(client.pause);
            answer = client.get_json(repo, url);
        }
    }
    let (mut answer, _) = answer?;
    match answer["Data"]["Files"].take() {
        Value::Array(entries) => Ok(entries),
        // An empty folder.
        Value::Null if answer["Success"] == true => Ok(Vec::new()),
        _ => Err(odd(repo, answer["Message"].as_str().unwrap_or("it has no files"))),
    }
}

fn remote_file(entry: &Value) -> Option<RemoteFile> {
    let path = entry["Path"].as_str().filter(|path| is_plain_path(path))?.to_owned();
    let hash = entry["Sha256"].as_str()?.to_ascii_lowercase();
    Some(RemoteFile {
        path,
        bytes: entry["Size"].as_u64()?,
        hash: Hash::Sha256(Some(hash).filter(|hex| is_hex(hex, 64))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entry_with_a_path_or_hash_that_is_none_is_refused() {
        let entry = |path: &str, hash: &str| json!({"Type": "blob", "Path": path, "Size": 3, "Sha256": hash});
        let hash = "AB".repeat(32);
        assert_eq!(remote_file(&entry("a/b c", &hash)).unwrap().hash, Hash::Sha256("ab".repeat(32)));
        for (path, hash) in [("../a", &hash[..]), ("/a", &hash), ("a//b", &hash), ("a", ""), ("a", "../x"), ("a", "ab")]
        {
            assert_eq!(remote_file(&entry(path, hash)), None, "{path} {hash}");
        }
    }
}
