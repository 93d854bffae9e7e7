//! What the Hub says the content of a file hashes to, and the same of ours.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What the Hub says the content of a file hashes to; also its name in the cache (its ETag).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hash {
    /// Of large files.
    Sha256(String),
    /// Of small ones: git's, over `blob SIZE\0` and the content.
    GitSha1(String),
}

impl Hash {
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitSha1(hex) => hex,
        }
    }

    /// For messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::GitSha1(_) => "git hash",
        }
    }
}

#[derive(Clone)]
pub(super) enum Hasher {
    Sha256(Sha256),
    GitSha1(Sha1),
}

impl Hasher {
    pub fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// Of a file with so many bytes.
    pub fn git(bytes: u64) -> Self {
        Self::GitSha1(Sha1::new_with_prefix(format!("blob {bytes}\0")))
    }

    /// As `hash` was made, of a file with so many bytes.
    pub fn like(hash: &Hash, bytes: u64) -> Self {
        match hash {
            Hash::Sha256(_) => Self::sha256(),
            Hash::GitSha1(_) => Self::git(bytes),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitSha1(hasher) => hasher.update(bytes),
        }
    }

    /// Of all so far.
    pub fn finish(&self) -> Hash {
        match self.clone() {
            Self::Sha256(hasher) => Hash::Sha256(hex(&hasher.finalize())),
            Self::GitSha1(hasher) => Hash::GitSha1(hex(&hasher.finalize())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
