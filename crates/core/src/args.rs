//! Command-line options that both programs know: `lightbox` checks them (and prints their help without libtorch),
//! `lightbox-engine` acts on them. The options that name a model mean the same in every command.

mod compare;
mod evaluate;

pub use compare::CompareArgs;
pub use evaluate::{EvaluateArgs, PredictArgs, ReportArgs, ReportOptions, Variant, WorkArgs};

use crate::generation::AskOptions;
use crate::hub::{self, Repo, What};
use crate::profile::{Device, InferDtype, Profile};
use crate::vision::PixelBudget;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Which model, and how it is run.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Model folder (config.json, model.safetensors, tokenizer.json), or the Hub name of one that was downloaded. Without it:
    /// the profile's, or the adapter's base model
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// Adapter folder (PEFT's layout), or the Hub name of one; several are put on in order
    #[arg(long, value_name = "DIR|NAME")]
    pub adapter: Vec<PathBuf>,
    /// Profile whose keys decide where no option does
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Compute in this type; auto: the checkpoint's on a GPU, f32 on a CPU
    #[arg(long, value_enum)]
    pub dtype: Option<Dtype>,
    /// auto, cpu or cuda:N
    #[arg(long, value_parser = parse_device)]
    pub device: Option<Device>,
    /// Pictures with more pixels are made smaller first [default: 589824, or what the adapter was trained with]
    #[arg(long, value_name = "N")]
    pub image_max_pixels: Option<u64>,
    /// Pictures with fewer pixels are made larger first [default: 1024, or what the adapter was trained with]
    #[arg(long, value_name = "N")]
    pub image_min_pixels: Option<u64>,
    /// CPU threads of the model
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub num_threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    #[default]
    Auto,
    #[value(alias = "float32", alias = "fp32")]
    F32,
    #[value(alias = "bfloat16")]
    Bf16,
    #[value(alias = "float16", alias = "fp16")]
    F16,
}

/// `auto`, `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// What a device looks like.
pub fn parse_device(word: &str) -> Result<Device, String> {
    match word {
        "auto" => Ok(Device::Auto),
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::Cuda(0)),
        _ => word
            .strip_prefix("cuda:")
            .and_then(|n| n.parse().ok())
            .map(Device::Cuda)
            .ok_or_else(|| "one of auto, cpu, cuda, cuda:0, cuda:1, …".to_owned()),
    }
}

/// A number of CPU threads.
///
/// # Errors
/// What one looks like.
pub fn parse_threads(word: &str) -> Result<usize, String> {
    word.parse().ok().filter(|n| (1..=4096).contains(n)).ok_or_else(|| "a whole number from 1 to 4096".to_owned())
}

/// [`ModelArgs`] with every question answered: option, else profile, else what the adapter was trained with, else default.
#[derive(Debug, Clone)]
pub struct ResolvedModel {
    pub model: PathBuf,
    pub adapters: Vec<PathBuf>,
    pub dtype: Dtype,
    pub device: Device,
    pub budget: PixelBudget,
    pub num_threads: Option<usize>,
    /// The profile that filled the gaps: the one given, else the adapter's own run.
    pub profile: Option<Profile>,
}

impl ModelArgs {
    /// # Errors
    /// No model is named anywhere; one that is not on this machine; a profile that does not load.
    pub fn resolve(&self) -> Result<ResolvedModel> {
        let no_overrides: &[&str] = &[];
        let given = self.profile.as_deref().map(|path| Profile::load(path, no_overrides)).transpose()?;
        // A run directory keeps its profile beside the adapter: pictures must be prepared as in training.
        let trained = self.adapter.last().map(|a| a.join("profile.yaml")).filter(|p| p.exists());
        let trained = trained.map(|path| Profile::load(&path, no_overrides)).transpose()?;
        let profile = given.or(trained);
        let keys = profile.clone().unwrap_or_default();
        let adapters = match self.adapter.as_slice() {
            [] => keys.adapter_folders()?,
            given => given.iter().map(|name| keys.find(name, What::Adapter)).collect::<Result<_, _>>()?,
        };
        let base = || base_name_of(adapters.last()?).map(PathBuf::from).filter(|base| base.is_dir() || is_repo(base));
        let named = self.model.clone().or_else(|| keys.model_name_or_path.as_ref().map(PathBuf::from));
        let Some(model) = named.or_else(base) else {
            bail!(
                "no model is named: give --model DIR (or --profile FILE, or an --adapter whose adapter_config.json names its base model)"
            );
        };
        let model = keys.find(&model, What::Model)?;
        let default = PixelBudget::default();
        let dtype = self.dtype.or_else(|| {
            profile.as_ref().map(|p| match p.infer_dtype {
                InferDtype::Auto => Dtype::Auto,
                InferDtype::Float16 => Dtype::F16,
                InferDtype::Bfloat16 => Dtype::Bf16,
                InferDtype::Float32 => Dtype::F32,
            })
        });
        Ok(ResolvedModel {
            model,
            adapters,
            dtype: dtype.unwrap_or(Dtype::Auto),
            device: self.device.or_else(|| profile.as_ref().map(Profile::effective_device)).unwrap_or(Device::Auto),
            budget: PixelBudget {
                min: self.image_min_pixels.or(profile.as_ref().map(|p| p.image_min_pixels)).unwrap_or(default.min),
                max: self.image_max_pixels.or(profile.as_ref().map(|p| p.image_max_pixels)).unwrap_or(default.max),
            },
            num_threads: self.num_threads.or_else(|| profile.as_ref().and_then(|p| p.num_threads)),
            profile,
        })
    }
}

