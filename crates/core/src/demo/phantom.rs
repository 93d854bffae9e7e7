//! Head phantoms: simulated CT slices after Shepp and Logan, with or without a focal lesion, and the truth about each.
//!
//! They stand in for medical pictures where none may be shipped: simulated, not medical. Phantom `index` of a set is
//! a pure function of (seed, set, index), and its truth is known without drawing it. The texts are in
//! [`super::report`], the files in [`super::dataset`].

use super::draw::{Canvas, Ellipse, Picture, SIDE, inside, sin_cos};
use super::rng::Rng;
use super::words::{Density, Level, Side, Size};
use image::ExtendedColorType;

/// Share of phantoms that have a lesion.
pub const LESION_RATE: f64 = 0.7;

/// The truth about a lesion. A phantom's truth is `Option<Lesion>`: `None` means that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lesion {
    pub side: Side,
    pub level: Level,
    pub size: Size,
    pub density: Density,
}

impl Lesion {
    /// All 36 of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_side = |side: Side| Level::ALL.iter().map(move |&level| (side, level));
        let sized = |(side, level)| Size::ALL.iter().map(move |&size| (side, level, size));
        let dense = |(side, level, size)| Density::ALL.iter().map(move |&density| Self { side, level, size, density });
        Side::ALL.iter().copied().flat_map(of_side).flat_map(sized).flat_map(dense)
    }

    fn random(rng: &mut Rng) -> Self {
        Self {
            side: *rng.pick(Side::ALL),
            level: *rng.pick(Level::ALL),
            size: *rng.pick(Size::ALL),
            density: *rng.pick(Density::ALL),
        }
    }
}

/// A truth drawn from `rng`, with a lesion at [`LESION_RATE`].
pub fn random_truth(rng: &mut Rng) -> Option<Lesion> {
    rng.chance(LESION_RATE).then(|| Lesion::random(rng))
}

/// The truth about phantom `index` of `set`.
pub fn truth(seed: u64, set: &str, index: u64) -> Option<Lesion> {
    random_truth(&mut Rng::new(seed, &format!("phantom truth {set}"), index))
}

/// Phantom `index` of `set`: `SIDE` x `SIDE`, 8-bit grey. Its truth is [`truth`] of the same arguments.
pub fn draw(seed: u64, set: &str, index: u64) -> Picture {
    draw_truth(truth(seed, set, index), &mut Rng::new(seed, &format!("phantom picture {set}"), index))
}

/// Sharpness of an edge for a half axis of 1: one unit is half the picture, and edges are about two pixels wide.
const SHARP: f64 = SIDE as f64 / 4.0;

fn draw_truth(truth: Option<Lesion>, rng: &mut Rng) -> Picture {
    let head = Head::random(rng);
    let brain = rng.uniform(0.40, 0.50);
    let mut canvas = Canvas::filled([0.0]);

    // skull, brain
    canvas.blend([rng.uniform(0.90, 1.0)], head.mask(Ellipse::new(0.0, 0.0, 0.72, 0.95, 0.0), SHARP * 0.8, 1.0));
    canvas.blend([brain], head.mask(Ellipse::new(0.0, 0.0, 0.655, 0.875, 0.0), SHARP * 0.8, 1.0));
    // lateral ventricles, third ventricle, the brighter body above it
    let fluid = brain - rng.uniform(0.20, 0.28);
    for sign in [-1.0, 1.0] {
        let (x, y) = (sign * rng.uniform(0.17, 0.21), rng.uniform(-0.06, 0.06));
        let (a, b) = (rng.uniform(0.06, 0.085), rng.uniform(0.24, 0.30));
        canvas.blend([fluid], head.mask(Ellipse::new(x, y, a, b, -sign * rng.uniform(12.0, 20.0)), SHARP * 0.12, 1.0));
    }
    canvas.blend([fluid], head.mask(Ellipse::new(0.0, 0.42, 0.035, 0.10, 0.0), SHARP * 0.06, 0.7));
    canvas.blend([brain + 0.10], head.mask(Ellipse::new(0.0, -0.38, 0.12, 0.15, 0.0), SHARP * 0.12, 0.35));
    // midline
    canvas.blend([brain + 0.25], |x, y| {
        let (x, y) = head.coordinates(x, y);
        if y.abs() < 0.82 { 0.25 * (1.0 - x.abs() / 0.012).max(0.0) } else { 0.0 }
    });
    if let Some(lesion) = truth {
        draw_lesion(&mut canvas, lesion, head, brain, rng);
    }

    let noise = rng.uniform(0.008, 0.025);
    canvas.add(|_, _| noise * rng.normal());
    let (gain, offset) = (rng.uniform(0.92, 1.05), rng.uniform(-0.02, 0.02));
    Picture { pixels: canvas.quantise(gain * 255.0, offset * 255.0), color: ExtendedColorType::L8 }
}

