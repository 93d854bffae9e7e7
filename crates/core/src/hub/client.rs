//! Requests to a Hub: where it is, who asks, and what a refusal means. Bodies are the business of [`super::transfer`].
//!
//! The token goes to the Hub's own address and nowhere else. Large files lie on other hosts, to which the Hub redirects
//! with a signed address; so redirects are followed here, one by one, and not by the HTTP library.

use super::repo::Repo;
use super::{HubError, cache};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{Response, header};
use ureq::tls::{RootCerts, TlsConfig};

const HUGGING_FACE: &str = "https://huggingface.co";
const MAX_REDIRECTS: usize = 5;
/// A name server or a handshake that takes longer is not going to answer.
const CONNECT: Duration = Duration::from_secs(15);
/// A connection that brings nothing for so long is dropped and made anew.
const SILENCE: Duration = Duration::from_secs(30);
/// A page of a listing has 1000 entries of some 200 bytes; far more than this is no listing.
const MAX_JSON: u64 = 64 << 20;

/// Where the Hub is, who asks, and where the cache lies. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    endpoint: String,
    token: Option<Token>,
    cache: PathBuf,
    offline: bool,
    pub(super) pause: Duration,
}

#[derive(Clone)]
struct Token {
    value: String,
    from: String,
}

/// Never the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}, cache {})", self.endpoint, self.cache.display())
    }
}

impl Client {
    /// As Python's huggingface_hub reads its environment: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, and as
    /// token HF_TOKEN or what a login stored.
    ///
    /// # Errors
    /// An endpoint that is no address, or a token file that cannot be read.
    pub fn from_env() -> Result<Self, HubError> {
        let endpoint = cache::var("HF_ENDPOINT").unwrap_or_else(|| HUGGING_FACE.to_owned());
        let mut client = Self::new(&endpoint, &cache::cache_dir()?)?;
        client.token = stored_token()?;
        let yes = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        client.offline = cache::var("HF_HUB_OFFLINE").is_some_and(yes);
        Ok(client)
    }

