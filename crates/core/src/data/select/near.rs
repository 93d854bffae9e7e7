//! Pictures that look alike: the same one resized, compressed again, brightened a little.
//!
//! A picture becomes 256 bits as in PDQ ("The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm",
//! Facebook 2019): 64 x 64 grey values, their discrete cosine transform, of it the 16 x 16 lowest frequencies without the
//! constant ones, and for each a bit: above their median or not. How alike two pictures are is the number of bits that differ.
//! PDQ takes 31 for the same picture; scans are more alike than photographs. Measured on 300 simulated heads: at most 10 bits after
//! resizing, compression or brightening, 14 and more between two heads, half of the pairs above 100. (Grey values are
//! plain averages of areas here, where PDQ filters twice, so the bits are not exchangeable with its own.)
//!
//! What differs in at most `n` of 256 bits differs in at most n/16 bits in one of its 16 words (pigeonholes): only pictures
//! with such a word in common are compared (Norouzi, Punjani, Fleet: "Fast Search in Hamming Space with Multi-Index Hashing",
//! CVPR 2012). The median makes half of the bits one, so words are spread, even over scans with black surroundings.
//! In memory are 100 bytes a picture that looks new.
//!
//! s side of the grey values = 64 · f frequencies a side = 16

use crate::vision::{ImageError, Rgb8, decode_rgb};
use std::f64::consts::PI;
use std::sync::OnceLock;

const S: usize = 64;
const F: usize = 16;
/// Most bits that may differ: what PDQ recommends for "the same picture".
pub const MOST: u32 = 31;
/// Grey values that spread less (standard deviation) show nothing: noise would decide the bits.
const FLAT: f64 = 2.0;

/// 256 bits of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Look([u64; 4]);

impl Look {
    /// `None` for a picture that shows next to nothing.
    ///
    /// # Errors
    /// A picture that cannot be decoded.
    pub fn of(file: &[u8]) -> Result<Option<Self>, ImageError> {
        Ok(Self::of_grey(&grey(&decode_rgb(file, None)?)))
    }

    #[cfg(test)]
    pub fn from_bits(bits: [u64; 4]) -> Self {
        Self(bits)
    }

    fn of_grey(grey: &[f64]) -> Option<Self> {
        let mean = grey.iter().sum::<f64>() / grey.len() as f64;
        let variance = grey.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / grey.len() as f64;
        if variance < FLAT * FLAT {
            return None;
        }
        let frequencies = dct(grey);
        let mut sorted = frequencies;
        sorted.sort_unstable_by(f64::total_cmp);
        let median = (sorted[F * F / 2 - 1] + sorted[F * F / 2]) / 2.0;
        let mut bits = [0; 4];
        for (i, value) in frequencies.iter().enumerate() {
            bits[i / 64] |= u64::from(*value > median) << (i % 64);
        }
        Some(Self(bits))
    }

