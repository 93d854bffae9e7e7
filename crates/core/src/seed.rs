//! Randomness without state: every random number of a run is a pure function of its seed and its place in the run, so a
//! resumed run needs no saved generator.
//!
//! The *order of samples* is LLaMA-Factory's: [`torch_randperm`] with `seed + epoch` for training, [`train_test_split`]
//! for `val_size`. Both repeat the generators of PyTorch and numpy bit by bit (`tests/golden/seed`). Everything else
//! (dropout, initialisation, sampling of answers) takes its own seed from [`at`].

mod buffer_shuffle;
mod mt19937;
mod pcg64;

pub use buffer_shuffle::BufferShuffle;
pub use mt19937::Mt19937;
use pcg64::Pcg64;
use sha2::{Digest, Sha256};

/// `torch.randperm(n, generator=torch.Generator().manual_seed(seed))` on the CPU, dtype int64, PyTorch 2.11
/// (`aten/src/ATen/native/TensorFactories.cpp`, `randperm_cpu`). Only the low 32 bits of the seed count there. Up to 2^32
/// samples, at 4 bytes each.
pub fn torch_randperm(n: u32, seed: u64) -> Vec<u32> {
    // From here on the remainder of a 32-bit number is too uneven for PyTorch, and it takes another way.
    const MANY: u32 = u32::MAX / 20;
    let mut random = Mt19937::new(seed as u32);
    let mut order: Vec<u32> = (0..n).collect();
    if n < MANY {
        for i in 0..n.saturating_sub(1) {
            order.swap(i as usize, (i + random.next_u32() % (n - i)) as usize);
        }
    } else {
        for i in 0..n {
            // swapping entry i, which is still i, is the "inside-out" Fisher-Yates shuffle
            order.swap(i as usize, (random.next_u64() % (u64::from(i) + 1)) as usize);
        }
    }
    order
}

/// `numpy.random.default_rng(seed).permutation(n)` (PCG64), numpy 2.4.
pub fn numpy_permutation(n: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    Pcg64::new(seed).shuffle(&mut order);
    order
}

/// Draws from `0..shares.len()` without end, each with its share: `numpy.random.default_rng(seed).choice(n, p=shares)`
/// (PCG64), numpy 2.4, however many are drawn at once. The shares add up to 1.
pub fn numpy_choices(shares: &[f64], seed: u64) -> impl Iterator<Item = usize> + use<> {
    let mut cumulated: Vec<f64> = shares
        .iter()
        .scan(0.0, |sum, share| {
            *sum += share;
            Some(*sum)
        })
        .collect();
    let sum = cumulated.last().copied().unwrap_or(1.0);
    cumulated.iter_mut().for_each(|share| *share /= sum);
    let mut random = Pcg64::new(seed);
    let last = cumulated.len().saturating_sub(1);
    std::iter::repeat_with(move || {
        let drawn = random.next_f64();
        cumulated.partition_point(|&end| end <= drawn).min(last)
    })
}

/// `val_size`: below 1 a share of the samples, rounded up; above 1 a count. Gives the indices for training and for
/// validation, both in shuffled order, as `datasets.Dataset.train_test_split(test_size, seed)`.
///
/// # Errors
/// A size that leaves one of the two without samples; exactly 1 is neither share nor count in LLaMA-Factory.
pub fn train_test_split(n: u32, val_size: f64, seed: u64) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
    let n_val = if val_size > 1.0 { val_size.trunc() } else { (val_size * f64::from(n)).ceil() };
    anyhow::ensure!(
        val_size > 0.0 && val_size != 1.0 && n_val >= 1.0 && n_val < f64::from(n),
        "val_size {val_size} cannot split {n} samples: it must be a share between 0 and 1, or a count from 2 up, that leaves samples for training"
    );
    let mut validation = numpy_permutation(n, seed);
    let train = validation.split_off(n_val as usize);
    Ok((train, validation))
}

