//! Where what a profile names lies on this machine: folders as they are, Hub names through the Hub's cache.

use super::Profile;
use crate::data::{self, DatasetOptions};
use crate::hub::{self, NotHere, Wanted, What};
use std::path::{Path, PathBuf};

impl Profile {
    /// The folder of `model_name_or_path`, at `model_revision`.
    ///
    /// # Errors
    /// It is not on this machine.
    pub fn model_folder(&self) -> Result<PathBuf, NotHere> {
        let name = self.model_name_or_path.as_deref().unwrap_or_default();
        self.find(Path::new(name), What::Model)
    }

    /// The folders of `adapter_name_or_path`. As in LLaMA-Factory `model_revision` is meant for them, too.
    ///
    /// # Errors
    /// One is not on this machine.
    pub fn adapter_folders(&self) -> Result<Vec<PathBuf>, NotHere> {
        self.adapter_name_or_path.iter().map(|name| self.find(Path::new(name), What::Adapter)).collect()
    }

    /// A model or adapter of this name, at the profile's revision and in its cache.
    ///
    /// # Errors
    /// It is not on this machine.
    pub fn find(&self, name: &Path, what: What) -> Result<PathBuf, NotHere> {
        hub::folder(name, what, &self.model_revision, self.cache_dir.as_deref())
    }

    /// What it names of a Hub and is not on this machine. A folder or file that is not there is none of that: whoever opens
    /// it says so.
    ///
    /// # Errors
    /// A repository without the part that is asked for; no cache.
    pub fn missing(&self) -> Result<Vec<Wanted>, NotHere> {
        let model = self.model_name_or_path.iter().map(|name| (name, What::Model));
        let adapters = self.adapter_name_or_path.iter().map(|name| (name, What::Adapter));
        let mut found: Vec<Wanted> = Vec::new();
        for (name, what) in model.chain(adapters) {
            match self.find(Path::new(name), what) {
                Err(NotHere::Missing(wanted)) => found.push(*wanted),
                Ok(_) | Err(NotHere::NoFolder { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        let names: Vec<String> = self.dataset.iter().chain(&self.eval_dataset).cloned().collect();
        found.extend(data::missing(&DatasetOptions::of(self, &names))?);
        Ok(found)
    }
}
