//! The samples that a model is trained on or evaluated with, by position. Of each only its place and size is kept (24 bytes);
//! what it says and shows is read again whenever it is needed, so millions of them fit into any memory.

use super::journal::{Journal, in_order_kept};
use super::prepare::{Encoder, Prepared};
use super::problem::{Fault, kind};
use super::{Dataset, Problem, Step};
use crate::seed::{self, BufferShuffle};
use crate::vision::Grid;
use anyhow::{Result, bail};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Some samples of a data set, in some order.
#[derive(Debug, Clone)]
pub struct Samples {
    dataset: Arc<Dataset>,
    rows: Rows,
    fingerprint: String,
}

#[derive(Debug, Clone)]
enum Rows {
    /// Read and encoded once; those that cannot be used are not among them.
    Checked(Vec<Facts>),
    /// All of the data set but these, in ascending order; nothing is known of them.
    Unchecked { without: Vec<u32> },
}

/// What is known of a sample that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// Index in the data set.
    index: u32,
    pub tokens: u32,
    /// Patches of all pictures.
    pub patches: u32,
    /// `cutoff_len` took text away.
    pub truncated: bool,
    /// See [`Prepared::learns`].
    pub learns: bool,
    /// The first bytes of [`Prepared::digest`].
    check: u64,
}

impl Facts {
    fn of(prepared: &Prepared) -> Self {
        let encoded = &prepared.encoded;
        Self {
            index: prepared.index as u32,
            tokens: encoded.input_ids.len() as u32,
            patches: patches(&encoded.grids) as u32,
            truncated: encoded.truncated > 0,
            learns: prepared.learns(),
            check: check(prepared),
        }
    }
}

fn check(prepared: &Prepared) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| prepared.digest[i]))
}

/// Patches of pictures; a grid counts them in time, height and width.
pub fn patches(grids: &[Grid]) -> usize {
    grids.iter().map(|grid| grid.iter().product::<i64>() as usize).sum()
}

