//! `stage: vision`: a new vision tower learns to name what lies under every picture token.
//!
//! Trained through the language model's loss alone, a small tower learns slowly: one word of an answer is the whole
//! signal about a picture. Here every picture token is trained at once. A sample's `image_labels` name some attributes
//! of the place under each token (colour, shape, …, its own row and column); each attribute is a cross-entropy among
//! the words that the data uses for it:
//!
//! ```text
//! features [m, c] · embed_tokens[words of attribute a] ᵀ  →  logits [m, words]      loss = Σ over attributes
//! ```
//! The words' own embeddings are the classifier, so what the tower learns is already spelt in the language model's input.

use super::batches::HostBatch;
use crate::model::{Ctx, Pictures, Qwen2Vl};
use anyhow::{Result, anyhow, bail};
use lightbox_core::data::Samples;
use lightbox_core::text::Tokenizer;
use std::collections::BTreeSet;
use tch::{Device, Reduction, Tensor};

/// The words of every attribute, and every sample's words as their numbers.
pub struct Attributes {
    /// Per attribute: token ids of its words, `[words]`, i64
    words: Vec<Tensor>,
    /// Per sample, per picture token, per attribute: which word
    targets: Vec<Vec<Vec<i64>>>,
}

impl Attributes {
    /// # Errors
    /// A sample without labels, with a wrong number of attributes, or a word that is not one token; the sample is named.
    pub fn new(samples: &Samples, tokenizer: &Tokenizer, device: Device) -> Result<Self> {
        let mut vocabulary: Vec<BTreeSet<&str>> = Vec::new();
        let mut all = Vec::with_capacity(samples.len());
        for row in 0..samples.len() {
            let sample =
                samples.dataset().get(samples.index(row)).map_err(|p| anyhow!("{}: {}", p.origin, p.reason))?;
            let Some(labels) = sample.image_labels else {
                bail!("{}: stage: vision needs the column image_labels", sample.origin);
            };
            all.push((sample.origin, labels));
        }
        for (origin, rows) in &all {
            // One row per picture token: `prepare` has left out all others.
            for row in rows {
                if vocabulary.is_empty() {
                    vocabulary.resize(row.len(), BTreeSet::new());
                }
                if row.len() != vocabulary.len() {
                    bail!(
                        "{}: {} attributes in a row of image_labels, {} in the rows before",
                        origin,
                        row.len(),
                        vocabulary.len()
                    );
                }
                for (words, word) in vocabulary.iter_mut().zip(row) {
                    words.insert(word);
                }
            }
        }
        let words = vocabulary
            .iter()
            .map(|words| -> Result<Tensor> {
                let ids: Result<Vec<i64>> = words
                    .iter()
                    .map(|word| match tokenizer.encode(word)?[..] {
                        [id] => Ok(id),
                        _ => bail!("image_labels: {word:?} is not one token of this tokenizer"),
                    })
                    .collect();
                Ok(Tensor::from_slice(&ids?).to_device(device))
            })
            .collect::<Result<_>>()?;
        let index: Vec<Vec<&str>> = vocabulary.iter().map(|w| w.iter().copied().collect()).collect();
        let number = |attribute: usize, word: &str| index[attribute].binary_search(&word).map_or(-100, |i| i as i64);
        let targets = all
            .iter()
            .map(|(_, rows)| {
                rows.iter().map(|row| row.iter().enumerate().map(|(a, w)| number(a, w)).collect()).collect()
            })
            .collect();
        Ok(Self { words, targets })
    }

    /// Adds the gradients of one micro-batch. Returns its share of the update's loss (see [`super::step::Share`];
    /// every picture has as many tokens as it has labels, so the mean is over all of them). `part`: the rows of it that
    /// are computed now, `pictures` theirs.
    pub fn forward_backward(
        &self,
        model: &Qwen2Vl,
        part: &HostBatch,
        whole: &HostBatch,
        pictures: &Pictures,
        micro_batches: usize,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        let features = model.visual.forward(&pictures.pixel_values, &pictures.grids, ctx); // [m, c]
        let mut loss = Tensor::zeros([], (features.kind(), features.device()));
        for (attribute, words) in self.words.iter().enumerate() {
            let targets: Vec<i64> =
                part.rows.iter().flat_map(|row| self.targets[*row].iter().map(|token| token[attribute])).collect();
            let targets = Tensor::from_slice(&targets).to_device(features.device()); // [m]
            let classifier = model.model.embed(words); // [words, c]
            let logits = features.matmul(&classifier.transpose(0, 1)); // [m, words]
            loss += logits.cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Mean, -100, 0.0);
        }
        let mut loss = loss / (self.words.len() * micro_batches) as f64;
        if part.rows.len() < whole.rows.len() {
            let tokens = |host: &HostBatch| host.rows.iter().map(|row| self.targets[*row].len()).sum::<usize>() as f64;
            loss *= tokens(part) / tokens(whole);
        }
        loss.f_backward()?;
        Ok(loss.detach())
    }
}
