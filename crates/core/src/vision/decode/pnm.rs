//! Netpbm: P1 to P6 with 1, 8 or 16 bits. Other maximal values would need PIL's rescaling and are refused.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::pnm::{PnmDecoder, PnmSubtype};

use super::{Format, ImageError, Mode};

pub(super) fn open(file: &[u8]) -> Result<(impl ImageDecoder, Mode), ImageError> {
    let decoder = PnmDecoder::new(Cursor::new(file)).map_err(|e| ImageError::from_image(Format::Pnm, e))?;
    let largest = decoder.header().maximal_sample();
    let mode = match (decoder.subtype(), largest) {
        (PnmSubtype::Bitmap(_), _) => Mode::Bilevel,
        (PnmSubtype::Graymap(_), 255) => Mode::Grey,
        (PnmSubtype::Graymap(_), 65535) => Mode::Grey32,
        (PnmSubtype::Pixmap(_), 255 | 65535) => Mode::Rgb,
        _ => {
            return Err(ImageError::unsupported(format_args!(
                "PNM with largest value {largest} (neither 255 nor 65535)"
            )));
        }
    };
    Ok((decoder, mode))
}
