//! 16-bit PNG and TIFF: microscopy, exported CT. TIFF of several pages is a stack.

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::{ColorType, TiffError};

use super::dicom::MAX_FRAMES;
use super::{Fault, MAX_FILE, MAX_PIXELS, Plane, Values};
use crate::data::kind as data_kind;
use crate::vision::{self, Format, Samples, Size};

/// Pages of grey with more than 8 bits in a file; 0 where it is another kind of picture.
///
/// # Errors
/// A PNG or TIFF that cannot be read.
pub fn pages(file: &[u8]) -> Result<usize, Fault> {
    match Format::sniff(file) {
        Some(Format::Png) => {
            let info = vision::inspect(file).map_err(|e| Fault::new(e.kind(), e.to_string()))?;
            Ok(usize::from(info.mode == vision::Mode::Grey16))
        }
        Some(Format::Tiff) => {
            let mut decoder = open(file)?;
            if !is_wide(&mut decoder)? {
                return Ok(0);
            }
            let mut pages = 1;
            while decoder.more_images() && pages < MAX_FRAMES {
                decoder.next_image().map_err(broken)?;
                pages += 1;
            }
            Ok(pages)
        }
        _ => Ok(0),
    }
}

/// One page.
///
/// # Errors
/// Damage, limits, a page of another kind.
pub fn plane(file: &[u8], page: usize) -> Result<Plane, Fault> {
    if Format::sniff(file) == Some(Format::Png) {
        let (size, samples) = vision::samples(file).map_err(|e| Fault::new(e.kind(), e.to_string()))?;
        let Samples::Wide(values) = samples else {
            return Err(Fault::new(data_kind::IMAGE_FORMAT, "no 16-bit grey picture"));
        };
        return Ok(Plane { size, values: Values::Grey(values.into_iter().map(f64::from).collect()) });
    }
    let mut decoder = open(file)?;
    for _ in 0..page {
        decoder.next_image().map_err(broken)?;
    }
    if !is_wide(&mut decoder)? {
        return Err(Fault::new(data_kind::IMAGE_FORMAT, "this page is no grey picture of more than 8 bits"));
    }
    let (width, height) = decoder.dimensions().map_err(broken)?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS as u64 {
        let what = format!("{width}x{height} pixels; at most {} million are read", MAX_PIXELS / 1_000_000);
        return Err(Fault::new(data_kind::IMAGE_TOO_LARGE, what));
    }
    fn all<T: Into<f64>>(values: Vec<T>) -> Vec<f64> {
        values.into_iter().map(Into::into).collect()
    }
    let values = match decoder.read_image().map_err(broken)? {
        DecodingResult::U16(v) => all(v),
        DecodingResult::I16(v) => all(v),
        DecodingResult::U32(v) => all(v),
        DecodingResult::I32(v) => all(v),
        DecodingResult::F32(v) => all(v),
        DecodingResult::F64(v) => v,
        _ => return Err(Fault::new(data_kind::IMAGE_FORMAT, "samples of an unusual width are not supported")),
    };
    if values.len() as u64 != u64::from(width) * u64::from(height) {
        return Err(Fault::new(data_kind::IMAGE_BROKEN, "damaged TIFF file: the pixels do not match the header"));
    }
    Ok(Plane { size: Size { width, height }, values: Values::Grey(values) })
}

fn open(file: &[u8]) -> Result<Decoder<Cursor<&[u8]>>, Fault> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_FILE as usize;
    limits.intermediate_buffer_size = MAX_FILE as usize;
    Ok(Decoder::new(Cursor::new(file)).map_err(broken)?.with_limits(limits))
}

fn is_wide(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<bool, Fault> {
    Ok(matches!(decoder.colortype().map_err(broken)?, ColorType::Gray(9..)))
}

fn broken(e: TiffError) -> Fault {
    let kind = match e {
        TiffError::LimitsExceeded => data_kind::IMAGE_TOO_LARGE,
        _ => data_kind::IMAGE_BROKEN,
    };
    Fault::new(kind, format!("damaged TIFF file: {e}"))
}
