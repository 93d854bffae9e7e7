//! A folder becomes a repository of the Hub, or its next commit.
//!
//! Looked at first, sent later: names, token, the repository and the head of its card are checked before a byte goes out.
//! Every file is compared with the Hub's by its hash, contents of large files go to the storage ([`super::lfs`]), and at
//! the end one commit shows all of it ([`super::commit`]). Until then nothing changes for those who load from there. What
//! is broken off goes on by doing it again: the Hub knows which contents it has.

use super::HubError;
use super::client::{Client, Content, SILENCE};
use super::commit::{Change, Commits, Mode, is_there};
use super::folder::{Folder, LocalFile};
use super::hash::{Hash, Hasher};
use super::lfs::{BATCH, Object, Storage, Way};
use super::progress::{Meter, Notify, Phase, Progress};
use super::repo::{Listing, Repo, encode, is_hex, list};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const CARD: &str = "README.md";

/// What is to be sent where.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    pub folder: &'a Folder,
    /// At a branch, which is made if it is missing.
    pub repo: &'a Repo,
    /// The repository is private, or nothing is sent.
    pub private: bool,
    /// Of the commit.
    pub message: &'a str,
    pub client: &'a Client,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Where people look at the commit, or at the repository if there was nothing to do.
    pub url: String,
    /// What the branch stands for now.
    pub commit: String,
    /// The repository is new.
    pub created: bool,
    /// New and changed files.
    pub files: usize,
    pub bytes: u64,
    /// Files that the Hub had as they are.
    pub unchanged: usize,
    /// Files that the repository's .gitignore keeps out.
    pub ignored: Vec<String>,
}

/// What is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    New,
    Public,
    Private,
}

/// Looks at a repository that is to be pushed to.
///
/// # Errors
/// A name that is none, no token, no network; and a public one where a private one is wanted.
pub fn destination(repo: &Repo, private: bool, client: &Client) -> Result<Destination, HubError> {
    repo.check()?;
    if !repo.id.contains('/') {
        let what = "names no account: say whose it is, like my-name/my-model";
        return Err(HubError::Wrong(format!("`{}` {what}", repo.id)));
    }
    if is_hex(&repo.revision, 40) {
        return Err(HubError::Wrong(format!("{} is a commit; --revision names a branch to push to", repo.revision)));
    }
    client.check_can_write()?;
    match client.get_json(repo, &repo.api(client.endpoint())) {
        Err(HubError::NotFound { .. } | HubError::Status { status: 404, .. }) => Ok(Destination::New),
        Err(error) => Err(error),
        Ok((info, _)) if info["private"] == true => Ok(Destination::Private),
        Ok(_) if private => {
            let page = repo.page(client.endpoint());
            let what = "is there already and is public, so with --private nothing was sent";
            Err(HubError::Wrong(format!("{repo} {what}. Make it private at {page}/settings, or choose another name")))
        }
        Ok(_) => Ok(Destination::Public),
    }
}

/// Sends what the Hub does not have and commits it: [`Phase::Comparing`], then [`Phase::Sending`]. `notify` hears of every
/// change and at least ten times a second; its `Break` stops with [`HubError::Cancelled`].
///
/// # Errors
/// Those of [`destination`]; a refusal, a network that stays broken, a file that changes while it is sent. Nothing is
/// committed then; contents that arrived whole are kept by the Hub for the next call.
pub fn push(push: &Push, notify: &mut dyn FnMut(&Progress) -> ControlFlow<()>) -> Result<Pushed, HubError> {
    let Push { folder, repo, client, .. } = *push;
    let before = destination(repo, push.private, client)?;
    push.check_card()?;
    let created = before == Destination::New;
    if created {
        push.create()?;
    }
    push.make_branch()?;
    let listing = list(repo, client)?;
    let commits = Commits { client, repo, message: push.message };
    let modes = commits.modes(&folder.files)?;
    let of_mode = |wanted| folder.files.iter().zip(&modes).filter(move |(_, mode)| **mode == wanted);
    let ignored: Vec<String> = of_mode(Mode::Ignored).map(|(file, _)| file.path.clone()).collect();
    let changes = changes(&folder.files, &modes, &listing, notify)?;
    let mut pushed = Pushed {
        url: repo.page(client.endpoint()),
        commit: listing.commit,
        created,
        files: changes.len(),
        bytes: changes.iter().map(|(file, _)| file.bytes).sum(),
        unchanged: folder.files.len() - ignored.len() - changes.len(),
        ignored,
    };
    if changes.is_empty() {
        return Ok(pushed);
    }
    let mut notify = |progress: &Progress| notify(progress);
    let notify: &mut Notify = &mut notify;
    let mut meter = Meter::new(Phase::Sending, changes.len(), pushed.bytes, notify);
    store(&Storage { client, repo }, &changes, &mut meter)?;
    let committed = commits.commit(&changes, &pushed.commit, &mut meter)?;
    (pushed.url, pushed.commit) = (committed.url, committed.commit);
    Ok(pushed)
}

