//! Options that several data commands share. Names and meanings are those of a profile's keys.

use anyhow::Result;
use clap::{Args, ValueEnum};
use lightbox_core::data::table::parquet_files;
use lightbox_core::data::{
    CaptionChoice, Dataset, DatasetOptions, Encoder, Mix, OnBad, caption_columns, parquet::ParquetTable,
};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::MixStrategy;
use lightbox_core::safe_text::clean;
use lightbox_core::text::{EncodeOptions, Tokenizer};
use lightbox_core::vision::{ImageProcessor, PixelBudget};
use std::ops::Range;
use std::path::PathBuf;

/// Which data set.
#[derive(Args)]
pub struct SourceArgs {
    /// Name in dataset_info.json, or a path: a parquet, JSON or JSONL file, or a folder of parquet files
    #[arg(value_name = "DATASET")]
    named: Vec<String>,
    /// The same as an option; several names are joined by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    dataset: Vec<String>,
    /// Folder that holds dataset_info.json
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub dataset_dir: PathBuf,
    /// Folder that picture paths are relative to [default: the dataset_dir]
    #[arg(long, value_name = "DIR")]
    media_dir: Option<PathBuf>,
    /// Only the first N samples of each data set
    #[arg(long, value_name = "N")]
    max_samples: Option<usize>,
    /// For data sets with `num_samples`, for --interleave-probs, and for --split of `data select`
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// How several data sets are mixed: concat, interleave_under, interleave_over or interleave_once, as in a profile
    #[arg(long, value_name = "STRATEGY", default_value_t = MixStrategy::Concat)]
    mix_strategy: MixStrategy,
    /// How often each data set is drawn, as shares that add up to 1
    #[arg(long, value_name = "SHARE", value_delimiter = ',')]
    interleave_probs: Vec<f64>,
    #[command(flatten)]
    columns: ColumnArgs,
}

/// Columns of captioned pictures in parquet, where they are not called as usual.
#[derive(Args)]
pub struct ColumnArgs {
    /// Parquet column with the picture [default: image, or the only one with pictures]
    #[arg(long, value_name = "COLUMN")]
    image_column: Option<String>,
    /// Parquet column with the row's id, which names the picture's file
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// Parquet column with the caption
    #[arg(long, value_name = "COLUMN")]
    caption_column: Option<String>,
    /// Question put to every captioned picture; given several times, row i (from 0) gets question i modulo their number
    #[arg(long = "question", value_name = "TEXT")]
    questions: Vec<String>,
}

impl ColumnArgs {
    pub fn choice(&self, more_questions: impl IntoIterator<Item = String>) -> CaptionChoice {
        CaptionChoice {
            image: self.image_column.clone(),
            id: self.id_column.clone(),
            caption: self.caption_column.clone(),
            questions: self.questions.iter().cloned().chain(more_questions).collect(),
        }
    }

    fn any(&self) -> bool {
        self.image_column.is_some()
            || self.id_column.is_some()
            || self.caption_column.is_some()
            || !self.questions.is_empty()
    }
}

impl SourceArgs {
    pub fn names(&self) -> Vec<String> {
        self.named
            .iter()
            .flat_map(|names| names.split(',').map(str::to_owned))
            .chain(self.dataset.iter().cloned())
            .collect()
    }

    pub fn options(&self, names: Vec<String>) -> DatasetOptions {
        DatasetOptions {
            dataset_dir: self.dataset_dir.clone(),
            media_dir: self.media_dir.clone(),
            names,
            max_samples: self.max_samples,
            seed: self.seed,
            mix: Mix { strategy: self.mix_strategy, probs: self.interleave_probs.clone() },
        }
    }

    /// The words that name data set `name` again, for "Next: …" lines.
    pub fn again(&self, name: &str) -> String {
        let dir = if std::path::Path::new(name).exists() {
            String::new()
        } else {
            format!(" --dataset-dir {}", self.dataset_dir.display())
        };
        clean(&format!("{name}{dir}"))
    }

