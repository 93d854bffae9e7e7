//! A picture small enough that hundreds fit into one page.

use crate::vision::{ImageError, PixelBudget, decode_rgb};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

/// 240 x 240, or as many pixels in another shape.
const BUDGET: PixelBudget = PixelBudget { min: 1, max: 240 * 240 };
const QUALITY: u8 = 82;

/// A JPEG of what training reads: decoded as there, then made smaller.
///
/// # Errors
/// As [`decode_rgb`].
pub fn jpeg(file: &[u8]) -> Result<Vec<u8>, ImageError> {
    let rgb = decode_rgb(file, Some(BUDGET))?;
    let mut out = Vec::new();
    // Into memory, with a size that `decode_rgb` has made: nothing here can fail.
    let written = JpegEncoder::new_with_quality(&mut out, QUALITY).encode(
        &rgb.data,
        rgb.width,
        rgb.height,
        ExtendedColorType::Rgb8,
    );
    debug_assert!(written.is_ok());
    Ok(out)
}
