//! A decoded picture in the mode PIL would give it, PIL's resize in that mode, and PIL's `convert("RGB")`.
//!
//! LLaMA-Factory shrinks a picture *before* it becomes RGB, so the mode decides the filter: nearest neighbour for 1 and P,
//! premultiplied alpha for LA and RGBA. Alpha is then dropped, not composited. Sources: Pillow 11.3 `Image.py` (`resize`,
//! `convert`), `src/libImaging/{Resample,Convert}.c`. Read next: `resample`.

use super::resample::{Weights, bicubic, bicubic_wide, nearest};
use super::size::Size;

/// PIL's picture modes, as far as pictures of these modes can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `1`: black and white.
    Bilevel,
    /// `L`: 8-bit grey.
    Grey,
    /// `LA`: 8-bit grey with alpha.
    GreyAlpha,
    /// `P`: palette.
    Palette,
    /// `RGB`; also 16 bits per channel, of which PIL keeps the high byte.
    Rgb,
    /// `RGBA`; also 16 bits per channel, of which PIL keeps the high byte.
    Rgba,
    /// `CMYK`
    Cmyk,
    /// `I;16`: 16-bit grey. In RGB every value above 255 is white: window medical pictures to 8 bits first.
    Grey16,
    /// `I`: 32-bit signed grey (16-bit PGM). As [`Mode::Grey16`], values above 255 are white.
    Grey32,
}

impl Mode {
    /// PIL's name of the mode.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bilevel => "1",
            Self::Grey => "L",
            Self::GreyAlpha => "LA",
            Self::Palette => "P",
            Self::Rgb => "RGB",
            Self::Rgba => "RGBA",
            Self::Cmyk => "CMYK",
            Self::Grey16 => "I;16",
            Self::Grey32 => "I",
        }
    }

    /// Bytes that a decoded pixel takes in memory.
    pub(super) fn bytes_per_pixel(self) -> u64 {
        match self {
            Self::Bilevel | Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Palette | Self::Rgb => 3,
            Self::Rgba | Self::Cmyk | Self::Grey16 | Self::Grey32 => 4,
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// 8-bit RGB, `[height, width, 3]`, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    pub width: u32,
    pub height: u32,
    pub data: Vec<u8>,
}

impl Rgb8 {
    /// Bicubic resize with PIL's or torch's weights; nothing happens when the size is already right.
    pub(super) fn resize(self, to: Size, weights: Weights) -> Self {
        let data = bicubic::<3>(self.data, Size { width: self.width, height: self.height }, to, weights);
        Self { width: to.width, height: to.height, data }
    }
}

/// Samples of a picture, `[height, width, channels]`, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pixels {
    /// `1` and `L`; `1` as 0 and 255.
    Grey(Vec<u8>),
    GreyAlpha(Vec<u8>),
    /// `RGB`, and `P` with its palette already applied: nearest neighbour picks pixels, so it may as well pick colours.
    Rgb(Vec<u8>),
    Rgba(Vec<u8>),
    /// Ink, 255 = full.
    Cmyk(Vec<u8>),
    Wide(Vec<i32>),
}

impl Pixels {
    /// One colour everywhere.
    pub fn are_all_the_same(&self) -> bool {
        fn same<const C: usize>(samples: &[u8]) -> bool {
            let pixels = samples.as_chunks::<C>().0;
            pixels.iter().all(|pixel| *pixel == pixels[0])
        }
        match self {
            Self::Grey(samples) => same::<1>(samples),
            Self::GreyAlpha(samples) => same::<2>(samples),
            Self::Rgb(samples) => same::<3>(samples),
            Self::Rgba(samples) | Self::Cmyk(samples) => same::<4>(samples),
            Self::Wide(samples) => samples.iter().all(|sample| *sample == samples[0]),
        }
    }
}

/// A decoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raster {
    pub size: Size,
    pub mode: Mode,
    pub pixels: Pixels,
}

impl Raster {
    /// Are there `width * height * channels` samples, of the kind that the mode needs?
    pub fn is_consistent(&self) -> bool {
        let (samples, channels) = match (&self.pixels, self.mode) {
            (Pixels::Grey(p), Mode::Bilevel | Mode::Grey) => (p.len(), 1),
            (Pixels::GreyAlpha(p), Mode::GreyAlpha) => (p.len(), 2),
            (Pixels::Rgb(p), Mode::Palette | Mode::Rgb) => (p.len(), 3),
            (Pixels::Rgba(p), Mode::Rgba) | (Pixels::Cmyk(p), Mode::Cmyk) => (p.len(), 4),
            (Pixels::Wide(p), Mode::Grey16 | Mode::Grey32) => (p.len(), 1),
            _ => return false,
        };
        samples as u64 == self.size.pixels() * channels
    }