/// Reads all files, and leaves those that the Hub has not.
fn changes<'a>(
    files: &'a [LocalFile],
    modes: &[Mode],
    listing: &Listing,
    notify: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Vec<Change<'a>>, HubError> {
    let wanted = || files.iter().zip(modes).filter(|(_, mode)| **mode != Mode::Ignored);
    let mut notify = |progress: &Progress| notify(progress);
    let notify: &mut Notify = &mut notify;
    let bytes = wanted().map(|(file, _)| file.bytes).sum();
    let mut meter = Meter::new(Phase::Comparing, wanted().count(), bytes, notify);
    let mut changes = Vec::new();
    for (file, mode) in wanted() {
        meter.begin(&file.path, file.bytes)?;
        let hasher = if *mode == Mode::Large { Hasher::sha256() } else { Hasher::git(file.bytes) };
        let change = (file, file.hash(hasher, &mut meter)?);
        if !is_there(listing, &change) {
            changes.push(change);
        }
        meter.finish()?;
    }
    Ok(changes)
}

/// Brings the contents of large files to the storage, equal ones once.
fn store(storage: &Storage, changes: &[Change], meter: &mut Meter) -> Result<(), HubError> {
    let mut same: BTreeMap<&str, Vec<&LocalFile>> = BTreeMap::new();
    for (file, hash) in changes {
        if let Hash::Sha256(oid) = hash {
            same.entry(oid).or_default().push(file);
        }
    }
    let objects: Vec<Object> = same.iter().map(|(oid, files)| (files[0], *oid)).collect();
    for batch in objects.chunks(BATCH) {
        let ways = storage.ways(batch)?;
        for ((file, oid), way) in batch.iter().zip(ways) {
            meter.begin(&file.path, file.bytes)?;
            if !matches!(way, Way::There) {
                storage.send((file, oid), way, meter)?;
            }
            meter.finish()?;
            for file in &same[oid][1..] {
                meter.begin(&file.path, file.bytes)?;
                meter.finish()?;
            }
        }
    }
    Ok(())
}

impl Push<'_> {
    /// The Hub refuses a commit whose card has a head that it does not understand; better said before all is sent.
    fn check_card(&self) -> Result<(), HubError> {
        let Some(card) = self.folder.files.iter().find(|file| file.path == CARD) else { return Ok(()) };
        let text = std::fs::read(card.at())?;
        let ask = json!({"content": String::from_utf8_lossy(&text), "repoType": self.repo.kind.singular()}).to_string();
        let url = format!("{}/api/validate-yaml", self.client.endpoint());
        self.client.few_tries(|| {
            let answer = self.client.post(&url, Content::Json, ask.as_bytes(), SILENCE)?;
            match answer.status() {
                400 => {
                    let said = crate::safe_text::clean_line(&answer.said(), 500);
                    let what = "the Hub does not take the YAML at its head";
                    Err(HubError::Wrong(format!("{}: {what} ({said}). Nothing was sent", card.at().display())))
                }
                404 | 405 => Ok(()), // some mirrors have no such check
                _ if answer.is_success() => Ok(()),
                _ => Err(self.client.refusal(self.repo, answer)),
            }
        })
    }

    fn create(&self) -> Result<(), HubError> {
        let Push { repo, client, private, .. } = *self;
        let (account, name) = repo.id.split_once('/').unwrap_or_default();
        let mut ask = json!({"name": name, "organization": account, "type": repo.kind.singular()});
        if private {
            ask["private"] = true.into();
        }
        let url = format!("{}/api/repos/create", client.endpoint());
        client.few_tries(|| {
            let answer = client.post(&url, Content::Json, ask.to_string().as_bytes(), SILENCE)?;
            match answer.status() {
                409 => Ok(()), // made meanwhile
                _ if answer.is_success() => Ok(()),
                _ => Err(client.refusal(repo, answer)),
            }
        })?;
        // Asked and not believed: patients' data may hang on it.
        match destination(repo, private, client)? {
            Destination::New => Err(HubError::Content {
                file: repo.to_string(),
                what: "the Hub says that it was made, and that there is none".into(),
            }),
            Destination::Public | Destination::Private => Ok(()),
        }
    }

    fn make_branch(&self) -> Result<(), HubError> {
        let Push { repo, client, .. } = *self;
        if repo.revision == "main" {
            return Ok(());
        }
        let (api, branch) = (repo.api(client.endpoint()), encode(&repo.revision, false));
        match client.get_json(repo, &format!("{api}/revision/{branch}")) {
            Ok(_) => return Ok(()),
            Err(HubError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        client.few_tries(|| {
            let answer = client.post(&format!("{api}/branch/{branch}"), Content::Json, b"{}", SILENCE)?;
            match answer.status() {
                409 => Ok(()),
                _ if answer.is_success() => Ok(()),
                _ => Err(client.refusal(repo, answer)),
            }
        })
    }
}
