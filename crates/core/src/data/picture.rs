//! A first look at a picture file: what format it is, how large, and whether it is all there. No pixel is decoded, so
//! conversion runs at the speed of the file system and still finds the usual damage; the strict look, which decodes
//! everything, is `vision::check`.

use super::problem::{Fault, kind};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Longest side accepted, in pixels, as in `vision`.
const MAX_SIDE: u32 = 16_384;
/// Most pixels accepted, as in `vision`.
const MAX_PIXELS: u64 = 100_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    Jpeg,
    Png,
    Gif,
    Bmp,
    Tiff,
    WebP,
    Pnm,
}

impl PictureFormat {
    /// File name extension, as LLaMA-Factory's users know it.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tif",
            Self::WebP => "webp",
            Self::Pnm => "ppm",
        }
    }

    fn of(format: image::ImageFormat) -> Option<Self> {
        use image::ImageFormat as F;
        Some(match format {
            F::Jpeg => Self::Jpeg,
            F::Png => Self::Png,
            F::Gif => Self::Gif,
            F::Bmp => Self::Bmp,
            F::Tiff => Self::Tiff,
            F::WebP => Self::WebP,
            F::Pnm => Self::Pnm,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureHeader {
    pub format: PictureFormat,
    pub width: u32,
    pub height: u32,
}

/// Kind and reason; the kinds are those of [`super::kind`].
pub type PictureFault = Fault;

impl PictureHeader {
    /// Format (by its magic bytes, never by a name), size, and whether the file's end is there.
    ///
    /// # Errors
    /// `image_format`, `image_too_large`, `image_broken`, `image_truncated`.
    pub fn read(file: &[u8]) -> Result<Self, PictureFault> {
        let unknown = || {
            let start: String = file.iter().take(8).map(|b| format!("{b:02x} ")).collect();
            Fault::new(kind::IMAGE_FORMAT, format!("no known picture format ({} bytes, beginning {})", file.len(), start.trim_end()))
        };
        let guessed = image::guess_format(file).map_err(|_| unknown())?;
        let format = PictureFormat::of(guessed).ok_or_else(unknown)?;
        let size = catch_unwind(AssertUnwindSafe(|| image::ImageReader::with_format(Cursor::new(file), guessed).into_dimensions()));
        let (width, height) = match size {
            Ok(Ok(size)) => size,
            Ok(Err(image::ImageError::IoError(e))) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(Fault::new(kind::IMAGE_TRUNCATED, format!("the picture ends inside its header ({} bytes)", file.len())));
            }
            Ok(Err(e)) => return Err(Fault::new(kind::IMAGE_BROKEN, format!("the picture's header cannot be read: {e}"))),
            Err(_) => return Err(Fault::new(kind::IMAGE_BROKEN, "the decoder failed on the picture's header")),
        };
        if width == 0 || height == 0 {
            return Err(Fault::new(kind::IMAGE_BROKEN, format!("a picture of {width} x {height} pixels")));
        }
        if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Fault::new(
                kind::IMAGE_TOO_LARGE,
                format!("{width} x {height} pixels; at most {MAX_SIDE} a side and {} megapixels are accepted", MAX_PIXELS / 1_000_000),
            ));
        }
        match format {
            PictureFormat::Jpeg => jpeg_end(file)?,
            PictureFormat::Png => png_chunks(file)?,
            _ => {}
        }
        Ok(Self { format, width, height })
    }
}

/// A whole JPEG ends with the marker FFD9; some writers put a few bytes after it.
fn jpeg_end(file: &[u8]) -> Result<(), Fault> {
    // 64 KB: cameras append thumbnails and maker data; the marker before them is that of the picture or a part of it.
    let tail = &file[file.len().saturating_sub(64 << 10)..];
    if memchr::memmem::rfind(tail, b"\xFF\xD9").is_some() {
        return Ok(());
    }
    Err(Fault::new(kind::IMAGE_TRUNCATED, format!("the JPEG ends too early ({} bytes, no end marker)", file.len())))
}

