//! One sample as training takes it: its tokens and labels, the grids of its pictures, and their pixels where they are wanted.

use super::parallel::in_order;
use super::picture;
use super::problem::{Fault, kind};
use super::{Dataset, ImageRef, Problem, Sample};
use crate::text::{EncodeOptions, Encoded, Seen, Tokenizer, encode_conversation, image_tokens, seen};
use crate::vision::{Grid, ImageProcessor, PixelBudget};
use std::ops::{ControlFlow, Range};

/// A sample ready for training.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Index in the data set.
    pub index: usize,
    /// File, and line or row, for messages.
    pub origin: String,
    pub encoded: Encoded,
    pub images: Vec<ImageRef>,
    pub image_labels: Option<Vec<Vec<String>>>,
    /// Hash of all that training takes from this sample: index, texts, tokens, labels and the pictures' bytes.
    pub digest: [u8; 32],
}

impl Prepared {
    /// Some token is learnt: a sample without one would make the mean of its micro-batch 0/0.
    pub fn learns(&self) -> bool {
        self.encoded.labels.iter().skip(1).any(|label| *label != -100)
    }
}

/// What is needed to say how many tokens a sample has.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    pub tokenizer: &'a Tokenizer,
    pub processor: &'a ImageProcessor,
    /// LLaMA-Factory's `image_min_pixels` and `image_max_pixels`.
    pub budget: PixelBudget,
    pub options: &'a EncodeOptions,
}

impl Encoder<'_> {
    /// Encoders with the same identity make the same of a sample.
    pub fn identity(&self) -> String {
        format!("{} {:?} {:?} {:?}", self.tokenizer.digest(), self.processor, self.budget, self.options)
    }

    /// Encodes sample `index`; its pictures are looked at (header, size, whether the end is there), not decoded.
    pub fn encode(&self, index: usize, sample: Sample) -> Result<Prepared, Problem> {
        self.encode_with(index, sample, &mut |bytes| self.grid(bytes))
    }

    /// [`Self::encode`] with the pixels of all pictures, as the model takes them: `[patches, 1176]`, row-major.
    pub fn encode_pixels(&self, index: usize, sample: Sample) -> Result<(Prepared, Vec<f32>), Problem> {
        let mut values = Vec::new();
        let prepared = self.encode_with(index, sample, &mut |bytes| {
            let patches = self.processor.process(bytes, Some(self.budget));
            let patches = patches.map_err(|e| Fault::new(e.kind(), e.to_string()))?;
            // One picture is the rule, and its pixels are the largest thing there is: they are not copied.
            if values.is_empty() {
                values = patches.values
            } else {
                values.extend_from_slice(&patches.values)
            }
            Ok(patches.grid)
        })?;
        Ok((prepared, values))
    }

    /// `grid` says how many patches a picture of the given bytes has.
    fn encode_with(
        &self,
        index: usize,
        sample: Sample,
        grid: &mut dyn FnMut(&[u8]) -> Result<Grid, Fault>,
    ) -> Result<Prepared, Problem> {
        let mut digest = Digest::of(index);
        let encoded = self.grids(&sample, &mut digest, grid).and_then(|grids| self.with_grids(&sample, grids));
        match encoded {
            Ok(encoded) => Ok(Prepared {
                index,
                digest: digest.finish(&sample, &encoded),
                origin: sample.origin,
                encoded,
                images: sample.images,
                image_labels: sample.image_labels,
            }),
            Err(fault) => Err(fault.at(index, sample.origin)),
        }
    }

    /// What the model sees of a sample, what would be cut away included.
    ///
    /// # Errors
    /// What keeps it from being encoded at all.
    pub fn seen(&self, index: usize, sample: &Sample) -> Result<Seen, Problem> {
        let grids = self.grids(sample, &mut Digest::of(index), &mut |bytes| self.grid(bytes));
        let seen = grids.and_then(|grids| {
            seen(self.tokenizer, &sample.conversation, &grids, self.options)
                .map_err(|e| Fault::new(e.kind(), e.to_string()))
        });
        seen.map_err(|fault| fault.at(index, sample.origin.clone()))
    }

    /// Encodes samples `range` on all cores and hands them to `sink` in order, until it breaks.
    pub fn encode_all(
        &self,
        d: &Dataset,
        range: Range<usize>,
        sink: &mut dyn FnMut(usize, Result<Prepared, Problem>) -> ControlFlow<()>,
    ) {
        let range = range.start.min(d.len())..range.end.min(d.len());
        let work = |i: usize| d.get(range.start + i).and_then(|sample| self.encode(range.start + i, sample));
        in_order(range.len(), work, |i, result| sink(range.start + i, result));
    }

    fn with_grids(&self, sample: &Sample, grids: Vec<Grid>) -> Result<Encoded, Fault> {
        if let Some(labels) = &sample.image_labels {
            let tokens: usize = grids.iter().filter_map(image_tokens).sum();
            if labels.len() != tokens {
                return Err(Fault::new(
                    kind::IMAGE_LABELS,
                    format!("`image_labels` has {} entries, but the pictures have {tokens} tokens", labels.len()),
                ));
            }
            if sample.conversation.messages.is_empty() {
                return Ok(Encoded { input_ids: Vec::new(), labels: Vec::new(), grids, truncated: 0 });
            }
        }
        encode_conversation(self.tokenizer, &sample.conversation, &grids, self.options)
            .map_err(|e| Fault::new(e.kind(), e.to_string()))
    }

    fn grids(
        &self,
        sample: &Sample,
        digest: &mut Digest,
        grid: &mut dyn FnMut(&[u8]) -> Result<Grid, Fault>,
    ) -> Result<Vec<Grid>, Fault> {
        let one = |image: &ImageRef| {
            let bytes = image.load()?;
            digest.bytes(&bytes);
            grid(&bytes)
                .map_err(|fault| Fault::new(fault.kind, format!("picture {}: {}", image.describe(), fault.reason)))
        };
        sample.images.iter().map(one).collect()
    }

    fn grid(&self, bytes: &[u8]) -> Result<Grid, Fault> {
        // The header alone would let a cut picture through, to be found in the middle of training.
        picture::look(bytes)?;
        self.processor.grid(bytes, Some(self.budget)).map_err(|e| Fault::new(e.kind(), e.to_string()))
    }
}

