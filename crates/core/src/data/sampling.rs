//! `num_samples` of dataset_info.json, drawn as LLaMA-Factory draws it (`data/loader.py`):
//! `np.random.permutation(n)[:k]`, and beyond the data's end `np.random.choice(n, rest)`, from numpy's global
//! generator after `np.random.seed(seed)`. The generator lives on from one data set to the next.

use crate::seed::Mt19937;

/// numpy's legacy global generator, `numpy.random.RandomState(seed)`: its MT19937 is seeded as PyTorch's is.
pub struct NumpyRandom(Mt19937);

impl NumpyRandom {
    /// numpy takes seeds of 32 bits.
    pub fn new(seed: u32) -> Self {
        Self(Mt19937::new(seed))
    }

    /// Uniform in `0..=max`, by numpy's masked rejection. Data sets have fewer than 2^32 rows.
    fn up_to(&mut self, max: u32) -> u32 {
        if max == 0 {
            return 0; // numpy draws nothing here
        }
        let mask = u32::MAX >> max.leading_zeros();
        loop {
            let value = self.0.next_u32() & mask;
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
