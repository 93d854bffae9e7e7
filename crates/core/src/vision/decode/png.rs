//! PNG (the first picture of an animated one).

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::png::PngDecoder;

use super::{Format, ImageError, Mode, Raster, Size, image_limits, read_image};

type Decoder<'a> = PngDecoder<Cursor<&'a [u8]>>;

pub(super) fn header(file: &[u8]) -> Result<(Size, Mode), ImageError> {
    let (decoder, mode) = open(file)?;
    let (width, height) = decoder.dimensions();
    Ok((Size { width, height }, mode))
}

pub(super) fn decode(file: &[u8]) -> Result<Raster, ImageError> {
    let (decoder, mode) = open(file)?;
    read_image(Format::Png, decoder, mode)
}

fn open(file: &[u8]) -> Result<(Decoder<'_>, Mode), ImageError> {
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
