//! What comes back from a Hub or its storage, and what a refusal means.

use super::HubError;
use super::client::Client;
use super::repo::Repo;
use super::source::Source;
use super::url::host;
use crate::safe_text::clean_line;
use serde_json::Value;
use std::io::Read;
use std::time::Duration;
use ureq::http::Response;

/// A page of a listing has 1000 entries of some 200 bytes; far more than this is no listing.
const MAX_JSON: u64 = 64 << 20;

/// A response and the address that gave it.
pub(super) struct Answer {
    pub url: String,
    /// To something that was to be changed there.
    pub to_write: bool,
    pub response: Response<ureq::Body>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    pub fn json(self) -> Result<Value, HubError> {
        let url = self.url.clone();
        let bytes = self.bytes(MAX_JSON).map_err(|e| network(&url, &e.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|_| network(&url, &format!("no JSON, but {}", opening(&bytes))))
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name)?.to_str().ok().map(str::to_owned)
    }

    /// Its body, cut after `most` bytes.
    pub fn bytes(self, most: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.response.into_body().into_reader().take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The server's own words: its header, its JSON, or how its page begins.
    pub fn said(self) -> String {
        if let Some(message) = self.header("x-error-message") {
            return message;
        }
        let bytes = self.bytes(64 << 10).unwrap_or_default();
        let words = serde_json::from_slice(&bytes).ok().and_then(|json| words(&json));
        words.unwrap_or_else(|| if bytes.is_empty() { String::new() } else { opening(&bytes) })
    }
}

/// `{"error": …}`, `{"message": …}` (large file storage), `{"Message": …}` (ModelScope) or `{"errors": [{"message": …}]}` (the head of a card).
fn words(json: &Value) -> Option<String> {
    if let Some(text) = ["error", "message", "Message"].into_iter().find_map(|key| json[key].as_str()) {
        return Some(text.to_owned());
    }
    let errors: Vec<&str> = json["errors"].as_array()?.iter().filter_map(|error| error["message"].as_str()).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

impl Client {
    /// What an answer means that is not what was asked for.
    pub(super) fn refusal(&self, repo: &Repo, answer: Answer) -> HubError {
        let status = answer.status();
        let from_hub = self.is_own(&answer.url);
        let retry_after = answer.header("retry-after").and_then(|s| s.trim().parse().ok()).map(Duration::from_secs);
        let (code, host) = (answer.header("x-error-code").unwrap_or_default(), host(&answer.url));
        let answer_to_write = answer.to_write;
        let said = answer.said();
        let endpoint = self.endpoint().to_owned();
        let token_from = self.token.as_ref().map(|token| token.from.clone());
        let missing = |what: String, hint: String| HubError::NotFound { endpoint: endpoint.clone(), what, hint };
        match (status, code.as_str()) {
            _ if !from_hub => {
                // A signed address that ran out answers 403; the Hub gives a new one.
                HubError::Status { host, status, said, retry_after, passing: status == 403 || is_passing(status) }
            }
            (401 | 403, "GatedRepo") => {
                HubError::Gated { repo: repo.to_string(), page: repo.page(&endpoint), token_from, said }
            }
            (401 | 404, "RepoNotFound") => missing(
                repo.to_string(),
                if token_from.is_some() {
                    "; is the name right, and may the account of this token see it?".to_owned()
                } else {
                    let variable = self.source().token_variables()[0];
                    format!("; is the name right? A private one needs a token in {variable}")
                },
            ),
            (404, "RevisionNotFound") => missing(format!("revision {} of {repo}", repo.revision), String::new()),
            (404, "EntryNotFound") => {
                missing(format!("such file in {repo}"), "; it may have changed just now, try again".into())
            }
            // It says what it misses in words only.
            (404, _) if self.source() == Source::ModelScope => {
                missing(format!("{repo} with that revision"), format!(" ({})", clean_line(&said, 200)))
            }
            (403, _) if answer_to_write => {
                HubError::ReadOnly { repo: repo.to_string(), endpoint, from: token_from.unwrap_or_default(), said }
            }
            (401, _) if token_from.is_some() => {
                HubError::BadToken { endpoint, from: token_from.unwrap_or_default(), said }
            }
            _ => HubError::Status { host, status, said, retry_after, passing: is_passing(status) },
        }
    }
}

fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// How a text begins that is not what was asked for.
pub(super) fn opening(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    format!("`{}`", clean_line(&words.join(" "), 80))
}

pub(super) fn network(url: &str, what: &str) -> HubError {
    HubError::Network { host: host(url), what: what.to_owned() }
}
