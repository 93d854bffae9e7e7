//! The two bicubic resamplers of the reference, bit for bit, and PIL's nearest neighbour.
//!
//! Both are the same separable filter (Keys' cubic, a = -0.5, support widened when shrinking = antialiasing) with integer
//! weights and a *rounded uint8 picture between the two passes*; they differ only in the precision of the weights:
//! - PIL (`src/libImaging/Resample.c`): 22 bits;
//! - torch (`aten/src/ATen/native/cpu/UpSampleKernel.cpp`, uint8 with antialias): as many bits as let the largest weight of
//!   the axis fit an int16.
//!
//! Both go horizontally first. PIL up to 12 always does, and that is the PIL that LLaMA-Factory's requirements resolve to;
//! Pillow 13 goes vertically first when `height - new_height > 2 * (width - new_width)`, which moves pixels by up to 16
//! levels: we keep the older order.
//! Read next: `raster` (what is resized with what).

use super::size::Size;

/// Whose integer weights are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    Pil,
    Torch,
}

/// Keys' cubic convolution kernel with a = -0.5; the polynomial form (and so its rounding) is the reference's.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// For every output position of one axis: where its window starts in the input, and the weights of the window.
struct Taps<W> {
    starts: Vec<usize>,
    /// `ends[i]` is the end of window i in `weights`; it begins where the one before ended.
    ends: Vec<usize>,
    weights: Vec<W>,
}

impl<W> Taps<W> {
    /// `(start in the input, weights)` for each output position.
    fn iter(&self) -> impl Iterator<Item = (usize, &[W])> {
        let mut begin = 0;
        self.starts.iter().zip(&self.ends).map(move |(&start, &end)| {
            let window = &self.weights[begin..end];
            begin = end;
            (start, window)
        })
    }
}

/// Normalised f64 weights (PIL's `precompute_coeffs`, which torch took over).
fn taps(from: usize, to: usize) -> Taps<f64> {
    let scale = from as f64 / to as f64;
    let filter_scale = scale.max(1.0);
    let support = 2.0 * filter_scale;
    let inverse = 1.0 / filter_scale;
    let mut taps = Taps { starts: Vec::with_capacity(to), ends: Vec::with_capacity(to), weights: vec![] };
    for i in 0..to {
        let center = (i as f64 + 0.5) * scale;
        // `as usize` truncates and stops at 0, as the reference's (int) cast and clamp do together.
        let start = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let first = taps.weights.len();
        taps.weights.extend((start..end).map(|x| cubic((x as f64 - center + 0.5) * inverse)));
        let window = &mut taps.weights[first..];
        let sum: f64 = window.iter().sum();
        if sum != 0.0 {
            window.iter_mut().for_each(|w| *w /= sum);
        }
        taps.starts.push(start);
        taps.ends.push(taps.weights.len());
    }
    taps
}

/// Integer weights and their number of fraction bits.
fn integer_taps(from: usize, to: usize, weights: Weights) -> (Taps<i32>, u32) {
    const PIL_BITS: u32 = 22; // 32 - 8 bits of the pixel - 2 bits for sums outside 0..1
    let real = taps(from, to);
    let bits = match weights {
        Weights::Pil => PIL_BITS,
        Weights::Torch => {
            let largest = real.weights.iter().copied().fold(0.0, f64::max);
            let fits = |bits: u32| 0.5 + largest * f64::from(1u32 << (bits + 1)) < f64::from(1u32 << 15);
            (0..PIL_BITS).find(|&bits| !fits(bits)).unwrap_or(PIL_BITS)
        }
    };
    let scale = f64::from(1u32 << bits);
    let round = |w: f64| (w * scale + if w < 0.0 { -0.5 } else { 0.5 }) as i32;
    let weights = real.weights.into_iter().map(round).collect();
    (Taps { starts: real.starts, ends: real.ends, weights }, bits)
}

