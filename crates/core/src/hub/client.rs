//! Requests to a Hub: where it is, who asks, and what a refusal means. Bodies are the business of [`super::transfer`]
//! and [`super::lfs`].
//!
//! The token goes to the Hub's own address and nowhere else. Large files lie on other hosts, to which the Hub redirects
//! with a signed address; so redirects are followed here, one by one, and not by the HTTP library.

use super::answer::{Answer, network};
use super::repo::{Listing, Repo};
use super::source::Source;
use super::url::{base, follow, next_page, origin};
use super::{HubError, cache};
use serde_json::Value;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{self, Method, Request, Response, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{AsSendBody, SendBody};

const MAX_REDIRECTS: usize = 5;
/// A name server or a handshake that takes longer is not going to answer.
const CONNECT: Duration = Duration::from_secs(15);
/// A connection that brings nothing for so long is dropped and made anew.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// So long a Hub may take to answer when it has work: a commit of many files, a file to be put together.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// Where the Hub is, who asks, and where the cache lies. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    source: Source,
    endpoint: String,
    pub(super) token: Option<Token>,
    cache: PathBuf,
    offline: bool,
    pub(super) pause: Duration,
}

#[derive(Clone)]
pub(super) struct Token {
    value: String,
    pub from: String,
}

/// Never the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}, cache {})", self.endpoint, self.cache.display())
    }
}

impl Client {
    /// Of the Hugging Face Hub, as Python's huggingface_hub reads its environment: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE,
    /// HF_HUB_OFFLINE, and as token HF_TOKEN or what a login stored.
    ///
    /// # Errors
    /// An endpoint that is no address, or a token file that cannot be read.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_env_of(Source::HuggingFace)
    }

    /// [`Self::from_env`] of another source. ModelScope's own variables are MODELSCOPE_ENDPOINT and MODELSCOPE_API_TOKEN;
    /// the cache is the same.
    ///
    /// # Errors
    /// As there.
    pub fn from_env_of(source: Source) -> Result<Self, HubError> {
        let endpoint = cache::var(source.endpoint_variable()).unwrap_or_else(|| source.endpoint().to_owned());
        let mut client = Self::of(source, &endpoint, &cache::cache_dir()?)?;
        client.token = stored_token(source)?;
        let yes = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        client.offline = cache::var("HF_HUB_OFFLINE").is_some_and(yes);
        Ok(client)
    }

    /// Of the Hugging Face Hub, without a token.
    ///
    /// # Errors
    /// An endpoint that is no address.
    pub fn new(endpoint: &str, cache: &Path) -> Result<Self, HubError> {
        Self::of(Source::HuggingFace, endpoint, cache)
    }

    /// Without a token.
    ///
    /// # Errors
    /// An endpoint that is no address.
    pub fn of(source: Source, endpoint: &str, cache: &Path) -> Result<Self, HubError> {
        if origin(endpoint).is_none() {
            let (variable, example) = (source.endpoint_variable(), source.endpoint());
            return Err(HubError::Wrong(format!("{variable}: `{endpoint}` is no address like {example}")));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .user_agent(concat!("lightbox/", env!("CARGO_PKG_VERSION")))
            // A body that was packed on the way has neither the size nor the ranges that were asked for.
            .accept_encoding("identity")
            // Institutions with a proxy of their own put its certificate into the system's store.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build();
        Ok(Self {
            agent: config.new_agent(),
            source,
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

    /// With another cache.
    #[must_use]
    pub fn with_cache(mut self, cache: &Path) -> Self {
        cache.clone_into(&mut self.cache);
        self
    }

    /// How long to wait before the second try of a broken transfer (1 s); doubled with each further one.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    pub fn source(&self) -> Source {
        self.source
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// There is a token to write with.
    pub(super) fn check_can_write(&self) -> Result<(), HubError> {
        self.check_online()?;
        if self.token.is_none() {
            let what = "Pushing needs a token with write permission. Make one at";
            return Err(HubError::Wrong(format!("{what} {}/settings/tokens and set HF_TOKEN to it", self.endpoint)));
        }
        Ok(())
    }

    fn check_online(&self) -> Result<(), HubError> {
        match self.offline {
            true => Err(HubError::Wrong("HF_HUB_OFFLINE is set, so nothing is loaded or sent. Unset it first".into())),
            false => Ok(()),
        }
    }

    /// With the token if it is the Hub's own address.
    fn request(&self, method: Method, url: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(url);
        match self.token.as_ref().filter(|_| self.is_own(url)) {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {}", token.value)),
            None => request,
        }
    }

    fn call(
        &self,
        url: &str,
        request: http::Result<Request<impl AsSendBody>>,
        patience: Duration,
    ) -> Result<Response<ureq::Body>, HubError> {
        self.check_online()?;
        let request = request.map_err(|e| self.unreachable(url, &e.into()))?;
        let request = self.agent.configure_request(request);
        let request = request.timeout_recv_response(Some(patience)).timeout_per_read(Some(patience)).build();
        self.agent.run(request).map_err(|e| self.unreachable(url, &e))
    }

    pub(super) fn is_own(&self, url: &str) -> bool {
        origin(url) == origin(&self.endpoint)
    }

    /// An answer of any status but a redirect; `from` > 0 asks for the rest of a file.
    pub(super) fn get(&self, url: &str, from: u64) -> Result<Answer, HubError> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.request(Method::GET, &url);
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let response = self.call(&url, request.body(()), SILENCE)?;
            if !response.status().is_redirection() {
                return Ok(Answer { url, to_write: false, response });
            }
            url = redirect(&url, &response).ok_or_else(|| network(&url, "it redirects to where nobody can follow"))?;
        }
        Err(network(&url, "it redirects in circles"))
    }

    /// An answer of any status. A redirect is followed within the Hub (a repository that was renamed), and no further.
    pub(super) fn post(
        &self,
        url: &str,
        content: Content,
        body: &[u8],
        patience: Duration,
    ) -> Result<Answer, HubError> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let request = self.request(Method::POST, &url).header(header::CONTENT_TYPE, content.sent());
            let request = request.header(header::ACCEPT, content.accepted()).body(body);
            let response = self.call(&url, request, patience)?;
            if !matches!(response.status().as_u16(), 307 | 308) {
                return Ok(Answer { url, to_write: true, response });
            }
            let next = redirect(&url, &response).filter(|next| self.is_own(next));
            url = next.ok_or_else(|| network(&url, "it redirects what is sent to elsewhere"))?;
        }
        Err(network(&url, "it redirects in circles"))
    }

    /// `bytes` bytes of `body` to a storage host, with the headers that the Hub wants there. Redirects are an answer.
    pub(super) fn put(
        &self,
        url: &str,
        headers: &[(String, String)],
        bytes: u64,
        body: &mut dyn Read,
    ) -> Result<Answer, HubError> {
        let mut request = self.request(Method::PUT, url).header(header::CONTENT_LENGTH, bytes);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = self.call(url, request.body(SendBody::from_reader(body)), PATIENCE)?;
        Ok(Answer { url: url.to_owned(), to_write: true, response })
    }

    /// Where something that the Hub names is to be asked: mirrors pass on the original's addresses, and what goes to the
    /// Hub encrypted never goes on in the open.
    pub(super) fn address(&self, href: &str) -> Result<String, HubError> {
        let url = match origin(href) == origin(self.source.endpoint()) {
            true => format!("{}{}", self.endpoint, &href[base(href).len()..]),
            false => href.to_owned(),
        };
        let secure = |url: &str| origin(url).map(|(secure, _)| secure);
        if secure(&url).is_none_or(|this| secure(&self.endpoint) == Some(true) && !this) {
            return Err(network(&self.endpoint, "it names an address where nothing may be sent"));
        }
        Ok(url)
    }

    /// JSON of the Hub's API with the address of the next page; a few tries.
    pub(super) fn get_json(&self, repo: &Repo, url: &str) -> Result<(Value, Option<String>), HubError> {
        self.few_tries(|| {
            let answer = self.get(url, 0)?;
            if !answer.is_success() {
                return Err(self.refusal(repo, answer));
            }
            let next = answer.header("link").and_then(|link| next_page(&link, &self.endpoint));
            Ok((answer.json()?, next))
        })
    }

    /// A small file of a repository, without the cache; a few tries. What is longer than `most` bytes is cut there.
    pub(super) fn read(&self, listing: &Listing, path: &str, most: u64) -> Result<Vec<u8>, HubError> {
        let url = self.file_url(&listing.repo, &listing.commit, path);
        self.few_tries(|| {
            let answer = self.get(&url, 0)?;
            if !answer.is_success() {
                return Err(self.refusal(&listing.repo, answer));
            }
            answer.bytes(most).map_err(|e| network(&url, &format!("the connection broke ({e})")))
        })
    }

    /// The Hub's answer to JSON; a few tries, so it has to be something that may be said twice.
    pub(super) fn post_json(&self, repo: &Repo, url: &str, content: Content, value: &Value) -> Result<Value, HubError> {
        let body = value.to_string();
        self.few_tries(|| {
            let answer = self.post(url, content, body.as_bytes(), SILENCE)?;
            if answer.is_success() { answer.json() } else { Err(self.refusal(repo, answer)) }
        })
    }

    pub(super) fn few_tries<T>(&self, ask: impl Fn() -> Result<T, HubError>) -> Result<T, HubError> {
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
            ureq::Error::Io(e) if is_broken(e) => network(url, &format!("the connection broke ({e})")),
            ureq::Error::Io(_)
            | ureq::Error::HostNotFound
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed => {
                let what = "is there a network? HTTPS_PROXY names a proxy";
                let mirror = self.source.endpoint_variable();
                network(url, &format!("no connection ({error}); {what}, {mirror} a mirror"))
            }
            error => network(url, &error.to_string()),
        }
    }
}