    /// Without a token.
    ///
    /// # Errors
    /// An endpoint that is no address.
    pub fn new(endpoint: &str, cache: &Path) -> Result<Self, HubError> {
        if origin(endpoint).is_none() {
            return Err(HubError::Wrong(format!("HF_ENDPOINT: `{endpoint}` is no address like {HUGGING_FACE}")));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("lightbox/", env!("CARGO_PKG_VERSION")))
            // A body that was packed on the way has neither the size nor the ranges that were asked for.
            .accept_encoding("identity")
            // Institutions with a proxy of their own put its certificate into the system's store.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build();
        Ok(Self {
            agent: config.new_agent(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: None,
            cache: cache.to_owned(),
            offline: false,
            pause: Duration::from_secs(1),
        })
    }

    /// With a token, and where it came from (for messages).
    #[must_use]
    pub fn with_token(mut self, value: &str, from: &str) -> Self {
        self.token = Some(Token { value: value.to_owned(), from: from.to_owned() });
        self
    }

    /// How long to wait before the second try of a broken transfer (1 s); doubled with each further one.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// An answer of any status but a redirect; `from` > 0 asks for the rest of a file.
    pub(super) fn get(&self, url: &str, from: u64) -> Result<Answer, HubError> {
        if self.offline {
            return Err(HubError::Wrong("HF_HUB_OFFLINE is set, so nothing is loaded. Unset it to download".into()));
        }
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&url);
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| origin(&url) == origin(&self.endpoint)) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.value));
            }
            let response = request.call().map_err(|e| self.unreachable(&url, &e))?;
            if !response.status().is_redirection() {
                return Ok(Answer { url, response });
            }
            let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            url = follow(&url, to).ok_or_else(|| network(&url, "it redirects to where nobody can follow"))?;
        }
        Err(network(&url, "it redirects in circles"))
    }

    /// JSON of the Hub's API with the address of the next page; a few tries.
    pub(super) fn get_json(&self, repo: &Repo, url: &str) -> Result<(serde_json::Value, Option<String>), HubError> {
        let ask = || {
            let answer = self.get(url, 0)?;
            if !answer.response.status().is_success() {
                return Err(self.refusal(repo, answer));
            }
            let next = answer.header("link").and_then(|link| next_page(&link, &self.endpoint));
            let bytes = answer.text(MAX_JSON).map_err(|e| network(url, &e.to_string()))?;
            let json = serde_json::from_slice(&bytes);
            let json = json.map_err(|_| network(url, &format!("no listing, but {}", opening(&bytes))))?;
            Ok((json, next))
        };
        let mut pause = self.pause / 2;
        for _ in 0..2 {
            match ask() {
                Err(e) if e.is_passing() => std::thread::sleep(e.retry_after().unwrap_or(pause).min(SILENCE)),
                other => return other,
            }
            pause *= 2;
        }
        ask()
    }

    fn unreachable(&self, url: &str, error: &ureq::Error) -> HubError {
        match error {
            // Its text would show the value of a header: the token.
            ureq::Error::Http(_) => match &self.token {
                Some(token) => HubError::Wrong(format!("the token from {} cannot be one: odd characters", token.from)),
                None => network(url, "this address cannot be asked for"),
            },
            ureq::Error::Io(e) if e.to_string().contains("certificate") => {
                let what = "SSL_CERT_FILE can name the certificates of an institution's proxy";
                network(url, &format!("its certificate is not trusted ({e}); {what}"))
            }
            ureq::Error::Io(_)
            | ureq::Error::HostNotFound
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed => {
                let what = "is there a network? HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror";
                network(url, &format!("no connection ({error}); {what}"))
            }
            error => network(url, &error.to_string()),
        }
    }

    /// What an answer means that is neither a file nor a part of one.
    pub(super) fn refusal(&self, repo: &Repo, answer: Answer) -> HubError {
        let status = answer.response.status().as_u16();
        let from_hub = origin(&answer.url) == origin(&self.endpoint);
        let retry_after = answer.header("retry-after").and_then(|s| s.trim().parse().ok()).map(Duration::from_secs);
        let (code, host) = (answer.header("x-error-code").unwrap_or_default(), host(&answer.url));
        let said = answer.said();
        let endpoint = self.endpoint.clone();
        let token_from = self.token.as_ref().map(|token| token.from.clone());
        let missing =
            |what: String, hint: &str| HubError::NotFound { endpoint: endpoint.clone(), what, hint: hint.to_owned() };
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
                    "; is the name right, and may the account of this token see it?"
                } else {
                    "; is the name right? A private one needs a token in HF_TOKEN"
                },
            ),
            (404, "RevisionNotFound") => missing(format!("revision {} of {repo}", repo.revision), ""),
            (404, "EntryNotFound") => {
                missing(format!("such file in {repo}"), "; it may have changed just now, try again")
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

/// A response and the address that gave it.
pub(super) struct Answer {
    pub url: String,
    pub response: Response<ureq::Body>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name)?.to_str().ok().map(str::to_owned)
    }

    fn text(self, most: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.response.into_body().into_reader().take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The server's own words: its header, `{"error": …}`, or how its page begins.
    fn said(self) -> String {
        if let Some(message) = self.header("x-error-message") {
            return message;
        }
        let bytes = self.text(64 << 10).unwrap_or_default();
        let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let error = json.as_ref().and_then(|json| json["error"].as_str());
        error.map_or_else(|| if bytes.is_empty() { String::new() } else { opening(&bytes) }, str::to_owned)
    }
}

/// How a text begins that is not what was asked for.
pub(super) fn opening(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    format!("`{}`", crate::safe_text::clean_line(&words.join(" "), 80))
}

pub(super) fn network(url: &str, what: &str) -> HubError {
    HubError::Network { host: host(url), what: what.to_owned() }
}

/// For messages: what is behind the host may be a signature that opens the file to anyone.
pub(super) fn host(url: &str) -> String {
    origin(url).map_or_else(|| url.to_owned(), |(_, host)| host)
}

/// Scheme, and host with port, in small letters: who gets to see what is sent there.
fn origin(url: &str) -> Option<(bool, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let host = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    // `https://huggingface.co@elsewhere` is elsewhere; nobody needs such addresses.
    if host.is_empty() || host.contains(['@', '\\']) {
        return None;
    }
    let host = host.strip_suffix(if secure { ":443" } else { ":80" }).map(str::to_owned).unwrap_or(host);
    Some((secure, host))
}