/// Bicubic resize of interleaved 8-bit samples.
///
/// `pixels` is `[height, width, channels]`; so is the result in the new size. An axis that keeps its length is left alone.
pub(super) fn bicubic<const C: usize>(pixels: Vec<u8>, from: Size, to: Size, weights: Weights) -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    {
        /// The same code compiled for AVX2, since the baseline of x86-64 has no 32-bit integer products.
        #[target_feature(enable = "avx2")]
        fn with_avx2<const C: usize>(pixels: Vec<u8>, from: Size, to: Size, weights: Weights) -> Vec<u8> {
            both_passes::<C>(pixels, from, to, weights)
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2; the function is safe otherwise.
            return unsafe { with_avx2::<C>(pixels, from, to, weights) };
        }
    }
    both_passes::<C>(pixels, from, to, weights)
}

#[inline(always)]
fn both_passes<const C: usize>(mut pixels: Vec<u8>, from: Size, to: Size, weights: Weights) -> Vec<u8> {
    let (width, new_width) = (from.width as usize, to.width as usize);
    let (height, new_height) = (from.height as usize, to.height as usize);
    if new_width != width {
        let (taps, bits) = integer_taps(width, new_width, weights);
        let mut out = vec![0; height * new_width * C];
        let mut band = vec![0; width * BAND * C];
        let bands = pixels.chunks(BAND * width * C).zip(out.chunks_mut(BAND * new_width * C));
        for (rows, out) in bands {
            horizontal::<C>(rows, out, &mut band, &taps, bits);
        }
        pixels = out;
    }
    if new_height != height {
        let (taps, bits) = integer_taps(height, new_height, weights);
        let stride = new_width * C;
        let mut out = vec![0; new_height * stride];
        let mut sums = vec![0; stride];
        for ((start, window), out) in taps.iter().zip(out.chunks_exact_mut(stride)) {
            weighted_sum(&pixels[start * stride..], out, &mut sums, window, bits);
        }
        pixels = out;
    }
    pixels
}

/// Rows that go through the horizontal pass together: with three channels 48 samples, whole vector registers.
const BAND: usize = 16;

/// Up to [`BAND`] rows. They are transposed into `band`, `[width, BAND, C]`, so that the horizontal pass becomes a vertical one,
/// which runs over neighbouring samples.
#[inline(always)]
fn horizontal<const C: usize>(rows: &[u8], out: &mut [u8], band: &mut [u8], taps: &Taps<i32>, bits: u32) {
    let (stride, new_width) = (BAND * C, taps.starts.len());
    let width = band.len() / stride;
    for (r, row) in rows.chunks_exact(width * C).enumerate() {
        for (column, pixel) in band.chunks_exact_mut(stride).zip(row.as_chunks::<C>().0) {
            column[r * C..][..C].copy_from_slice(pixel);
        }
    }
    let (mut column, mut sums) = (vec![0; stride], vec![0; stride]);
    for (x, (start, window)) in taps.iter().enumerate() {
        weighted_sum(&band[start * stride..], &mut column, &mut sums, window, bits);
        for (row, pixel) in out.chunks_exact_mut(new_width * C).zip(column.as_chunks::<C>().0) {
            row[x * C..][..C].copy_from_slice(pixel);
        }
    }
}