/// The hash of a sample, while its parts come by. Every part is preceded by its length, so that no two samples are the
/// same row of bytes.
struct Digest(blake3::Hasher);

impl Digest {
    fn of(index: usize) -> Self {
        let mut digest = Self(blake3::Hasher::new());
        digest.number(index as i64);
        digest
    }

    fn number(&mut self, n: i64) {
        self.0.update(&n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as i64);
        self.0.update(bytes);
    }

    fn numbers(&mut self, numbers: &[i64]) {
        self.number(numbers.len() as i64);
        numbers.iter().for_each(|n| self.number(*n));
    }

    fn finish(mut self, sample: &Sample, encoded: &Encoded) -> [u8; 32] {
        let conversation = &sample.conversation;
        for text in [&conversation.system, &conversation.tools] {
            self.number(i64::from(text.is_some()));
            self.bytes(text.as_deref().unwrap_or_default().as_bytes());
        }
        self.number(conversation.messages.len() as i64);
        for message in &conversation.messages {
            self.number(i64::from(message.role.answers()));
            self.bytes(message.content.as_bytes());
        }
        self.numbers(&encoded.input_ids);
        self.numbers(&encoded.labels);
        self.numbers(encoded.grids.as_flattened());
        let labels = sample.image_labels.as_deref().unwrap_or_default();
        self.number(labels.len() as i64);
        for row in labels {
            self.number(row.len() as i64);
            row.iter().for_each(|word| self.bytes(word.as_bytes()));
        }
        *self.0.finalize().as_bytes()
    }
}
