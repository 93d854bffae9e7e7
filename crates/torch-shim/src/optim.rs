//! AdamW and gradient clipping over many tensors in a few launches, without a wait for the device
//! (tch's own optimizers loop over the parameters, and its `clip_grad_norm` reads the norm to the host).
use std::borrow::Borrow;
use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{self, check, refs, same_length};

/// The numbers of `torch.optim.AdamW`; the defaults are those of PyTorch and of the HF Trainer, but for `weight_decay`,
/// which is the Trainer's 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Decoupled: parameters shrink by `lr * weight_decay` before the update.
    pub weight_decay: f64,
    /// `adamw_torch_fused`: one kernel, other roundings than `adamw_torch` (within 1e-7 of it after a step).
    pub fused: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, fused: false }
    }
}

/// The tensors of one parameter group, entry by entry of equal shape and on one device. All are changed in place but
/// `grads`.
#[derive(Debug)]
pub struct Group<'a, T> {
    pub params: &'a [T],
    pub grads: &'a [T],
    /// First moments, fp32 zeros before step 1.
    pub exp_avgs: &'a [T],
    /// Second moments, likewise.
    pub exp_avg_sqs: &'a [T],
}

impl AdamW {
    /// Optimizer step number `step`, counted from 1.
    pub fn step<T: Borrow<Tensor>>(&self, group: &Group<T>, step: u64) -> Result<(), TchError> {
        let (p, g, m, v) = (refs(group.params), refs(group.grads), refs(group.exp_avgs), refs(group.exp_avg_sqs));
        same_length("AdamW", &[p.len(), g.len(), m.len(), v.len()])?;
        let step = i64::try_from(step).ok().filter(|t| *t >= 1);
        let step = step.ok_or_else(|| TchError::Torch("AdamW: steps are counted from 1".into()))?;
        // SAFETY: four lists of `p.len()` tensors, borrowed for the call.
        check(unsafe {
            ffi::shim_adamw(
                p.as_ptr(),
                g.as_ptr(),
                m.as_ptr(),
                v.as_ptr(),
                p.len(),
                step,
                self.lr,
                self.beta1,
                self.beta2,
                self.eps,
                self.weight_decay,
                self.fused.into(),
            )
        })
    }
}

/// `torch.nn.utils.clip_grad_norm_`: scales `grads` in place so that their common 2-norm is at most `max_norm`.
/// Returns the norm before, a scalar on their device (reading it is a wait for the device).
pub fn clip_grad_norm<T: Borrow<Tensor>>(grads: &[T], max_norm: f64) -> Result<Tensor, TchError> {
    let g = refs(grads);
    let mut norm = ptr::null_mut();
    // SAFETY: `g.len()` tensors, borrowed for the call; `norm` is a new tensor when the call succeeds.
    check(unsafe { ffi::shim_clip_grad_norm(g.as_ptr(), g.len(), max_norm, &mut norm) })?;
    Ok(unsafe { Tensor::from_ptr(norm) })
}
