//! Forward and backward of one micro-batch.
//!
//! With gradient checkpointing only each block's input is kept; the backward pass computes the block again. Both ways
//! give the same bits: the same operations run on the same numbers, and dropout is a function of its seed.

use super::batches::HostBatch;
use crate::model::{Ctx, Pictures, Qwen2Vl, Tokens, causal_mask};
use anyhow::Result;
use lightbox_core::text::Batch;
use tch::{Device, Kind, Reduction, Tensor};

/// How the loss of a micro-batch counts in its update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// LLaMA-Factory: the micro-batch's mean over its target tokens, divided by the number of micro-batches.
    MeanOver { micro_batches: usize },
    /// The sum over its target tokens, divided by the target tokens of the whole update.
    SumOver { target_tokens: usize },
}

/// A micro-batch on the device.
pub struct MicroBatch {
    pub tokens: Tokens,
    /// `[b, t]`, -100 where no loss is taken
    pub labels: Tensor,
    pub pictures: Option<Pictures>,
}

impl MicroBatch {
    pub fn upload(host: &HostBatch, device: Device, patch_len: i64) -> Self {
        let Batch { rows, len, input_ids, labels, attention_mask, position_ids, .. } = &host.batch;
        let (b, t) = (*rows as i64, *len as i64);
        let ids = |v: &[i64]| Tensor::from_slice(v).view([b, t]).to_device(device);
        Self {
            tokens: Tokens {
                input_ids: ids(input_ids),
                position_ids: Tensor::from_slice(position_ids).view([3, b, t]).to_device(device),
                attention_mask: Some(ids(attention_mask)),
            },
            labels: ids(labels),
            pictures: (!host.grids.is_empty()).then(|| Pictures {
                pixel_values: Tensor::from_slice(&host.pixel_values).view([-1, patch_len]).to_device(device),
                grids: host.grids.clone(),
            }),
        }
    }
}

/// Token targets of a batch: token t is predicted from t-1, so the first of a row is none.
pub fn target_tokens(batch: &Batch) -> usize {
    batch.labels.chunks(batch.len.max(1)).flat_map(|row| &row[1..]).filter(|l| **l != -100).count()
}

/// Cross-entropy in fp32; token t is predicted at t-1. transformers `ForCausalLMLoss`: the labels are shifted, not the
/// logits, which would copy the largest tensor of the step.
///
/// # Shape
/// logits [b, t, v], labels [b, t] → [] (`Mean`, `Sum`) or [b·t] (`None`)
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, reduction: Reduction) -> Tensor {
    let (t, v) = (logits.size()[1], logits.size()[2]);
    let none = labels.narrow(1, 0, 1).full_like(-100);
    let targets = Tensor::cat(&[labels.narrow(1, 1, t - 1), none], 1); // [b, t]
    let logits = logits.to_kind(Kind::Float).view([-1, v]); // [b·t, v]
    logits.cross_entropy_loss(&targets.view([-1]), None::<&Tensor>, reduction, -100, 0.0)
}

fn shared_loss(logits: &Tensor, labels: &Tensor, share: Share) -> Tensor {
    match share {
        Share::MeanOver { micro_batches } => cross_entropy(logits, labels, Reduction::Mean) / micro_batches as f64,
        Share::SumOver { target_tokens } => cross_entropy(logits, labels, Reduction::Sum) / target_tokens as f64,
    }
}

/// Adds the gradients of one micro-batch. Returns its share of the update's loss, still on the device.
pub fn forward_backward(
    model: &Qwen2Vl,
    mb: &MicroBatch,
    share: Share,
    ctx: &Ctx,
    checkpointing: bool,
) -> Result<Tensor> {
    if checkpointing {
        return forward_backward_checkpointed(model, mb, share, ctx);
    }
    let logits = model.forward(&mb.tokens, mb.pictures.as_ref(), ctx)?;
    let loss = shared_loss(&logits, &mb.labels, share);
    loss.f_backward()?;
    Ok(loss.detach())
}

fn forward_backward_checkpointed(model: &Qwen2Vl, mb: &MicroBatch, share: Share, ctx: &Ctx) -> Result<Tensor> {
    // ---- vision tower: blocks under checkpoints, patch embedding and merger with their graph
    let tower = mb.pictures.as_ref().map(|p| {
        let layout = model.visual.layout(&p.grids);
        let embedded = model.visual.embed(&p.pixel_values); // [n, d]
        let block = move |i: usize, x: &Tensor| {
            ctx.enter("visual", i);
            model.visual.blocks[i].forward(x, &layout, ctx)
        };
        let (inputs, last) = run(&block, model.visual.blocks.len(), &embedded);
        // Nothing in the blocks is trained: no gradient is wanted below the merger.
        let trained = embedded.requires_grad() || model.visual.blocks.iter().any(|b| b.is_trained());
        let last = last.set_requires_grad(trained);
        (embedded, block, inputs, last)
    });
    let features = tower.as_ref().map(|(_, _, _, last)| model.visual.merge(last, ctx)); // [m, c]

    // ---- language model
    let embeds = model.merge(&mb.tokens.input_ids, features.as_ref())?; // [b, t, c]
    let rotary = model.model.rotary(&mb.tokens.position_ids);
    let mask = mb.tokens.attention_mask.as_ref().and_then(causal_mask);
    let layer = |i: usize, x: &Tensor| {
        ctx.enter("language", i);
        model.model.layers[i].forward(x, &rotary, mask.as_ref(), None, ctx)
    };
    let (inputs, last) = run(&layer, model.model.layers.len(), &embeds);
    let last = last.set_requires_grad(true);
    let loss = shared_loss(&model.logits(&model.model.norm(&last), ctx), &mb.labels, share);

    // ---- backward, last to first
    loss.f_backward()?;
    let grad = run_backward(&layer, &inputs, last.grad(), embeds.requires_grad())?;
    if let Some(grad) = grad {
        torch_shim::autograd::backward(&[&embeds], &[&grad], false)?;
    }
    if let Some((embedded, block, inputs, last)) = &tower
        && last.requires_grad()
        && last.grad().defined()
    {
        let grad = run_backward(block, inputs, last.grad(), embedded.requires_grad())?;
        if let Some(grad) = grad {
            torch_shim::autograd::backward(&[embedded], &[&grad], false)?;
        }
    }
    Ok(loss.detach())
}

/// Runs `count` blocks without a graph. Returns every block's input and the last output, all detached.
fn run(block: &impl Fn(usize, &Tensor) -> Tensor, count: usize, x: &Tensor) -> (Vec<Tensor>, Tensor) {
    let _no_grad = tch::no_grad_guard();
    let mut inputs = Vec::with_capacity(count);
    let mut x = x.detach();
    for i in 0..count {
        let y = block(i, &x);
        inputs.push(x);
        x = y;
    }
    (inputs, x)
}

/// Computes the blocks again, last to first, each with a graph of its own, and takes the gradient through it.
/// Returns the gradient of the first input if `input_grad`.
fn run_backward(
    block: &impl Fn(usize, &Tensor) -> Tensor,
    inputs: &[Tensor],
    grad: Tensor,
    input_grad: bool,
) -> Result<Option<Tensor>> {
    let mut grad = grad;
    for (i, input) in inputs.iter().enumerate().rev() {
        let x = input.detach().set_requires_grad(i > 0 || input_grad);
        let y = block(i, &x);
        if !y.requires_grad() {
            return Ok(None);
        }
        torch_shim::autograd::backward(&[&y], &[&grad], false)?;
        if !x.requires_grad() {
            return Ok(None);
        }
        grad = x.grad();
    }
    Ok(input_grad.then_some(grad))
}
