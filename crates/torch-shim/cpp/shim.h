// The C face of the shim; src/ffi.rs mirrors it line by line.
//
// Every `int` function returns 0, or -1 and leaves the reason for shim_error() of the same thread. No C++ exception
// crosses into Rust. Tensors are borrowed; those in `out` are new and owned by the caller.
#pragma once
#include <cstddef>
#include <cstdint>

namespace at {
class Tensor;
}

extern "C" {
const char* shim_error();

// Opens libtorch_cuda.so beside the libtorch_cpu.so of this process. 1: there is none (a CPU-only libtorch).
int shim_load_cuda();

// bytes: allocated, its peak, reserved, its peak, free, total; then counts: allocator retries, out-of-memory errors.
int shim_memory_stats(int device, int64_t stats[8]);
int shim_reset_peak_memory(int device);
int shim_empty_cache();
int shim_synchronize(int device);

// The two that ask answer 0 or 1.
int shim_tf32();
int shim_bf16_reduction();
int shim_set_tf32(int allow);
int shim_set_bf16_reduction(int allow);
int shim_set_deterministic(int on);

int shim_backward(const at::Tensor* const* outputs, const at::Tensor* const* grads, size_t n, int keep_graph);
int shim_grad(const at::Tensor* const* outputs, const at::Tensor* const* grads, size_t n,
              const at::Tensor* const* inputs, size_t n_inputs, int keep_graph, at::Tensor** out);
int shim_set_grad(const at::Tensor* tensor, const at::Tensor* grad_or_null);

int shim_clip_grad_norm(const at::Tensor* const* grads, size_t n, double max_norm, at::Tensor** norm);
int shim_adamw(const at::Tensor* const* params, const at::Tensor* const* grads, const at::Tensor* const* exp_avgs,
               const at::Tensor* const* exp_avg_sqs, size_t n, int64_t step, double lr, double beta1, double beta2,
               double eps, double weight_decay, int fused);
}
