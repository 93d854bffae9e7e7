//! Any bytes as a picture: what the header promises is what the pixels are.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::vision::{Format, ImageProcessor, MAX_BYTES, PixelBudget, inspect};

/// Larger pictures only make the fuzzer slow.
const PIXELS: usize = 1 << 22;
/// Most bytes a pixel costs on its way: 16-bit RGBA as decoded, then in its mode, RGB, and the patches of its enlargement.
const BYTES_PER_PIXEL: usize = 32;
/// The decoders of TIFF and WebP take memory for tags and frames before we can compare these with the picture's size.
const LOOSE: usize = MAX_BYTES as usize;

fuzz_target!(|input: &[u8]| {
    let processor = ImageProcessor { max_pixels: 1 << 18, ..ImageProcessor::default() };
    let budget = Some(PixelBudget { min: 32 * 32, max: 1 << 18 });
    let loose = if matches!(Format::sniff(input), Some(Format::Tiff | Format::WebP)) { LOOSE } else { 0 };
    let mut pixels = 0;
    lightbox_fuzz::bounded(input, loose, || {
        pixels = inspect(input).map_or(0, |info| info.width as usize * info.height as usize);
    });
    if pixels > PIXELS {
        return;
    }
    lightbox_fuzz::bounded(input, loose + BYTES_PER_PIXEL * pixels, || {
        let grid = processor.grid(input, budget);
        if let Ok(patches) = processor.process(input, budget) {
            assert_eq!(grid.expect("a grid, since there are patches"), patches.grid);
            assert_eq!(patches.values.len() as i64, patches.grid.iter().product::<i64>() * 1176);
        }
    });
});
