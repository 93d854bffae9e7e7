//! Normalisation and patches in one pass over the picture.
//!
//! transformers fuses rescaling and normalisation: `x = (f32(u8) - mean * 255) / (std * 255)`, all in fp32. A sample has only
//! 256 values, so a table per channel gives the same bits for the price of a look-up.
//! Source: transformers 5.17 `image_processing_backends.py` (`rescale_and_normalize`), `image_processing_qwen2_vl.py`
//! (`patchify`).

use super::raster::Rgb8;
use super::{ImageProcessor, Patches};

/// `[channel][sample]` -> normalised value.
fn normalisation_table(processor: &ImageProcessor) -> [[f32; 256]; 3] {
    std::array::from_fn(|c| {
        let (mean, std) = (processor.mean[c] * 255.0, processor.std[c] * 255.0);
        std::array::from_fn(|value| (value as f32 - mean) / std)
    })
}

/// Cuts a picture whose sides are multiples of `patch_size * merge_size` into patches.
///
/// Rows go merge block by merge block (the `merge_size²` patches of one language-model token are neighbours); values within
/// a row in (channel, time, y, x) order, the still picture repeated for each of the `temporal_patch_size` frames.
pub(super) fn patchify(processor: &ImageProcessor, image: &Rgb8) -> Patches {
    let table = normalisation_table(processor);
    let (patch, merge) = (processor.patch_size as usize, processor.merge_size as usize);
    let frames = processor.temporal_patch_size as usize;
    let (width, height) = (image.width as usize, image.height as usize);
    let (grid_w, grid_h) = (width / patch, height / patch);
    let frame_len = patch * patch; // values of one channel of one frame
    let mut values = vec![0.0; grid_h * grid_w * 3 * frames * frame_len];

    let mut rows = values.chunks_exact_mut(3 * frames * frame_len);
    for block_y in (0..grid_h).step_by(merge) {
        for block_x in (0..grid_w).step_by(merge) {
            for (dy, dx) in (0..merge).flat_map(|dy| (0..merge).map(move |dx| (dy, dx))) {
                let Some(row) = rows.next() else { continue };
                let corner = ((block_y + dy) * patch * width + (block_x + dx) * patch) * 3;
                for (c, (table, channel)) in table.iter().zip(row.chunks_exact_mut(frames * frame_len)).enumerate() {
                    let (first, repeats) = channel.split_at_mut(frame_len);
                    for (y, out) in first.chunks_exact_mut(patch).enumerate() {
                        let line = &image.data[corner + y * width * 3..][..patch * 3];
                        for (out, pixel) in out.iter_mut().zip(line.as_chunks::<3>().0) {
                            *out = table[usize::from(pixel[c])];
                        }
                    }
                    for repeat in repeats.chunks_exact_mut(frame_len) {
                        repeat.copy_from_slice(first);
                    }
                }
            }
        }
    }
    Patches { values, grid: [1, grid_h as i64, grid_w as i64] }
}
