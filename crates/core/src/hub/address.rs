//! `hf://datasets/ORG/NAME/path` and `hf://ORG/NAME/path`: a file of a repository, as huggingface_hub's file system writes it.
//! Here it is found in the cache, and nobody is asked.

use super::HubError;
use super::cache::{Cached, cache_dir, cached_in};
use super::repo::{Kind, is_plain_path};
use std::path::{Path, PathBuf};

/// How an address begins.
pub const SCHEME: &str = "hf://";

/// The file that an address names, in the cache.
///
/// # Errors
/// It is no such address, or the cache has no such repository or file: says how to get it.
pub fn cached_file(address: &str) -> Result<PathBuf, HubError> {
    cached_file_in(&cache_dir()?, address)
}

/// [`cached_file`] of another cache.
pub fn cached_file_in(cache: &Path, address: &str) -> Result<PathBuf, HubError> {
    let wrong = |what: String| HubError::Wrong(format!("{address}: {what}"));
    let malformed =
        || wrong("is no address of a file; it looks like hf://datasets/ORG/NAME/path or hf://ORG/NAME/path".into());
    let rest = address.strip_prefix(SCHEME).ok_or_else(malformed)?;
    let (kind, word, rest) = match rest.strip_prefix("datasets/") {
        Some(rest) => (Kind::Dataset, "dataset", rest),
        None => (Kind::Model, "model", rest),
    };
    let mut parts = rest.splitn(3, '/');
    let (Some(org), Some(name), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed());
    };
    // `NAME@REVISION` names a branch, tag or commit.
    let (name, revision) = name.split_once('@').map_or((name, None), |(name, revision)| (name, Some(revision)));
    if !is_plain_path(path) {
        return Err(malformed());
    }
    let id = format!("{org}/{name}");
    let fits = |c: &Cached| c.kind == kind && c.id == id && revision.is_none_or(|r| c.revision == r || c.commit == r);
    let mut snapshots: Vec<Cached> = cached_in(cache).into_iter().filter(fits).collect();
    snapshots.sort_by_key(|c| c.revision != "main");
    if snapshots.is_empty() {
        return Err(wrong(format!("that repository is not in the cache; `lightbox download {word} {id}` gets it")));
    }
    let files = snapshots.iter().map(|c| c.path.join(path));
    files.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        wrong(format!(
            "the cached repository has no such file; `lightbox download {word} {id} --include '{path}'` gets it if the Hub has it"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_file_of_the_cache_and_never_one_outside() {
        let temp = tempfile::tempdir().unwrap();
        let put = |repo: &str, commit: &str, file: &str| {
            let path = temp.path().join(repo).join("snapshots").join(commit).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, commit).unwrap();
            path
        };
        let (old, new) = ("1".repeat(40), "2".repeat(40));
        put("datasets--a--b", &old, "images/x.png");
        let main = put("datasets--a--b", &new, "images/x.png");
        let only_old = put("datasets--a--b", &old, "images/old.png");
        let model = put("models--a--b", &new, "x.png");
        std::fs::create_dir_all(temp.path().join("datasets--a--b/refs")).unwrap();
        std::fs::write(temp.path().join("datasets--a--b/refs/main"), &new).unwrap();
        let at = |address: &str| cached_file_in(temp.path(), address);
        assert_eq!(at("hf://datasets/a/b/images/x.png").unwrap(), main);
        assert_eq!(at("hf://datasets/a/b/images/old.png").unwrap(), only_old);
        assert_eq!(at(&format!("hf://datasets/a/b@{old}/images/old.png")).unwrap(), only_old);
        assert_eq!(at("hf://a/b/x.png").unwrap(), model);
        let why = |address: &str| at(address).unwrap_err().to_string();
        assert!(why("hf://datasets/a/c/x.png").contains("lightbox download dataset a/c"));
        assert!(why("hf://a/b/y.png").contains("--include 'y.png'"));
        for address in ["hf://a/b", "hf://datasets/a/b", "hf://a/b/../../../x", "hf://a/b//etc/passwd", "x.png"] {
            assert!(why(address).contains("is no address"), "{address}: {}", why(address));
        }
    }
}