/// One seed for one purpose at one place of a run, for example `at(seed, "lora_dropout", &[epoch, step, micro_batch, rank, layer])`.
///
/// Equal arguments give equal seeds on every machine, for ever (pinned by a test); different ones independent seeds:
/// the first 64 bits of a SHA-256 over all of them.
pub fn at(seed: u64, purpose: &str, position: &[u64]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"lightbox seed 1");
    hash.update(seed.to_le_bytes());
    hash.update((purpose.len() as u64).to_le_bytes()); // so that no purpose and position spell another pair
    hash.update(purpose.as_bytes());
    for p in position {
        hash.update(p.to_le_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(std::array::from_fn(|i| digest[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: &str = include_str!("../../../tests/golden/seed/orders.json");

    /// Of the order as little-endian 64-bit integers.
    fn sha256(order: &[u32]) -> String {
        let mut hash = Sha256::new();
        order.iter().for_each(|&i| hash.update(u64::from(i).to_le_bytes()));
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    fn check(name: &str, order: impl Fn(u32, u64, &serde_json::Value) -> Vec<u32>) {
        let orders: serde_json::Value = serde_json::from_str(ORDERS).unwrap();
        let rows = orders[name].as_array().unwrap();
        assert!(rows.len() > 40);
        for row in rows {
            let order = order(row["n"].as_u64().unwrap() as u32, row["seed"].as_u64().unwrap(), row);
            match row["order"].as_array() {
                Some(expected) => {
                    assert_eq!(order, expected.iter().map(|v| v.as_u64().unwrap() as u32).collect::<Vec<_>>(), "{row}")
                }
                None => assert_eq!(sha256(&order), row["sha256"].as_str().unwrap(), "{row}"),
            }
        }
    }

    #[test]
    fn sample_orders_are_pytorchs() {
        check("torch_randperm", |n, seed, _| torch_randperm(n, seed));
    }

    /// PyTorch's other way, for 214,748,364 samples and more. Measured once with torch 2.11.0.
    #[test]
    #[ignore = "takes 4 GB and 20 seconds"]
    fn the_order_of_very_many_samples_is_pytorchs() {
        let order = torch_randperm(214_748_364, 42);
        assert_eq!(order[..5], [85514504, 93417259, 199404010, 60269803, 87481865]);
        assert_eq!(sha256(&order), "128a983d197d249192fef11922927aaff6fe02a232c2f73a80242119973ad730");
    }

    #[test]
    fn validation_splits_are_numpys() {
        check("numpy_permutation", |n, seed, _| numpy_permutation(n, seed));
    }

    #[test]
    fn orders_while_reading_are_those_of_datasets() {
        check("buffer_shuffle", |n, seed, row| {
            let (buffer, epoch) = (row["buffer"].as_u64().unwrap() as usize, row["epoch"].as_u64().unwrap());
            BufferShuffle::new(n, buffer, seed, epoch).collect()
        });
    }

    /// Observed in LLaMA-Factory 0.9.5: 13 samples, `val_size: 0.3`, seed 42.
    #[test]
    fn a_share_splits_as_in_llamafactory() {
        let (train, validation) = train_test_split(13, 0.3, 42).unwrap();
        assert_eq!(validation, [0, 12, 7, 10]);
        assert_eq!(train.len(), 9);
        let all = [validation, train].concat();
        assert_eq!(all, numpy_permutation(13, 42));
    }

    #[test]
    fn a_count_is_taken_whole_and_impossible_sizes_are_refused() {
        let (train, validation) = train_test_split(13, 5.0, 42).unwrap();
        assert_eq!((train.len(), validation.len()), (8, 5));
        for (n, size) in [
            (13, 1.0),
            (13, 0.0),
            (13, -0.5),
            (13, 13.0),
            (13, f64::NAN),
            (13, f64::INFINITY),
            (1, 0.5),
            (0, 0.5),
            (3, 0.99),
        ] {
            let error = train_test_split(n, size, 42).unwrap_err().to_string();
            assert!(error.contains("val_size"), "{error}");
        }
    }

    /// These numbers may never change: a run that resumes after an upgrade must draw what it would have drawn.
    #[test]
    fn seeds_of_places_are_pinned() {
        assert_eq!(at(42, "dropout", &[0, 1, 2]), 17_927_891_249_627_516_486);
        assert_eq!(at(42, "dropout", &[0, 1]), 11_122_356_646_865_009_003);
        assert_eq!(at(0, "", &[]), 11_791_258_157_375_713_430);
        assert_eq!(at(u64::MAX, "init", &[u64::MAX]), 2_143_445_499_211_502_540);
    }

    #[test]
    fn every_part_of_the_place_changes_the_seed() {
        let places: [(u64, &str, &[u64]); 7] = [
            (42, "a", &[1, 2]),
            (43, "a", &[1, 2]),
            (42, "b", &[1, 2]),
            (42, "a", &[2, 1]),
            (42, "a", &[1]),
            (42, "", &[97, 1, 2]),
            (42, "a", &[1, 2, 0]),
        ];
        let seeds: std::collections::HashSet<u64> = places.iter().map(|(s, p, at_)| at(*s, p, at_)).collect();
        assert_eq!(seeds.len(), places.len());
    }
}
