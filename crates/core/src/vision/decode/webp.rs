//! WebP (the first frame of an animated one).

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::webp::WebPDecoder;

use super::{Format, ImageError, Mode};

pub(super) fn open(file: &[u8]) -> Result<(impl ImageDecoder, Mode), ImageError> {
    // The container says how long it is; the decoder reads on without looking, libwebp refuses.
    let length = file.get(4..).and_then(<[u8]>::first_chunk).map_or(0, |&bytes| u64::from(u32::from_le_bytes(bytes)));
    if length + 8 > file.len() as u64 {
        return Err(ImageError::truncated(Format::WebP, format!("{} of {} bytes", file.len(), length + 8)));
    }
    let decoder = WebPDecoder::new(Cursor::new(file)).map_err(|e| ImageError::from_image(Format::WebP, e))?;
    let mode = if decoder.color_type().has_alpha() { Mode::Rgba } else { Mode::Rgb };
    Ok((decoder, mode))
}