/// What is sent with a POST.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    Json,
    /// JSON of git's large file storage.
    Lfs,
    /// JSON, one object a line.
    Lines,
}

impl Content {
    fn sent(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lfs => "application/vnd.git-lfs+json",
            Self::Lines => "application/x-ndjson",
        }
    }

    fn accepted(self) -> &'static str {
        match self {
            Self::Lfs => self.sent(),
            Self::Json | Self::Lines => "application/json",
        }
    }
}

/// A connection that was there.
fn is_broken(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn redirect(url: &str, response: &Response<ureq::Body>) -> Option<String> {
    follow(url, response.headers().get(header::LOCATION)?.to_str().ok()?)
}

/// HF_TOKEN, or the file that `hf auth login` writes; of ModelScope its variable only.
fn stored_token(source: Source) -> Result<Option<Token>, HubError> {
    for name in source.token_variables() {
        if let Some(value) = cache::var(name) {
            return Ok(Some(Token { value, from: (*name).to_owned() }));
        }
    }
    if source != Source::HuggingFace {
        return Ok(None);
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
    fn what_is_printed_of_a_client_holds_no_token() {
        let client = Client::new("https://hub.org", Path::new("cache")).unwrap().with_token("hf_secret", "HF_TOKEN");
        assert!(!format!("{client:?}").contains("hf_secret"));
        assert!(Client::new("huggingface.co", Path::new("cache")).is_err());
    }
}