    /// PIL's `im.resize((width, height))`: bicubic, except modes 1 and P (nearest).
    pub fn resize(self, to: Size) -> Self {
        let from = self.size;
        if from == to {
            return self;
        }
        let pixels = match (self.pixels, self.mode) {
            (Pixels::Grey(p), Mode::Bilevel) => Pixels::Grey(nearest::<1>(&p, from, to)),
            (Pixels::Rgb(p), Mode::Palette) => Pixels::Rgb(nearest::<3>(&p, from, to)),
            (Pixels::Grey(p), _) => Pixels::Grey(bicubic::<1>(p, from, to, Weights::Pil)),
            (Pixels::Rgb(p), _) => Pixels::Rgb(bicubic::<3>(p, from, to, Weights::Pil)),
            (Pixels::Cmyk(p), _) => Pixels::Cmyk(bicubic::<4>(p, from, to, Weights::Pil)),
            (Pixels::GreyAlpha(p), _) => Pixels::GreyAlpha(bicubic_alpha::<2>(p, from, to)),
            (Pixels::Rgba(p), _) => Pixels::Rgba(bicubic_alpha::<4>(p, from, to)),
            (Pixels::Wide(p), Mode::Grey16) => Pixels::Wide(bicubic_wide(p, from, to, (0, 65535))),
            (Pixels::Wide(p), _) => Pixels::Wide(bicubic_wide(p, from, to, (i32::MIN, i32::MAX))),
        };
        Self { size: to, mode: self.mode, pixels }
    }

    /// PIL's `im.convert("RGB")`.
    pub fn into_rgb(self) -> Rgb8 {
        let data = match self.pixels {
            Pixels::Rgb(p) => p,
            Pixels::Grey(p) => map_to_rgb(&p, |&[v]| [v; 3]),
            Pixels::GreyAlpha(p) => map_to_rgb(&p, |&[v, _]| [v; 3]),
            Pixels::Rgba(p) => map_to_rgb(&p, |&[r, g, b, _]| [r, g, b]),
            Pixels::Cmyk(p) => map_to_rgb(&p, cmyk_to_rgb),
            Pixels::Wide(p) => map_to_rgb(&p, |&[v]| [v.clamp(0, 255) as u8; 3]),
        };
        Rgb8 { width: self.size.width, height: self.size.height, data }
    }
}

fn map_to_rgb<T, const C: usize>(samples: &[T], convert: impl Fn(&[T; C]) -> [u8; 3]) -> Vec<u8> {
    let (pixels, _) = samples.as_chunks::<C>();
    let mut rgb = vec![0; pixels.len() * 3];
    for (out, pixel) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
        *out = convert(pixel);
    }
    rgb
}

/// PIL's conversion without a colour profile: white minus black ink, minus each ink's share of what is left.
fn cmyk_to_rgb(&[c, m, y, k]: &[u8; 4]) -> [u8; 3] {
    let paper = 255 - k;
    [c, m, y].map(|ink| paper - mul_div_255(ink, paper))
}

/// `a * b / 255`, rounded (PIL's `MULDIV255`); never more than either.
fn mul_div_255(a: u8, b: u8) -> u8 {
    let t = u32::from(a) * u32::from(b) + 128;
    (((t >> 8) + t) >> 8) as u8
}

/// Bicubic over premultiplied colour, so that hidden colours do not bleed in (PIL's detour over La and RGBa). Alpha is last.
fn bicubic_alpha<const C: usize>(mut pixels: Vec<u8>, from: Size, to: Size) -> Vec<u8> {
    for pixel in pixels.chunks_exact_mut(C) {
        let alpha = pixel[C - 1];
        for value in &mut pixel[..C - 1] {
            *value = mul_div_255(*value, alpha);
        }
    }
    let mut pixels = bicubic::<C>(pixels, from, to, Weights::Pil);
    for pixel in pixels.chunks_exact_mut(C) {
        let alpha = u32::from(pixel[C - 1]);
        if alpha != 0 && alpha != 255 {
            for value in &mut pixel[..C - 1] {
                *value = (255 * u32::from(*value) / alpha).min(255) as u8;
            }
        }
    }
    pixels
}