/// `base_model_name_or_path` of an adapter folder, as it is written: a folder, or a Hub name.
pub fn base_name_of(adapter: &Path) -> Option<String> {
    let text = std::fs::read_to_string(adapter.join("adapter_config.json")).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(json.get("base_model_name_or_path")?.as_str()?.to_owned())
}

/// The base model of an adapter folder, if it is on this machine.
pub fn base_model_of(adapter: &Path) -> Option<PathBuf> {
    hub::folder(Path::new(&base_name_of(adapter)?), What::Model, "main", None).ok()
}

fn is_repo(name: &Path) -> bool {
    name.to_str().is_some_and(Repo::is_name)
}

/// How answers are chosen. Where no option is given the keys that the profile sets decide, else the model's own
/// generation_config.json, else LLaMA-Factory's defaults (sampling, temperature 0.95, top_p 0.7, top_k 50).
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// Always the most likely token
    #[arg(long)]
    pub greedy: bool,
    /// Most new tokens of an answer
    #[arg(long, value_name = "N")]
    pub max_new_tokens: Option<usize>,
    /// Below 1 sharper, above 1 flatter; 0 is greedy
    #[arg(long, value_name = "X")]
    pub temperature: Option<f64>,
    /// Draw among the most likely tokens that together have this probability
    #[arg(long, value_name = "X")]
    pub top_p: Option<f64>,
    /// Draw among so many most likely tokens; 0: no limit
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// Draw among tokens at least so likely as this share of the most likely one; 0: no limit
    #[arg(long, value_name = "X")]
    pub min_p: Option<f64>,
    /// Above 1: tokens seen before become less likely
    #[arg(long, value_name = "X")]
    pub repetition_penalty: Option<f64>,
    /// Seed of the drawing
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// End an answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Write `Picture 1: ` and so on before the pictures, as the model's chat template does with add_vision_id
    #[arg(long)]
    pub number_pictures: bool,
}

impl GenerateArgs {
    /// What was asked for; [`AskOptions::settle`] fills the gaps.
    pub fn options(&self) -> AskOptions {
        AskOptions {
            max_new_tokens: self.max_new_tokens,
            do_sample: self.greedy.then_some(false),
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            stop: self.stop.clone(),
            number_pictures: self.number_pictures,
            image_min_pixels: None,
            image_max_pixels: None,
        }
    }
}

/// `lightbox chat`
#[derive(Debug, Clone, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub generate: GenerateArgs,
    /// Picture for the first question; may be given several times. Each takes the place of an `<image>` in the prompt,
    /// or stands before it. `-` reads it from standard input, `hf://datasets/ORG/NAME/path` or `hf://ORG/NAME/path` takes
    /// it from the Hub's cache on this machine
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// Ask this and end; given several times: one turn after the other. Without it: a conversation, answers streamed
    #[arg(long, value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// System text [default: the template's]
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// One JSON object per answer: text, token_ids, prompt_tokens, finish_reason, timing
    #[arg(long, requires = "prompt")]
    pub json: bool,
}

/// Which samples.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Folder of dataset_info.json
    #[arg(long, value_name = "DIR")]
    pub dataset_dir: Option<PathBuf>,
    /// Name in dataset_info.json, or a file, or a data set of the Hub that was downloaded (ORG/NAME:CONFIG); several with
    /// commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub dataset: Vec<String>,
    /// Folder that picture paths start from [default: the data set's folder]
    #[arg(long, value_name = "DIR")]
    pub media_dir: Option<PathBuf>,
    /// Only the first so many samples
    #[arg(long, alias = "limit", value_name = "N")]
    pub max_samples: Option<usize>,
    /// Most tokens of a sample [default: 2048]
    #[arg(long, value_name = "N")]
    pub cutoff_len: Option<usize>,
}

