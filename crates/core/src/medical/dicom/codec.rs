//! Compressed frames → samples. JPEG by libjpeg as everywhere in this program (so lossy pictures equal Pillow's), lossless
//! JPEG and JPEG 2000 by decoders in pure Rust, RLE by hand. The rest is refused by its name.

use std::borrow::Cow;

use super::super::{Fault, kind};
use super::frame::Format;
use crate::vision::{self, Samples};

/// Samples of a frame as they would stand in an uncompressed file: interleaved, little endian.
pub struct Coded {
    pub bytes: Vec<u8>,
    /// Bits a sample takes in `bytes`: 8, 16 or 32.
    pub allocated: u32,
    /// The colours are RGB already.
    pub rgb: bool,
    /// Samples are aligned to the lowest bit, whatever the file's High Bit says.
    pub aligned: bool,
}

/// Why a compressed file of this transfer syntax cannot be decoded; `None` for those that can.
pub fn unsupported(syntax: &str) -> Option<String> {
    let name = match syntax.strip_prefix("1.2.840.10008.1.2.")? {
        "1" | "2" | "1.98" | "1.99" | "5" | "4.50" | "4.51" | "4.57" | "4.70" | "4.90" | "4.91" => return None,
        "4.80" | "4.81" => "JPEG-LS",
        "4.92" | "4.93" => "JPEG 2000 part 2",
        "4.201" | "4.202" | "4.203" => "High-Throughput JPEG 2000",
        "4.110" | "4.111" | "4.112" => "JPEG XL",
        video if video.starts_with("4.10") => "video",
        _ => {
            return Some(format!(
                "transfer syntax {} is not supported; convert it with `gdcmconv --raw` first",
                super::shown_uid(syntax)
            ));
        }
    };
    Some(format!("{name} is not supported; convert it with `gdcmconv --raw` or `dcmdjpls` first"))
}

/// Decodes one frame of an encapsulated file.
///
/// # Errors
/// Damage, sizes that contradict the file's head, and kinds that are not supported.
pub fn decode(syntax: &str, data: &[u8], format: &Format) -> Result<Coded, Fault> {
    let coded = match syntax.strip_prefix("1.2.840.10008.1.2.").unwrap_or_default() {
        "1.98" => Coded { bytes: data.to_vec(), allocated: format.allocated, rgb: false, aligned: false },
        "5" => Coded { bytes: rle(data, format)?, allocated: format.allocated, rgb: false, aligned: false },
        "4.50" | "4.51" | "4.57" | "4.70" => jpeg(data, format)?,
        _ => jpeg_2000(data, format)?,
    };
    let wanted = format.pixels() * format.samples * (coded.allocated as usize / 8).max(1);
    if coded.bytes.len() < wanted {
        return Err(broken("its compressed picture is smaller than the file says"));
    }
    Ok(coded)
}

fn broken(what: impl std::fmt::Display) -> Fault {
    Fault::new(kind::DICOM_BROKEN, format!("damaged: {what}"))
}

/// PS3.5 annex G: segments of PackBits, one for each byte of each sample, the most significant first.
fn rle(data: &[u8], format: &Format) -> Result<Vec<u8>, Fault> {
    let word = |i: usize| data.get(4 * i..4 * i + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let width = format.allocated as usize / 8;
    let segments = format.samples * width;
    if word(0) != Some(segments) || segments > 15 {
        return Err(broken("its RLE head does not fit its samples"));
    }
    let pixels = format.pixels();
    let mut out = vec![0; pixels * segments];
    for segment in 0..segments {
        let start = word(segment + 1).unwrap_or(usize::MAX);
        let end = if segment + 1 < segments { word(segment + 2).unwrap_or(0) } else { data.len() };
        let packed = data.get(start..end).ok_or_else(|| broken("an RLE segment lies outside of its frame"))?;
        let (sample, byte) = (segment / width, width - 1 - segment % width);
        let mut places = out.iter_mut().skip(sample * width + byte).step_by(segments);
        let mut left = pixels;
        let mut rest = packed;
        while left > 0 {
            let &[n, ref tail @ ..] = rest else { return Err(broken("an RLE segment ends too early")) };
            let run = match n {
                0..=127 => {
                    let literal =
                        tail.get(..usize::from(n) + 1).ok_or_else(|| broken("an RLE segment ends too early"))?;
                    literal.iter().zip(&mut places).for_each(|(&value, place)| *place = value);
                    rest = &tail[literal.len()..];
                    literal.len()
                }
                128 => {
                    rest = tail;
                    0
                }
                129.. => {
                    let (&value, after) = tail.split_first().ok_or_else(|| broken("an RLE segment ends too early"))?;
                    let run = 257 - usize::from(n);
                    places.by_ref().take(run).for_each(|place| *place = value);
                    rest = after;
                    run
                }
            };
            left = left.saturating_sub(run);
        }
    }
    Ok(out)
}

fn jpeg(data: &[u8], format: &Format) -> Result<Coded, Fault> {
    match start_of_frame(data) {
        Some((0xc3, _)) => return jpeg_lossless(data, format),
        Some((0xc0..=0xc2, 8)) => {}
        Some((0xc0..=0xc2, bits)) => {
            let what = format!(
                "lossy JPEG of {bits} bits is not supported; convert it with `gdcmconv --raw` or `dcmdjpeg` first"
            );
            return Err(Fault::new(kind::DICOM_UNSUPPORTED, what));
        }
        _ => return Err(broken("no JPEG picture where there should be one")),
    }
    let as_rgb = format.samples == 3 && format.photometric == "RGB" && !has_adobe(data);
    let data = if as_rgb { Cow::Owned(marked_rgb(data)) } else { Cow::Borrowed(data) };
    let (size, samples) = vision::samples(&data).map_err(|e| Fault::new(kind::DICOM_BROKEN, e.to_string()))?;
    same_size(format, size.width, size.height)?;
    let (bytes, rgb) = match samples {
        Samples::Grey(bytes) if format.samples == 1 => (bytes, false),
        Samples::Rgb(bytes) if format.samples == 3 => (bytes, true),
        _ => return Err(broken("its JPEG has another number of channels than the file says")),
    };
    Ok(Coded { bytes, allocated: 8, rgb, aligned: true })
}

fn jpeg_lossless(data: &[u8], format: &Format) -> Result<Coded, Fault> {
    use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};
    let mut decoder = Decoder::new(data);
    decoder.set_max_decoding_buffer_size(format.pixels() * format.samples * 2);
    decoder.set_color_transform(ColorTransform::None);
    let bytes = decoder.decode().map_err(|e| broken(format_args!("its lossless JPEG cannot be decoded ({e})")))?;
    let info = decoder.info().ok_or_else(|| broken("its lossless JPEG has no head"))?;
    same_size(format, info.width.into(), info.height.into())?;
    match (info.pixel_format, format.samples) {
        (PixelFormat::L8, 1) | (PixelFormat::RGB24, 3) => Ok(Coded { bytes, allocated: 8, rgb: false, aligned: true }),
        (PixelFormat::L16, 1) => {
            let bytes = bytes.as_chunks::<2>().0.iter().flat_map(|&b| u16::from_ne_bytes(b).to_le_bytes()).collect();
            Ok(Coded { bytes, allocated: 16, rgb: false, aligned: true })
        }
        _ => Err(broken("its lossless JPEG has another number of channels than the file says")),
    }
}