    pub fn open(&self) -> Result<Dataset> {
        let options = self.options(self.names());
        if self.columns.any() {
            let files = parquet_files(&options.names)?;
            let columns = caption_columns(&ParquetTable::open(&files)?, &self.columns.choice([]))?;
            return Dataset::open_captions(&files, columns, &options);
        }
        Dataset::open(&options)
    }
}

/// Which part of the data set.
#[derive(Args)]
pub struct RangeArgs {
    /// Skip the first N samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,
    /// At most N samples
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl RangeArgs {
    pub fn of(&self, len: usize) -> Range<usize> {
        let start = self.offset.min(len);
        start..self.limit.map_or(len, |limit| start.saturating_add(limit).min(len))
    }
}

/// How samples become tokens.
#[derive(Args)]
pub struct EncodeOptionArgs {
    /// Most tokens of a sample; longer texts are cut as LLaMA-Factory cuts them, pictures never
    #[arg(long, value_name = "TOKENS", default_value_t = 2048)]
    pub cutoff_len: usize,
    /// Pictures with more pixels are made smaller; 589824 and 768*768 mean the same
    #[arg(long, value_name = "PIXELS", default_value = "768*768", value_parser = pixels)]
    image_max_pixels: u64,
    /// Pictures with fewer pixels are made larger
    #[arg(long, value_name = "PIXELS", default_value = "32*32", value_parser = pixels)]
    image_min_pixels: u64,
    /// Take the loss of questions too
    #[arg(long)]
    train_on_prompt: bool,
    /// Take the loss of the last answer only
    #[arg(long)]
    mask_history: bool,
    /// System text of samples without one [default: the template's]; "" for none
    #[arg(long, value_name = "TEXT")]
    default_system: Option<String>,
}

/// A loaded model folder: no weights, only what encoding needs.
pub struct Model {
    tokenizer: Tokenizer,
    processor: ImageProcessor,
    options: EncodeOptions,
    budget: PixelBudget,
}

impl EncodeOptionArgs {
    pub fn load(&self, model: &std::path::Path) -> Result<Model> {
        Ok(Model {
            tokenizer: Tokenizer::from_dir(model).because(Exit::Model)?,
            processor: ImageProcessor::from_dir(model).because(Exit::Model)?,
            options: EncodeOptions {
                cutoff_len: self.cutoff_len,
                train_on_prompt: self.train_on_prompt,
                mask_history: self.mask_history,
                default_system: self.default_system.clone(),
            },
            budget: PixelBudget { min: self.image_min_pixels, max: self.image_max_pixels },
        })
    }
}

impl Model {
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder { tokenizer: &self.tokenizer, processor: &self.processor, budget: self.budget, options: &self.options }
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// A number, or a product of two: `768*768`.
fn pixels(text: &str) -> Result<u64, String> {
    let factor = |s: &str| s.trim().parse::<u64>().map_err(|_| format!("\"{s}\" is not a whole number"));
    let product = match text.split_once('*') {
        Some((a, b)) => factor(a)?.checked_mul(factor(b)?).ok_or("too large")?,
        None => factor(text)?,
    };
    if product == 0 { Err("must be at least 1".into()) } else { Ok(product) }
}

/// What to do with samples that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnBadArg {
    /// Leave them out, count and report them
    Skip,
    /// Stop at the first one
    Refuse,
}

impl From<OnBadArg> for OnBad {
    fn from(arg: OnBadArg) -> Self {
        match arg {
            OnBadArg::Skip => Self::Skip,
            OnBadArg::Refuse => Self::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pixels;

    #[test]
    fn pixels_are_numbers_or_products() {
        assert_eq!(pixels("768*768"), Ok(589_824));
        assert_eq!(pixels("3136"), Ok(3136));
        for bad in ["", "0", "a*b", "99999999999*99999999999", "-1"] {
            assert!(pixels(bad).is_err(), "{bad}");
        }
    }
}
