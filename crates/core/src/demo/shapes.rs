//! Coloured shapes on plain backgrounds: the base model's first pictures, from which it learns to see and to name
//! colour, form, size and place. The texts are in [`super::captions`], the files in [`super::base`].

use super::draw::{Canvas, Ellipse, Picture, SIDE, inside};
use super::rng::Rng;
use super::words::{Color, Column, Level, Shape, Size};
use image::ExtendedColorType;

/// One shape of a picture: what it is and where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Object {
    pub color: Color,
    pub shape: Shape,
    pub size: Size,
    pub row: Level,
    pub column: Column,
    /// Centre, in the coordinates of [`super::draw`].
    pub x: f64,
    pub y: f64,
}

/// The shapes of one picture and what is needed to draw it.
#[derive(Debug, Clone)]
pub struct Scene {
    background: [f64; 3],
    pub objects: Vec<Object>,
}

/// Pictures without any shape, so that the model learns to say so: one in eleven.
const EMPTY_RATE: f64 = 1.0 / 11.0;

impl Scene {
    /// Scene `index` of `set`: a pure function of its arguments; nothing is drawn.
    pub fn at(seed: u64, set: &str, index: u64) -> Self {
        let rng = &mut Rng::new(seed, &format!("shapes scene {set}"), index);
        let background =
            if rng.chance(0.5) { [rng.uniform(70.0, 170.0); 3] } else { [(); 3].map(|()| rng.uniform(50.0, 190.0)) };
        let count = if rng.chance(EMPTY_RATE) { 0 } else { *rng.pick(&[1, 1, 1, 2, 2]) };
        // No two shapes in one of the nine cells.
        let mut cells: Vec<(usize, usize)> = (0..9).map(|i| (i / 3, i % 3)).collect();
        rng.shuffle(&mut cells);
        let objects =
            cells.into_iter().take(count).map(|(row, column)| Object::random(row, column, background, rng)).collect();
        Self { background, objects }
    }

    /// Draws the scene: `SIDE` x `SIDE`, RGB. `seed`, `set` and `index` as given to [`Scene::at`].
    pub fn draw(&self, seed: u64, set: &str, index: u64) -> Picture {
        let rng = &mut Rng::new(seed, &format!("shapes picture {set}"), index);
        let mut canvas = Canvas::filled(self.background);
        draw_background(&mut canvas, rng);
        for object in &self.objects {
            object.draw(&mut canvas, rng);
        }
        let noise = rng.uniform(1.0, 6.0);
        canvas.add(|_, _| noise * rng.normal());
        Picture { pixels: canvas.quantise(1.0, 0.0), color: ExtendedColorType::Rgb8 }
    }
}

/// A shaded ground, sometimes with faint blots or a frame; none of it is ever mentioned in a caption.
fn draw_background(canvas: &mut Canvas<3>, rng: &mut Rng) {
    let (slope_x, slope_y) = (rng.uniform(-20.0, 20.0), rng.uniform(-20.0, 20.0));
    canvas.add(|x, y| x * slope_x + y * slope_y);
    if rng.chance(0.5) {
        for _ in 0..1 + rng.below(4) {
            let (x, y) = (rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7));
            let blot =
                Ellipse::new(x, y, rng.uniform(0.05, 0.9), rng.uniform(0.05, 0.9), rng.uniform(0.0, 180.0)).mask(20.0);
            let strength = rng.uniform(-28.0, 28.0);
            canvas.add(|x, y| blot(x, y) * strength);
        }
    }
    if rng.chance(0.4) {
        let oval = rng.chance(0.6).then(|| Ellipse::new(0.0, 0.0, rng.uniform(0.8, 0.95), rng.uniform(0.85, 1.0), 0.0));
        let half_side = rng.uniform(0.87, 0.96);
        let tone = if rng.chance(0.5) { 0.0 } else { rng.uniform(0.0, 255.0) };
        canvas.blend([tone; 3], |x, y| {
            1.0 - match oval {
                Some(oval) => inside(oval.radius2(x, y).sqrt(), 25.0),
                None => inside(x.abs().max(y.abs()) / half_side, 25.0),
            }
        });
    }
}

