//! Picture → patches, exactly as the reference does it: LLaMA-Factory's loading stage, then transformers'
//! Qwen2VLImageProcessor (torchvision backend). Bit-equal to both (Pillow 11.3, torch 2.11).
//!
//! ```text
//! file ─ decode ─▶ raster in PIL's mode ─▶ [LLaMA-Factory: pixel limits, in that mode] ─▶ RGB
//!      ─▶ [LLaMA-Factory: smallest side, longest shape] ─▶ smart_resize to multiples of 28 (torch's uint8 bicubic)
//!      ─▶ normalise + patchify
//! ```
//! The steps in brackets happen with a [`PixelBudget`] only. All sizes are settled by `size` from the header alone, so
//! [`ImageProcessor::grid`] costs no decoding and always agrees with [`ImageProcessor::process`].
//! Read next: `size` (the arithmetic), then `decode`, `raster`, `resample`, `patchify`.

mod config;
mod decode;
mod error;
mod patchify;
mod raster;
mod resample;
mod size;
#[cfg(test)]
mod tests;

use raster::{Pixels, Raster};
use resample::Weights;
use size::{Route, llamafactory_sizes};

pub use decode::{Content, Format, ImageInfo, MAX_BYTES, MAX_PIXELS, MAX_SIDE, check, check_content, inspect};
pub use error::ImageError;
pub use raster::{Mode, Rgb8};
pub use size::{Size, smart_resize};

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

/// preprocessor_config.json or processor_config.json of a model folder; see [`Self::from_dir`].
///
/// [`Self::default`] is what the published Qwen2-VL checkpoints say.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageProcessor {
    /// Least width x height of the resized picture, in pixels.
    pub min_pixels: u64,
    /// Greatest width x height of the resized picture, in pixels.
    pub max_pixels: u64,
    /// Side of a patch, in pixels.
    pub patch_size: u32,
    /// Frames per patch; a still picture is repeated.
    pub temporal_patch_size: u32,
    /// Side of the block of patches that becomes one token.
    pub merge_size: u32,
    /// Per channel (RGB), of samples scaled to 0..1.
    pub mean: [f32; 3],
    /// Per channel (RGB), of samples scaled to 0..1.
    pub std: [f32; 3],
}

impl ImageProcessor {
    /// Decodes and prepares a picture. `budget: None` is the plain processor (transformers), `Some` is LLaMA-Factory.
    ///
    /// # Errors
    /// [`ImageError`] for files that cannot be read in full, and for shapes beyond 200:1 (without a budget).
    pub fn process(&self, file: &[u8], budget: Option<PixelBudget>) -> Result<Patches, ImageError> {
        let info = inspect(file)?;
        let route = Route::new(self, info.size(), budget)?;
        let image = follow(decode::decode(file, &info)?, &route.own_mode, &route.rgb);
        Ok(patchify::patchify(self, &image.resize(route.patches, Weights::Torch)))
    }

    /// The grid that [`Self::process`] would give, from the header alone (no pixel is decoded).
    ///
    /// # Errors
    /// As [`Self::process`], except for damage behind the header.
    pub fn grid(&self, file: &[u8], budget: Option<PixelBudget>) -> Result<Grid, ImageError> {
        self.grid_of(inspect(file)?.size(), budget)
    }

    /// The grid of a picture of this size.
    ///
    /// # Errors
    /// A shape that cannot be prepared.
    pub fn grid_of(&self, size: Size, budget: Option<PixelBudget>) -> Result<Grid, ImageError> {
        let size = Route::new(self, size, budget)?.patches;
        Ok([1, (size.height / self.patch_size).into(), (size.width / self.patch_size).into()])
    }

    /// LLaMA-Factory's invented picture for batches without one: 64x64, white.
    pub fn white(&self) -> Patches {
        let square = Size { width: 64, height: 64 };
        let factor = self.patch_size * self.merge_size;
        // White stays white whatever the resampler, so only the size matters. A square never fails for its shape.
        let size = smart_resize(square, factor, self.min_pixels, self.max_pixels).unwrap_or(square);
        let data = vec![255; size.pixels() as usize * 3];
        patchify::patchify(self, &Rgb8 { width: size.width, height: size.height, data })
    }
}

/// Decodes a picture to RGB for display, shrunk or enlarged as LLaMA-Factory would with this budget (`None`: as stored).
///
/// # Errors
/// As [`ImageProcessor::process`].
pub fn decode_rgb(file: &[u8], budget: Option<PixelBudget>) -> Result<Rgb8, ImageError> {
    let info = inspect(file)?;
    let (own_mode, rgb) = match budget {
        Some(budget) => llamafactory_sizes(info.size(), budget)?,
        None => Default::default(),
    };
    Ok(follow(decode::decode(file, &info)?, &own_mode, &rgb))
}

/// Samples of a picture as `crate::medical` works with them, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Samples {
    Grey(Vec<u8>),
    /// Grey of more than 8 bits, as stored.
    Wide(Vec<i32>),
    Rgb(Vec<u8>),
}

/// Decodes a picture as it is stored, grey of 16 bits included.
///
/// # Errors
/// As [`ImageProcessor::process`].
pub(crate) fn samples(file: &[u8]) -> Result<(Size, Samples), ImageError> {
    let info = inspect(file)?;
    let raster = decode::decode(file, &info)?;
    Ok((raster.size, Samples::of(raster)))
}

/// PIL's bicubic resize.
pub(crate) fn resize(samples: Samples, from: Size, to: Size) -> Samples {
    let (mode, pixels) = match samples {
        Samples::Grey(p) => (Mode::Grey, Pixels::Grey(p)),
        Samples::Wide(p) => (Mode::Grey16, Pixels::Wide(p)),
        Samples::Rgb(p) => (Mode::Rgb, Pixels::Rgb(p)),
    };
    Samples::of(Raster { size: from, mode, pixels }.resize(to))
}

impl Samples {
    fn of(raster: Raster) -> Self {
        match raster.pixels {
            Pixels::Grey(p) => Self::Grey(p),
            Pixels::Wide(p) => Self::Wide(p),
            Pixels::Rgb(p) => Self::Rgb(p),
            _ => Self::Rgb(raster.into_rgb().data),
        }
    }
}

/// PIL's resizes: first in the picture's own mode, then in RGB.
fn follow(raster: Raster, own_mode: &[Size], rgb: &[Size]) -> Rgb8 {
    let raster = own_mode.iter().fold(raster, |raster, &size| raster.resize(size));
    rgb.iter().fold(raster.into_rgb(), |image, &size| image.resize(size, Weights::Pil))
}
