//! Which sizes a picture passes through: pure arithmetic, shared by `grid` (header only) and `process` (pixels),
//! so that the two cannot disagree.
//!
//! Sources: LLaMA-Factory 0.9.5 `data/mm_plugin.py` (`_preprocess_image` of the base and of Qwen2VLPlugin);
//! transformers 5.17 `models/qwen2_vl/image_processing_qwen2_vl.py` (`smart_resize`). All sizes in pixels.

use super::{ImageError, ImageProcessor, MAX_PIXELS, PixelBudget};

/// Below this LLaMA-Factory widens a side: one merge block of 2x2 patches of 14 pixels.
const LEAST_SIDE: u32 = 28;
/// The longest shape that transformers accepts.
const MAX_RATIO: f64 = 200.0;
/// What LLaMA-Factory makes of a longer one: 180:1.
const RATIO_CAP: u32 = 180;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    /// `width * height`.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Python's `f = sqrt(target / (w * h)); (int(w * f), int(h * f))`.
    fn scaled_to(self, target: u64) -> Result<Self, ImageError> {
        let factor = (target as f64 / self.pixels() as f64).sqrt();
        let scaled =
            Self { width: (f64::from(self.width) * factor) as u32, height: (f64::from(self.height) * factor) as u32 };
        if scaled.width == 0 || scaled.height == 0 {
            return Err(self.ratio(format!("at {target} pixels in all its short side would vanish")));
        }
        scaled.checked()
    }

    fn ratio(self, detail: String) -> ImageError {
        ImageError::Ratio { width: self.width, height: self.height, detail }
    }

    /// Refuses what enlarging would make gigantic (a large `image_min_pixels`).
    fn checked(self) -> Result<Self, ImageError> {
        if self.pixels() > MAX_PIXELS {
            let limit = format!("preparing it would make more than {} million pixels", MAX_PIXELS / 1_000_000);
            return Err(ImageError::TooLarge { width: self.width.into(), height: self.height.into(), limit });
        }
        Ok(self)
    }
}

/// The resizes a picture goes through, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// LLaMA-Factory's pixel limits, resized by PIL in the picture's own mode.
    pub own_mode: Vec<Size>,
    /// LLaMA-Factory's smallest side and longest shape, resized by PIL in RGB.
    pub rgb: Vec<Size>,
    /// transformers' `smart_resize`, by torch's uint8 resampler.
    pub patches: Size,
}

impl Route {
    /// `budget: None` is the plain processor: no LLaMA-Factory step.
    pub fn new(processor: &ImageProcessor, size: Size, budget: Option<PixelBudget>) -> Result<Self, ImageError> {
        let (own_mode, rgb) = match budget {
            Some(budget) => llamafactory_sizes(size, budget)?,
            None => (vec![], vec![]),
        };
        let last = rgb.last().or(own_mode.last()).copied().unwrap_or(size);
        let factor = processor.patch_size * processor.merge_size;
        let patches = smart_resize(last, factor, processor.min_pixels, processor.max_pixels)?.checked()?;
        Ok(Self { own_mode, rgb, patches })
    }
}

/// LLaMA-Factory's sizes: those made in the picture's own mode, then those made in RGB.
pub(super) fn llamafactory_sizes(mut size: Size, budget: PixelBudget) -> Result<(Vec<Size>, Vec<Size>), ImageError> {
    let (mut own_mode, mut rgb) = (vec![], vec![]);
    if size.pixels() > budget.max {
        size = size.scaled_to(budget.max)?;
        own_mode.push(size);
    }
    if size.pixels() < budget.min {
        size = size.scaled_to(budget.min)?;
        own_mode.push(size);
    }
    if size.width.min(size.height) < LEAST_SIDE {
        // The shape is not kept: LLaMA-Factory only widens the short side.
        size = Size { width: size.width.max(LEAST_SIDE), height: size.height.max(LEAST_SIDE) };
        rgb.push(size);
    }
    if f64::from(size.width) / f64::from(size.height) > MAX_RATIO {
        size = Size { width: size.height * RATIO_CAP, height: size.height }.checked()?;
        rgb.push(size);
    }
    if f64::from(size.height) / f64::from(size.width) > MAX_RATIO {
        size = Size { width: size.width, height: size.width * RATIO_CAP }.checked()?;
        rgb.push(size);
    }
    Ok((own_mode, rgb))
}

/// Nearest size whose sides are multiples of `factor` with `min_pixels <= width * height <= max_pixels`.
///
/// f64 in the reference's order of operations; Python's `round` goes to the even neighbour at .5 (70 / 28 -> 2).
/// A side below half a factor rounds to 0, so that the whole picture is then scaled up to about `min_pixels`
/// (9x1500 -> 28x728): the reference's behaviour, kept.
///
/// # Errors
/// [`ImageError::Ratio`] when one side is more than 200 times the other.
pub fn smart_resize(size: Size, factor: u32, min_pixels: u64, max_pixels: u64) -> Result<Size, ImageError> {
    let (height, width, step) = (f64::from(size.height), f64::from(size.width), f64::from(factor));
    let (long, short) = (height.max(width), height.min(width));
    if long / short > MAX_RATIO {
        return Err(size.ratio(format!("the model takes shapes up to {MAX_RATIO}:1")));
    }
    let round = |side: f64| (side / step).round_ties_even() * step;
    let (mut new_height, mut new_width) = (round(height), round(width));
    let area = new_height * new_width; // integers far below 2^53: exact
    if area > max_pixels as f64 {
        let beta = (height * width / max_pixels as f64).sqrt();
        let shrink = |side: f64| ((side / beta / step).floor() * step).max(step);
        (new_height, new_width) = (shrink(height), shrink(width));
    } else if area < min_pixels as f64 {
        let beta = (min_pixels as f64 / (height * width)).sqrt();
        let grow = |side: f64| (side * beta / step).ceil() * step;
        (new_height, new_width) = (grow(height), grow(width));
    }
    Ok(Size { width: new_width as u32, height: new_height as u32 })
}