    /// Bits that differ.
    pub fn distance(&self, other: &Self) -> u32 {
        self.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    fn word(&self, i: usize) -> u16 {
        (self.0[i / 4] >> (16 * (i % 4))) as u16
    }
}

/// Luminance averaged over s x s equal areas, `[s, s]`; a pixel on a border counts for both sides by its share.
fn grey(image: &Rgb8) -> Vec<f64> {
    let (width, height) = (image.width as usize, image.height as usize);
    let columns = shares(width);
    let mut rows = vec![0.0; height * S]; // [height, s]
    let pixels = image.data.as_chunks::<3>().0;
    for (line, out) in pixels.chunks_exact(width.max(1)).zip(rows.chunks_exact_mut(S)) {
        for (&[r, g, b], parts) in line.iter().zip(&columns) {
            let luminance = 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
            parts.iter().for_each(|&(cell, share)| out[cell] += luminance * share);
        }
    }
    let mut grey = vec![0.0; S * S]; // [s, s]
    for (line, parts) in rows.chunks_exact(S).zip(shares(height)) {
        for (cell, share) in parts {
            line.iter().zip(&mut grey[cell * S..][..S]).for_each(|(value, out)| *out += value * share);
        }
    }
    grey
}

/// For each of `n` pixels: which of the s cells it is in, and what share of the cell it is.
fn shares(n: usize) -> Vec<Vec<(usize, f64)>> {
    let edge = |pixel: usize| pixel as f64 * S as f64 / n as f64;
    let part = |pixel: usize, cell: usize| {
        let share = edge(pixel + 1).min(cell as f64 + 1.0) - edge(pixel).max(cell as f64);
        (share > 0.0).then_some((cell, share))
    };
    let cells = |pixel: usize| edge(pixel) as usize..=(edge(pixel + 1) as usize).min(S - 1);
    (0..n).map(|pixel| cells(pixel).filter_map(|cell| part(pixel, cell)).collect()).collect()
}

/// Frequencies 1 to f of both sides of `grey` `[s, s]`: `[f, f]`.
fn dct(grey: &[f64]) -> [f64; F * F] {
    static WAVES: OnceLock<Vec<f64>> = OnceLock::new(); // [f, s]
    let waves = WAVES.get_or_init(|| {
        let wave = |i: usize| (PI / 2.0 / S as f64 * (i / S + 1) as f64 * (2 * (i % S) + 1) as f64).cos();
        (0..F * S).map(wave).collect()
    });
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut across = [0.0; F * S]; // [f across, s down]
    for (wave, out) in waves.chunks_exact(S).zip(across.chunks_exact_mut(S)) {
        grey.chunks_exact(S).zip(out).for_each(|(line, out)| *out = dot(wave, line));
    }
    let mut both = [0.0; F * F]; // [f down, f across]
    for (wave, out) in waves.chunks_exact(S).zip(both.chunks_exact_mut(F)) {
        across.chunks_exact(S).zip(out).for_each(|(column, out)| *out = dot(wave, column));
    }
    both
}

/// Looks that can be searched for similar ones.
pub struct Looks {
    /// Bits that may differ.
    most: u32,
    looks: Vec<Look>,
    rows: Vec<u32>,
    /// For each of the 16 words and each of its values the look that came last, and for each look the one before it with the
    /// same word; `NONE` ends the chain.
    last: Vec<u32>,
    before: Vec<[u32; 16]>,
}

const NONE: u32 = u32::MAX;

impl Looks {
    /// At most `most` bits may differ, itself at most [`MOST`].
    pub fn new(most: u32) -> Self {
        let last = vec![NONE; 16 << 16];
        Self { most: most.min(MOST), looks: Vec::new(), rows: Vec::new(), last, before: Vec::new() }
    }

    /// The first rows of all similar looks, in no order; one may come several times.
    pub fn similar<'a>(&'a self, look: &'a Look) -> impl Iterator<Item = u32> + 'a {
        // With up to 15 bits one word is equal, with up to 31 one word has no more than one other bit.
        let flips = if self.most < 16 { 0..1 } else { 0..17 };
        let words = (0..16).flat_map(move |i| flips.clone().map(move |flip| (i, look.word(i) ^ one_bit(flip))));
        let found = words.flat_map(move |(i, word)| self.chain(i, word));
        found.filter(move |at| self.looks[*at].distance(look) <= self.most).map(move |at| self.rows[at])
    }

    /// Adds a look, unless exactly this one is there: its row then stands for both.
    pub fn add(&mut self, look: Look, row: u32) {
        if self.is_there(&look) {
            return;
        }
        let at = self.looks.len() as u32;
        let mut before = [NONE; 16];
        for (i, before) in before.iter_mut().enumerate() {
            *before = std::mem::replace(&mut self.last[i << 16 | usize::from(look.word(i))], at);
        }
        self.before.push(before);
        self.looks.push(look);
        self.rows.push(row);
    }

    fn is_there(&self, look: &Look) -> bool {
        self.chain(0, look.word(0)).any(|at| self.looks[at] == *look)
    }

    /// All looks whose word `i` is `word`, the last one first.
    fn chain(&self, i: usize, word: u16) -> impl Iterator<Item = usize> + '_ {
        let there = |at: u32| (at != NONE).then_some(at as usize);
        std::iter::successors(there(self.last[i << 16 | usize::from(word)]), move |at| there(self.before[*at][i]))
    }
}

