//! The Hubs that are known, and what differs between them besides their listings: addresses and variables.

use super::client::Client;
use super::repo::{Repo, encode};
use serde::Serialize;

/// Whose protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// huggingface.co, its mirrors, and servers that speak as it does.
    #[default]
    HuggingFace,
    /// modelscope.cn; modelscope.ai for the rest of the world.
    ModelScope,
}

impl Source {
    /// Where LLaMA-Factory takes something from that both may have: USE_MODELSCOPE_HUB says ModelScope.
    pub fn preferred() -> Self {
        let yes = |value: String| matches!(value.to_ascii_lowercase().as_str(), "true" | "y" | "1");
        if super::cache::var("USE_MODELSCOPE_HUB").is_some_and(yes) { Self::ModelScope } else { Self::HuggingFace }
    }

    /// As `lightbox download --source` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HuggingFace => "hf",
            Self::ModelScope => "modelscope",
        }
    }

    /// Where it is, if [`Self::endpoint_variable`] says nothing else.
    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Self::HuggingFace => "https://huggingface.co",
            Self::ModelScope => "https://www.modelscope.cn",
        }
    }

    pub(super) fn endpoint_variable(self) -> &'static str {
        match self {
            Self::HuggingFace => "HF_ENDPOINT",
            Self::ModelScope => "MODELSCOPE_ENDPOINT",
        }
    }

    /// The first one counts, and is named in messages.
    pub(super) fn token_variables(self) -> &'static [&'static str] {
        match self {
            Self::HuggingFace => &["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"],
            Self::ModelScope => &["MODELSCOPE_API_TOKEN"],
        }
    }

    /// The branch that is meant where none is named.
    pub fn main_branch(self) -> &'static str {
        match self {
            Self::HuggingFace => "main",
            Self::ModelScope => "master",
        }
    }
}

impl Client {
    /// Where the bytes of a file are asked for. ModelScope knows a branch only: if it moves on while files come, their
    /// hashes tell.
    pub(super) fn file_url(&self, repo: &Repo, commit: &str, path: &str) -> String {
        let endpoint = self.endpoint();
        match self.source() {
            Source::HuggingFace => format!("{}/resolve/{commit}/{}", repo.page(endpoint), encode(path, true)),
            Source::ModelScope => format!(
                "{}?Revision={}&FilePath={}",
                super::modelscope::api(repo, endpoint),
                encode(&repo.revision, false),
                encode(path, false)
            ),
        }
    }
}
