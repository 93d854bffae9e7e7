//! Picture → patches, exactly as the reference does it: LLaMA-Factory's loading stage, then transformers'
//! Qwen2VLImageProcessor (torchvision backend).
use std::path::Path;

/// `image_min_pixels` and `image_max_pixels` of a profile: LLaMA-Factory's own limits, applied before the processor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelBudget {
    pub min: u64,
    pub max: u64,
}

impl Default for PixelBudget {
    fn default() -> Self {
        Self { min: 32 * 32, max: 768 * 768 }
    }
}

/// `[t, h, w]` in patches of 14 pixels; a picture is `t*h*w/4` tokens of the language model.
pub type Grid = [i64; 3];

/// One prepared picture.
#[derive(Debug, Clone)]
pub struct Patches {
    /// `[t*h*w, 1176]`, row-major, normalised fp32; rows in 2x2-merge-block order, values in (c, t, y, x) order.
    pub values: Vec<f32>,
    pub grid: Grid,
}

/// preprocessor_config.json or processor_config.json of a model folder.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageProcessor {
    pub min_pixels: u64,
    pub max_pixels: u64,
    pub patch_size: u32,
    pub temporal_patch_size: u32,
    pub merge_size: u32,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

/// Why a picture cannot be used. (To be filled: truncated, too large, unknown format, ratio, decoder failure, …)
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{0}")]
    Other(String),
}

impl ImageProcessor {
    /// Reads the processor's settings of a model folder; all layouts of notes (old and new).
    pub fn from_dir(_model_dir: &Path) -> anyhow::Result<Self> {
        todo!()
    }
    /// Decodes and prepares a picture. `budget: None` is the plain processor (transformers), `Some` is LLaMA-Factory.
    pub fn process(&self, _file: &[u8], _budget: Option<PixelBudget>) -> Result<Patches, ImageError> {
        todo!()
    }
    /// The grid that [`Self::process`] would give, from the header alone (no pixel is decoded).
    pub fn grid(&self, _file: &[u8], _budget: Option<PixelBudget>) -> Result<Grid, ImageError> {
        todo!()
    }
    /// LLaMA-Factory's invented picture for batches without one: 64x64, white.
    pub fn white(&self) -> Patches {
        todo!()
    }
}
