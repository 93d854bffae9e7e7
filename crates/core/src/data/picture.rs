//! A first look at a picture file: what format it is, how large, and whether it is all there. No pixel is decoded, so
//! conversion runs at the speed of the file system and still finds the usual damage; the strict look, which decodes
//! everything, is `vision::check`.

use super::problem::{Fault, kind};
use crate::vision::{Format, ImageInfo, inspect};

/// File name extension of a format, as the tutorial's data sets have it (`.jpg`, not `.jpeg`).
pub fn extension(format: Format) -> &'static str {
    match format {
        Format::Jpeg => "jpg",
        Format::Png => "png",
        Format::Gif => "gif",
        Format::Bmp => "bmp",
        Format::Tiff => "tif",
        Format::WebP => "webp",
        Format::Pnm => "ppm",
    }
}

/// Format (by its magic bytes, never by a name), size, and whether the file's end is there.
///
/// # Errors
/// A kind of `vision::ImageError`, or `image_truncated` or `image_broken` found here.
pub fn look(file: &[u8]) -> Result<ImageInfo, Fault> {
    let info = inspect(file).map_err(|e| Fault::new(e.kind(), e.to_string()))?;
    match info.format {
        Format::Jpeg => jpeg_end(file)?,
        Format::Png => png_chunks(file)?,
        _ => {}
    }
    Ok(info)
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
    let truncated =
        || Fault::new(kind::IMAGE_TRUNCATED, format!("the PNG ends too early ({} bytes, no IEND chunk)", file.len()));
    let mut rest = file.get(8..).ok_or_else(truncated)?;
    loop {
        let (length, body) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (named, after) = body.split_at_checked(length.saturating_add(4)).ok_or_else(truncated)?;
        let (crc, after) = after.split_first_chunk::<4>().ok_or_else(truncated)?;
        if crc32fast::hash(named) != u32::from_be_bytes(*crc) {
            let name = String::from_utf8_lossy(&named[..4]).into_owned();
            return Err(Fault::new(
                kind::IMAGE_BROKEN,
                format!("the PNG is damaged: the checksum of its chunk {name:?} is wrong"),
            ));
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
    use std::io::Cursor;

    fn encode(format: image::ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, 7]))
            .write_to(&mut out, format)
            .unwrap();
        out.into_inner()
    }

    fn fault(file: &[u8]) -> &'static str {
        look(file).expect_err("a fault").kind
    }

    #[test]
    fn format_and_size_come_from_the_content() {
        for (format, expected) in [
            (image::ImageFormat::Jpeg, "jpg"),
            (image::ImageFormat::Png, "png"),
            (image::ImageFormat::Gif, "gif"),
            (image::ImageFormat::Bmp, "bmp"),
            (image::ImageFormat::Tiff, "tif"),
            (image::ImageFormat::WebP, "webp"),
        ] {
            let header = look(&encode(format)).unwrap();
            assert_eq!((extension(header.format), header.width, header.height), (expected, 40, 30));
        }
        assert_eq!(look(&[b"P6 2 1 255\n".as_slice(), &[0; 6]].concat()).map(|info| extension(info.format)), Ok("ppm"));
    }

    #[test]
    fn a_cut_jpeg_or_png_is_truncated_wherever_it_was_cut() {
        for format in [image::ImageFormat::Jpeg, image::ImageFormat::Png] {
            let whole = encode(format);
            for cut in 12..whole.len() - 1 {
                let found = fault(&whole[..cut]);
                assert!(
                    [kind::IMAGE_TRUNCATED, kind::IMAGE_BROKEN].contains(&found),
                    "{format:?} cut at {cut}: {found}"
                );
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
        for chunk in [
            [b"IHDR".as_slice(), &60_000u32.to_be_bytes(), &60_000u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat(),
            b"IDAT".to_vec(),
            b"IEND".to_vec(),
        ] {
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
        for format in [
            image::ImageFormat::Jpeg,
            image::ImageFormat::Png,
            image::ImageFormat::Gif,
            image::ImageFormat::Bmp,
            image::ImageFormat::Tiff,
            image::ImageFormat::WebP,
        ] {
            let whole = encode(format);
            for i in 0..whole.len().min(400) {
                let mut damaged = whole.clone();
                damaged[i] ^= 0xFF;
                let _ = look(&damaged);
                let _ = look(&whole[..i]);
            }
        }
    }
}
