//! `lightbox evaluate`, the part that computes: the answers of several models that share a base, which is loaded once. The
//! report is made by `lightbox` itself, from the files.

use super::predict::{Set, Told, tell_model};
use anyhow::Result;
use lightbox_core::args::EvaluateArgs;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::fs;

pub fn run(args: &EvaluateArgs) -> Result<Exit> {
    let variants = args.variants().because(Exit::Usage)?;
    let mut resolved = args.model.resolve().because(Exit::Config)?;
    let variants = resolved.placed(variants);
    // Pictures and answers as the last adapter was trained with, for all models: only the weights differ.
    let profile = args.data.over(resolved.profile.as_ref()).because(Exit::Config)?;
    let mut told = Told::new(args.work.json)?;
    resolved.adapters.clear();
    let mut ready = super::load(&resolved)?;
    let set = Set::read(&ready, &resolved, &profile, &args.generate)?;
    fs::create_dir_all(&args.output_dir).because(Exit::Disk)?;
    for variant in &variants {
        super::put_on(&mut ready.model, variant.adapter.as_deref())?;
        let adapters = variant.adapter.as_slice();
        told.model.clone_from(&variant.name);
        let output = variant.file(&args.output_dir);
        let done = set.predict(&ready, adapters, &args.work, &output, &mut told)?;
        tell_model(&told, &done, &output)?;
    }
    Ok(Exit::Finished)
}
