//! The folder's README.md and the curve beside it; the text is made in [`lightbox_core::runs::export_card`].

use super::Source;
use crate::lora;
use anyhow::Result;
use lightbox_core::fs;
use lightbox_core::runs::export_card::{Adapter, Base, Exported, render};
use std::path::Path;
use tch::Kind;

const CURVE: &str = "training_loss.png";

/// `name`: the folder's, which it has not got yet.
pub fn write(dir: &Path, name: &str, base: &Path, adapters: &[Source], adapter_only: bool, kind: Kind) -> Result<()> {
    let named = adapters.first().map(|source| lora::saved_base(&source.dir, base)).transpose()?;
    let of = |source: &Source| -> Result<Adapter> {
        let config = lora::saved_config(&source.dir)?;
        Ok(Adapter::of(&source.dir, source.weight, config.rank, config.alpha))
    };
    // The last adapter's: its training came last.
    let curve = adapters.last().and_then(|source| {
        let beside = source.dir.join(CURVE);
        let of_run = source.dir.parent().map(|run| run.join(CURVE));
        let is_checkpoint = source.dir.file_name().is_some_and(|n| n.to_string_lossy().starts_with("checkpoint-"));
        std::iter::once(beside).chain(of_run.filter(|_| is_checkpoint)).find(|file| file.is_file())
    });
    if let Some(curve) = &curve {
        fs::copy(curve, &dir.join(CURVE))?;
    }
    let card = Exported {
        name,
        base: Base::of(base, named.as_deref()),
        adapter_only,
        dtype: super::files::dtype_word(kind),
        adapters: &adapters.iter().map(of).collect::<Result<Vec<_>>>()?,
        curve: curve.is_some().then_some(CURVE),
        version: concat!("Lightbox ", env!("CARGO_PKG_VERSION")),
    };
    Ok(fs::write_atomic(&dir.join("README.md"), render(&card).as_bytes())?)
}
