//! The worker's side of the drop-box.
//!
//! A command is known by its file's name. Whatever lies in the box gets an answer: what cannot be understood is received
//! as an error in words, so that its sender is told. Links, pipes and folders are not followed, waited for or entered.
//!
//! A command that waited since before this launch (the supervisor's start if there is one, else the worker's) was meant
//! for an earlier worker. Who starts a run again wants it to run, so an old stop, kill or pause is rejected as stale; all
//! others (a changed setting, a checkpoint, a question) still make sense and are kept. A restart by the supervisor is the
//! same launch: there, a stop that a crash kept from being heard still holds. What arrives while the worker looks is
//! never stale, however wrong its sender's clock is.
use super::super::{RunDir, lock, now_ms};
use super::{Command, Envelope, MAX_BYTES, VERSION, make_box};
use crate::safe_text::clean_line;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A command out of the box.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    pub id: String,
    /// Who sent it; empty if that cannot be read.
    pub by: String,
    /// What is asked, or in words why it cannot be done.
    pub command: Result<Command, String>,
    /// What the file calls it, understood or not.
    name: String,
    /// When its file was written, in milliseconds since 1970.
    written_ms: u64,
}

impl Received {
    /// The command's name; `unknown` if there is none to be read.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The box of one attempt.
#[derive(Debug)]
pub struct Inbox {
    path: PathBuf,
    /// Delivered: never again, even if the file cannot be removed.
    seen: BTreeSet<String>,
    /// In the box before this attempt began …
    old: BTreeSet<String>,
    /// … and stale if written before this.
    launched_ms: u64,
}

impl Inbox {
    /// Opens the box, and makes it where it is missing; if that fails, every look finds nothing.
    pub fn new(dir: &RunDir) -> Self {
        let supervisor = lock::supervisor();
        let launched = supervisor.and_then(lock::started_ms).or_else(|| lock::started_ms(std::process::id()));
        Self::of_launch(dir, launched.unwrap_or_else(now_ms))
    }

    fn of_launch(dir: &RunDir, launched_ms: u64) -> Self {
        let _ = make_box(dir);
        let path = dir.join(RunDir::COMMANDS);
        Self { old: ids(&path).into_iter().collect(), path, seen: BTreeSet::new(), launched_ms }
    }

    /// What is new, in the order of sending, each once. One `readdir` if there is nothing; how often is the caller's
    /// business.
    pub fn poll(&mut self) -> Vec<Received> {
        let new = self.unseen();
        self.seen.extend(new.iter().map(|received| received.id.clone()));
        new
    }

    /// The first new command that is wanted, without taking it out ([`Inbox::done`] does) or touching the others.
    pub fn peek(&self, wanted: impl Fn(&Command) -> bool) -> Option<Received> {
        self.unseen().into_iter().find(|received| received.command.as_ref().is_ok_and(&wanted))
    }

    /// It has been answered: removes the file.
    pub fn done(&mut self, id: &str) {
        self.seen.insert(id.to_owned());
        // if this fails, `seen` keeps it from acting twice, and the next attempt will try again
        let _ = crate::fs::remove_file(&file(&self.path, id));
    }

    fn unseen(&self) -> Vec<Received> {
        let new = ids(&self.path).into_iter().filter(|id| !self.seen.contains(id));
        new.filter_map(|id| read(&self.path, id)).map(|received| self.judged(received)).collect()
    }

    fn judged(&self, mut received: Received) -> Received {
        let stale = self.old.contains(&received.id)
            && received.written_ms < self.launched_ms
            && matches!(received.command, Ok(Command::Stop(_) | Command::Kill | Command::Pause));
        if stale {
            received.command = Err(format!(
                "sent before this run was started again, so meant for an earlier worker; if {} is still wanted, send it again",
                received.name
            ));
        }
        received
    }
}

/// What lies in a run's box, in the order of sending: not yet taken, or not yet done. For display.
pub fn waiting(dir: &RunDir) -> Vec<Received> {
    let path = dir.join(RunDir::COMMANDS);
    ids(&path).into_iter().filter_map(|id| read(&path, id)).collect()
}

/// The commands' ids, sorted. Half-written files begin with a dot.
fn ids(path: &Path) -> Vec<String> {
    let names = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let id = |name: std::ffi::OsString| Some(name.to_str()?.strip_suffix(".json")?.to_owned());
    let mut ids: Vec<String> = names.filter_map(id).filter(|id| !id.starts_with('.')).collect();
    ids.sort_unstable();
    ids
}

fn file(path: &Path, id: &str) -> PathBuf {
    path.join(format!("{id}.json"))
}

/// `None`: the file has gone meanwhile.
fn read(path: &Path, id: String) -> Option<Received> {
    let mut received =
        Received { id, by: String::new(), command: Ok(Command::Ping), name: "unknown".into(), written_ms: 0 };
    received.command = match bytes(&file(path, &received.id), &mut received.written_ms) {
        Ok(bytes) => parse(&bytes, &mut received),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => Err(format!("the command's file cannot be read: {e}")),
    };
    Some(received)
}

fn bytes(path: &Path, written_ms: &mut u64) -> io::Result<Vec<u8>> {
    let refused = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    // never follow a link, never wait for a pipe's other end
    let file = match File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return refused("it is a symbolic link".into()),
        opened => opened?,
    };
    let about = file.metadata()?;
    if !about.is_file() {
        return refused("it is no plain file".into());
    }
    let written = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    *written_ms = written.as_millis() as u64;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return refused(format!("it is longer than {MAX_BYTES} bytes"));
    }
    Ok(bytes)
}

fn parse(bytes: &[u8], received: &mut Received) -> Result<Command, String> {
    let damaged = |e: &dyn std::fmt::Display| clean_line(&format!("not a command: {e}"), 300);
    let mut fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| damaged(&e))?;
    let text = |key| fields.get(key).and_then(Value::as_str);
    if let Some(name) = text("cmd") {
        received.name = clean_line(name, 40);
    }
    received.by = clean_line(text("by").unwrap_or_default(), 120);
    let same_id = text("id") == Some(received.id.as_str());
    match fields.get("v").and_then(Value::as_u64) {
        Some(v) if v > VERSION.into() => return Err(format!("from a newer Lightbox (version {v} of commands)")),
        Some(_) => {}
        None => return Err("not a command: it has no version `v`".into()),
    }
    if !same_id {
        return Err("not a command: its `id` is not its file's name".into());
    }
    // args may be missing where none are needed, and empty where there can be none
    if fields.get("args").is_some_and(|args| args.is_null() || args.as_object().is_some_and(Map::is_empty)) {
        fields.remove("args");
    }
    let bare = !fields.contains_key("args");
    let envelope = Envelope::deserialize(&Value::Object(fields.clone())).or_else(|e| {
        if !bare {
            return Err(e);
        }
        fields.insert("args".into(), Value::Object(Map::new()));
        Envelope::deserialize(&Value::Object(fields)).map_err(|_| e)
    });
    let command = envelope.map_err(|e| damaged(&e))?.command;
    command.check()?;
    Ok(command)
}

#[cfg(test)]
mod tests;
