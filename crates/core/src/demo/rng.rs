//! The demo's own pseudo-random numbers: pinned for ever, the same on every platform.
//!
//! Pictures, truths and texts are pure functions of (seed, purpose, index), so picture 4711 of a set can be drawn
//! without the 4710 before it, by any thread. Only integer arithmetic and exactly rounded `f64` operations
//! (`+ - *`) are used: no `libm`, whose last digits differ between systems. Next to read: [`super::draw`].

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of one `purpose` at one `index`. Streams of different purposes or indices are unrelated.
    pub fn new(seed: u64, purpose: &str, index: u64) -> Self {
        // FNV-1a over the name; then each part goes through the full mixer, so that (seed 1, index 2) and
        // (seed 2, index 1) do not meet.
        let name =
            purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Self(mix(mix(mix(seed.wrapping_add(GAMMA)) ^ name).wrapping_add(index.wrapping_mul(GAMMA))))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Uniform in `0..n` (0 for n = 0), by Lemire's multiplication; the bias is below n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// Mean 0, variance 1, within ±6: the sum of twelve uniforms (Irwin-Hall). Good enough for image noise, and
    /// unlike Box-Muller it needs neither logarithm nor cosine. Three words give twelve 16-bit uniforms.
    pub fn normal(&mut self) -> f64 {
        let sum: u64 = (0..3)
            .map(|_| self.next_u64())
            .map(|w| (w & 0xffff) + (w >> 16 & 0xffff) + (w >> 32 & 0xffff) + (w >> 48))
            .sum();
        (sum as f64 + 6.0) / 65536.0 - 6.0 // + 6: each 16-bit value stands for the middle of its interval
    }
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_u64_is_the_published_splitmix64() {
        // First outputs for state 1234567, as in the reference implementations (Vigna's splitmix64.c).
        let mut rng = Rng(1234567);
        let first: Vec<u64> = (0..5).map(|_| rng.next_u64()).collect();
        assert_eq!(
            first,
            [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
        );
    }

    #[test]
    fn streams_are_pinned_and_differ_by_seed_purpose_and_index() {
        let first = |seed, purpose, index| Rng::new(seed, purpose, index).next_u64();
        let base = first(42, "phantom", 7);
        assert_eq!(base, first(42, "phantom", 7));
        for other in [first(43, "phantom", 7), first(42, "shapes", 7), first(42, "phantom", 8), first(7, "phantom", 42)]
        {
            assert_ne!(base, other);
        }
        assert_eq!(base, PINNED, "the generator has drifted: every demo picture would change");
    }
    const PINNED: u64 = 2_787_710_007_860_878_526;

    #[test]
    fn uniform_and_normal_have_the_promised_moments() {
        let mut rng = Rng::new(1, "moments", 0);
        let n = 100_000;
        let (mut u, mut s, mut s2) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            u += rng.unit();
            let z = rng.normal();
            s += z;
            s2 += z * z;
        }
        let n = f64::from(n);
        assert!((u / n - 0.5).abs() < 0.004, "mean of unit() {}", u / n);
        assert!((s / n).abs() < 0.013, "mean of normal() {}", s / n);
        assert!((s2 / n - 1.0).abs() < 0.02, "variance of normal() {}", s2 / n);
    }

    #[test]
    fn below_reaches_every_value_and_no_other() {
        let mut rng = Rng::new(1, "below", 0);
        let mut seen = [0; 5];
        (0..1000).for_each(|_| seen[rng.below(5)] += 1);
        assert!(seen.iter().all(|&n| n > 150), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn shuffle_keeps_all_items() {
        let mut items: Vec<u32> = (0..50).collect();
        Rng::new(3, "shuffle", 0).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
