//! PNG (the first picture of an animated one).

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::png::PngDecoder;

use super::{Format, ImageError, Mode, image_limits};

pub(super) fn open(file: &[u8]) -> Result<(impl ImageDecoder, Mode), ImageError> {
    let decoder = PngDecoder::with_limits(Cursor::new(file), image_limits())
        .map_err(|e| ImageError::from_image(Format::Png, e))?;
    // IHDR is the first chunk (the decoder saw to it): bit depth at byte 24, colour type at 25. The decoder itself hides
    // them: it expands palettes, low depths and tRNS transparency, which PIL leaves until the picture becomes RGB.
    let mode = match file.get(24..26) {
        Some([1, 0]) => Mode::Bilevel,
        Some([16, 0]) => Mode::Grey16,
        Some([_, 0]) => Mode::Grey,
        Some([_, 2]) => Mode::Rgb,
        Some([_, 3]) => Mode::Palette,
        Some([16, 4]) => Mode::Rgba, // PIL reads 16-bit grey with alpha as RGBA
        Some([_, 4]) => Mode::GreyAlpha,
        Some([_, 6]) => Mode::Rgba,
        _ => return Err(ImageError::broken(Format::Png, "no valid IHDR chunk")),
    };
    Ok((decoder, mode))
}
