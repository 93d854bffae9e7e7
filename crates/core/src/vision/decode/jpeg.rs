//! JPEG through libjpeg (mozjpeg's copy of libjpeg-turbo), because only the same integer DCT and the same "fancy"
//! upsampling give Pillow's pixels: pure Rust decoders are off by one in some 0.5 % of the values.
//!
//! Strictness: Pillow refuses a file that ends early and swallows libjpeg's other warnings. We refuse the early end and
//! also the warnings that mean lost picture data (bad Huffman code, missing restart marker, …), and let harmless ones pass
//! (stray bytes between markers, odd JFIF or Adobe versions, broken colour profiles).

use std::ffi::{c_char, c_int};
use std::io;
use std::panic::resume_unwind;

use mozjpeg::Decompress;
use mozjpeg::decompress::{DctMethod, DecompressBuilder};
use mozjpeg_sys as sys;

use super::super::raster::Pixels;
use super::{Format, ImageError, Mode, Raster, Size};

pub(super) fn header(file: &[u8]) -> Result<(Size, Mode), ImageError> {
    let decoder = open(file)?;
    Ok((size(&decoder), mode(&decoder)?))
}

pub(super) fn decode(file: &[u8]) -> Result<Raster, ImageError> {
    let mut decoder = open(file)?;
    let (size, mode) = (size(&decoder), mode(&decoder)?);
    // libjpeg's defaults and Pillow's; said here because the pixels depend on them.
    decoder.dct_method(DctMethod::IntegerSlow);
    decoder.do_fancy_upsampling(true);
    let color = match mode {
        Mode::Grey => mozjpeg::ColorSpace::JCS_GRAYSCALE,
        Mode::Cmyk => mozjpeg::ColorSpace::JCS_CMYK,
        _ => mozjpeg::ColorSpace::JCS_RGB,
    };
    let mut started = decoder.to_colorspace(color).map_err(io_error)?;
    let mut samples = started.read_scanlines::<u8>().map_err(io_error)?;
    // The data behind the last row is not asked for: Pillow does not look at it either.
    let pixels = match mode {
        Mode::Grey => Pixels::Grey(samples),
        Mode::Cmyk => {
            samples.iter_mut().for_each(|ink| *ink = 255 - *ink); // Adobe writes ink inverted; PIL assumes it always
            Pixels::Cmyk(samples)
        }
        _ => Pixels::Rgb(samples),
    };
    Ok(Raster { size, mode, pixels })
}

/// Whether the file is sound: all codes are read, which is where damage shows, but of each block of 8 x 8 only the mean is
/// computed, a quarter of the work. `true`: the means are all the same, so it takes the pixels to know what is shown.
pub(super) fn skim(file: &[u8]) -> Result<bool, ImageError> {
    let mut decoder = open(file)?;
    mode(&decoder)?;
    let factors = |of: fn(&sys::jpeg_component_info) -> c_int| {
        let most = decoder.components().iter().map(of).max().unwrap_or(1);
        decoder.components().iter().all(|component| most % of(component).max(1) == 0)
    };
    if !factors(|c| c.h_samp_factor) || !factors(|c| c.v_samp_factor) {
        return Ok(true); // libjpeg may refuse them at full size, and take them at this one
    }
    decoder.scale(1);
    let stored = decoder.color_space();
    let mut started = decoder.to_colorspace(stored).map_err(io_error)?;
    let channels = started.components().len();
    let means = started.read_scanlines::<u8>().map_err(io_error)?;
    Ok(means.chunks_exact(channels.max(1)).all(|mean| means.starts_with(mean)))
}

fn open(file: &[u8]) -> Result<Decompress<&[u8]>, ImageError> {
    DecompressBuilder::new().with_err(strict_errors()).from_mem(file).map_err(io_error)
}

fn size(decoder: &Decompress<&[u8]>) -> Size {
    // libjpeg limits both sides to 65500.
    Size { width: decoder.width() as u32, height: decoder.height() as u32 }
}

fn mode(decoder: &Decompress<&[u8]>) -> Result<Mode, ImageError> {
    match decoder.components().len() {
        1 => Ok(Mode::Grey),
        3 => Ok(Mode::Rgb),
        4 => Ok(Mode::Cmyk),
        n => Err(ImageError::unsupported(format_args!("JPEG with {n} channels"))),
    }
}

fn io_error(error: io::Error) -> ImageError {
    ImageError::from_io(Format::Jpeg, &error)
}

/// libjpeg's error handling with both callbacks turned into an unwinding [`ImageError`], caught by `guarded`.
fn strict_errors() -> sys::jpeg_error_mgr {
    // SAFETY: a C struct of integers, a union of integers and characters, raw pointers and optional functions, for all of
    // which zero is a valid value; jpeg_std_error then fills it in and keeps no reference to it.
    let mut errors = unsafe {
        let mut errors: sys::jpeg_error_mgr = std::mem::zeroed();
        sys::jpeg_std_error(&mut errors);
        errors
    };
    errors.error_exit = Some(fail);
    errors.emit_message = Some(warn);
    errors
}

#[cold]
unsafe extern "C-unwind" fn fail(info: &mut sys::jpeg_common_struct) {
    let (code, text) = message(info);
    // resume_unwind does not call the panic hook: nothing is printed. mozjpeg-sys compiles the C side for unwinding.
    resume_unwind(Box::new(match code {
        sys::JWRN_JPEG_EOF | sys::JERR_INPUT_EOF | sys::JERR_INPUT_EMPTY => ImageError::truncated(Format::Jpeg, text),
        _ => ImageError::broken(Format::Jpeg, text),
    }))
}

/// Level -1 is a warning; traces (0 and above) are of no interest.
unsafe extern "C-unwind" fn warn(info: &mut sys::jpeg_common_struct, level: c_int) {
    const HARMLESS: [c_int; 4] =
        [sys::JWRN_EXTRANEOUS_DATA, sys::JWRN_JFIF_MAJOR, sys::JWRN_ADOBE_XFORM, sys::JWRN_BOGUS_ICC];
    if level < 0 && !HARMLESS.contains(&message(info).0) {
        // SAFETY: the same contract as this callback's.
        unsafe { fail(info) }
    }
}

/// libjpeg's code and text of what just happened.
fn message(info: &mut sys::jpeg_common_struct) -> (c_int, String) {
    // SAFETY: `err` is the struct from `strict_errors`, which lives as long as the decoder that calls us.
    let Some(errors) = (unsafe { info.err.as_ref() }) else { return (0, String::new()) };
    let (code, Some(format)) = (errors.msg_code, errors.format_message) else { return (0, String::new()) };
    // The binding declares the buffer shared, but C writes to it: the true signature is used.
    type Format = unsafe extern "C-unwind" fn(*mut sys::jpeg_common_struct, *mut c_char);
    let mut text = [0u8; 200]; // JMSG_LENGTH_MAX of jpeglib.h
    // SAFETY: `format_message` is jpeg_std_error's; it writes a terminated text of at most JMSG_LENGTH_MAX bytes.
    unsafe {
        let format: Format = std::mem::transmute(format);
        format(info, text.as_mut_ptr().cast());
    }
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    (code, String::from_utf8_lossy(text).into_owned())
}
