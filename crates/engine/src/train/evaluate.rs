//! The loss on the evaluation samples, as the HF Trainer's `evaluation_loop` forms it: in order, the plain mean over
//! batches of each batch's token mean.

use super::batches::{Feeder, Order, Source};
use super::step::{MicroBatch, cross_entropy, target_tokens};
use crate::guard::guarded;
use crate::model::{Ctx, Qwen2Vl};
use anyhow::Result;
use lightbox_core::exit::{self, Exit};
use lightbox_core::runs::drive::{Beat, Flow, Trouble};
use lightbox_core::runs::results::EvalResults;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;
use tch::Reduction;

/// `None`: given up at a safe point. A batch that does not fit into memory is taken row by row.
pub fn evaluate(
    model: &Qwen2Vl,
    source: Source,
    batch_size: usize,
    threads: usize,
    epoch: f64,
    beat: &mut dyn Beat,
) -> Result<Option<EvalResults>> {
    let _no_grad = tch::no_grad_guard();
    let started = Instant::now();
    let order = Arc::new(Order::in_file_order(source.samples.len(), batch_size));
    let steps = source.samples.len().div_ceil(batch_size.max(1));
    let (mut sum, mut counted, mut samples) = (0.0, 0, 0);
    let patch_len = model.config.vision.patch_len();
    let finished = std::thread::scope(|scope| -> Result<bool> {
        let mut feeder = Feeder::new(scope, source, order, threads);
        for i in 0..steps as u64 {
            let host = feeder.get(i)?;
            for lost in &host.lost {
                let sample = &source.samples[lost.row];
                beat.trouble(Trouble::Sample {
                    index: sample.index,
                    origin: sample.origin.clone(),
                    kind: lost.kind.clone(),
                    reason: lost.reason.clone(),
                });
            }
            if !host.rows.is_empty() {
                let loss = |part: Range<usize>, reduction| {
                    let mb = MicroBatch::upload_rows(&host, part, model.device(), patch_len);
                    let logits = model.forward(&mb.tokens, mb.pictures.as_ref(), &Ctx::default())?;
                    Ok(cross_entropy(&logits, &mb.labels, reduction).double_value(&[]))
                };
                sum += match guarded(|| loss(0..host.rows.len(), Reduction::Mean)) {
                    Err(e) if exit::code(&e) == Exit::OutOfMemory && host.rows.len() > 1 => {
                        let rows = (0..host.rows.len()).map(|row| guarded(|| loss(row..row + 1, Reduction::Sum)));
                        rows.sum::<Result<f64>>()? / target_tokens(&host.batch).max(1) as f64
                    }
                    other => other?,
                };
                counted += 1;
                samples += host.rows.len();
            }
            if beat.micro(i + 1) == Flow::Abandon {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(finished.then(|| EvalResults {
        epoch: Some(epoch),
        eval_loss: sum / f64::from(counted.max(1)),
        runtime: started.elapsed(),
        samples,
        steps,
    }))
}
