//! An 8-bit picture of a slice: grey or RGB, with square pixels, in the wanted size, as PNG or JPEG.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::window::Window;
use super::{Fault, MAX_PIXELS, Plane, Values, kind};
use crate::vision::{self, MAX_SIDE, Samples, Size};

/// How pictures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PictureFormat {
    /// Without loss.
    #[default]
    Png,
    /// Quality 95.
    Jpg,
}

impl PictureFormat {
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpg => "jpg",
        }
    }
}

/// Pixels that differ by less than this from square are left alone.
const SQUARE: f64 = 0.01;

/// `[height, width]` or `[height, width, 3]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub size: Size,
    pub rgb: bool,
    pub data: Vec<u8>,
}

impl Picture {
    /// Values → grey; colours stay as they are.
    pub fn of(plane: Plane, window: &Window, inverted: bool) -> Self {
        let Plane { size, values } = plane;
        match values {
            Values::Rgb(data) => Self { size, rgb: true, data },
            Values::Grey(values) => {
                let flip = if inverted { 255 } else { 0 };
                Self { size, rgb: false, data: values.into_iter().map(|v| window.grey(v) ^ flip).collect() }
            }
        }
    }

    /// Square pixels (`pixel_mm`: between rows, between columns), then at most `longest` pixels a side. Bicubic, as Pillow's.
    /// Says whether the shape was changed.
    ///
    /// # Errors
    /// A picture that would become too large.
    pub fn shaped(self, pixel_mm: Option<[f64; 2]>, longest: Option<u32>) -> Result<(Self, bool), Fault> {
        let mut to = (f64::from(self.size.width), f64::from(self.size.height));
        let mut stretched = false;
        if let Some([rows, columns]) = pixel_mm
            && (rows / columns - 1.0).abs() > SQUARE
        {
            stretched = true;
            to = if rows > columns { (to.0, to.1 * rows / columns) } else { (to.0 * columns / rows, to.1) };
        }
        if let Some(longest) = longest.map(f64::from)
            && to.0.max(to.1) > longest
        {
            let shrink = longest / to.0.max(to.1);
            to = (to.0 * shrink, to.1 * shrink);
        }
        if to.0.max(to.1) > MAX_SIDE as f64 || to.0 * to.1 > MAX_PIXELS as f64 {
            return Err(Fault::new(
                kind::TOO_LARGE,
                format!("{:.0}x{:.0} pixels once they are square; use --size", to.0, to.1),
            ));
        }
        let side = |v: f64| v.round().max(1.0) as u32;
        let size = Size { width: side(to.0), height: side(to.1) };
        Ok((self.resized(size), stretched))
    }

    pub fn resized(self, to: Size) -> Self {
        let from = self.size;
        let samples = if self.rgb { Samples::Rgb(self.data) } else { Samples::Grey(self.data) };
        match vision::resize(samples, from, to) {
            Samples::Rgb(data) => Self { size: to, rgb: true, data },
            Samples::Grey(data) => Self { size: to, rgb: false, data },
            Samples::Wide(_) => Self { size: to, rgb: false, data: vec![0; to.pixels() as usize] }, // of 8 bits 8 bits are made
        }
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// The encoder's.
    pub fn encode(&self, format: PictureFormat) -> anyhow::Result<Vec<u8>> {
        let mut out = Vec::new();
        let color = if self.rgb { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
        let Size { width, height } = self.size;
        match format {
            PictureFormat::Png => PngEncoder::new(&mut out).write_image(&self.data, width, height, color)?,
            PictureFormat::Jpg => {
                JpegEncoder::new_with_quality(&mut out, 95).write_image(&self.data, width, height, color)?
            }
        }
        Ok(out)
    }
}
