//! WebP (the first frame of an animated one).

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::webp::WebPDecoder;

use super::{Format, ImageError, Mode, Raster, Size, read_image};

pub(super) fn header(file: &[u8]) -> Result<(Size, Mode), ImageError> {
    let (decoder, mode) = open(file)?;
    let (width, height) = decoder.dimensions();
    Ok((Size { width, height }, mode))
}

pub(super) fn decode(file: &[u8]) -> Result<Raster, ImageError> {
    let (decoder, mode) = open(file)?;
    read_image(Format::WebP, decoder, mode)
}

fn open(file: &[u8]) -> Result<(WebPDecoder<Cursor<&[u8]>>, Mode), ImageError> {
    let decoder = WebPDecoder::new(Cursor::new(file)).map_err(|e| ImageError::from_image(Format::WebP, e))?;
    let mode = if decoder.color_type().has_alpha() { Mode::Rgba } else { Mode::Rgb };
    Ok((decoder, mode))
}
