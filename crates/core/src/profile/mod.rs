//! Training profiles: YAML files with LLaMA-Factory's keys, checked before any work begins.
//!
//! [`Profile::load`] reads a file and `key=value` overrides and returns either a [`Profile`], whose every field has
//! been checked, or a [`ProfileError`] with *all* problems, each with file, line, key and what is allowed. Nothing is
//! ignored: a key is ours, or LLaMA-Factory's (then it must have its default), or an error with a did-you-mean.
//! Read [`keys`] next: the table of all keys.

mod check;
mod choices;
mod error;
pub mod keys;
mod other_keys;
mod places;
mod read;
mod setting;
mod write;

pub use choices::*;
pub use error::{Place, Problem, ProfileError};
pub use keys::{Group, KEYS, Key, Profile};
pub use other_keys::OtherKey;
pub use read::{Origin, Origins};
pub use setting::{Kind, Range};
pub use write::yaml_value;

#[cfg(test)]
mod tests;
