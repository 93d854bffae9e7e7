//! A small canvas for drawing with soft edges: what [`super::phantom`] and [`super::shapes`] are painted on.
//!
//! Coordinates run from -1 to 1 in x (rightwards) and y (downwards). Every pixel is computed with `+ - * /` and
//! `sqrt` only, which IEEE 754 rounds exactly, so a picture has the same bytes on every platform (Rust never
//! contracts `a * b + c`).

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

/// Side of a demo picture in pixels: 8 patches of 14, that is 4 x 4 tokens of the language model.
pub const SIDE: usize = 112;

/// `C` channels of `SIDE` x `SIDE` values, row-major, in units of the painter's choice.
pub struct Canvas<const C: usize>(Vec<[f64; C]>);

impl<const C: usize> Canvas<C> {
    pub fn filled(value: [f64; C]) -> Self {
        Self(vec![value; SIDE * SIDE])
    }

    /// Every pixel with the coordinates of its centre.
    fn pixels(&mut self) -> impl Iterator<Item = (f64, f64, &mut [f64; C])> {
        let at = |i: usize| (i as f64 + 0.5) / SIDE as f64 * 2.0 - 1.0;
        self.0.iter_mut().enumerate().map(move |(i, pixel)| (at(i % SIDE), at(i / SIDE), pixel))
    }

    /// Paints `value` where `mask(x, y)` is 1, blends where it is between 0 and 1.
    pub fn blend(&mut self, value: [f64; C], mask: impl Fn(f64, f64) -> f64) {
        for (x, y, pixel) in self.pixels() {
            let m = mask(x, y);
            for (p, v) in pixel.iter_mut().zip(value) {
                *p = *p * (1.0 - m) + v * m;
            }
        }
    }

    /// Adds `amount(x, y)` to all channels.
    pub fn add(&mut self, mut amount: impl FnMut(f64, f64) -> f64) {
        for (x, y, pixel) in self.pixels() {
            let a = amount(x, y);
            pixel.iter_mut().for_each(|p| *p += a);
        }
    }

    /// `value * gain + offset`, rounded half up, clipped to 0..=255; `C` bytes a pixel.
    pub fn quantise(&self, gain: f64, offset: f64) -> Vec<u8> {
        // `as u8` cuts towards zero and saturates, and 255.5 is already 255.
        self.0.iter().flatten().map(|v| (v * gain + offset + 0.5) as u8).collect()
    }
}

/// An ellipse: centre, half axes, turn in degrees.
#[derive(Debug, Clone, Copy)]
pub struct Ellipse {
    pub x: f64,
    pub y: f64,
    pub a: f64,
    pub b: f64,
    sin: f64,
    cos: f64,
}

impl Ellipse {
    pub fn new(x: f64, y: f64, a: f64, b: f64, degrees: f64) -> Self {
        let (sin, cos) = sin_cos(degrees);
        Self { x, y, a, b, sin, cos }
    }

    /// Squared distance from the centre in half axes: below 1 is inside.
    pub fn radius2(&self, x: f64, y: f64) -> f64 {
        let (x, y) = (x - self.x, y - self.y);
        let u = (x * self.cos + y * self.sin) / self.a;
        let v = (y * self.cos - x * self.sin) / self.b;
        u * u + v * v
    }

    /// 1 inside, 0 outside, with an edge of width 1 / `sharpness` (in half axes).
    pub fn mask(&self, sharpness: f64) -> impl Fn(f64, f64) -> f64 + use<> {
        let ellipse = *self;
        move |x, y| inside(ellipse.radius2(x, y).sqrt(), sharpness)
    }
}

/// Soft step: 1 where `distance` is well below 1, 0 well above.
pub fn inside(distance: f64, sharpness: f64) -> f64 {
    ((1.0 - distance) * sharpness + 0.5).clamp(0.0, 1.0)
}

/// (sin, cos) of an angle in degrees, from Taylor polynomials: exact to 1e-14 and the same everywhere.
pub fn sin_cos(degrees: f64) -> (f64, f64) {
    let quarter = (degrees / 90.0).round();
    let x = (degrees - quarter * 90.0) * (std::f64::consts::PI / 180.0); // within ±π/4
    let x2 = x * x;
    let series = |first: f64| {
        (0..8)
            .rev()
            .fold(1.0, |sum, k| 1.0 - sum * x2 / ((2.0 * f64::from(k) + first) * (2.0 * f64::from(k) + first + 1.0)))
    };
    let (sin, cos) = (x * series(2.0), series(1.0));
    match quarter.rem_euclid(4.0) as u8 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// `SIDE * SIDE` bytes (grey) or three times as many (RGB), row-major.
    pub pixels: Vec<u8>,
    pub color: ExtendedColorType,
}

impl Picture {
    /// The picture as a PNG file.
    pub fn png(&self) -> Result<Vec<u8>, image::ImageError> {
        let mut file = Vec::new();
        PngEncoder::new(&mut file).write_image(&self.pixels, SIDE as u32, SIDE as u32, self.color)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sin_cos_agrees_with_the_standard_library() {
        for tenth in -7200..7200 {
            let degrees = f64::from(tenth) / 10.0;
            let (sin, cos) = sin_cos(degrees);
            let (s, c) = degrees.to_radians().sin_cos();
            assert!((sin - s).abs() < 1e-13 && (cos - c).abs() < 1e-13, "{degrees}: {sin} {cos}, expected {s} {c}");
        }
    }

    #[test]
    fn a_turned_ellipse_covers_its_own_axis() {
        let e = Ellipse::new(0.2, -0.1, 0.5, 0.1, 90.0);
        assert!(e.radius2(0.2, 0.35) < 1.0, "along the long axis, which now points down");
        assert!(e.radius2(0.65, -0.1) > 1.0, "across it");
        assert_eq!(e.mask(50.0)(0.2, -0.1), 1.0);
        assert_eq!(e.mask(50.0)(0.9, 0.9), 0.0);
    }

    #[test]
    fn quantise_rounds_and_clips() {
        let mut c = Canvas::<1>::filled([0.0]);
        c.0[0] = [-3.0];
        c.0[1] = [1.49];
        c.0[2] = [1.5];
        c.0[3] = [300.0];
        assert_eq!(c.quantise(1.0, 0.0)[..4], [0, 1, 2, 255]);
    }

    #[test]
    fn png_holds_the_pixels() {
        let picture = Picture { pixels: (0..SIDE * SIDE).map(|i| i as u8).collect(), color: ExtendedColorType::L8 };
        let back = image::load_from_memory(&picture.png().unwrap()).unwrap();
        assert_eq!(back.color(), image::ColorType::L8);
        assert_eq!(back.as_bytes(), picture.pixels);
    }
}
