//! One file from the Hub into the cache.
//!
//! It grows as `blobs/HASH.incomplete` and is hashed as it grows. A broken connection, and a later call, go on where it
//! ends (`Range`). It gets its name when size and hash are the listing's; if the hash is another, it is thrown away and
//! loaded once more from the beginning, because its older part may have been damaged on the disk.
//!
//! The network is read by a thread of its own, which hands over pieces: so a stop is heard at once, even when a read
//! waits for a dead connection. Such a thread ends with the next piece or the read's timeout.

use super::HubError;
use super::answer::{network, opening};
use super::cache::RepoDir;
use super::client::Client;
use super::hash::Hasher;
use super::progress::{Meter, TICK};
use super::repo::{RemoteFile, Repo};
use super::retry::Retries;
use super::url::host;
use crate::fs::{self, Appender};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

const PIECE: usize = 64 << 10;
/// Pieces that wait to be written.
const QUEUE: usize = 16;

pub(super) struct Transfer<'a> {
    pub client: &'a Client,
    pub repo: &'a Repo,
    pub commit: &'a str,
    pub dir: &'a RepoDir,
}

impl Transfer<'_> {
    /// Brings the file's content into the cache. If it is there already, nothing is asked of the Hub.
    pub fn fetch(&self, file: &RemoteFile, meter: &mut Meter) -> Result<(), HubError> {
        if self.dir.has(file) {
            return Ok(());
        }
        let _lock = loop {
            match self.dir.try_lock(file)? {
                Some(lock) => break lock,
                None => meter.note("another program is loading this file".into()),
            }
            meter.sleep(TICK)?;
        };
        meter.clear_note();
        if self.dir.has(file) {
            return Ok(()); // the other one has brought it
        }
        let mut part = Part::open(&self.dir.incomplete(file), file, meter)?;
        let (mut retries, mut wrong) = (Retries::new(self.client), 0);
        loop {
            let mut brought = 0;
            let error = match self.attempt(file, &mut part, meter, &mut brought) {
                Ok(()) => return part.place(&self.dir.blob(file)).map_err(HubError::from),
                Err(error) => error,
            };
            // Counted apart: a wrong file is loaded whole each time, which would never end.
            wrong += u32::from(matches!(error, HubError::Content { .. }));
            if wrong == 2 {
                return Err(error);
            }
            retries.again(&file.path, error, brought, meter)?;
        }
    }

    /// One request, up to the verified end.
    fn attempt(
        &self,
        file: &RemoteFile,
        part: &mut Part,
        meter: &mut Meter,
        brought: &mut u64,
    ) -> Result<(), HubError> {
        if part.len() < file.bytes {
            let url = self.client.file_url(self.repo, self.commit, &file.path);
            let pieces = self.start(url, file, part.len())?;
            loop {
                match pieces.recv_timeout(TICK) {
                    Ok(Piece::From(at)) if at == part.len() => {}
                    Ok(Piece::From(_)) => part.clear()?,
                    Ok(Piece::Bytes(bytes)) => {
                        part.append(&bytes)?;
                        *brought += bytes.len() as u64;
                        meter.moved(bytes.len());
                        meter.at(part.len())?;
                    }
                    Ok(Piece::End(end)) => break end?,
                    Err(RecvTimeoutError::Timeout) => meter.tell()?,
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(io::Error::other("a transfer's thread died").into());
                    }
                }
            }
        }
        if part.len() < file.bytes {
            let what = format!("the connection ended at {} of {} bytes", part.len(), file.bytes);
            return Err(network(self.client.endpoint(), &what));
        }
        part.verify()
    }

    fn start(&self, url: String, file: &RemoteFile, from: u64) -> Result<Receiver<Piece>, HubError> {
        let (send, pieces) = sync_channel(QUEUE);
        let source = Source { client: self.client.clone(), repo: self.repo.clone(), file: file.clone(), url, from };
        let run = move || {
            let end = source.read(&send);
            let _ = send.send(Piece::End(end)); // nobody waits any more if it was stopped
        };
        std::thread::Builder::new().name("hub transfer".into()).spawn(run)?;
        Ok(pieces)
    }
}

/// What the reading thread hands over.
enum Piece {
    /// The bytes that follow begin here.
    From(u64),
    Bytes(Vec<u8>),
    End(Result<(), HubError>),
}

struct Source {
    client: Client,
    repo: Repo,
    file: RemoteFile,
    url: String,
    from: u64,
}

