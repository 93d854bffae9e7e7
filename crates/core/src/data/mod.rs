//! Samples: where they lie, how they are read, what is wrong with them.
//!
//! The road of one row, in reading order:
//! [`dataset_info`] says which columns and, with [`place`], which files → [`table`] fetches row *i* on demand (JSON through
//! [`json_index`], parquet through [`parquet`]) → [`layout`] turns the row into a [`Conversation`] and a list of
//! pictures (captions get a question, [`captions`] and [`questions`]) → [`Dataset::get`] hands out the [`Sample`] → an
//! [`Encoder`] makes its tokens. [`Samples`] are those that training uses;
//! [`check`](check()) and [`stats`](stats()) look at a set without training on it; [`convert`](convert()) makes a
//! LLaMA-Factory data set of a parquet one. [`preview`] and [`search`] serve lists that scroll through millions of
//! samples; [`discover`](discover()) and [`register`](register()) are for those who choose a set and name it;
//! [`select`](select()) writes a set of chosen rows.
//!
//! Two rules hold everywhere. A data set is never held in memory: opening it costs an index (JSON: one pass over the
//! file at memory speed; parquet: the footers). And nothing is lost silently: whatever cannot be used becomes a
//! [`Problem`] with a stable kind, the file, the line and a reason.

pub mod captions;
mod cells;
pub mod check;
mod columns;
pub mod convert;
pub mod dataset;
pub mod dataset_info;
mod discover;
mod guess;
mod journal;
pub mod json_index;
pub mod layout;
mod matcher;
mod media;
mod mix;
pub mod pack;
mod parallel;
pub mod parquet;
mod picture;
mod place;
mod prepare;
mod preview;
mod problem;
pub mod query;
pub mod questions;
pub(crate) mod register;
mod samples;
mod sampling;
mod search;
pub mod select;
mod shards;
mod slice;
pub mod stats;
mod summary;
pub mod table;
#[cfg(test)]
mod test_data;

pub use captions::{CaptionChoice, CaptionColumns, caption_columns};
pub use cells::ImageCell;
pub use check::{CheckReport, check};
pub use convert::{ConvertError, ConvertOptions, ConvertReport, convert};
pub(crate) use convert::{entry as caption_entry, sync_file_system};
pub use dataset::{Dataset, PartFile, PartInfo};
pub use discover::{Discovery, Found, FoundKind, discover};
pub use journal::Journal;
pub(crate) use media::open_regular;
pub use media::{ImageRef, MAX_IMAGE_BYTES, MediaError};
pub use mix::Mix;
pub(crate) use picture::look;
pub use place::{find, missing};
pub use prepare::{Encoder, Prepared};
pub use preview::{PEEK_CHARS, Peek};
pub use problem::{Fault, Problem, kind};
pub use query::{Query, QueryError};
pub use questions::{QuestionSet, Questions};
pub use register::{RegisterError, describe, register, unregister};
pub use samples::{Facts, Samples, no_labels, patches};
pub use search::{Search, SearchStep};
pub use select::{SelectOptions, SelectReport, select};
pub use stats::{Stats, stats, stats_spread};
pub use summary::{Bar, Summary};

use crate::profile::Profile;
use crate::text::Conversation;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// One sample as the data set holds it.
#[derive(Debug, Clone)]
pub struct Sample {
    pub conversation: Conversation,
    /// In the order of the `<image>` marks.
    pub images: Vec<ImageRef>,
    /// File, and line (JSON) or row (parquet), for messages.
    pub origin: String,
    /// Own column `image_labels` (stage `vision`): per picture token, one word per attribute.
    pub image_labels: Option<Vec<Vec<String>>>,
}

/// How far a pass over a data set is, after each sample.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub done: usize,
    pub total: usize,
    /// What was found wrong since the last step.
    pub problems: &'a [Problem],
}

/// Watches a pass over a data set; `Break` ends it there.
pub type Watch<'a> = dyn FnMut(Step<'_>) -> ControlFlow<()> + 'a;

/// Watches a data set being opened: bytes indexed, of how many; `Break` gives it up.
pub type OpenWatch<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

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
    /// Folder of `dataset_info.json`; its `file_name` entries are relative to it.
    pub dataset_dir: PathBuf,
    /// Folder that picture paths are relative to; default: `dataset_dir`.
    pub media_dir: Option<PathBuf>,
    /// Names in dataset_info.json, in order (`dataset: a,b`), unless `mix` says otherwise. A path to a parquet, JSON or JSONL file (or a folder of
    /// parquet files) is accepted as well, and `ORG/NAME` or `ORG/NAME:CONFIG` of a Hub, if it is in the cache.
    pub names: Vec<String>,
    /// The first N samples of each named set, as in LLaMA-Factory.
    pub max_samples: Option<usize>,
    /// For entries with `num_samples` and for [`Mix`]: both draws are numpy's.
    pub seed: u64,
    pub mix: Mix,
}

impl DatasetOptions {
    /// The data keys of `p`, for the data sets `names`.
    pub fn of(p: &Profile, names: &[String]) -> Self {
        Self {
            dataset_dir: p.dataset_dir.clone(),
            media_dir: p.media_dir.clone(),
            names: names.to_vec(),
            max_samples: p.max_samples,
            seed: p.seed,
            mix: Mix { strategy: p.mix_strategy, probs: p.interleave_probs.clone() },
        }
    }
}
