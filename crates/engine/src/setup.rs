//! From names to a model in memory: device, dtype, weights, adapter, tokenizer, picture processor.

use crate::config::Config;
use crate::lora;
use crate::model::loader::Source;
use crate::model::{Loader, Qwen2Vl};
use crate::weights::Weights;
use anyhow::{Context, Result, bail};
use lightbox_core::data::Encoder;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::generation::ModelDefaults;
use lightbox_core::profile;
use lightbox_core::text::{EncodeOptions, Tokenizer};
use lightbox_core::vision::{ImageProcessor, PixelBudget};
use std::path::{Path, PathBuf};
use tch::{Cuda, Device, Kind};

/// Opens the CUDA half of libtorch. First of all: one question about CUDA before this, and libtorch says "none" for good.
pub fn start_libtorch() {
    // A CPU-only libtorch is no error; asking for a GPU then is (see `device`).
    if torch_shim::cuda::load().is_ok() && Cuda::is_available() {
        // Parity before speed, as in transformers: no TF32, no bf16 accumulation.
        let _ = torch_shim::set_tf32(false);
        let _ = torch_shim::set_bf16_reduction(false);
    }
}

/// Memory that an update has freed stays with the process for the next one: given back and asked for again, it comes as pages
/// that the kernel has to clear, 5 % of the time of an update on a CPU. Before other threads are started.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: two numbers for malloc; what it does not like it leaves as it was.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20); // the largest that glibc takes
    }
}

/// # Errors
/// A GPU that is not there, with what libtorch says about it.
pub fn device(wanted: profile::Device) -> Result<Device> {
    let count = if Cuda::is_available() { Cuda::device_count() as usize } else { 0 };
    match wanted {
        profile::Device::Cpu => Ok(Device::Cpu),
        profile::Device::Auto if count == 0 => Ok(Device::Cpu),
        profile::Device::Auto => Ok(Device::Cuda(0)),
        profile::Device::Cuda(i) if i < count => Ok(Device::Cuda(i)),
        profile::Device::Cuda(i) => {
            let why = match torch_shim::cuda::load() {
                Err(e) => e.to_string(),
                Ok(()) if count == 0 => "libtorch sees no GPU: check the driver with nvidia-smi".to_owned(),
                Ok(()) => format!("there are {count}: cuda:0 to cuda:{}", count - 1),
            };
            bail!("cuda:{i} cannot be used: {why}. Use device=cpu to run without a GPU")
        }
    }
}

/// The dtype that a model computes in.
///
/// Asked for (`bf16`, `--dtype`): that. Else a GPU computes in the checkpoint's dtype, as LLaMA-Factory does, and a CPU
/// in fp32: bf16 on a CPU is 4-10 times slower and rounds for nothing.
pub fn kind(asked: Option<Kind>, checkpoint: Option<&str>, device: Device) -> Kind {
    match (asked, device, checkpoint) {
        (Some(kind), ..) => kind,
        (None, Device::Cpu, _) => Kind::Float,
        (None, _, Some("float32")) => Kind::Float,
        (None, _, Some("float16")) => Kind::Half,
        (None, ..) => Kind::BFloat16,
    }
}

/// A model that can be asked.
pub struct Ready {
    pub model: Qwen2Vl,
    pub tokenizer: Tokenizer,
    pub processor: ImageProcessor,
    /// How the model itself wants its answers chosen.
    pub defaults: ModelDefaults,
}

impl Ready {
    /// What makes tokens of samples for this model.
    pub fn encoder<'a>(&'a self, budget: PixelBudget, options: &'a EncodeOptions) -> Encoder<'a> {
        Encoder { tokenizer: &self.tokenizer, processor: &self.processor, budget, options }
    }
}

/// Tokenizer and picture processor of a model folder, checked against its config.
pub fn text_and_pictures(dir: &Path, config: &Config) -> Result<(Tokenizer, ImageProcessor)> {
    let tokenizer = Tokenizer::from_dir(dir)?;
    let processor = ImageProcessor::from_dir(dir)?;
    if tokenizer.image_pad != config.image_token_id {
        bail!(
            "{}: <|image_pad|> is token {} in tokenizer.json, but image_token_id is {} in config.json; the files belong to different models",
            dir.display(),
            tokenizer.image_pad,
            config.image_token_id
        );
    }
    if i64::from(processor.patch_size) != config.vision.patch_size
        || i64::from(processor.merge_size) != config.vision.spatial_merge_size
    {
        bail!(
            "{}: patch size or merge size differ between config.json and the picture processor's file",
            dir.display()
        );
    }
    Ok((tokenizer, processor))
}

/// Loads a base model and, on top, saved adapters. All but the last adapter are merged into the weights.
pub fn load(dir: &Path, adapters: &[PathBuf], kind_asked: Option<Kind>, device: Device) -> Result<Ready> {
    let config = Config::from_dir(dir).because(Exit::Model)?;
    let (tokenizer, processor) = text_and_pictures(dir, &config).because(Exit::Model)?;
    let defaults = ModelDefaults::of(dir).because(Exit::Model)?;
    let kind = kind(kind_asked, config.dtype.as_deref(), device);
    let weights = Weights::open_model(dir).because(Exit::Model)?;
    let loader = Loader { source: Source::Files(weights), kind, device, trained: Box::new(|_| false) };
    let mut model = Qwen2Vl::load(config, &loader).because(Exit::Model)?;
    attach(&mut model, adapters).because(Exit::Model)?;
    Ok(Ready { model, tokenizer, processor, defaults })
}

/// Puts saved adapters on: all but the last are merged into the weights (LLaMA-Factory's `adapter_name_or_path`).
pub fn attach(model: &mut Qwen2Vl, adapters: &[PathBuf]) -> Result<()> {
    for (i, adapter) in adapters.iter().enumerate() {
        lora::attach_saved(model, adapter).with_context(|| format!("adapter {}", adapter.display()))?;
        if i + 1 < adapters.len() {
            lora::merge(model);
        }
    }
    Ok(())
}