fn jpeg_2000(data: &[u8], format: &Format) -> Result<Coded, Fault> {
    use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};
    let bad = |e: &dyn std::fmt::Display| broken(format_args!("its JPEG 2000 cannot be decoded ({e})"));
    let settings = DecodeSettings { resolve_palette_indices: false, strict: false, target_resolution: None };
    let image = Image::new(data, &settings).map_err(|e| bad(&e))?;
    same_size(format, image.width(), image.height())?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(|e| bad(&e))?;
    let channels = decoded.components();
    let bits = u32::from(channels.first().map_or(0, |c| c.bit_depth()));
    if channels.len() != format.samples || !(1..=16).contains(&bits) {
        return Err(broken("its JPEG 2000 has other channels than the file says"));
    }
    if channels.iter().any(|c| c.samples().len() < format.pixels()) {
        return Err(broken("its JPEG 2000 is incomplete"));
    }
    // The decoder takes every sample for unsigned; of signed ones it has moved the zero to the middle.
    let zero = if is_signed(data) { f32::from(1u16 << (bits - 1)) } else { 0.0 };
    let mut bytes = Vec::with_capacity(format.pixels() * channels.len() * 2);
    for i in 0..format.pixels() {
        for channel in channels {
            bytes.extend(((channel.samples()[i] - zero).round() as i32 as u16).to_le_bytes());
        }
    }
    // Multi-component transforms (RCT, ICT) are undone by the decoder; otherwise the colours are what the file says.
    Ok(Coded { bytes, allocated: 16, rgb: matches!(format.photometric.as_str(), "YBR_RCT" | "YBR_ICT"), aligned: true })
}

/// Whether the first component of a JPEG 2000 code stream is signed (SIZ: Ssiz).
fn is_signed(data: &[u8]) -> bool {
    let start = memchr::memmem::find(data, &[0xff, 0x4f, 0xff, 0x51]);
    start.and_then(|at| data.get(at + 42)).is_some_and(|ssiz| ssiz & 0x80 != 0)
}

fn same_size(format: &Format, width: u32, height: u32) -> Result<(), Fault> {
    if (width as usize, height as usize) == (format.columns, format.rows) {
        return Ok(());
    }
    let (columns, rows) = (format.columns, format.rows);
    Err(broken(format_args!("its compressed picture has {width}x{height} pixels, the file says {columns}x{rows}")))
}

/// Segments of a JPEG before its first scan: marker and content.
fn segments(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 2;
    std::iter::from_fn(move || {
        while data.get(at..at + 2) == Some(&[0xff, 0xff]) {
            at += 1; // fill bytes
        }
        let &[0xff, marker, a, b, ..] = data.get(at..)? else { return None };
        let len = usize::from(u16::from_be_bytes([a, b]));
        let content = data.get(at + 4..at + 2 + len)?;
        at += 2 + len;
        (marker != 0xda).then_some((marker, content))
    })
}

/// Kind of the frame (SOF0 = 0xc0 …) and bits a sample.
fn start_of_frame(data: &[u8]) -> Option<(u8, u8)> {
    let is_frame = |marker: u8| matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
    segments(data).find(|(marker, _)| is_frame(*marker)).and_then(|(marker, content)| Some((marker, *content.first()?)))
}

fn has_adobe(data: &[u8]) -> bool {
    segments(data).any(|(marker, content)| marker == 0xee && content.starts_with(b"Adobe"))
}

/// A JPEG that says nothing about its colours, in a file that says RGB: libjpeg would take it for YCbCr. Adobe's marker
/// tells it, and JFIF's, which stands for YCbCr, goes.
fn marked_rgb(data: &[u8]) -> Vec<u8> {
    const ADOBE_RGB: [u8; 16] = *b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00";
    let rest = match data.get(2..6) {
        Some(&[0xff, 0xe0, a, b]) => data.get(4 + usize::from(u16::from_be_bytes([a, b]))..),
        _ => data.get(2..),
    };
    [&data[..2], &ADOBE_RGB, rest.unwrap_or_default()].concat()
}
