//! What the worker's commands do, one file each.

pub mod answer;
pub mod ask;
pub mod chat;
pub mod compare;
pub mod evaluate;
pub mod export;
pub mod predict;
pub mod score;

use crate::config::Config;
use crate::generate::{Options, Prompt};
use crate::lora;
use crate::model::Qwen2Vl;
use crate::setup::{self, Ready};
use anyhow::{Context, Result};
use lightbox_core::args::{Dtype, ResolvedModel};
use lightbox_core::data::ImageRef;
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::generation::Generation;
use lightbox_core::text::{Conversation, Tokenizer, encode_prompt};
use lightbox_core::vision::{ImageProcessor, PixelBudget};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tch::Kind;

/// Loads what `--model`, `--adapter`, `--dtype` and `--device` name.
fn load(m: &ResolvedModel) -> Result<Ready> {
    set_threads(m.num_threads);
    let device = setup::device(m.device).because(Exit::Device)?;
    setup::load(&m.model, &m.adapters, kind(m.dtype), device)
}

/// CPU threads of all that is computed from here on; `None`: as many as libtorch thinks right.
fn set_threads(wanted: Option<usize>) {
    if let Some(n) = wanted {
        tch::set_num_threads(n as i32);
    }
}

/// Set by Ctrl-C or SIGTERM: what is begun is put in order before the program ends. A second one ends it at once.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// Makes the base answer alone, or with one adapter.
fn put_on(model: &mut Qwen2Vl, adapter: Option<&Path>) -> Result<()> {
    lora::detach(model);
    let Some(adapter) = adapter else { return Ok(()) };
    lora::attach_saved(model, adapter).with_context(|| format!("adapter {}", adapter.display())).because(Exit::Model)
}

/// `None`: not asked for.
fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::Auto => None,
        Dtype::F32 => Some(Kind::Float),
        Dtype::Bf16 => Some(Kind::BFloat16),
        Dtype::F16 => Some(Kind::Half),
    }
}

/// What went wrong with files is the disk's; anything else is `other`.
fn disk_or(error: anyhow::Error, other: Exit) -> anyhow::Error {
    let of_files = exit::causes(&error).any(|cause| cause.is::<std::io::Error>());
    exit::coded(error, if of_files { Exit::Disk } else { other })
}

/// What is settled about an answer, and what this model ends it with.
pub(crate) fn options(generation: Generation, config: &Config, tokenizer: &Tokenizer) -> Options {
    let mut eos = config.eos_token_id.clone();
    // A config may be silent about it; the template ends every turn with it.
    if !eos.contains(&tokenizer.im_end) {
        eos.push(tokenizer.im_end);
    }
    Options { generation, eos, vocab_limit: Some(tokenizer.vocab_size() as i64) }
}

/// Encodes a conversation that ends with a question, with its pictures.
pub(crate) fn encode(
    tokenizer: &Tokenizer,
    processor: &ImageProcessor,
    conversation: &Conversation,
    images: &[ImageRef],
    budget: PixelBudget,
    system: Option<&str>,
) -> Result<Prompt> {
    let (mut pixel_values, mut grids) = (Vec::new(), Vec::new());
    for (i, image) in images.iter().enumerate() {
        let name = || match image {
            ImageRef::File(path) => path.display().to_string(),
            _ => format!("picture {}", i + 1),
        };
        let bytes = image.read().map_err(anyhow::Error::msg).with_context(name).because(Exit::Data)?;
        let patches = processor.process(&bytes, Some(budget)).with_context(name).because(Exit::Data)?;
        pixel_values.extend(patches.values);
        grids.push(patches.grid);
    }
    let ids = encode_prompt(tokenizer, conversation, &grids, system).because(Exit::Data)?;
    Ok(Prompt { ids, grids, pixel_values })
}
