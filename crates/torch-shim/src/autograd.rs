//! Backward from given gradients, which tch's `run_backward` cannot do (it always starts from ones).
//!
//! This is all that gradient checkpointing by hand needs: run a segment without a graph, keep its inputs; in the
//! backward pass run it again with a graph and call [`backward`] with the gradient that arrives at its output.
use std::borrow::Borrow;
use std::ptr;

use tch::{TchError, Tensor};

use crate::ffi::{self, check, refs, same_length};

/// `torch.autograd.backward(outputs, grads)`: adds to `.grad` of all leaves. `grads[i]` has the shape of `outputs[i]`.
pub fn backward<T: Borrow<Tensor>, G: Borrow<Tensor>>(
    outputs: &[T],
    grads: &[G],
    keep_graph: bool,
) -> Result<(), TchError> {
    same_length("backward", &[outputs.len(), grads.len()])?;
    let (o, g) = (refs(outputs), refs(grads));
    // SAFETY: both lists have `o.len()` tensors, borrowed for the call.
    check(unsafe { ffi::shim_backward(o.as_ptr(), g.as_ptr(), o.len(), keep_graph.into()) })
}

/// `torch.autograd.grad(outputs, inputs, grads, allow_unused=True)`: the gradients of `inputs`, `None` for one that
/// `outputs` do not depend on. `.grad` is left alone.
pub fn grad<T: Borrow<Tensor>, G: Borrow<Tensor>, I: Borrow<Tensor>>(
    outputs: &[T],
    grads: &[G],
    inputs: &[I],
    keep_graph: bool,
) -> Result<Vec<Option<Tensor>>, TchError> {
    same_length("grad", &[outputs.len(), grads.len()])?;
    let (o, g, i) = (refs(outputs), refs(grads), refs(inputs));
    let mut out = vec![ptr::null_mut(); i.len()];
    // SAFETY: lists of the lengths given, borrowed for the call; `out` has a place for each input.
    check(unsafe {
        ffi::shim_grad(o.as_ptr(), g.as_ptr(), o.len(), i.as_ptr(), i.len(), keep_graph.into(), out.as_mut_ptr())
    })?;
    // SAFETY: non-null ones are new tensors that are ours.
    Ok(out.into_iter().map(|t| (!t.is_null()).then(|| unsafe { Tensor::from_ptr(t) })).collect())
}

/// Sets `.grad`; `None` removes it (`zero_grad(set_to_none=True)`, where tch's `zero_grad` keeps a tensor of zeros).
pub fn set_grad(tensor: &Tensor, grad: Option<&Tensor>) -> Result<(), TchError> {
    // SAFETY: borrowed for the call; the C side takes its own reference.
    check(unsafe { ffi::shim_set_grad(tensor.as_ptr(), grad.map_or(ptr::null(), |g| g.as_ptr())) })
}