/// Where a redirect leads; never from an encrypted connection to an open one.
fn follow(url: &str, to: &str) -> Option<String> {
    let (secure, _) = origin(url)?;
    let start = url.find("://")? + 3;
    let base = &url[..url[start..].find(['/', '?', '#']).map_or(url.len(), |end| start + end)];
    let next = match to {
        _ if to.starts_with("//") => format!("{}:{to}", if secure { "https" } else { "http" }),
        _ if to.starts_with('/') => format!("{base}{to}"),
        _ => to.to_owned(),
    };
    origin(&next).filter(|(next_secure, _)| *next_secure || !secure).map(|_| next)
}

/// `<https://…?cursor=…>; rel="next"`, asked of our endpoint: mirrors pass on the original's links.
fn next_page(link: &str, endpoint: &str) -> Option<String> {
    let part = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let url = part.split_once('<')?.1.split_once('>')?.0;
    let path = url.find("/api/")?;
    Some(format!("{endpoint}{}", &url[path..]))
}

/// HF_TOKEN, or the file that `hf auth login` writes.
fn stored_token() -> Result<Option<Token>, HubError> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(value) = cache::var(name) {
            return Ok(Some(Token { value, from: name.to_owned() }));
        }
    }
    let path = match cache::var("HF_TOKEN_PATH") {
        Some(path) => cache::expand(&path),
        None => cache::home()?.join("token"),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(Token { value: text.trim().to_owned(), from: path.display().to_string() })),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(HubError::Wrong(format!("the stored token {} cannot be read: {e}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_only_looks_like_the_hub_is_another_host() {
        let hub = origin("https://huggingface.co");
        for same in ["https://HuggingFace.co/a?b", "https://huggingface.co:443/x", "HTTPS://huggingface.co#x"] {
            assert_eq!(origin(same), hub, "{same}");
        }
        for other in [
            "http://huggingface.co/",
            "https://huggingface.co:8443/",
            "https://huggingface.co.evil.org/",
            "https://huggingface.co@evil.org/",
            "https://evil.org/huggingface.co",
            "https://cdn.huggingface.co/",
            "ftp://huggingface.co/",
        ] {
            assert_ne!(origin(other), hub, "{other}");
        }
    }

    #[test]
    fn redirects_are_followed_by_path_and_by_address_but_not_out_of_encryption() {
        let at = "https://hub.org/a/b?c";
        assert_eq!(follow(at, "/x?y").as_deref(), Some("https://hub.org/x?y"));
        assert_eq!(follow("https://hub.org", "/x").as_deref(), Some("https://hub.org/x"));
        assert_eq!(follow(at, "https://cdn.org/x").as_deref(), Some("https://cdn.org/x"));
        assert_eq!(follow(at, "//cdn.org/x").as_deref(), Some("https://cdn.org/x"));
        assert_eq!(follow("http://local:1/a", "http://local:2/x").as_deref(), Some("http://local:2/x"));
        for refused in ["http://hub.org/x", "file:///etc/passwd", "", "x"] {
            assert_eq!(follow(at, refused), None, "{refused}");
        }
    }

    #[test]
    fn the_next_page_is_asked_of_the_mirror() {
        let link = "<https://huggingface.co/api/models/a/b/tree/x?cursor=Z%3D>; rel=\"next\"";
        let next = next_page(link, "https://mirror.org").unwrap();
        assert_eq!(next, "https://mirror.org/api/models/a/b/tree/x?cursor=Z%3D");
        assert_eq!(next_page("<https://h/api/x>; rel=\"prev\"", "https://h"), None);
    }

    #[test]
    fn what_is_printed_of_a_client_holds_no_token() {
        let client = Client::new("https://hub.org", Path::new("cache")).unwrap().with_token("hf_secret", "HF_TOKEN");
        assert!(!format!("{client:?}").contains("hf_secret"));
        assert!(Client::new("huggingface.co", Path::new("cache")).is_err());
    }
}
