//! A contact sheet: small pictures of many slices on one dark page, in their order.

use super::picture::Picture;
use crate::vision::{Rgb8, Size};

/// Pictures on a sheet, at most.
pub const MOST: usize = 48;
const CELL: usize = 144;
const GAP: usize = 6;
const BACKGROUND: [u8; 3] = [24, 24, 26];

/// Which of `total` pictures come onto the sheet: evenly spaced, the first and the last among them.
pub fn chosen(total: usize) -> Vec<usize> {
    match total {
        0..=MOST => (0..total).collect(),
        _ => (0..MOST).map(|i| i * (total - 1) / (MOST - 1)).collect(),
    }
}

/// A picture shrunk (never enlarged) for its cell.
pub fn thumbnail(picture: Picture) -> Picture {
    let Size { width, height } = picture.size;
    let longest = width.max(height) as usize;
    if longest <= CELL {
        return picture;
    }
    let side = |v: u32| (v as usize * CELL / longest).max(1) as u32;
    picture.resized(Size { width: side(width), height: side(height) })
}

/// Lays thumbnails out, row by row, on a page about one and a half times as wide as high.
pub fn sheet(thumbnails: &[Picture]) -> Rgb8 {
    let columns = (1..).find(|c| c * 2 >= thumbnails.len().div_ceil(*c) * 3).unwrap_or(1).min(thumbnails.len().max(1));
    let rows = thumbnails.len().div_ceil(columns).max(1);
    let (width, height) = (GAP + columns * (CELL + GAP), GAP + rows * (CELL + GAP));
    let mut data = BACKGROUND.repeat(width * height);
    for (i, thumbnail) in thumbnails.iter().enumerate() {
        let (w, h) = (thumbnail.size.width as usize, thumbnail.size.height as usize);
        let left = GAP + i % columns * (CELL + GAP) + (CELL - w) / 2;
        let top = GAP + i / columns * (CELL + GAP) + (CELL - h) / 2;
        for y in 0..h {
            for x in 0..w {
                let at = y * w + x;
                let pixel = if thumbnail.rgb { &thumbnail.data[3 * at..3 * at + 3] } else { &[thumbnail.data[at]; 3] };
                let to = 3 * ((top + y) * width + left + x);
                data[to..to + 3].copy_from_slice(pixel);
            }
        }
    }
    Rgb8 { width: width as u32, height: height as u32, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_shows_first_and_last_and_keeps_the_order() {
        assert_eq!(chosen(3), [0, 1, 2]);
        let many = chosen(1000);
        assert_eq!((many.len(), many[0], many[MOST - 1]), (MOST, 0, 999));
        assert!(many.windows(2).all(|w| w[0] < w[1]));
        let grey = |v| Picture { size: Size { width: 1, height: 1 }, rgb: false, data: vec![v] };
        let page = sheet(&[10, 20, 30, 40].map(grey));
        let at = |i: usize| {
            let (x, y) = (GAP + i % 3 * (CELL + GAP) + CELL / 2 - 1, GAP + i / 3 * (CELL + GAP) + CELL / 2 - 1);
            (0..2)
                .flat_map(|dy| (0..2).map(move |dx| (x + dx, y + dy)))
                .map(|(x, y)| page.data[3 * (y * page.width as usize + x)])
                .find(|v| *v != BACKGROUND[0])
        };
        assert_eq!([0, 1, 2, 3].map(at), [10, 20, 30, 40].map(Some));
    }
}
