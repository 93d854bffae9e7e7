//! Any bytes as a picture: what the header promises is what the pixels are.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lightbox_core::vision::{Format, ImageProcessor, PixelBudget, inspect};

/// Larger pictures only make the fuzzer slow.
const PIXELS: usize = 1 << 22;
/// Most bytes a pixel costs on its way: 16-bit RGBA as decoded, then in its mode, RGB, and the patches of its enlargement.
const BYTES_PER_PIXEL: usize = 32;
/// The tags of a TIFF, whose decoder reads the first page's with limits of its own.
const TAGS: usize = 192 << 20;

fuzz_target!(|input: &[u8]| {
    let processor = ImageProcessor { max_pixels: 1 << 18, ..ImageProcessor::default() };
    let budget = Some(PixelBudget { min: 32 * 32, max: 1 << 18 });
    let tags = if matches!(Format::sniff(input), Some(Format::Tiff)) { TAGS } else { 0 };
    let mut pixels = 0;
    lightbox_fuzz::bounded(input, tags, || {
        pixels = inspect(input).map_or(0, |info| info.width as usize * info.height as usize);
    });
    if pixels > PIXELS {
        return;
    }
    lightbox_fuzz::bounded(input, tags + BYTES_PER_PIXEL * pixels, || {
        let grid = processor.grid(input, budget);
        if let Ok(patches) = processor.process(input, budget) {
            assert_eq!(grid.expect("a grid, since there are patches"), patches.grid);
            assert_eq!(patches.values.len() as i64, patches.grid.iter().product::<i64>() * 1176);
        }
    });
});
