//! M-RoPE positions: three numbers (time, row, column) for each token (Qwen2-VL, arXiv 2409.12191, section 2.1;
//! transformers 5, `Qwen2VLModel.get_rope_index`).
//!
//! ```text
//! text text [ picture of 2 x 3 merged patches ] text
//! t    0    1     2 2 2  2 2 2                    5      all three advance by one on text;
//! h    0    1     2 2 2  3 3 3                    5      a picture advances them by max(rows, columns)
//! w    0    1     2 3 4  2 3 4                    5
//! ```
use crate::vision::Grid;

/// Side of the square of patches that becomes one token (`spatial_merge_size`; 2 in every Qwen2-VL).
const MERGE_SIZE: i64 = 2;

/// Tokens of a picture: `t*h*w/4`. `None` if the grid is not made of whole 2x2 blocks.
pub fn image_tokens(grid: &Grid) -> Option<usize> {
    let [t, h, w] = *grid;
    if t < 1 || h < MERGE_SIZE || w < MERGE_SIZE || h % MERGE_SIZE != 0 || w % MERGE_SIZE != 0 {
        return None;
    }
    let tokens = t.checked_mul(h / MERGE_SIZE)?.checked_mul(w / MERGE_SIZE)?;
    usize::try_from(tokens).ok()
}

/// Positions of one unpadded row, `[3][len]` (t, h, w), and delta = max + 1 − len: a token generated as number `n` of
/// the row has position `n + delta` on all three axes.
///
/// `image_pad` is the id that stands for merged patches; the k-th run of it belongs to the k-th grid.
///
/// # Panics
/// If pads and grids disagree. Rows of [`super::encode_conversation`] and [`super::encode_prompt`] never do.
pub fn rope_index(ids: &[i64], grids: &[Grid], image_pad: i64) -> ([Vec<i64>; 3], i64) {
    let mut positions: [Vec<i64>; 3] = std::array::from_fn(|_| Vec::with_capacity(ids.len()));
    let [time, row, column] = &mut positions;
    let mut grids = grids.iter();
    let mut next = 0; // the position of the next text token
    let mut i = 0;
    while i < ids.len() {
        if ids[i] != image_pad {
            for axis in [&mut *time, &mut *row, &mut *column] {
                axis.push(next);
            }
            next += 1;
            i += 1;
            continue;
        }
        let grid = grids.next().expect("every run of image_pad has a grid");
        let tokens = image_tokens(grid).expect("a grid of whole 2x2 blocks");
        assert!(
            ids[i..].iter().take(tokens).filter(|&&id| id == image_pad).count() == tokens,
            "the grid {grid:?} needs {tokens} image_pad tokens at {i}"
        );
        let [t, h, w] = [grid[0], grid[1] / MERGE_SIZE, grid[2] / MERGE_SIZE];
        for (a, y, x) in (0..t).flat_map(|a| (0..h).flat_map(move |y| (0..w).map(move |x| (a, y, x)))) {
            time.push(next + a);
            row.push(next + y);
            column.push(next + x);
        }
        // transformers 4 also counted t, which differs only for videos longer than they are wide
        next += h.max(w);
        i += tokens;
    }
    assert!(grids.next().is_none(), "more grids than runs of image_pad");
    let max = positions.iter().flatten().copied().max().unwrap_or(-1);
    (positions, max + 1 - ids.len() as i64)
}