impl DataArgs {
    /// The profile's data keys with these options over them.
    pub fn over(&self, profile: Option<&Profile>) -> Result<Profile> {
        let mut p = profile.cloned().unwrap_or_default();
        p.dataset_dir = self.dataset_dir.clone().unwrap_or(p.dataset_dir);
        if !self.dataset.is_empty() {
            p.dataset = self.dataset.clone();
        }
        p.media_dir = self.media_dir.clone().or(p.media_dir);
        p.max_samples = self.max_samples.or(p.max_samples);
        p.cutoff_len = self.cutoff_len.unwrap_or(p.cutoff_len);
        if p.dataset.is_empty() {
            bail!(
                "no data set is named: give --dataset NAME (a key of dataset_info.json in --dataset-dir) or --profile FILE"
            );
        }
        Ok(p)
    }
}

/// `lightbox score`
#[derive(Debug, Clone, Args)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    /// One line per sample (index, loss_sum, n_target_tokens), then a summary line
    #[arg(long)]
    pub json: bool,
}

/// `lightbox export`
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Base model: its folder, or its Hub name. Without it: the profile's, or the adapter's base model
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// Adapter (PEFT's layout) to merge: its folder, or its Hub name; several are added up. Without one: a copy in another
    /// dtype or shard size
    #[arg(long, value_name = "DIR|NAME")]
    pub adapter: Vec<PathBuf>,
    /// How much of each --adapter, in their order [default: 1 of each]
    #[arg(long, value_name = "X", requires = "adapter", allow_hyphen_values = true)]
    pub adapter_weight: Vec<f64>,
    /// Write an adapter folder instead: one adapter anew, or several added up into one
    #[arg(long, conflicts_with = "shard_size")]
    pub adapter_only: bool,
    /// Whose names the adapter's tensors get
    #[arg(long, value_enum, default_value_t, requires = "adapter_only")]
    pub key_names: KeyNames,
    /// Profile whose keys decide where no option does
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// The new folder; it gets its name when it is whole
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Write the weights in this type; auto: as the base's config.json says, an adapter in f32
    #[arg(long, value_enum)]
    pub dtype: Option<Dtype>,
    /// Largest weight file, e.g. 5GB, 500MB or 2GiB; a larger tensor gets a file of its own
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    pub shard_size: u64,
    /// Replace a model folder that is at --out already
    #[arg(long)]
    pub overwrite: bool,
    /// Ask the new folder, and base with adapter, the same questions (fp32, CPU) before it gets its name
    #[arg(long)]
    pub verify: bool,
    /// One JSON object a line: progress (done, total, what), then done (dir, bytes, tensors, merged, verify)
    #[arg(long)]
    pub json: bool,
}

/// What an adapter's tensors are called. PEFT only warns about names that it does not find, and runs the base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum KeyNames {
    /// For transformers 4.52 and later
    #[default]
    New,
    /// For transformers before 4.52
    Old,
    /// Every tensor under both names: for all of them, at twice the size
    Both,
}

impl ExportArgs {
    /// One weight for each of so many adapters.
    ///
    /// # Errors
    /// Another number of weights, or a weight that is none.
    pub fn weights(&self, adapters: usize) -> Result<Vec<f64>> {
        if let Some(bad) = self.adapter_weight.iter().find(|w| !w.is_finite()) {
            bail!("--adapter-weight {bad}: not a number");
        }
        match self.adapter_weight.len() {
            0 => Ok(vec![1.0; adapters]),
            n if n == adapters => Ok(self.adapter_weight.clone()),
            n => bail!("{adapters} adapters and {n} of --adapter-weight: give one for each adapter, in the same order"),
        }
    }

    /// # Errors
    /// As [`ModelArgs::resolve`].
    pub fn resolve(&self) -> Result<ResolvedModel> {
        let model = ModelArgs {
            model: self.model.clone(),
            adapter: self.adapter.clone(),
            profile: self.profile.clone(),
            dtype: self.dtype,
            device: Some(Device::Cpu),
            image_max_pixels: None,
            image_min_pixels: None,
            num_threads: None,
        };
        model.resolve()
    }
}

/// `5GB`, `500 MB`, `2GiB` or plain bytes; K, M and G alone are thousands, as in transformers' `max_shard_size`.
///
/// # Errors
/// What a size looks like.
pub fn parse_size(word: &str) -> Result<u64, String> {
    let word = word.trim();
    let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let unit = match word[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => f64::NAN,
    };
    let bytes = word[..digits].parse::<f64>().unwrap_or(f64::NAN) * unit;
    if bytes.is_finite() && (1.0..1e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err("a size above 0, e.g. 5GB, 500MB, 2GiB".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        for (word, bytes) in [
            ("5GB", 5_000_000_000),
            ("500 mb", 500_000_000),
            ("1.5G", 1_500_000_000),
            ("2GiB", 2 << 30),
            ("300000", 300_000),
        ] {
            assert_eq!(parse_size(word), Ok(bytes), "{word}");
        }
        for word in ["", "GB", "0", "-5GB", "5 TBB", "1e9", "nan", "0.5", "99999999999999GB"] {
            assert!(parse_size(word).is_err(), "{word}");
        }
    }
}
