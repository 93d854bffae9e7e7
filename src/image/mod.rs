//! Pictures on a terminal, in two layers. Layer one is half blocks drawn into ratatui's buffer ([`half`]): always, at once,
//! on every terminal. Layer two is real pixels put over them by a [`sink::PixelSink`] after the frame, only when something
//! changed; it is taken away while anything lies over the picture, and then layer one is still there.
//!
//! ```text
//! bytes ─ decode::decode (worker::Decoder) ─▶ Picture ─ store::Store ─┬─▶ half::draw            the frame
//!                                                                     └─▶ sink::Shown ─▶ kitty | viuer | none
//! ```
//! Read next: [`sink`], which says what the loop has to do.

pub mod decode;
pub mod half;
pub mod kitty;
pub mod none;
pub mod print;
pub mod sink;
pub mod store;
pub mod viuer;
pub mod worker;
mod workshop;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use image::RgbImage;

/// What a picture is: a hash of where it comes from (data set, sample and number, or path and time of change).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PictureId(pub u64);

impl PictureId {
    pub fn of(what: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// A picture decoded for an area of the screen.
#[derive(Clone, PartialEq)]
pub struct Picture {
    pub id: PictureId,
    /// Width and height of the original.
    pub size: (u32, u32),
    /// Scaled down to the area in pixels, never up; 0x0 where no pixels were wanted.
    pub pixels: Arc<RgbImage>,
    /// Columns and rows that it takes within the area.
    pub cells: (u16, u16),
    /// Two a cell: `cols` x `2 * rows`, row-major.
    pub blocks: Vec<[u8; 3]>,
}

impl Picture {
    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        self.pixels.as_raw().len() + self.blocks.len() * 3 + size_of::<Self>()
    }

    pub fn has_pixels(&self) -> bool {
        self.pixels.width() > 0
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, size, cells, .. } = self;
        write!(f, "Picture({id:?}, {size:?}, pixels {:?}, cells {cells:?})", self.pixels.dimensions())
    }
}

/// The largest (columns, rows) of the picture's shape within an area, at least one cell. Small pictures are enlarged.
pub fn fit(image: (u32, u32), area: (u16, u16), cell_px: (u16, u16)) -> (u16, u16) {
    let (cell_w, cell_h) = (u64::from(cell_px.0.max(1)), u64::from(cell_px.1.max(1)));
    let (area_w, area_h) = (u64::from(area.0) * cell_w, u64::from(area.1) * cell_h);
    let (image_w, image_h) = (u64::from(image.0.max(1)), u64::from(image.1.max(1)));
    let (width, height) = if image_w * area_h > image_h * area_w {
        (area_w, image_h * area_w / image_w)
    } else {
        (image_w * area_h / image_h, area_h)
    };
    // To the nearest cell: the shape is off by less than half a cell, which nobody sees.
    let nearest =
        |pixels: u64, cell: u64, most: u16| ((pixels + cell / 2) / cell).clamp(1, u64::from(most.max(1))) as u16;
    (nearest(width, cell_w, area.0), nearest(height, cell_h, area.1))
}

#[cfg(test)]
pub(crate) fn test_picture(id: u64, cells: (u16, u16), cell_px: (u16, u16)) -> Picture {
    let (width, height) = (u32::from(cells.0 * cell_px.0), u32::from(cells.1 * cell_px.1));
    let pixels = RgbImage::from_fn(width, height, |x, y| {
        // Noise: something that PNG cannot make small.
        let hash = (x * 7919 + y * 104_729 + id as u32).wrapping_mul(2_654_435_761);
        image::Rgb([(hash >> 8) as u8, (hash >> 16) as u8, (hash >> 24) as u8])
    });
    decode::picture(&pixels, cells, cell_px, true, PictureId(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_picture_fills_its_area_in_its_own_shape() {
        for (image, area, cell, cells) in [
            ((100, 100), (40, 20), (10, 20), (40, 20)),
            ((1000, 500), (40, 20), (10, 20), (40, 10)),
            ((500, 1000), (40, 20), (10, 20), (20, 20)),
            ((112, 112), (54, 27), (8, 16), (54, 27)),
            ((1, 1), (10, 3), (10, 20), (6, 3)),
            ((16384, 1), (10, 3), (10, 20), (10, 1)),
            ((1, 16384), (10, 3), (10, 20), (1, 3)),
            ((0, 0), (0, 0), (0, 0), (1, 1)),
        ] {
            assert_eq!(fit(image, area, cell), cells, "{image:?} in {area:?}");
        }
    }

    proptest! {
        #[test]
        fn a_picture_never_leaves_its_area(
            image in (1u32..20_000, 1u32..20_000), area in (1u16..500, 1u16..200), cell in (3u16..40, 5u16..80)
        ) {
            let (cols, rows) = fit(image, area, cell);
            prop_assert!((1..=area.0).contains(&cols) && (1..=area.1).contains(&rows));
            prop_assert!(cols == area.0 || rows == area.1, "it touches two edges");
        }
    }
}
