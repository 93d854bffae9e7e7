//! Randomness without state.

/// `torch.randperm(n, generator=manual_seed(seed))` on the CPU.
pub fn torch_randperm(_n: usize, _seed: u64) -> Vec<usize> {
    todo!()
}

/// `numpy.random.default_rng(seed).permutation(n)` (PCG64), for `val_size`.
pub fn numpy_permutation(_n: usize, _seed: u64) -> Vec<usize> {
    todo!()
}

/// One seed for one purpose at one place of a run.
pub fn at(_seed: u64, _purpose: &str, _position: &[u64]) -> u64 {
    todo!()
}