/// 0, then each of the 16 bits.
fn one_bit(flip: u32) -> u16 {
    if flip == 0 { 0 } else { 1 << (flip - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, RgbImage, imageops};
    use proptest::prelude::*;

    fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut out = std::io::Cursor::new(Vec::new());
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    /// Slices of simulated heads: black surroundings, as scans have them.
    fn scan(seed: u64) -> RgbImage {
        let image = crate::demo::phantom::draw(seed, "near", 0).png().unwrap();
        image::load_from_memory(&image).unwrap().to_rgb8()
    }

    fn look(file: &[u8]) -> Look {
        Look::of(file).unwrap().unwrap()
    }

    #[test]
    fn a_picture_resized_brightened_or_compressed_looks_alike_and_others_do_not() {
        let scans: Vec<RgbImage> = (0..24).map(scan).collect();
        let looks: Vec<Look> = scans.iter().map(|scan| look(&encoded(scan, ImageFormat::Png))).collect();
        for (scan, own) in scans.iter().zip(&looks) {
            let (w, h) = scan.dimensions();
            let larger = imageops::resize(scan, w * 2 + 5, h * 2 + 3, imageops::FilterType::CatmullRom);
            let smaller = imageops::resize(scan, w * 3 / 4, h * 3 / 4, imageops::FilterType::Triangle);
            let brighter = imageops::brighten(scan, 12);
            for (what, file) in [
                ("JPEG", encoded(scan, ImageFormat::Jpeg)),
                ("larger", encoded(&larger, ImageFormat::Png)),
                ("smaller JPEG", encoded(&smaller, ImageFormat::Jpeg)),
                ("brighter", encoded(&brighter, ImageFormat::Png)),
            ] {
                let distance = own.distance(&look(&file));
                assert!(distance <= 10, "{what}: {distance} bits");
            }
        }
        for (i, a) in looks.iter().enumerate() {
            for (j, b) in looks.iter().enumerate().filter(|(j, _)| *j > i) {
                assert!(a.distance(b) > 12, "{i} and {j}: {} bits", a.distance(b));
            }
        }
    }

    #[test]
    fn half_of_the_bits_are_ones_and_a_picture_of_nothing_has_none() {
        let Look(bits) = look(&encoded(&scan(1), ImageFormat::Png));
        assert_eq!(bits.iter().map(|word| word.count_ones()).sum::<u32>(), 128);
        let black = RgbImage::from_pixel(90, 70, image::Rgb([3, 3, 3]));
        assert_eq!(Look::of(&encoded(&black, ImageFormat::Png)).unwrap(), None);
        assert!(Look::of(b"no picture").is_err());
        let pixel = RgbImage::from_pixel(1, 1, image::Rgb([200, 0, 0]));
        assert_eq!(Look::of(&encoded(&pixel, ImageFormat::Png)).unwrap(), None);
    }

    #[test]
    fn areas_count_by_their_share_whatever_the_size() {
        for n in [1, 2, 63, 64, 65, 100, 513] {
            let mut cells = [0.0; S];
            shares(n).iter().flatten().for_each(|&(cell, share)| cells[cell] += share);
            assert!(cells.iter().all(|sum| (sum - 1.0).abs() < 1e-9), "{n}: {cells:?}");
        }
    }

    proptest! {
        /// The index finds what comparing with all finds.
        #[test]
        fn nothing_similar_is_missed(
            base in any::<[u64; 4]>(),
            flips in prop::collection::vec(prop::collection::vec(0usize..256, 0..40), 1..30),
            most in 0u32..=MOST,
        ) {
            let flipped = |bits: &Vec<usize>| {
                let mut look = Look(base);
                bits.iter().for_each(|bit| look.0[bit / 64] ^= 1 << (bit % 64));
                look
            };
            let all: Vec<Look> = flips.iter().map(flipped).collect();
            let mut index = Looks::new(most);
            all.iter().enumerate().for_each(|(row, look)| index.add(*look, row as u32));
            for query in all.iter().chain([&Look(base)]) {
                let first = |look: &Look| all.iter().position(|other| other == look).unwrap() as u32;
                let mut expected: Vec<u32> = all.iter().filter(|look| look.distance(query) <= most).map(first).collect();
                let mut found: Vec<u32> = index.similar(query).collect();
                expected.sort_unstable();
                expected.dedup();
                found.sort_unstable();
                found.dedup();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
