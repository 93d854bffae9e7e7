//! What turns samples into tokens: a model folder's tokenizer and picture settings, with the data keys of a profile. It is
//! loaded once and kept; weights are never read.
use crate::app::data::seen::SeenBy;
use lightbox_core::data::Encoder;
use lightbox_core::profile::Profile;
use lightbox_core::safe_text::clean_line;
use lightbox_core::text::{EncodeOptions, Tokenizer};
use lightbox_core::vision::{ImageProcessor, PixelBudget};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The model that was used last.
#[derive(Debug, Clone, Default)]
pub struct Models(Arc<Mutex<Option<(PathBuf, Loaded)>>>);

/// A tokenizer is tens of megabytes, so it is shared.
type Loaded = Arc<(Tokenizer, ImageProcessor)>;

#[derive(Debug)]
pub struct Model {
    loaded: Loaded,
    dir: PathBuf,
    profile: Option<PathBuf>,
    budget: PixelBudget,
    pub options: EncodeOptions,
}

impl Model {
    pub fn encoder(&self) -> Encoder<'_> {
        let (tokenizer, processor) = &*self.loaded;
        Encoder { tokenizer, processor, budget: self.budget, options: &self.options }
    }

    pub fn name(&self) -> String {
        clean_line(&self.dir.display().to_string(), 300)
    }

    pub fn profile_name(&self) -> Option<String> {
        self.profile.as_ref().map(|path| clean_line(&path.display().to_string(), 300))
    }
}

impl Models {
    /// `None`: no model folder is known.
    ///
    /// # Errors
    /// The folder's files cannot be used; names them.
    pub fn get(&self, by: &SeenBy) -> anyhow::Result<Option<Model>> {
        let no_overrides: &[&str] = &[];
        // The user's profile first; the demo's own model needs the demo's own settings.
        let profiles = by.profile.iter().cloned().chain([by.demo.join("demo.yaml")]);
        let profiles: Vec<_> =
            profiles.filter_map(|path| Some((Profile::load(&path, no_overrides).ok()?, path))).collect();
        let of_profile = |profile: &Profile| {
            let here = by.here.join(profile.model_name_or_path.as_ref()?);
            if here.is_dir() { Some(here) } else { profile.model_folder().ok() }
        };
        let of_profiles = profiles.first().and_then(|(profile, _)| of_profile(profile));
        let [first @ .., demo] = by.models.as_slice() else { return Ok(None) };
        let candidates = first.iter().cloned().chain(of_profiles).chain([demo.clone()]);
        let Some(dir) = candidates.into_iter().find(|dir| is_model(dir)) else { return Ok(None) };
        let demo_profile = by.demo.join("demo.yaml");
        let of_demo = dir.starts_with(&by.demo);
        let chosen =
            profiles.iter().find(|(_, path)| Some(path) == by.profile.as_ref() || (of_demo && *path == demo_profile));
        let loaded = self.load(&dir)?;
        let (mut options, mut budget) = (EncodeOptions::default(), PixelBudget::default());
        if let Some((profile, _)) = chosen {
            options = EncodeOptions {
                cutoff_len: profile.cutoff_len,
                train_on_prompt: profile.train_on_prompt,
                mask_history: profile.mask_history,
                default_system: profile.default_system.clone(),
            };
            budget = PixelBudget { min: profile.image_min_pixels, max: profile.image_max_pixels };
        }
        options.cutoff_len = by.cutoff_len.unwrap_or(options.cutoff_len);
        Ok(Some(Model { loaded, dir, profile: chosen.map(|(_, path)| path.clone()), budget, options }))
    }

    fn load(&self, dir: &Path) -> anyhow::Result<Loaded> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, loaded)) = kept.as_ref().filter(|(known, _)| known == dir) {
            return Ok(loaded.clone());
        }
        let loaded = Arc::new((Tokenizer::from_dir(dir)?, ImageProcessor::from_dir(dir)?));
        *kept = Some((dir.to_owned(), loaded.clone()));
        Ok(loaded)
    }
}

fn is_model(dir: &Path) -> bool {
    dir.join("tokenizer.json").exists() || dir.join("vocab.json").exists()
}
