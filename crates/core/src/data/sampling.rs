//! `num_samples` of dataset_info.json, drawn as LLaMA-Factory draws it (`data/loader.py`):
//! `np.random.permutation(n)[:k]`, and beyond the data's end `np.random.choice(n, rest)`, from numpy's global
//! generator after `np.random.seed(seed)`. The generator lives on from one data set to the next.

/// numpy's legacy global generator, `numpy.random.RandomState(seed)`: MT19937 with its classic seeding.
pub struct NumpyRandom {
    state: [u32; 624],
    at: usize,
}

impl NumpyRandom {
    /// numpy takes seeds of 32 bits.
    pub fn new(seed: u32) -> Self {
        let mut state = [0u32; 624];
        state[0] = seed;
        for i in 1..624 {
            let last = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        Self { state, at: 624 }
    }

    fn next_u32(&mut self) -> u32 {
        if self.at == 624 {
            for i in 0..624 {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
                let mix = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ mix;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in `0..=max`, by numpy's masked rejection. Data sets have fewer than 2^32 rows.
    fn up_to(&mut self, max: u32) -> u32 {
        if max == 0 {
            return 0; // numpy draws nothing here
        }
        let mask = u32::MAX >> max.leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value <= max {
                return value;
            }
        }
    }

    /// Indices of `count` samples of `n`.
    pub fn sample(&mut self, n: u32, count: usize) -> Vec<u32> {
        let mut indices: Vec<u32> = (0..n).collect();
        for i in (1..n).rev() {
            indices.swap(i as usize, self.up_to(i) as usize);
        }
        indices.truncate(count);
        if n > 0 {
            while indices.len() < count {
                indices.push(self.up_to(n - 1));
            }
        }
        indices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_numpys() {
        // numpy 2.4: np.random.seed(42); p = np.random.permutation(7); c = np.random.choice(7, 5); then on: permutation(10)[:4]
        let mut random = NumpyRandom::new(42);
        assert_eq!(random.sample(7, 12), GOLDEN_7_12);
        assert_eq!(random.sample(10, 4), GOLDEN_THEN_10_4);
        assert_eq!(NumpyRandom::new(0).sample(1000, 3), GOLDEN_1000_3);
    }

    const GOLDEN_7_12: [u32; 12] = [0, 1, 5, 2, 4, 3, 6, 4, 4, 6, 1, 2];
    const GOLDEN_THEN_10_4: [u32; 4] = [0, 5, 9, 1];
    const GOLDEN_1000_3: [u32; 3] = [993, 859, 298];
}