impl Samples {
    /// Reads and encodes samples `rows` of the data set (of pictures the header), or all, on all cores. `watch` hears of
    /// every sample and of all that cannot be used; `journal` keeps what was found.
    ///
    /// # Errors
    /// More samples than can be counted in 32 bits.
    pub fn check(
        dataset: Arc<Dataset>,
        rows: Option<&[u32]>,
        encoder: &Encoder<'_>,
        journal: Option<&mut Journal>,
        watch: &mut dyn FnMut(Step<'_>),
    ) -> Result<Self> {
        countable(&dataset)?;
        let total = rows.map_or(dataset.len(), <[u32]>::len);
        let (mut facts, mut fingerprint) = (Vec::with_capacity(total), blake3::Hasher::new());
        let work = |i: usize| {
            let index = rows.map_or(i, |rows| rows[i] as usize);
            dataset.get(index).and_then(|sample| encoder.encode(index, sample)).map(|p| (Facts::of(&p), p.digest))
        };
        in_order_kept(journal, total, work, |i, result| {
            let problem = match result {
                Ok((found, digest)) => {
                    facts.push(found);
                    fingerprint.update(&digest);
                    None
                }
                Err(problem) => Some(problem),
            };
            watch(Step { done: i + 1, total, problems: problem.as_slice() });
            ControlFlow::Continue(())
        });
        Ok(Self {
            dataset,
            rows: Rows::Checked(facts),
            fingerprint: format!("blake3 {}", fingerprint.finalize().to_hex()),
        })
    }

    /// Everything, to be read and checked when it is needed, but `held_out` samples: those that come first in the order of
    /// epoch 0 ([`BufferShuffle`] with `buffer` and `seed`, or that of the data) are given back as the indices to
    /// evaluate on.
    ///
    /// # Errors
    /// Fewer samples than that; more than can be counted in 32 bits.
    pub fn unchecked(
        dataset: Arc<Dataset>,
        held_out: usize,
        shuffle: Option<(usize, u64)>,
    ) -> Result<(Self, Vec<u32>)> {
        let n = countable(&dataset)?;
        if held_out > 0 && held_out >= n as usize {
            bail!("val_size {held_out} leaves nothing to train on: there are {n} samples");
        }
        let held: Vec<u32> = match shuffle {
            Some((buffer, seed)) => BufferShuffle::new(n, buffer, seed, 0).take(held_out).collect(),
            None => (0..held_out as u32).collect(),
        };
        let mut without = held.clone();
        without.sort_unstable();
        let fingerprint = dataset.fingerprint();
        Ok((Self { dataset, rows: Rows::Unchecked { without }, fingerprint }, held))
    }

    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Checked(facts) => facts.len(),
            Rows::Unchecked { without } => self.dataset.len() - without.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Where in the data set the sample at position `row` is.
    pub fn index(&self, row: usize) -> usize {
        match &self.rows {
            Rows::Checked(facts) => facts[row].index as usize,
            // Every one that is left out below pushes the others up.
            Rows::Unchecked { without } => {
                without.iter().fold(row, |index, &out| if out as usize <= index { index + 1 } else { index })
            }
        }
    }

    /// `None`: nothing was checked.
    pub fn facts(&self, row: usize) -> Option<&Facts> {
        match &self.rows {
            Rows::Checked(facts) => Some(&facts[row]),
            Rows::Unchecked { .. } => None,
        }
    }

    /// All that is known; of samples that were not checked nothing.
    pub fn all_facts(&self) -> &[Facts] {
        match &self.rows {
            Rows::Checked(facts) => facts,
            Rows::Unchecked { .. } => &[],
        }
    }

    /// Another sample, text, picture, order or encoding is another fingerprint; of data that was not checked, other files.
    pub fn fingerprint(&self) -> String {
        format!("{} samples, {}", self.len(), self.fingerprint)
    }

    /// The sample at `row`, with the pixels of its pictures (`[patches, 1176]`, row-major).
    ///
    /// # Errors
    /// It cannot be read (any more), or it is another one than was checked.
    pub fn load(&self, row: usize, encoder: &Encoder<'_>) -> Result<(Prepared, Vec<f32>), Problem> {
        let index = self.index(row);
        let (prepared, pixels) = self.dataset.get(index).and_then(|sample| encoder.encode_pixels(index, sample))?;
        if self.facts(row).is_some_and(|facts| facts.check != check(&prepared)) {
            let fault = Fault::new(kind::UNREADABLE, "it has changed since the data was checked");
            return Err(fault.at(index, &prepared.origin));
        }
        Ok((prepared, pixels))
    }

    /// Without those that teach nothing; they are given to `out`.
    pub fn retain_learning(&mut self, out: &mut dyn FnMut(Problem)) {
        let Rows::Checked(facts) = &mut self.rows else { return };
        facts.retain(|facts| {
            if !facts.learns {
                let index = facts.index as usize;
                out(no_labels().at(index, self.dataset.origin(index)));
            }
            facts.learns
        });
    }

    /// datasets' `train_test_split`: both parts keep the permuted order. The first is for training.
    ///
    /// # Errors
    /// A part would be empty.
    pub fn split(self, val_size: f64, seed: u64) -> Result<(Self, Self)> {
        let facts = self.all_facts();
        let Ok((train, test)) = seed::train_test_split(facts.len() as u32, val_size, seed) else {
            bail!(
                "val_size {val_size} leaves nothing to train or evaluate on: there are {} usable samples",
                facts.len()
            );
        };
        let part = |order: Vec<u32>| Self {
            dataset: self.dataset.clone(),
            rows: Rows::Checked(order.into_iter().map(|i| facts[i as usize]).collect()),
            fingerprint: self.fingerprint.clone(),
        };
        Ok((part(train), part(test)))
    }
}

/// A sample without one token to learn from.
pub fn no_labels() -> Fault {
    Fault::new(kind::NO_LABELS, "no token is left to learn from after the cut at cutoff_len")
}

fn countable(dataset: &Dataset) -> Result<u32> {
    match u32::try_from(dataset.len()) {
        Ok(n) => Ok(n),
        Err(_) => bail!("training works up to 2^32 samples, and these data sets have {}", dataset.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::test_data::{captions, open};

    #[test]
    fn samples_held_out_of_unchecked_data_are_the_only_ones_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.parquet");
        captions(&path, 200, 50);
        let dataset = Arc::new(open(&path));
        for shuffle in [Some((16, 42)), Some((1000, 7)), None] {
            let (train, held) = Samples::unchecked(dataset.clone(), 9, shuffle).unwrap();
            assert_eq!((train.len(), held.len()), (191, 9));
            let mut all: Vec<usize> = (0..train.len()).map(|row| train.index(row)).collect();
            assert!(all.is_sorted());
            all.extend(held.iter().map(|&index| index as usize));
            all.sort_unstable();
            assert_eq!(all, (0..200).collect::<Vec<_>>(), "{shuffle:?}");
        }
        assert!(Samples::unchecked(dataset.clone(), 200, None).unwrap_err().to_string().contains("val_size 200"));
        assert_eq!(Samples::unchecked(dataset, 0, None).unwrap().0.len(), 200);
    }

    #[test]
    fn facts_stay_small() {
        assert_eq!(size_of::<Facts>(), 24); // the documentation says so
    }
}
