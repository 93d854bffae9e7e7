//! Netpbm: P1 to P6 with 1, 8 or 16 bits. Other maximal values would need PIL's rescaling and are refused.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::pnm::{PnmDecoder, PnmSubtype};

use super::{Format, ImageError, Mode, Raster, Size, read_image};

pub(super) fn header(file: &[u8]) -> Result<(Size, Mode), ImageError> {
    let (decoder, mode) = open(file)?;
    let (width, height) = decoder.dimensions();
    Ok((Size { width, height }, mode))
}

pub(super) fn decode(file: &[u8]) -> Result<Raster, ImageError> {
    let (decoder, mode) = open(file)?;
    read_image(Format::Pnm, decoder, mode)
}

fn open(file: &[u8]) -> Result<(PnmDecoder<Cursor<&[u8]>>, Mode), ImageError> {
    let decoder = PnmDecoder::new(Cursor::new(file)).map_err(|e| ImageError::from_image(Format::Pnm, e))?;
    let largest = decoder.header().maximal_sample();
    let mode = match (decoder.subtype(), largest) {
        (PnmSubtype::Bitmap(_), _) => Mode::Bilevel,
        (PnmSubtype::Graymap(_), 255) => Mode::Grey,
        (PnmSubtype::Graymap(_), 65535) => Mode::Grey32,
        (PnmSubtype::Pixmap(_), 255 | 65535) => Mode::Rgb,
        _ => return Err(ImageError::Format(format!("PNM file with largest value {largest} (255 and 65535 are read)"))),
    };
    Ok((decoder, mode))
}
