//! Large files, by git's protocol for them as the Hub speaks it: it says for each whether it has it already, and else to
//! which signed address of a storage host its bytes go, whole (`basic`) or in parts (`multipart`).
//!
//! The protocol: <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>; the parts are the Hub's own addition
//! (`chunk_size` and numbered addresses among the headers), read from huggingface_hub's `lfs.py`.

use super::HubError;
use super::answer::network;
use super::background::apart;
use super::client::{Client, Content, PATIENCE, SILENCE};
use super::folder::LocalFile;
use super::hash::Hasher;
use super::progress::Meter;
use super::repo::Repo;
use super::retry::Retries;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use ureq::http::{HeaderName, HeaderValue};

/// The Hub answers for so many at once.
pub(super) const BATCH: usize = 256;

pub(super) struct Storage<'a> {
    pub client: &'a Client,
    pub repo: &'a Repo,
}

/// A file and its SHA-256.
pub(super) type Object<'a> = (&'a LocalFile, &'a str);

/// How an object gets there.
pub(super) enum Way {
    /// The Hub has it.
    There,
    Whole {
        to: Target,
        verify: Option<String>,
    },
    Parts {
        part_bytes: u64,
        to: Vec<Target>,
        complete: String,
        verify: Option<String>,
    },
}

#[derive(Clone)]
pub(super) struct Target {
    url: String,
    headers: Vec<(String, String)>,
}

