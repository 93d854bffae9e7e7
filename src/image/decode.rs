//! Bytes → a [`Picture`] for an area. Decoding is core's, so the limits (sides, pixels, bytes, panicking decoders) and the
//! pixels are those of training: alpha is dropped and EXIF orientation ignored here as there. What is shown is what the
//! model sees.
//!
//! Scaling takes two steps: the original to the area's pixels, and those to two colours a cell. Both are area averages
//! when they shrink; enlarging for half blocks is linear.

use std::sync::Arc;

use image::RgbImage;
use image::imageops::{self, FilterType};
use lightbox_core::vision;

use super::{Picture, PictureId, fit};

/// Decodes a picture for `area` (columns, rows); its id is 0 until the caller sets it.
///
/// # Errors
/// The file is no picture, is damaged, or is larger than what training reads, as a sentence.
pub fn decode(bytes: &[u8], area: (u16, u16), cell_px: (u16, u16), want_pixels: bool) -> Result<Picture, String> {
    let rgb = vision::decode_rgb(bytes, None).map_err(|error| error.to_string())?;
    let full =
        RgbImage::from_raw(rgb.width, rgb.height, rgb.data).ok_or("the picture has fewer pixels than it says")?;
    Ok(picture(&full, fit(full.dimensions(), area, cell_px), cell_px, want_pixels, PictureId(0)))
}

pub fn picture(full: &RgbImage, cells: (u16, u16), cell_px: (u16, u16), want_pixels: bool, id: PictureId) -> Picture {
    let size = full.dimensions();
    let (cols, rows) = (u32::from(cells.0), u32::from(cells.1));
    let shrunk = want_pixels.then(|| {
        let (width, height) = (cols * u32::from(cell_px.0), rows * u32::from(cell_px.1));
        if size.0 > width || size.1 > height {
            imageops::thumbnail(full, width.min(size.0).max(1), height.min(size.1).max(1))
        } else {
            full.clone() // the terminal enlarges better than we could, for fewer bytes
        }
    });
    let from = shrunk.as_ref().unwrap_or(full);
    let blocks = if from.width() >= cols && from.height() >= 2 * rows {
        imageops::thumbnail(from, cols, 2 * rows)
    } else {
        imageops::resize(from, cols, 2 * rows, FilterType::Triangle)
    };
    let blocks = blocks.as_raw().as_chunks::<3>().0.to_vec();
    Picture { id, size, pixels: Arc::new(shrunk.unwrap_or_default()), cells, blocks }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, ImageFormat, Rgb, RgbaImage};
    use std::io::Cursor;
    use std::time::Instant;

    const CELL: (u16, u16) = (10, 20);

    pub fn file(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn halves(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) }).into()
    }

    #[test]
    fn large_pictures_shrink_to_the_area_and_small_ones_keep_their_pixels() {
        let large = decode(&file(halves(1000, 500), ImageFormat::Png), (20, 20), CELL, true).unwrap();
        assert_eq!((large.size, large.cells), ((1000, 500), (20, 5)));
        assert_eq!(large.pixels.dimensions(), (200, 100));
        assert_eq!(large.blocks.len(), 20 * 10);
        assert_eq!((large.blocks[0], large.blocks[19]), ([255, 0, 0], [0, 0, 255]));

        let small = decode(&file(halves(8, 8), ImageFormat::Png), (20, 20), CELL, true).unwrap();
        assert_eq!((small.size, small.cells, small.pixels.dimensions()), ((8, 8), (20, 10), (8, 8)));
        assert_eq!((small.blocks[0], small.blocks[19]), ([255, 0, 0], [0, 0, 255]));
    }

    #[test]
    fn without_pixels_only_blocks_are_kept() {
        let picture = decode(&file(halves(100, 100), ImageFormat::Png), (10, 5), CELL, false).unwrap();
        assert!(!picture.has_pixels() && picture.blocks.len() == 100);
        assert!(picture.bytes() < 1000);
    }

    #[test]
    fn alpha_is_dropped_as_training_drops_it() {
        let clear = RgbaImage::from_pixel(4, 4, image::Rgba([9, 99, 199, 0]));
        let picture = decode(&file(clear.into(), ImageFormat::Png), (4, 2), CELL, true).unwrap();
        assert_eq!(picture.blocks[0], [9, 99, 199]);
    }

    #[test]
    fn what_is_no_picture_is_a_sentence() {
        let png = file(halves(64, 64), ImageFormat::Png);
        let mut bomb = png.clone();
        bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]); // says 65536 x 65536
        for bytes in [&b""[..], b"not a picture", &png[..png.len() / 2], &bomb] {
            let error = decode(bytes, (10, 10), CELL, true).unwrap_err();
            assert!(error.len() > 10, "{error:?}");
        }
    }

    /// `cargo test --release -- --ignored --nocapture decoding_takes`
    #[test]
    #[ignore = "prints a measurement"]
    fn decoding_takes() {
        let noise = |w, h| -> DynamicImage {
            RgbImage::from_fn(w, h, |x, y| Rgb([(x * 7 + y) as u8, (x / 9) as u8, ((x * y) >> 6) as u8])).into()
        };
        for (name, bytes) in [
            ("12 MP JPEG", file(noise(4000, 3000), ImageFormat::Jpeg)),
            ("512x512 PNG", file(noise(512, 512), ImageFormat::Png)),
        ] {
            for pixels in [true, false] {
                let start = Instant::now();
                let picture = decode(&bytes, (54, 27), CELL, pixels).unwrap();
                println!("{name} ({} KB), pixels {pixels}: {:?}, {picture:?}", bytes.len() / 1024, start.elapsed());
            }
        }
    }
}