/// `out` = the first `window.len()` rows of `rows`, weighted, summed, rounded and clamped; rows are as long as `out`.
///
/// Sums stay below 2^31: weights add up to 2^22 at most, and the negative lobes leave the positive ones less than a third more
/// (wrapping operations only keep the release profile's overflow checks out of the loops).
#[inline(always)]
fn weighted_sum(rows: &[u8], out: &mut [u8], sums: &mut [i32], window: &[i32], bits: u32) {
    let product = |value: &u8, weight: i32| i32::from(*value).wrapping_mul(weight);
    sums.fill(1 << (bits - 1));
    let (fours, rest) = window.as_chunks::<4>();
    let mut rows = rows.chunks_exact(out.len());
    for &[w0, w1, w2, w3] in fours {
        // The window lies within the picture, so that the rows are there.
        let [Some(r0), Some(r1), Some(r2), Some(r3)] = std::array::from_fn(|_| rows.next()) else { return };
        for ((((sum, v0), v1), v2), v3) in sums.iter_mut().zip(r0).zip(r1).zip(r2).zip(r3) {
            let (a, b) = (product(v0, w0).wrapping_add(product(v1, w1)), product(v2, w2).wrapping_add(product(v3, w3)));
            *sum = sum.wrapping_add(a).wrapping_add(b);
        }
    }
    for (&weight, row) in rest.iter().zip(rows) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum = sum.wrapping_add(product(value, weight));
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = (*sum >> bits).clamp(0, 255) as u8;
    }
}

/// Bicubic resize of one channel of wide samples (PIL's modes I and I;16): f64 weights, rounded and clamped after each pass.
pub(super) fn bicubic_wide(mut pixels: Vec<i32>, from: Size, to: Size, clamp: (i32, i32)) -> Vec<i32> {
    let (width, new_width) = (from.width as usize, to.width as usize);
    let (height, new_height) = (from.height as usize, to.height as usize);
    // f64::round goes away from zero at .5, as PIL's ROUND_UP does; `as` saturates.
    let finish = |sum: f64| (sum.round() as i32).clamp(clamp.0, clamp.1);
    if new_width != width {
        let taps = taps(width, new_width);
        let mut out = Vec::with_capacity(height * new_width);
        for row in pixels.chunks_exact(width) {
            out.extend(
                taps.iter().map(|(start, window)| {
                    finish(window.iter().zip(&row[start..]).map(|(w, &v)| f64::from(v) * w).sum())
                }),
            );
        }
        pixels = out;
    }
    if new_height != height {
        let taps = taps(height, new_height);
        let mut out = Vec::with_capacity(new_height * new_width);
        for (start, window) in taps.iter() {
            out.extend((0..new_width).map(|x| {
                let column = pixels[start * new_width + x..].iter().step_by(new_width);
                finish(window.iter().zip(column).map(|(w, &v)| f64::from(v) * w).sum())
            }));
        }
        pixels = out;
    }
    pixels
}

/// Nearest neighbour as PIL's `ImagingScaleAffine` does it; the position is *accumulated*, rounding errors included.
pub(super) fn nearest<const C: usize>(pixels: &[u8], from: Size, to: Size) -> Vec<u8> {
    let columns = nearest_positions(from.width as usize, to.width as usize);
    let mut out = Vec::with_capacity(to.width as usize * to.height as usize * C);
    let stride = from.width as usize * C;
    for y in nearest_positions(from.height as usize, to.height as usize) {
        let row = &pixels[y * stride..][..stride];
        for &x in &columns {
            out.extend_from_slice(&row[x * C..][..C]);
        }
    }
    out
}

fn nearest_positions(from: usize, to: usize) -> Vec<usize> {
    let step = from as f64 / to as f64;
    let mut position = step * 0.5;
    let mut next = || {
        let index = (position as usize).min(from - 1);
        position += step;
        index
    };
    (0..to).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The golden tests run whatever this machine has; others must get the same.
    #[test]
    fn baseline_code_and_vector_code_agree() {
        let from = Size { width: 131, height: 77 };
        let pixels: Vec<u8> = (0..131 * 77 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (width, height) in [(50, 40), (131, 200), (300, 77), (1, 1), (48, 16)] {
            let to = Size { width, height };
            for weights in [Weights::Pil, Weights::Torch] {
                let baseline = both_passes::<3>(pixels.clone(), from, to, weights);
                assert_eq!(bicubic::<3>(pixels.clone(), from, to, weights), baseline, "{to:?} {weights:?}");
            }
        }
    }
}
