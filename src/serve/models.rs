//! The models that a server has: the base under its name, and each adapter under its own.

use super::error::ApiError;
use axum::http::StatusCode;
use lightbox_core::chat::ModelChoice;
use lightbox_core::hub::cached_name;
use lightbox_core::safe_text::clean_line;
use serde_json::{Value, json};
use std::path::Path;

/// Names and what they stand for; the first one is loaded at the start.
#[derive(Debug, Clone)]
pub struct Models {
    list: Vec<(String, ModelChoice)>,
    /// Unix seconds of the server's start, in every listing.
    started: u64,
}

impl Models {
    /// # Errors
    /// A name that stands for two things.
    pub fn new(list: Vec<(String, ModelChoice)>, started: u64) -> Result<Self, String> {
        for (i, (name, _)) in list.iter().enumerate() {
            if list[..i].iter().any(|(other, _)| other == name) {
                let name = clean_line(name, 100);
                return Err(format!(
                    "two models are called {name}; give one another name (--name for the base, --adapter NAME=DIR)"
                ));
            }
        }
        Ok(Self { list, started })
    }

    /// In the order of the command line.
    pub fn names(&self) -> Vec<&str> {
        self.list.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub fn first(&self) -> Option<&ModelChoice> {
        self.list.first().map(|(_, choice)| choice)
    }

    /// # Errors
    /// 404 with the names that there are.
    pub fn find(&self, name: &str) -> Result<&ModelChoice, ApiError> {
        let found = self.list.iter().find(|(known, _)| known == name).map(|(_, choice)| choice);
        found.ok_or_else(|| {
            let (name, there) = (clean_line(name, 100), self.names().join(", "));
            let message = format!("there is no model {name} here; these are: {there}");
            ApiError { param: Some("model".into()), ..ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message) }
        })
    }

    /// `GET /v1/models`
    pub fn json(&self) -> Value {
        let data: Vec<Value> = self.list.iter().map(|(name, _)| self.entry(name)).collect();
        json!({"object": "list", "data": data})
    }

    /// `GET /v1/models/NAME`
    ///
    /// # Errors
    /// As [`Models::find`].
    pub fn one(&self, name: &str) -> Result<Value, ApiError> {
        self.find(name).map(|_| self.entry(name))
    }

    fn entry(&self, name: &str) -> Value {
        json!({"id": name, "object": "model", "created": self.started, "owned_by": "lightbox"})
    }
}

/// The name of a model folder: its Hub name where it lies in the Hub's cache (`models--ORG--NAME/snapshots/COMMIT`), else
/// the folder's own.
pub fn name_of(dir: &Path) -> String {
    let own = || {
        let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        real.file_name().map(|name| name.to_string_lossy().into_owned())
    };
    cached_name(dir).or_else(own).unwrap_or_else(|| "model".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_hub_s_cache_is_called_as_on_the_hub() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("/c/models--Qwen--Qwen2-VL-2B-Instruct/snapshots/895c3a49"), "Qwen/Qwen2-VL-2B-Instruct");
        assert_eq!(name("/data/my-model"), "my-model");
        assert_eq!(name("/data/snapshots/x"), "x");
    }
}