fn draw_lesion(canvas: &mut Canvas<1>, lesion: Lesion, head: Head, brain: f64, rng: &mut Rng) {
    let radius = match lesion.size {
        Size::Small => rng.uniform(0.085, 0.105),
        Size::Medium => rng.uniform(0.135, 0.16),
        Size::Large => rng.uniform(0.20, 0.235),
    };
    let mut y = match lesion.level {
        Level::Upper => rng.uniform(-0.58, -0.42),
        Level::Middle => rng.uniform(-0.08, 0.08),
        Level::Lower => rng.uniform(0.42, 0.58),
    };
    let mut x = if lesion.level == Level::Middle { rng.uniform(0.34, 0.42) } else { rng.uniform(0.26, 0.34) };
    if lesion.size == Size::Large {
        // keeps it inside the skull
        y *= 0.9;
        x -= 0.02;
    }
    if lesion.side == Side::Left {
        x = -x;
    }
    let squeeze = rng.uniform(0.85, 1.18);
    let body =
        Ellipse::new(x, y, radius * squeeze, radius / squeeze * head.scale_x / head.scale_y, rng.uniform(0.0, 180.0));
    let waves = 3 + rng.below(3);
    let (phase_sin, phase_cos) = sin_cos(rng.uniform(0.0, 360.0));
    let value = match lesion.density {
        Density::Increased => brain + rng.uniform(0.32, 0.45),
        Density::Decreased => brain - rng.uniform(0.26, 0.36),
    };
    canvas.blend([value], |px, py| {
        let (px, py) = head.coordinates(px, py);
        // An irregular border: the radius swings by 10 % `waves` times around the centre. sin(n θ + φ) is the
        // imaginary part of (cos θ + i sin θ)^n (cos φ + i sin φ), which needs no arc tangent.
        let (dx, dy) = (px - x, py - y);
        let length = (dx * dx + dy * dy).sqrt().max(1e-9);
        let (re, im) = (0..waves)
            .fold((phase_cos, phase_sin), |(re, im), _| ((re * dx - im * dy) / length, (re * dy + im * dx) / length));
        debug_assert!(re * re + im * im < 1.0 + 1e-9);
        inside(body.radius2(px, py).sqrt() * (1.0 + 0.10 * im), SHARP * radius * 1.1)
    });
}

/// How the head lies in the picture: shifted, turned, scaled.
#[derive(Debug, Clone, Copy)]
struct Head {
    x: f64,
    y: f64,
    sin: f64,
    cos: f64,
    scale_x: f64,
    scale_y: f64,
}

impl Head {
    fn random(rng: &mut Rng) -> Self {
        let (sin, cos) = sin_cos(rng.uniform(-5.0, 5.0));
        let mut shift = || rng.uniform(-0.04, 0.04);
        Self { x: shift(), y: shift(), sin, cos, scale_x: rng.uniform(0.94, 1.04), scale_y: rng.uniform(0.92, 1.0) }
    }

    /// Picture coordinates to head coordinates.
    fn coordinates(&self, x: f64, y: f64) -> (f64, f64) {
        let (x, y) = (x - self.x, y - self.y);
        ((x * self.cos + y * self.sin) / self.scale_x, (y * self.cos - x * self.sin) / self.scale_y)
    }

    /// Mask of an ellipse given in head coordinates, times `opacity`.
    fn mask(self, ellipse: Ellipse, sharpness: f64, opacity: f64) -> impl Fn(f64, f64) -> f64 {
        let mask = ellipse.mask(sharpness);
        move |x, y| {
            let (x, y) = self.coordinates(x, y);
            mask(x, y) * opacity
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean grey value of the pixels within `radius` of a place in head coordinates of an unmoved head.
    fn mean_around(picture: &Picture, x: f64, y: f64, radius: f64) -> f64 {
        let at = |i: usize| (i as f64 + 0.5) / SIDE as f64 * 2.0 - 1.0;
        let near: Vec<f64> = (0..SIDE * SIDE)
            .filter(|i| (at(i % SIDE) - x).powi(2) + (at(i / SIDE) - y).powi(2) < radius * radius)
            .map(|i| f64::from(picture.pixels[i]))
            .collect();
        near.iter().sum::<f64>() / near.len() as f64
    }

    #[test]
    fn every_lesion_is_drawn_where_its_truth_says() {
        for (i, lesion) in Lesion::all().enumerate() {
            // The same stream with and without the lesion would differ in everything after it, so the mirror place
            // in the same picture is the control.
            let picture = draw_truth(Some(lesion), &mut Rng::new(5, "test", i as u64));
            let x = if lesion.level == Level::Middle { 0.37 } else { 0.29 }
                * if lesion.side == Side::Left { -1.0 } else { 1.0 };
            let y = match lesion.level {
                Level::Upper => -0.46,
                Level::Middle => 0.0,
                Level::Lower => 0.46,
            };
            let contrast = mean_around(&picture, x, y, 0.06) - mean_around(&picture, -x, y, 0.06);
            match lesion.density {
                Density::Increased => assert!(contrast > 25.0, "{lesion:?}: {contrast}"),
                Density::Decreased => assert!(contrast < -20.0, "{lesion:?}: {contrast}"),
            }
        }
    }

    #[test]
    fn truths_are_balanced_and_agree_with_any_order_of_asking() {
        let truths: Vec<_> = (0..3000).map(|i| truth(42, "train", i)).collect();
        let lesions: Vec<Lesion> = truths.iter().flatten().copied().collect();
        assert!((0.67..0.73).contains(&(lesions.len() as f64 / 3000.0)), "{}", lesions.len());
        for wanted in Lesion::all() {
            let n = lesions.iter().filter(|&&l| l == wanted).count();
            assert!((25..100).contains(&n), "{wanted:?} {n} times of {}", lesions.len());
        }
        assert_eq!(truth(42, "train", 2999), truths[2999]);
        assert_ne!((0..50).map(|i| truth(42, "other", i)).collect::<Vec<_>>(), truths[..50]);
    }
}
