//! What can go wrong between a Hub and the disk, told so that the reader knows what to do next.

use crate::safe_text::clean_line;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The owners of the repository decide who may load its files.
    #[error("{}", gated(.repo, .page, .token_from.as_deref(), .said))]
    Gated {
        /// `dataset UCSC-VLAA/MedTrinity-25M`
        repo: String,
        /// Where the terms are accepted.
        page: String,
        /// Where the token came from that was not enough.
        token_from: Option<String>,
        /// The Hub's own words.
        said: String,
    },
    #[error("{endpoint} does not accept the token from {from}{}. Make a new one at {endpoint}/settings/tokens", in_brackets(.said))]
    BadToken { endpoint: String, from: String, said: String },
    /// The token is one, but not for this.
    #[error(
        "{endpoint} does not let the token from {from} write to {repo}{}. It needs write permission there: see {endpoint}/settings/tokens",
        in_brackets(.said)
    )]
    ReadOnly { repo: String, endpoint: String, from: String, said: String },
    /// A file is not any more what it was when its upload began.
    #[error(
        "{file} changed while it was read and sent; nothing was committed. Once nothing writes to it any more, the same command begins it again"
    )]
    Changed { file: PathBuf },
    /// Also a private repository, which looks the same to those who may not see it.
    #[error("{endpoint} has no {what}{hint}")]
    NotFound { endpoint: String, what: String, hint: String },
    /// The server refused, or failed.
    #[error("{host} answered {status}{}", in_brackets(.said))]
    Status { host: String, status: u16, said: String, retry_after: Option<Duration>, passing: bool },
    /// No connection, or one that broke.
    #[error("{host}: {what}")]
    Network { host: String, what: String },
    /// What came is not the file.
    #[error("{file}: {what}. If it stays so, something on the way (a proxy, a mirror) may be the cause")]
    Content { file: String, what: String },
    /// After all tries.
    #[error(
        "{file}: {last} ({tries} tries in a row brought nothing). What came through is kept; the same command goes on there"
    )]
    GaveUp { file: String, tries: u32, last: Box<HubError> },
    #[error(
        "{} more bytes are needed in {} and {free} are free ({:.1} of {:.1} GB). Make room, or set HF_HOME to a folder on a larger disk",
        .need, .dir.display(), *.free as f64 / 1e9, *.need as f64 / 1e9
    )]
    NoSpace { dir: PathBuf, need: u64, free: u64 },
    /// A name, pattern or setting that does not fit.
    #[error("{0}")]
    Wrong(String),
    #[error("stopped; what came through is kept, and the same command goes on there")]
    Cancelled,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl HubError {
    /// Another try may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Content { .. } => true,
            Self::Status { passing, .. } => *passing,
            _ => false,
        }
    }

    /// How long the server asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
    }
}

fn in_brackets(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({})", clean_line(text, 300)) }
}

fn gated(repo: &str, page: &str, token_from: Option<&str>, text: &str) -> String {
    let next = match token_from {
        None => "accept them there, make a token in your account's settings, and set HF_TOKEN to it".to_owned(),
        Some(from) => format!(
            "the token from {from} has no access yet. Accept them with that account, or wait until the owners approve \
             (a fine-grained token also needs the permission for gated repositories)"
        ),
    };
    format!("{repo} is gated: its owners ask to accept terms at {page}; {next}{}", in_brackets(text))
}
