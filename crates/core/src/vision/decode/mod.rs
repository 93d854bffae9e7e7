//! File bytes -> picture in PIL's mode. The format is told by the first bytes, never by the name.
//!
//! What may be decoded is settled from the header (sides, pixels, bytes), and decoders run behind `catch_unwind`: decoder
//! crates are known to panic on hostile files. EXIF orientation is ignored, because LLaMA-Factory ignores it; a rotated
//! photograph is trained as stored. Only the first frame of an animation is used.
//!
//! The pixels equal Pillow 11.3's (golden test over all formats and modes). What our libraries cannot read to the same bits
//! is refused by name instead of being read differently: palette, 32-bit and floating-point TIFF, JPEG inside TIFF, 16-bit
//! BMP, PNM with an unusual largest value. On *damaged* data we are stricter than Pillow (see `jpeg`), and where both still
//! make something of it, it need not be the same.
//! Read next: `jpeg` (why libjpeg), then `raster`.

mod bmp;
mod gif;
mod jpeg;
mod png;
mod pnm;
mod tiff;
mod webp;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::ImageError;
use super::raster::{Mode, Pixels, Raster};
use super::size::Size;

/// Longest side that is decoded, in pixels.
pub const MAX_SIDE: u64 = 16_384;
/// Most pixels that are decoded.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Most bytes that a decoded picture may take.
pub const MAX_BYTES: u64 = 512 << 20;

/// A file format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Png,
    Jpeg,
    Gif,
    Bmp,
    Tiff,
    WebP,
    Pnm,
}

impl Format {
    /// Tells the format from the first bytes.
    pub fn sniff(file: &[u8]) -> Option<Self> {
        Some(match file {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Png,
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [b'B', b'M', ..] => Self::Bmp,
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Self::Tiff,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::WebP,
            [b'P', b'1'..=b'6', b' ' | b'\t' | b'\r' | b'\n' | b'#', ..] => Self::Pnm,
            _ => return None,
        })
    }

    /// The usual name: PNG, JPEG, …
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::WebP => "WebP",
            Self::Pnm => "PNM",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    pub width: u32,
    pub height: u32,
    pub format: Format,
    /// PIL's mode.
    pub mode: Mode,
}

impl ImageInfo {
    pub(super) fn size(&self) -> Size {
        Size { width: self.width, height: self.height }
    }
}

/// Size, format and mode from the header; decodes no pixel.
///
/// # Errors
/// Unknown or unsupported formats, damaged headers, and pictures beyond the limits.
pub fn inspect(file: &[u8]) -> Result<ImageInfo, ImageError> {
    let format = sniff(file)?;
    let info = guarded(format, || header(format, file))?;
    check_limits(&info)?;
    Ok(info)
}

/// Reads the whole picture strictly and forgets the pixels: is this file sound?
///
/// # Errors
/// As [`inspect`], and truncated or damaged data.
pub fn check(file: &[u8]) -> Result<ImageInfo, ImageError> {
    check_content(file).map(|content| content.info)
}

/// What a whole look at a picture tells beside its being sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Content {
    pub info: ImageInfo,
    /// The share of its pixels that become white because grey of more than 8 bits is cut at 255, as Pillow does.
    pub clipped: f64,
    /// All its pixels are the same.
    pub blank: bool,
}

/// [`check`], and what the picture shows.
///
/// # Errors
/// As [`check`].
pub fn check_content(file: &[u8]) -> Result<Content, ImageError> {
    let info = inspect(file)?;
    if info.format == Format::Jpeg && !guarded(Format::Jpeg, || jpeg::skim(file))? {
        return Ok(Content { info, clipped: 0.0, blank: false });
    }
    let pixels = decode(file, &info)?.pixels;
    let clipped = match &pixels {
        Pixels::Wide(samples) => samples.iter().filter(|v| **v > 255).count() as f64 / samples.len() as f64,
        _ => 0.0,
    };
    Ok(Content { info, clipped, blank: pixels.are_all_the_same() })
}

/// Decodes the picture that [`inspect`] described, in its own mode.
pub(super) fn decode(file: &[u8], info: &ImageInfo) -> Result<Raster, ImageError> {
    let format = info.format;
    let raster = guarded(format, || match format {
        Format::Png => read_image(format, png::open(file)?),
        Format::Jpeg => jpeg::decode(file),
        Format::Gif => gif::decode(file),
        Format::Bmp => read_image(format, bmp::open(file)?),
        Format::Tiff => tiff::decode(file),
        Format::WebP => read_image(format, webp::open(file)?),
        Format::Pnm => read_image(format, pnm::open(file)?),
    })?;
    // Everything behind relies on it, and no decoder crate is trusted to keep it for hostile files.
    if raster.size != info.size() || raster.mode != info.mode || !raster.is_consistent() {
        return Err(ImageError::broken(format, "the pixels do not match the header"));
    }
    Ok(raster)
}

fn sniff(file: &[u8]) -> Result<Format, ImageError> {
    Format::sniff(file).ok_or_else(|| {
        ImageError::Format(match file {
            [] => "empty file; fetch it again or leave the sample out".to_owned(),
            _ if file.starts_with(b"version https://git-lfs") => {
                "a Git LFS pointer instead of the picture; run `git lfs pull` where it came from".to_owned()
            }
            _ if file.get(128..132) == Some(b"DICM") => {
                "a DICOM file; make pictures of it with `lightbox data slices FILE --out DIR`".to_owned()
            }
            _ if crate::medical::is_nifti(file) || file.starts_with(&[0x1f, 0x8b]) => {
                "a volume or another compressed file; make pictures of NIfTI with `lightbox data slices FILE --out DIR`"
                    .to_owned()
            }
            _ => {
                let first = &file[..file.len().min(8)];
                format!("no known picture format (first bytes {first:02x?}); convert the picture to PNG or JPEG")
            }
        })
    })
}

