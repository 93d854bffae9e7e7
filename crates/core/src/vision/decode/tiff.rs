//! TIFF, first page: bilevel, 8- and 16-bit grey, grey with alpha, RGB(A) with 8 or 16 bits, CMYK; strips or tiles;
//! uncompressed, LZW, Deflate, PackBits, fax. The rest is refused by name.

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, PhotometricInterpretation, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use super::super::raster::Pixels;
use super::{Format, ImageError, MAX_BYTES, Mode, Raster, Size};

type Reader<'a> = Decoder<Cursor<&'a [u8]>>;

pub(super) fn header(file: &[u8]) -> Result<(Size, Mode), ImageError> {
    let (_, size, mode, _) = open(file)?;
    Ok((size, mode))
}

pub(super) fn decode(file: &[u8]) -> Result<Raster, ImageError> {
    let (mut decoder, size, mode, channels) = open(file)?;
    let samples = match decoder.read_image().map_err(tiff_error)? {
        DecodingResult::U8(samples) if mode == Mode::Bilevel => unpack_bits(&samples, size),
        DecodingResult::U8(samples) => samples,
        DecodingResult::U16(samples) if mode == Mode::Grey16 => {
            let pixels = Pixels::Wide(samples.into_iter().map(i32::from).collect());
            return Ok(Raster { size, mode, pixels });
        }
        DecodingResult::U16(samples) => samples.into_iter().map(|v| (v >> 8) as u8).collect(),
        _ => return Err(unsupported("samples that are neither 8 nor 16 bits wide")),
    };
    let pixels = match mode {
        Mode::Bilevel | Mode::Grey => Pixels::Grey(samples),
        Mode::GreyAlpha => Pixels::GreyAlpha(samples),
        Mode::Rgb if channels == 4 => Pixels::Rgb(samples.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect()),
        Mode::Rgb => Pixels::Rgb(samples),
        Mode::Rgba => Pixels::Rgba(samples),
        Mode::Cmyk => Pixels::Cmyk(samples),
        Mode::Palette | Mode::Grey16 | Mode::Grey32 => return Err(unsupported("samples that do not fit its kind")),
    };
    Ok(Raster { size, mode, pixels })
}

/// The decoder, the size, the mode and the number of samples per pixel in the file.
fn open(file: &[u8]) -> Result<(Reader<'_>, Size, Mode, u8), ImageError> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = 2 * MAX_BYTES as usize; // 16-bit channels are decoded whole
    limits.intermediate_buffer_size = MAX_BYTES as usize;
    let mut decoder = Decoder::new(Cursor::new(file)).map_err(tiff_error)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(tiff_error)?;
    let size = Size { width, height };

    let mut tag = |tag| decoder.find_tag_unsigned_vec::<u16>(tag).map(Option::unwrap_or_default).map_err(tiff_error);
    let photometric = tag(Tag::PhotometricInterpretation)?.first().copied();
    let photometric = photometric.and_then(PhotometricInterpretation::from_u16);
    let compression = tag(Tag::Compression)?.first().and_then(|&c| CompressionMethod::from_u16(c));
    let extra = tag(Tag::ExtraSamples)?;
    let formats = tag(Tag::SampleFormat)?;
    let planar = tag(Tag::PlanarConfiguration)?;

    use PhotometricInterpretation as P;
    if photometric == Some(P::RGBPalette) {
        return Err(unsupported("palette colours"));
    }
    if matches!(compression, Some(CompressionMethod::ModernJPEG | CompressionMethod::JPEG)) {
        return Err(unsupported("JPEG data inside"));
    }
    if formats.iter().any(|&f| SampleFormat::from_u16(f) != Some(SampleFormat::Uint)) {
        return Err(unsupported("signed or floating-point samples"));
    }
    if planar.first() == Some(&2) {
        return Err(unsupported("separate colour planes"));
    }
    let color = decoder.colortype().map_err(tiff_error)?;
    let (mode, channels) = match (color, extra.as_slice()) {
        (ColorType::Gray(1), _) => (Mode::Bilevel, 1),
        (ColorType::Gray(8), _) => (Mode::Grey, 1),
        (ColorType::Gray(16), _) if photometric == Some(P::BlackIsZero) => (Mode::Grey16, 1),
        (ColorType::Multiband { bit_depth: 8, num_samples: 2 }, [2]) if photometric == Some(P::BlackIsZero) => {
            (Mode::GreyAlpha, 2)
        }
        (ColorType::RGB(8 | 16), _) => (Mode::Rgb, 3),
        (ColorType::RGBA(8 | 16), [0]) => (Mode::Rgb, 4),
        (ColorType::RGBA(8 | 16), [] | [2]) => (Mode::Rgba, 4),
        (ColorType::RGBA(8 | 16), _) => return Err(unsupported("premultiplied alpha")),
        (ColorType::CMYK(8), _) => (Mode::Cmyk, 4),
        (other, _) => return Err(unsupported(&format!("{other:?} samples, photometric {photometric:?}"))),
    };
    Ok((decoder, size, mode, channels))
}

/// One bit per pixel, rows padded to bytes -> 0 and 255.
fn unpack_bits(packed: &[u8], size: Size) -> Vec<u8> {
    let width = size.width as usize;
    let bit = |row: &[u8], x: usize| if row[x / 8] >> (7 - x % 8) & 1 == 1 { 255 } else { 0 };
    packed.chunks_exact(width.div_ceil(8)).flat_map(|row| (0..width).map(move |x| bit(row, x))).collect()
}

fn unsupported(what: &str) -> ImageError {
    ImageError::unsupported(format_args!("TIFF with {what}"))
}

fn tiff_error(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(e) => ImageError::from_io(Format::Tiff, &e),
        TiffError::UnsupportedError(e) => unsupported(&e.to_string()),
        e => ImageError::broken(Format::Tiff, e),
    }
}
