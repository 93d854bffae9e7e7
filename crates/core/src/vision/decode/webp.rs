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
    // The container says how long it is; the decoder reads on without looking, libwebp refuses.
    let length = file.get(4..).and_then(<[u8]>::first_chunk).map_or(0, |&bytes| u64::from(u32::from_le_bytes(bytes)));
    if length + 8 > file.len() as u64 {
        return Err(ImageError::truncated(Format::WebP, format!("{} of {} bytes", file.len(), length + 8)));
    }
    let decoder = WebPDecoder::new(Cursor::new(file)).map_err(|e| ImageError::from_image(Format::WebP, e))?;
    let mode = if decoder.color_type().has_alpha() { Mode::Rgba } else { Mode::Rgb };
    Ok((decoder, mode))
}