fn header(format: Format, file: &[u8]) -> Result<ImageInfo, ImageError> {
    let (size, mode) = match format {
        Format::Png => Ok(read_header(png::open(file)?)),
        Format::Jpeg => jpeg::header(file),
        Format::Gif => gif::header(file),
        Format::Bmp => Ok(read_header(bmp::open(file)?)),
        Format::Tiff => tiff::header(file),
        Format::WebP => Ok(read_header(webp::open(file)?)),
        Format::Pnm => Ok(read_header(pnm::open(file)?)),
    }?;
    Ok(ImageInfo { width: size.width, height: size.height, format, mode })
}

fn check_limits(info: &ImageInfo) -> Result<(), ImageError> {
    let (width, height) = (u64::from(info.width), u64::from(info.height));
    let bytes = width.saturating_mul(height).saturating_mul(info.mode.bytes_per_pixel());
    let limit = if width == 0 || height == 0 {
        return Err(ImageError::broken(info.format, format!("{width}x{height} pixels")));
    } else if width.max(height) > MAX_SIDE {
        format!("the longest side may have {MAX_SIDE} pixels")
    } else if width * height > MAX_PIXELS {
        format!("at most {} million pixels are decoded", MAX_PIXELS / 1_000_000)
    } else if bytes > MAX_BYTES {
        format!("at most {} MiB are decoded", MAX_BYTES >> 20)
    } else {
        return Ok(());
    };
    Err(ImageError::TooLarge { width, height, limit })
}

/// Runs a decoder; its panic becomes an error. libjpeg's errors travel the same way (see `jpeg`).
fn guarded<T>(format: Format, decoder: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(decoder)).unwrap_or_else(|payload| {
        Err(match payload.downcast::<ImageError>() {
            Ok(error) => *error,
            Err(payload) => {
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
                ImageError::broken(format, format!("the decoder gave up ({text})"))
            }
        })
    })
}

/// Limits for decoders of the `image` crate: sides and total were checked from the header, this bounds their buffers.
fn image_limits() -> image::Limits {
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(2 * MAX_BYTES); // 16-bit channels are decoded whole before the high bytes are taken
    limits
}

fn read_header((decoder, mode): (impl image::ImageDecoder, Mode)) -> (Size, Mode) {
    let (width, height) = decoder.dimensions();
    (Size { width, height }, mode)
}

/// Reads the picture of one of the `image` crate's decoders and brings its samples into the shape of `mode`.
fn read_image(format: Format, (decoder, mode): (impl image::ImageDecoder, Mode)) -> Result<Raster, ImageError> {
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    if decoder.total_bytes() > 2 * MAX_BYTES {
        return Err(ImageError::broken(format, "the pixels do not match the header"));
    }
    let mut samples = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut samples).map_err(|e| ImageError::from_image(format, e))?;
    let pixels = shape(color, samples, mode)
        .ok_or_else(|| ImageError::unsupported(format_args!("{format} with {color:?} samples in mode {mode}")))?;
    Ok(Raster { size: Size { width, height }, mode, pixels })
}

/// Samples as decoded -> samples of the mode: 16 bits lose their low byte as in PIL, surplus alpha is dropped.
fn shape(color: image::ColorType, samples: Vec<u8>, mode: Mode) -> Option<Pixels> {
    use image::ColorType as C;
    let wide = matches!(color, C::L16 | C::La16 | C::Rgb16 | C::Rgba16);
    let sample16 = |s: &[u8; 2]| u16::from_ne_bytes(*s);
    if mode == Mode::Grey16 || mode == Mode::Grey32 {
        let step = usize::from(color.channel_count());
        return wide.then(|| {
            Pixels::Wide(samples.as_chunks::<2>().0.iter().step_by(step).map(|s| i32::from(sample16(s))).collect())
        });
    }
    let samples = match wide {
        true => samples.as_chunks::<2>().0.iter().map(|s| (sample16(s) >> 8) as u8).collect(),
        false => samples,
    };
    Some(match (mode, color.channel_count()) {
        (Mode::Bilevel | Mode::Grey, 1) => Pixels::Grey(samples),
        (Mode::Bilevel | Mode::Grey, n @ 2..) => Pixels::Grey(samples.iter().step_by(n.into()).copied().collect()),
        (Mode::GreyAlpha, 2) => Pixels::GreyAlpha(samples),
        (Mode::Rgb | Mode::Palette, 3) => Pixels::Rgb(samples),
        (Mode::Rgb | Mode::Palette, 4) => {
            Pixels::Rgb(samples.as_chunks::<4>().0.iter().flat_map(|p| [p[0], p[1], p[2]]).collect())
        }
        (Mode::Rgb | Mode::Palette, 1) => Pixels::Rgb(samples.iter().flat_map(|&v| [v; 3]).collect()),
        (Mode::Rgba, 4) => Pixels::Rgba(samples),
        (Mode::Rgba, 2) => {
            Pixels::Rgba(samples.as_chunks::<2>().0.iter().flat_map(|p| [p[0], p[0], p[0], p[1]]).collect())
        }
        _ => return None,
    })
}