impl Object {
    fn random(row: usize, column: usize, background: [f64; 3], rng: &mut Rng) -> Self {
        let contrast = |color: Color| rgb(color).iter().zip(background).map(|(a, b)| (a - b).abs()).sum::<f64>() / 3.0;
        // Black against a ground of at most 190 or white against one of at least 50 always qualifies.
        let visible: Vec<Color> = Color::ALL.iter().copied().filter(|&c| contrast(c) > 55.0).collect();
        Self {
            color: *rng.pick(&visible),
            shape: *rng.pick(Shape::ALL),
            size: *rng.pick(Size::ALL),
            row: Level::ALL[row],
            column: Column::ALL[column],
            x: (column as f64 - 1.0) * 0.52 + rng.uniform(-0.10, 0.10),
            y: (row as f64 - 1.0) * 0.52 + rng.uniform(-0.10, 0.10),
        }
    }

    fn draw(&self, canvas: &mut Canvas<3>, rng: &mut Rng) {
        let Self { x: cx, y: cy, .. } = *self;
        let color = rgb(self.color).map(|c| c + rng.uniform(-14.0, 14.0));
        let r = match self.size {
            Size::Small => rng.uniform(0.09, 0.12),
            Size::Medium => rng.uniform(0.155, 0.185),
            Size::Large => rng.uniform(0.235, 0.27),
        };
        let upright = rng.chance(0.5);
        let sharp = SIDE as f64 / 2.0 * r;
        let ellipse = |a: f64, b: f64| Ellipse::new(cx, cy, a * r, b * r, 0.0).mask(sharp);
        // Largest distance along either axis, in half sides: 1 on the border of a box.
        let box_distance =
            |a: f64, b: f64| move |x: f64, y: f64| ((x - cx).abs() / (a * r)).max((y - cy).abs() / (b * r));
        match self.shape {
            Shape::Circle => canvas.blend(color, ellipse(1.0, 1.0)),
            Shape::Oval => canvas.blend(color, if upright { ellipse(0.7, 1.3) } else { ellipse(1.3, 0.7) }),
            Shape::Ring => {
                let (outer, hole) = (ellipse(1.0, 1.0), ellipse(0.6, 0.6));
                canvas.blend(color, |x, y| outer(x, y) * (1.0 - hole(x, y)));
            }
            Shape::Square => canvas.blend(color, |x, y| inside(box_distance(0.9, 0.9)(x, y), sharp)),
            Shape::Bar => {
                let (a, b) = if upright { (0.35, 1.3) } else { (1.3, 0.35) };
                canvas.blend(color, |x, y| inside(box_distance(a, b)(x, y), sharp * 0.4));
            }
            // Point upwards: the half width grows from 0 at the top to r at the base.
            Shape::Triangle => canvas.blend(color, |x, y| {
                let down = (y - (cy - r)) / (2.0 * r);
                if (0.0..1.0).contains(&down) {
                    ((down * r - (x - cx).abs()) * SIDE as f64 / 2.0 + 0.5).clamp(0.0, 1.0)
                } else {
                    0.0
                }
            }),
        }
    }
}

fn rgb(color: Color) -> [f64; 3] {
    match color {
        Color::Red => [220.0, 40.0, 40.0],
        Color::Green => [40.0, 180.0, 60.0],
        Color::Blue => [50.0, 80.0, 220.0],
        Color::Yellow => [230.0, 210.0, 50.0],
        Color::Purple => [150.0, 60.0, 190.0],
        Color::Orange => [240.0, 140.0, 30.0],
        Color::White => [245.0, 245.0, 245.0],
        Color::Black => [12.0, 12.0, 12.0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_their_colour_at_the_place_that_is_told() {
        let mut seen = 0;
        for index in 0..300 {
            let scene = Scene::at(11, "test", index);
            let picture = scene.draw(11, "test", index);
            for object in scene.objects.iter().filter(|o| o.shape != Shape::Ring) {
                let pixel = |v: f64| ((v + 1.0) / 2.0 * SIDE as f64) as usize;
                let at = 3 * (pixel(object.y) * SIDE + pixel(object.x));
                for (channel, wanted) in rgb(object.color).into_iter().enumerate() {
                    let got = f64::from(picture.pixels[at + channel]);
                    assert!((got - wanted).abs() < 50.0, "scene {index} {object:?}: channel {channel} is {got}");
                }
                seen += 1;
            }
        }
        assert!(seen > 200, "{seen}");
    }

    #[test]
    fn scenes_have_none_to_two_shapes_in_different_cells() {
        let mut counts = [0; 3];
        for index in 0..2200 {
            let objects = Scene::at(11, "test", index).objects;
            counts[objects.len()] += 1;
            if let [a, b] = objects[..] {
                assert!((a.row, a.column) != (b.row, b.column), "scene {index}");
            }
        }
        assert!((150..250).contains(&counts[0]) && counts[1] > counts[2] && counts[2] > 600, "{counts:?}");
    }
}
