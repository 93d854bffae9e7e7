//! The loss on the evaluation samples, as the HF Trainer's `evaluation_loop` forms it: in order, the plain mean over
//! batches of each batch's token mean.

use super::batches::{Source, prefetch};
use super::step::{MicroBatch, cross_entropy};
use crate::model::{Ctx, Qwen2Vl};
use anyhow::Result;
use lightbox_core::runs::results::EvalResults;
use std::time::Instant;
use tch::Reduction;

pub fn evaluate(model: &Qwen2Vl, source: Source, batch_size: usize, threads: usize, epoch: f64) -> Result<EvalResults> {
    let _no_grad = tch::no_grad_guard();
    let started = Instant::now();
    let rows: Vec<usize> = (0..source.samples.len()).collect();
    let plan: Vec<Vec<usize>> = rows.chunks(batch_size.max(1)).map(<[usize]>::to_vec).collect();
    let steps = plan.len();
    let mut sum = 0.0;
    std::thread::scope(|scope| -> Result<()> {
        for host in prefetch(scope, source, plan, threads) {
            let mb = MicroBatch::upload(&host?, model.device(), model.config.vision.patch_len());
            let logits = model.forward(&mb.tokens, mb.pictures.as_ref(), &Ctx::default())?;
            sum += cross_entropy(&logits, &mb.labels, Reduction::Mean).double_value(&[]);
        }
        Ok(())
    })?;
    Ok(EvalResults {
        epoch: Some(epoch),
        eval_loss: sum / steps.max(1) as f64,
        runtime: started.elapsed(),
        samples: source.samples.len(),
        steps,
    })
}
