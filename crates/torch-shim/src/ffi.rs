//! `cpp/shim.h`, line by line, and the one place where its return codes become `Result`s.
use std::borrow::Borrow;
use std::ffi::{CStr, c_char, c_int};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

/// A borrowed tensor, `const at::Tensor*`.
pub type Ref = *const C_tensor;

unsafe extern "C" {
    fn shim_error() -> *const c_char;

    pub safe fn shim_load_cuda() -> c_int;

    pub fn shim_memory_stats(device: c_int, stats: *mut i64) -> c_int;
    pub safe fn shim_reset_peak_memory(device: c_int) -> c_int;
    pub safe fn shim_empty_cache() -> c_int;
    pub safe fn shim_synchronize(device: c_int) -> c_int;

    pub safe fn shim_tf32() -> c_int;
    pub safe fn shim_bf16_reduction() -> c_int;
    pub safe fn shim_set_tf32(allow: c_int) -> c_int;
    pub safe fn shim_set_bf16_reduction(allow: c_int) -> c_int;
    pub fn shim_set_deterministic(on: c_int) -> c_int;

    pub fn shim_backward(outputs: *const Ref, grads: *const Ref, n: usize, keep_graph: c_int) -> c_int;
    pub fn shim_grad(
        outputs: *const Ref,
        grads: *const Ref,
        n: usize,
        inputs: *const Ref,
        n_inputs: usize,
        keep_graph: c_int,
        out: *mut *mut C_tensor,
    ) -> c_int;
    pub fn shim_set_grad(tensor: Ref, grad_or_null: Ref) -> c_int;

    pub fn shim_clip_grad_norm(grads: *const Ref, n: usize, max_norm: f64, norm: *mut *mut C_tensor) -> c_int;
    pub fn shim_adamw(
        params: *const Ref,
        grads: *const Ref,
        exp_avgs: *const Ref,
        exp_avg_sqs: *const Ref,
        n: usize,
        step: i64,
        lr: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        fused: c_int,
    ) -> c_int;
}

/// 0 is success; anything else an error whose text the shim has kept for this thread.
pub fn check(code: c_int) -> Result<(), TchError> {
    if code == 0 { Ok(()) } else { Err(TchError::Torch(error_text())) }
}

/// The reason of this thread's last failure, without libtorch's C++ backtrace.
pub fn error_text() -> String {
    // SAFETY: a NUL-terminated string of this thread that stays until its next call.
    let text = unsafe { CStr::from_ptr(shim_error()) }.to_string_lossy();
    crate::without_backtrace(&text).to_owned()
}

/// Pointers to tensors that outlive the call because the caller holds `tensors`.
pub fn refs<T: Borrow<Tensor>>(tensors: &[T]) -> Vec<Ref> {
    tensors.iter().map(|t| t.borrow().as_ptr()).collect()
}

/// An error unless all lists are as long as the first: the C side walks them with one count.
pub fn same_length(what: &str, lengths: &[usize]) -> Result<(), TchError> {
    if lengths.iter().all(|n| *n == lengths[0]) {
        Ok(())
    } else {
        Err(TchError::Shape(format!("{what}: lists of different lengths {lengths:?}")))
    }
}
