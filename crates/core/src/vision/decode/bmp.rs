//! Windows bitmaps. PIL drops a palette that is a plain grey ramp: such pictures are L (or 1), not P.
//! Those with 16 bits per pixel are refused: the decoder widens 5 bits to 8 by rounding, PIL by truncation.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::bmp::BmpDecoder;

use super::{Format, ImageError, Mode};

pub(super) fn open(file: &[u8]) -> Result<(impl ImageDecoder, Mode), ImageError> {
    let decoder = BmpDecoder::new(Cursor::new(file)).map_err(|e| ImageError::from_image(Format::Bmp, e))?;
    if bits_per_pixel(file) == Some(16) {
        return Err(ImageError::unsupported("BMP with 16 bits per pixel"));
    }
    let mode = match palette(file) {
        Some(colours) if is_ramp(&colours, &[0, 255]) => Mode::Bilevel,
        Some(colours) if is_ramp(&colours, &std::array::from_fn::<u8, 256, _>(|i| i as u8)) => Mode::Grey,
        Some(_) => Mode::Palette,
        None if decoder.color_type().has_alpha() => Mode::Rgba,
        None => Mode::Rgb,
    };
    Ok((decoder, mode))
}

// Offsets as in BITMAPFILEHEADER (14 bytes) followed by BITMAPCOREHEADER (12 bytes, 3-byte colours) or BITMAPINFOHEADER
// (40 bytes or more, 4-byte colours).

fn bits_per_pixel(file: &[u8]) -> Option<u16> {
    u16_at(file, if header_size(file)? == CORE_HEADER { 24 } else { 28 })
}

/// The palette (blue, green, red) of a bitmap with at most 8 bits per pixel.
fn palette(file: &[u8]) -> Option<Vec<[u8; 3]>> {
    let header_size = header_size(file)?;
    let bits = bits_per_pixel(file).filter(|&bits| bits <= 8)?;
    let (entry, count) = match header_size {
        CORE_HEADER => (3, 0),
        _ => (4, u32_at(file, 46)? as usize),
    };
    let count = if count == 0 { 1 << bits } else { count.min(256) };
    let colours = file.get(14usize.checked_add(header_size)?..)?.chunks_exact(entry).take(count);
    Some(colours.map(|c| [c[0], c[1], c[2]]).collect())
}

const CORE_HEADER: usize = 12;

fn header_size(file: &[u8]) -> Option<usize> {
    Some(u32_at(file, 14)? as usize)
}

fn u16_at(file: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*file.get(at..)?.first_chunk()?))
}

fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?))
}

fn is_ramp(colours: &[[u8; 3]], levels: &[u8]) -> bool {
    colours.len() == levels.len() && colours.iter().zip(levels).all(|(colour, &level)| *colour == [level; 3])
}