impl Storage<'_> {
    /// Asks how these objects get there; in their order.
    pub fn ways(&self, objects: &[Object]) -> Result<Vec<Way>, HubError> {
        let url = format!("{}.git/info/lfs/objects/batch", self.repo.page(self.client.endpoint()));
        let wanted: Vec<Value> = objects.iter().map(|(file, oid)| json!({"oid": oid, "size": file.bytes})).collect();
        let ask = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": wanted,
            "hash_algo": "sha256",
            "ref": {"name": self.repo.revision},
        });
        let answer = self.client.post_json(self.repo, &url, Content::Lfs, &ask)?;
        let answers = answer["objects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let way = |(file, oid): &Object| {
            let answer = answers.iter().find(|answer| answer["oid"] == **oid);
            self.way(file, answer.ok_or_else(|| self.odd(file, "it says nothing about it"))?)
        };
        objects.iter().map(way).collect()
    }

    fn way(&self, file: &LocalFile, answer: &Value) -> Result<Way, HubError> {
        if let Some(why) = answer["error"]["message"].as_str() {
            let why = crate::safe_text::clean_line(why, 300);
            return Err(HubError::Wrong(format!("{}: the Hub does not take it: {why}", file.path)));
        }
        let (upload, verify) = (&answer["actions"]["upload"], &answer["actions"]["verify"]);
        let verify = verify["href"].as_str().map(|href| self.client.address(href)).transpose()?;
        if upload.is_null() {
            return Ok(Way::There);
        }
        let href = upload["href"].as_str().ok_or_else(|| self.odd(file, "it names no address"))?;
        let (href, headers) = (self.client.address(href)?, &upload["header"]);
        let Some(part_bytes) = headers.get("chunk_size") else {
            return Ok(Way::Whole { to: Target { url: href, headers: valid(headers) }, verify });
        };
        let part_bytes = part_bytes.as_u64().or_else(|| part_bytes.as_str()?.parse().ok()).filter(|bytes| *bytes > 0);
        let part_bytes = part_bytes.ok_or_else(|| self.odd(file, "its parts have no size"))?;
        let numbered = headers.as_object().into_iter().flatten();
        let numbered = numbered.filter_map(|(number, url)| Some((number.parse::<u64>().ok()?, url.as_str()?)));
        let mut numbered: Vec<(u64, &str)> = numbered.collect();
        numbered.sort_unstable();
        if numbered.len() as u64 != file.bytes.div_ceil(part_bytes) {
            return Err(self.odd(file, "its parts do not make the file"));
        }
        let to = |(_, url): (u64, &str)| Ok(Target { url: self.client.address(url)?, headers: Vec::new() });
        let to = numbered.into_iter().map(to).collect::<Result<_, HubError>>()?;
        Ok(Way::Parts { part_bytes, to, complete: href, verify })
    }

    /// Sends an object, with `way` as its first try. For each further one the Hub is asked anew: a signed address runs
    /// out, and what seemed to fail may have arrived.
    pub fn send(&self, object: Object, way: Way, meter: &mut Meter) -> Result<(), HubError> {
        let (mut way, mut retries) = (Some(way), Retries::new(self.client));
        loop {
            let known = way.take().map_or_else(|| self.ways(&[object]).map(|mut ways| ways.remove(0)), Ok);
            let Err(error) = known.and_then(|way| self.attempt(object, way, meter)) else { return Ok(()) };
            retries.again(&object.0.path, error, 0, meter)?;
            meter.at(0)?;
        }
    }

    fn attempt(&self, object: Object, way: Way, meter: &mut Meter) -> Result<(), HubError> {
        let (file, oid) = object;
        let check = |hasher: &Hasher| if hasher.finish().hex() == oid { Ok(()) } else { Err(file.changed()) };
        let verify = match way {
            Way::There => return Ok(()),
            Way::Whole { to, verify } => {
                let (hasher, _) = self.put(file, &to, 0, file.bytes, Hasher::sha256(), meter)?;
                check(&hasher)?;
                verify
            }
            Way::Parts { part_bytes, to, complete, verify } => {
                let (mut hasher, mut tags) = (Hasher::sha256(), Vec::new());
                for (number, to) in to.iter().enumerate() {
                    let (next, tag) = self.part(file, to, number as u64 * part_bytes, part_bytes, &hasher, meter)?;
                    hasher = next;
                    tags.push(tag.ok_or_else(|| network(&to.url, "it gives no ETag for a part"))?);
                }
                check(&hasher)?;
                self.complete(oid, complete, &tags, meter)?;
                verify
            }
        };
        verify.map_or(Ok(()), |url| self.verify(object, &url))
    }

    /// One part, with tries of its own; but a signature that ran out is nothing that waiting helps against.
    fn part(
        &self,
        file: &LocalFile,
        to: &Target,
        from: u64,
        most: u64,
        hasher: &Hasher,
        meter: &mut Meter,
    ) -> Result<(Hasher, Option<String>), HubError> {
        let mut retries = Retries::new(self.client);
        loop {
            match self.put(file, to, from, most.min(file.bytes - from), hasher.clone(), meter) {
                Err(error) if !matches!(error, HubError::Status { status: 403, .. }) => {
                    retries.again(&file.path, error, 0, meter)?;
                    meter.at(from)?;
                }
                other => return other,
            }
        }
    }

    /// `bytes` bytes of a file; the hash of all up to there and the storage's ETag.
    fn put(
        &self,
        file: &LocalFile,
        to: &Target,
        from: u64,
        bytes: u64,
        hasher: Hasher,
        meter: &mut Meter,
    ) -> Result<(Hasher, Option<String>), HubError> {
        let mut source = file.open()?;
        source.seek(SeekFrom::Start(from))?;
        let (client, repo) = (self.client.clone(), self.repo.clone());
        let (file, to) = (file.clone(), to.clone());
        apart(meter, from, move |sent| {
            let mut body = Body { source, left: bytes, hasher, file: &file, sent, failed: None };
            let answer = client.put(&to.url, &to.headers, bytes, &mut body);
            // What went wrong on our side says more than what storage or HTTP library make of it.
            if let Some(error) = body.failed.take() {
                return Err(error);
            }
            file.check(&body.source)?;
            let answer = answer?;
            match answer.is_success() {
                true => Ok((body.hasher, answer.header("etag"))),
                false => Err(client.refusal(&repo, answer)),
            }
        })
    }

    fn complete(&self, oid: &str, url: String, tags: &[String], meter: &mut Meter) -> Result<(), HubError> {
        let parts: Vec<Value> =
            (1..).zip(tags).map(|(number, tag)| json!({"partNumber": number, "etag": tag})).collect();
        let body = json!({"oid": oid, "parts": parts}).to_string();
        let (client, repo, bytes) = (self.client.clone(), self.repo.clone(), meter.file_done());
        apart(meter, bytes, move |_| {
            let answer = client.post(&url, Content::Lfs, body.as_bytes(), PATIENCE)?;
            if answer.is_success() {
                return Ok(());
            }
            Err(match client.refusal(&repo, answer) {
                // It may have been put together by a call whose answer was lost: asked anew, the Hub knows.
                HubError::Status { host, status, said, retry_after, .. } => {
                    HubError::Status { host, status, said, retry_after, passing: true }
                }
                error => error,
            })
        })
    }

    fn verify(&self, (file, oid): Object, url: &str) -> Result<(), HubError> {
        let body = json!({"oid": oid, "size": file.bytes}).to_string();
        self.client.few_tries(|| {
            let answer = self.client.post(url, Content::Lfs, body.as_bytes(), SILENCE)?;
            if answer.is_success() { Ok(()) } else { Err(self.client.refusal(self.repo, answer)) }
        })
    }

    fn odd(&self, file: &LocalFile, what: &str) -> HubError {
        HubError::Content { file: file.path.clone(), what: format!("the Hub's answer on how to send it: {what}") }
    }
}

