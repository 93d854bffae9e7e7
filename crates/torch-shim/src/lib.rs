//! What [tch] lacks: a few calls into libtorch 2.11, as flat C functions with safe Rust around them.
//!
//! A crate of its own so that edits to the engine never recompile C++. Every function returns tch's own error, the
//! text cut before libtorch's C++ backtrace. Read `cpp/shim.cpp` next; it is short.
//!
//! - [`cuda`]: open the CUDA half of libtorch, memory statistics, synchronisation;
//! - [`autograd`]: backward from given gradients (checkpointing by hand);
//! - [`optim`]: AdamW and gradient clipping for many tensors at once, without a wait for the device;
//! - here: the switches for numerical precision and determinism.
pub mod autograd;
pub mod cuda;
mod ffi;
pub mod optim;

use ffi::check;
use tch::TchError;

/// Whether fp32 matrix products and convolutions may round their inputs to TF32 on CUDA (PyTorch's default: products
/// no, convolutions yes). `torch.backends.cuda.matmul.allow_tf32` and `torch.backends.cudnn.allow_tf32` together.
pub fn set_tf32(allow: bool) -> Result<(), TchError> {
    check(ffi::shim_set_tf32(allow.into()))
}

/// Whether bf16 matrix products on CUDA may add partial sums in bf16 (PyTorch's default: yes).
/// `torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction`.
pub fn set_bf16_reduction(allow: bool) -> Result<(), TchError> {
    check(ffi::shim_set_bf16_reduction(allow.into()))
}

/// What [`set_tf32`] has set.
pub fn tf32() -> bool {
    ffi::shim_tf32() == 1
}

/// What [`set_bf16_reduction`] has set.
pub fn bf16_reduction() -> bool {
    ffi::shim_bf16_reduction() == 1
}

/// `torch.use_deterministic_algorithms(on)`: operations without a deterministic kernel become errors.
/// With `on` it also sets `CUBLAS_WORKSPACE_CONFIG=:4096:8` unless it has a value.
///
/// # Safety
/// It may change the environment of the process: call it before other threads are started, and before CUDA is used
/// (cuBLAS reads the variable once).
pub unsafe fn set_deterministic(on: bool) -> Result<(), TchError> {
    // SAFETY: the caller's promise.
    check(unsafe { ffi::shim_set_deterministic(on.into()) })
}

/// A libtorch error message without the C++ backtrace that `what()` appends. For errors that come from tch itself;
/// those of this crate are cut already.
pub fn without_backtrace(text: &str) -> &str {
    let text = text.split("\nException raised from").next().unwrap_or(text);
    text.trim_end()
}