/// A PNG is a list of chunks: length, name, data, CRC-32 of name and data; the last is IEND.
fn png_chunks(file: &[u8]) -> Result<(), Fault> {
    let truncated = || Fault::new(kind::IMAGE_TRUNCATED, format!("the PNG ends too early ({} bytes, no IEND chunk)", file.len()));
    let mut rest = file.get(8..).ok_or_else(truncated)?;
    loop {
        let (length, body) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (named, after) = body.split_at_checked(length.saturating_add(4)).ok_or_else(truncated)?;
        let (crc, after) = after.split_first_chunk::<4>().ok_or_else(truncated)?;
        if crc32fast::hash(named) != u32::from_be_bytes(*crc) {
            let name = String::from_utf8_lossy(&named[..4]).into_owned();
            return Err(Fault::new(kind::IMAGE_BROKEN, format!("the PNG is damaged: the checksum of its chunk {name:?} is wrong")));
        }
        if &named[..4] == b"IEND" {
            return Ok(());
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(format: image::ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, 7])).write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    fn fault(file: &[u8]) -> &'static str {
        PictureHeader::read(file).expect_err("a fault").kind
    }

    #[test]
    fn format_and_size_come_from_the_content() {
        for (format, extension) in [
            (image::ImageFormat::Jpeg, "jpg"),
            (image::ImageFormat::Png, "png"),
            (image::ImageFormat::Gif, "gif"),
            (image::ImageFormat::Bmp, "bmp"),
            (image::ImageFormat::Tiff, "tif"),
            (image::ImageFormat::WebP, "webp"),
            (image::ImageFormat::Pnm, "ppm"),
        ] {
            let header = PictureHeader::read(&encode(format)).unwrap();
            assert_eq!((header.format.extension(), header.width, header.height), (extension, 40, 30));
        }
    }

    #[test]
    fn a_cut_jpeg_or_png_is_truncated_wherever_it_was_cut() {
        for format in [image::ImageFormat::Jpeg, image::ImageFormat::Png] {
            let whole = encode(format);
            for cut in 12..whole.len() - 1 {
                let found = fault(&whole[..cut]);
                assert!([kind::IMAGE_TRUNCATED, kind::IMAGE_BROKEN].contains(&found), "{format:?} cut at {cut}: {found}");
            }
            assert_eq!(fault(&whole[..whole.len() / 2]), kind::IMAGE_TRUNCATED);
        }
    }

    #[test]
    fn one_flipped_bit_in_a_png_is_found() {
        let mut png = encode(image::ImageFormat::Png);
        let middle = png.len() / 2;
        png[middle] ^= 4;
        assert_eq!(fault(&png), kind::IMAGE_BROKEN);
    }

    #[test]
    fn a_picture_bomb_is_refused_by_its_header() {
        // A PNG header of 60,000 x 60,000 pixels: signature, IHDR, IEND with right checksums.
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for chunk in [[b"IHDR".as_slice(), &60_000u32.to_be_bytes(), &60_000u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat(), b"IDAT".to_vec(), b"IEND".to_vec()] {
            png.extend(u32::try_from(chunk.len() - 4).unwrap().to_be_bytes());
            png.extend(&chunk);
            png.extend(crc32fast::hash(&chunk).to_be_bytes());
        }
        assert_eq!(fault(&png), kind::IMAGE_TOO_LARGE);
    }

    #[test]
    fn what_is_no_picture_is_named_so() {
        for file in [&b""[..], b"<html>not found</html>", b"\0\0\0\0"] {
            assert_eq!(fault(file), kind::IMAGE_FORMAT);
        }
    }

    #[test]
    fn no_cut_and_no_flip_makes_it_panic() {
        for format in [image::ImageFormat::Jpeg, image::ImageFormat::Png, image::ImageFormat::Gif, image::ImageFormat::Bmp, image::ImageFormat::Tiff, image::ImageFormat::WebP] {
            let whole = encode(format);
            for i in 0..whole.len().min(400) {
                let mut damaged = whole.clone();
                damaged[i] ^= 0xFF;
                let _ = PictureHeader::read(&damaged);
                let _ = PictureHeader::read(&whole[..i]);
            }
        }
    }
}