impl Source {
    /// Asks, checks by the head that it is the file that comes, and reads it.
    fn read(&self, send: &SyncSender<Piece>) -> Result<(), HubError> {
        let answer = self.client.get(&self.url, self.from)?;
        let at = match answer.response.status().as_u16() {
            200 => 0, // the server does not know ranges: from the beginning
            206 => {
                let range = answer.header("content-range").unwrap_or_default();
                if range != format!("bytes {}-{}/{}", self.from, self.file.bytes - 1, self.file.bytes) {
                    return Err(self.not_the_file(&format!("the part `{range}`")));
                }
                self.from
            }
            416 => {
                let _ = send.send(Piece::From(0));
                return Err(network(&answer.url, "it has no such part of the file"));
            }
            _ => return Err(self.client.refusal(&self.repo, answer)),
        };
        let length: Option<u64> = answer.header("content-length").and_then(|length| length.parse().ok());
        let kind = answer.header("content-type").unwrap_or_default();
        let is_page = kind.starts_with("text/html") && !self.file.path.ends_with(".html");
        let expected = self.file.bytes - at;
        if length.is_some_and(|length| length != expected) || (is_page && length.is_none()) {
            let host = host(&answer.url);
            let mut begin = Vec::new();
            let _ = answer.response.into_body().into_reader().take(400).read_to_end(&mut begin);
            let (length, kind) =
                (length.map_or("?".into(), |n| n.to_string()), if kind.is_empty() { "?" } else { &kind });
            let what = format!("{host} sent {length} bytes of {kind} instead of {expected}: {}", opening(&begin));
            return Err(self.not_the_file(&what));
        }
        let url = answer.url.clone();
        let mut body = answer.response.into_body().into_reader();
        let mut left = expected;
        let mut buffer = vec![0; PIECE];
        if send.send(Piece::From(at)).is_err() {
            return Ok(()); // stopped
        }
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) if n as u64 > left => return Err(self.not_the_file("more bytes came than it has")),
                Ok(n) => {
                    left -= n as u64;
                    if send.send(Piece::Bytes(buffer[..n].to_vec())).is_err() {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(network(&url, &format!("the connection broke ({e})"))),
            }
        }
    }

    fn not_the_file(&self, what: &str) -> HubError {
        HubError::Content { file: self.file.path.clone(), what: what.to_owned() }
    }
}

/// A file that grows, and its hash so far.
struct Part {
    path: PathBuf,
    out: Appender,
    hasher: Hasher,
    file: RemoteFile,
}

impl Part {
    /// Goes on with what is there.
    fn open(path: &Path, file: &RemoteFile, meter: &mut Meter) -> Result<Self, HubError> {
        let out = fs::append_open(path)?;
        let mut part =
            Self { path: path.to_owned(), out, hasher: Hasher::like(&file.hash, file.bytes), file: file.clone() };
        if part.len() > file.bytes {
            part.clear()?;
        }
        let mut reader = part.out.file();
        let (mut buffer, mut done) = (vec![0; 1 << 20], 0);
        while done < part.out.len() {
            let n = reader.read(&mut buffer).map_err(|e| reading(path, &e))?;
            if n == 0 {
                return Err(reading(path, &io::ErrorKind::UnexpectedEof.into()).into());
            }
            part.hasher.update(&buffer[..n]);
            done += n as u64;
            meter.at(done)?;
        }
        Ok(part)
    }

    fn len(&self) -> u64 {
        self.out.len()
    }

    fn clear(&mut self) -> io::Result<()> {
        self.hasher = Hasher::like(&self.file.hash, self.file.bytes);
        self.out.cut(0)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.append(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// The whole file is what the Hub says it is; else it is emptied.
    fn verify(&mut self) -> Result<(), HubError> {
        let (found, expected) = (self.hasher.finish(), &self.file.hash);
        if found == *expected {
            return Ok(());
        }
        let (kind, found, expected) = (found.kind(), found.hex(), expected.hex());
        let what = format!("its {kind} is {found} where the Hub says {expected}, so it was thrown away");
        self.clear()?;
        Err(HubError::Content { file: self.file.path.clone(), what })
    }

    fn place(self, blob: &Path) -> io::Result<()> {
        self.out.sync()?;
        fs::rename(&self.path, blob)?;
        blob.parent().map_or(Ok(()), fs::sync_dir)
    }
}

fn reading(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("reading {}: {error}", path.display()))
}