/// The headers that the storage host wants; what is none is passed over.
fn valid(headers: &Value) -> Vec<(String, String)> {
    let headers = headers.as_object().into_iter().flatten();
    let headers = headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    headers.filter(|(name, value)| HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()).collect()
}

/// A part of a file on its way out, and the hash of what went.
struct Body<'a> {
    source: File,
    left: u64,
    hasher: Hasher,
    file: &'a LocalFile,
    sent: &'a dyn Fn(usize) -> bool,
    failed: Option<HubError>,
}

impl Body<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, HubError> {
        let most = self.left.min(buffer.len() as u64) as usize;
        let n = self.source.read(&mut buffer[..most])?;
        if n == 0 && most > 0 {
            return Err(self.file.changed()); // it became shorter
        }
        self.hasher.update(&buffer[..n]);
        self.left -= n as u64;
        if (self.sent)(n) { Ok(n) } else { Err(HubError::Cancelled) }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.failed = Some(error);
            told
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Filters, Folder, Kind};

    fn way(header: Value) -> Result<Way, HubError> {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("w"), [0; 25]).unwrap();
        let file = Folder::read(temp.path(), &Filters::default()).unwrap().files.remove(0);
        let client = Client::new("https://hub.org", temp.path()).unwrap();
        let storage = Storage { client: &client, repo: &Repo::new(Kind::Model, "a/b") };
        storage.way(&file, &json!({"actions": {"upload": {"href": "https://hub.org/complete", "header": header}}}))
    }

    #[test]
    fn parts_are_sent_in_the_order_of_their_numbers_and_only_if_they_make_the_file() {
        let part = |n: u32| format!("https://storage.org/{n}");
        for size in [json!(10), json!("10")] {
            let Way::Parts { part_bytes, to, complete, .. } =
                way(json!({"chunk_size": size, "3": part(3), "00001": part(1), "00002": part(2)})).unwrap()
            else {
                panic!("in parts")
            };
            let urls: Vec<&str> = to.iter().map(|to| to.url.as_str()).collect();
            assert_eq!(urls, [part(1), part(2), part(3)]);
            assert_eq!((part_bytes, complete.as_str()), (10, "https://hub.org/complete"));
        }
        for wrong in [
            json!({"chunk_size": "10", "1": part(1), "2": part(2)}),
            json!({"chunk_size": 0, "1": part(1)}),
            json!({"chunk_size": "many", "1": part(1)}),
            json!({"chunk_size": 30, "1": "http://storage.org/in-the-open"}),
            json!({"chunk_size": 30, "1": "file:///etc/passwd"}),
        ] {
            assert!(way(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_for_the_storage_are_passed_on_if_they_are_ones() {
        let Way::Whole { to, .. } = way(json!({"x-amz-acl": "private", "a b": "c", "d": "e\nf", "n": 1})).unwrap()
        else {
            panic!("whole")
        };
        assert_eq!(to.headers, [("x-amz-acl".to_owned(), "private".to_owned())]);
    }
}
