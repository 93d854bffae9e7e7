//! Samples: where they lie, how they are read, what is wrong with them.
use crate::text::Conversation;
use std::path::PathBuf;

/// Where a picture's bytes come from. Paths were resolved against `media_dir` when the sample was read.
#[derive(Debug, Clone)]
pub enum ImageRef {
    File(PathBuf),
    Bytes(std::sync::Arc<[u8]>),
}

impl ImageRef {
    /// The file's bytes; regular files only, with a size cap, so that a FIFO or /dev/zero cannot hang or fill memory.
    pub fn read(&self) -> Result<std::borrow::Cow<'_, [u8]>, String> {
        todo!()
    }
}

/// One sample as the data set holds it.
#[derive(Debug, Clone)]
pub struct Sample {
    pub conversation: Conversation,
    pub images: Vec<ImageRef>,
    /// File, and line (JSON) or row (parquet), for messages.
    pub origin: String,
    /// Own column `image_labels` (stage `vision`): per picture token, one word per attribute.
    pub image_labels: Option<Vec<Vec<String>>>,
}

/// What to do with a bad sample: leave it out (counted, reported) or refuse to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBad {
    #[default]
    Skip,
    Refuse,
}

/// The data keys of a profile.
#[derive(Debug, Clone)]
pub struct DatasetOptions {
    pub dataset_dir: PathBuf,
    pub media_dir: Option<PathBuf>,
    /// Names in dataset_info.json, in order (`dataset: a,b`).
    pub names: Vec<String>,
    pub max_samples: Option<usize>,
    pub seed: u64,
}

/// What is wrong with one sample, with file and line: one sentence.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Problem {
    pub index: usize,
    pub origin: String,
    /// Stable short name, e.g. `image_missing`, `image_truncated`, `image_count`, `odd_turns`, `empty_caption`, `not_utf8`, `bad_json`, `too_long`.
    pub kind: &'static str,
    pub reason: String,
}

/// A data set opened for reading; samples are read on demand, by index.
pub struct Dataset {}

impl Dataset {
    pub fn open(_o: &DatasetOptions) -> anyhow::Result<Self> {
        todo!()
    }
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn get(&self, _index: usize) -> Result<Sample, Problem> {
        todo!()
    }
}

/// A sample ready for training: tokens now, pixels on demand.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Index in the data set.
    pub index: usize,
    pub encoded: crate::text::Encoded,
    pub images: Vec<ImageRef>,
    pub image_labels: Option<Vec<Vec<String>>>,
}

/// Reads and encodes all samples (picture headers only), checks them, and separates the usable from the bad.
/// `progress(done, total)` is called now and then.
pub fn prepare(
    _d: &Dataset,
    _t: &crate::text::Tokenizer,
    _p: &crate::vision::ImageProcessor,
    _budget: crate::vision::PixelBudget,
    _o: &crate::text::EncodeOptions,
    _progress: &mut dyn FnMut(usize, usize),
) -> (Vec<Prepared>, Vec<Problem>) {
    todo!()
}
