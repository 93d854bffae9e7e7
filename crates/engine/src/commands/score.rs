//! `lightbox score`: the loss of every sample.

use crate::model::{Ctx, Qwen2Vl};
use crate::train::batches::Source;
use crate::train::data::usable;
use crate::train::step::{MicroBatch, cross_entropy, target_tokens};
use anyhow::Result;
use lightbox_core::args::ScoreArgs;
use lightbox_core::exit::{Because, Exit};
use serde_json::json;
use std::io::Write;
use tch::Reduction;

/// Prints one line per sample and the mean over all target tokens. Samples that cannot be used are named on stderr and
/// counted; if none can be used, that is an error.
pub fn run(args: &ScoreArgs) -> Result<Exit> {
    let resolved = args.model.resolve().because(Exit::Config)?;
    let profile = args.data.over(resolved.profile.as_ref()).because(Exit::Config)?;
    let ready = super::load(&resolved)?;
    let options = crate::train::encode_options(&profile);
    let encoder = ready.encoder(resolved.budget, &options);
    let (samples, skipped) = usable(&profile, &encoder).because(Exit::Data)?;
    let source = Source { samples: &samples, encoder, multiple: 1 };
    let mut out = std::io::stdout().lock();
    let (mut total_loss, mut total_tokens) = (0.0f64, 0usize);
    for row in 0..samples.len() {
        let index = samples.index(row);
        let (loss_sum, n) = label_loss(&ready.model, &source, row)?;
        total_loss += loss_sum;
        total_tokens += n;
        if args.json {
            writeln!(out, "{}", json!({"index": index, "loss_sum": loss_sum, "n_target_tokens": n}))?;
        } else {
            writeln!(out, "{index:>8}  loss {:9.6}  over {n} tokens", loss_sum / n.max(1) as f64)?;
        }
    }
    let mean = total_loss / total_tokens.max(1) as f64;
    if args.json {
        let summary = json!({"mean": mean, "loss_sum": total_loss, "n_target_tokens": total_tokens, "samples": samples.len(), "skipped": skipped});
        writeln!(out, "{summary}")?;
    } else {
        writeln!(
            out,
            "mean loss {mean:.6} over {total_tokens} tokens of {} samples; {skipped} samples left out",
            samples.len()
        )?;
    }
    Ok(Exit::Finished)
}

/// Sum of the loss over the label tokens of sample `row`, in nats, and how many they are.
///
/// # Errors
/// A picture that cannot be read any more; whatever libtorch throws.
pub(crate) fn label_loss(model: &Qwen2Vl, source: &Source, row: usize) -> Result<(f64, usize)> {
    let _no_grad = tch::no_grad_guard();
    let host = source.assemble(&[row]).because(Exit::Data)?;
    let mb = MicroBatch::upload(&host, model.device(), model.config.vision.patch_len());
    let logits = model.forward(&mb.tokens, mb.pictures.as_ref(), &Ctx::default())?;
    let loss_sum = cross_entropy(&logits, &mb.labels, Reduction::Sum).double_value(&[]); // a device sync
    Ok((loss_sum, target_tokens(&host.batch)))
}
