//! numpy's `default_rng`: a SeedSequence (`numpy/random/bit_generator.pyx`) feeds a PCG64, the XSL-RR variant of
//! O'Neill's PCG with 128 bits of state (`src/pcg64/pcg64.h`), from which `shuffle` draws bounded integers by masking and
//! rejecting (`random_interval` in `src/distributions/distributions.c`; other methods of `Generator` use Lemire's).

const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

#[derive(Debug)]
pub(super) struct Pcg64 {
    state: u128,
    increment: u128,
    /// 32-bit draws take the low half of 64 bits first and the high half next.
    high_half: Option<u32>,
}

impl Pcg64 {
    pub(super) fn new(seed: u64) -> Self {
        let [a, b, c, d] = seed_words(seed);
        let join = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let mut pcg = Self { state: 0, increment: join(c, d) << 1 | 1, high_half: None };
        pcg.step();
        pcg.state = pcg.state.wrapping_add(join(a, b));
        pcg.step();
        pcg
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// From 0 to below 1, as `Generator.random` draws it.
    pub(super) fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    fn next_u32(&mut self) -> u32 {
        self.high_half.take().unwrap_or_else(|| {
            let both = self.next_u64();
            self.high_half = Some((both >> 32) as u32);
            both as u32
        })
    }

    /// A uniform integer in `0..=max` as `Generator.shuffle` draws it (`random_interval`): as many low bits as `max` has,
    /// again and again until they are not above it.
    pub(super) fn up_to(&mut self, max: u64) -> u64 {
        if max == 0 {
            return 0; // numpy draws nothing then
        }
        let mask = u64::MAX >> max.leading_zeros();
        loop {
            let bits = if max <= u64::from(u32::MAX) { u64::from(self.next_u32()) } else { self.next_u64() };
            if bits & mask <= max {
                return bits & mask;
            }
        }
    }

    /// `Generator.shuffle`.
    pub(super) fn shuffle(&mut self, order: &mut [u32]) {
        for i in (1..order.len()).rev() {
            order.swap(i, self.up_to(i as u64) as usize);
        }
    }
}

/// `SeedSequence(seed).generate_state(4, uint64)`.
fn seed_words(seed: u64) -> [u64; 4] {
    const POOL: usize = 4;
    let mut hash = 0x43b0_d7e5_u32;
    let mut hash_mix = |value: u32| {
        let mut v = value ^ hash;
        hash = hash.wrapping_mul(0x931e_8875);
        v = v.wrapping_mul(hash);
        v ^ (v >> 16)
    };
    let mix = |x: u32, y: u32| {
        let r = x.wrapping_mul(0xca01_f9dd).wrapping_sub(y.wrapping_mul(0x4973_f715));
        r ^ (r >> 16)
    };
    // the seed's 32-bit words, low first; numpy leaves out a zero high word, which hashes the same as an absent one
    let mut pool = [seed as u32, (seed >> 32) as u32, 0, 0].map(&mut hash_mix);
    for source in 0..POOL {
        for target in (0..POOL).filter(|&t| t != source) {
            pool[target] = mix(pool[target], hash_mix(pool[source]));
        }
    }
    let mut hash = 0x8b51_f9dd_u32;
    let words: [u32; 2 * POOL] = std::array::from_fn(|i| {
        let mut v = pool[i % POOL] ^ hash;
        hash = hash.wrapping_mul(0x58f3_8ded);
        v = v.wrapping_mul(hash);
        v ^ (v >> 16)
    });
    std::array::from_fn(|i| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32)
}
