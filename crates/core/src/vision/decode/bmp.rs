//! Windows bitmaps. PIL drops a palette that is a plain grey ramp: such pictures are L (or 1), not P.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::bmp::BmpDecoder;

use super::{Format, ImageError, Mode, Raster, Size, read_image};

pub(super) fn header(file: &[u8]) -> Result<(Size, Mode), ImageError> {
    let (decoder, mode) = open(file)?;
    let (width, height) = decoder.dimensions();
    Ok((Size { width, height }, mode))
}

pub(super) fn decode(file: &[u8]) -> Result<Raster, ImageError> {
    let (decoder, mode) = open(file)?;
    read_image(Format::Bmp, decoder, mode)
}

fn open(file: &[u8]) -> Result<(BmpDecoder<Cursor<&[u8]>>, Mode), ImageError> {
    let decoder = BmpDecoder::new(Cursor::new(file)).map_err(|e| ImageError::from_image(Format::Bmp, e))?;
    let mode = match palette(file) {
        Some(colours) if is_ramp(&colours, &[0, 255]) => Mode::Bilevel,
        Some(colours) if is_ramp(&colours, &std::array::from_fn::<u8, 256, _>(|i| i as u8)) => Mode::Grey,
        Some(_) => Mode::Palette,
        None if decoder.color_type().has_alpha() => Mode::Rgba,
        None => Mode::Rgb,
    };
    Ok((decoder, mode))
}

/// The palette (blue, green, red) of a bitmap with at most 8 bits per pixel. Offsets as in BITMAPFILEHEADER (14 bytes)
/// followed by BITMAPCOREHEADER (12 bytes, 3-byte colours) or BITMAPINFOHEADER (40 or more, 4-byte colours).
fn palette(file: &[u8]) -> Option<Vec<[u8; 3]>> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let header_size = u32_at(14)? as usize;
    let (bits, entry, count) = match header_size {
        12 => (u16_at(24)?, 3, 0),
        _ => (u16_at(28)?, 4, u32_at(46)? as usize),
    };
    if bits > 8 {
        return None;
    }
    let count = if count == 0 { 1 << bits } else { count.min(256) };
    let colours = file.get(14usize.checked_add(header_size)?..)?.chunks_exact(entry).take(count);
    Some(colours.map(|c| [c[0], c[1], c[2]]).collect())
}

fn is_ramp(colours: &[[u8; 3]], levels: &[u8]) -> bool {
    colours.len() == levels.len() && colours.iter().zip(levels).all(|(colour, &level)| *colour == [level; 3])
}
