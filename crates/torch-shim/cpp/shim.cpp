// Calls into libtorch that tch 0.24 has no door to. ATen and autograd headers only: it links libtorch_cpu and libc10,
// so one binary serves machines with and without a GPU, and no CUDA header is needed to build it.
#include "shim.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

namespace {

thread_local std::string last_error;

// Runs `body` and turns whatever it throws into -1 and a text.
template <class F>
int guarded(F&& body) {
  try {
    body();
    return 0;
  } catch (const c10::Error& e) {
    last_error = e.what_without_backtrace();
  } catch (const std::exception& e) {
    last_error = e.what();
  } catch (...) {
    last_error = "a C++ exception that says nothing";
  }
  return -1;
}

std::vector<at::Tensor> list(const at::Tensor* const* tensors, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; i++) out.push_back(*tensors[i]);
  return out;
}

c10::DeviceAllocator* cuda_allocator() {
  // Without libtorch_cuda the allocator is absent, and getDeviceAllocator's own message is about a failed cast.
  TORCH_CHECK(at::globalContext().hasCUDA(), "no CUDA device: the CUDA half of libtorch is not loaded, or finds no GPU");
  return at::getDeviceAllocator(at::kCUDA);
}

}  // namespace

const char* shim_error() { return last_error.c_str(); }

int shim_load_cuda() {
  // libtorch_cpu.so is found by the address of one of its functions; calling that function (or any hook) before the
  // library is open would pin "no CUDA" for the rest of the process (at::detail::getCUDAHooks is memoised).
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&at::globalContext), &info) == 0 || info.dli_fname == nullptr) {
    last_error = "libtorch_cpu.so is not among the loaded libraries";
    return -1;
  }
  std::string path = info.dli_fname;
  path = path.substr(0, path.find_last_of('/') + 1) + "libtorch_cuda.so";
  if (access(path.c_str(), F_OK) != 0) {
    last_error = path + " is not there: this libtorch is for the CPU only";
    return 1;
  }
  // RTLD_GLOBAL as Python's loader does it: its linear-algebra half is opened later and looks for its symbols here.
  // cuBLAS, cuDNN and NCCL are found through the library's own RPATH.
  if (dlopen(path.c_str(), RTLD_LAZY | RTLD_GLOBAL) == nullptr) {
    last_error = dlerror();
    return -1;
  }
  return 0;
}

int shim_memory_stats(int device, int64_t stats[8]) {
  return guarded([&] {
    auto* allocator = cuda_allocator();
    const auto s = allocator->getDeviceStats(static_cast<c10::DeviceIndex>(device));
    const auto [free, total] = allocator->getMemoryInfo(static_cast<c10::DeviceIndex>(device));
    // Index 0 is the sum over the allocator's small and large pools.
    stats[0] = s.allocated_bytes[0].current;
    stats[1] = s.allocated_bytes[0].peak;
    stats[2] = s.reserved_bytes[0].current;
    stats[3] = s.reserved_bytes[0].peak;
    stats[4] = static_cast<int64_t>(free);
    stats[5] = static_cast<int64_t>(total);
    stats[6] = s.num_alloc_retries;
    stats[7] = s.num_ooms;
  });
}

int shim_reset_peak_memory(int device) {
  return guarded([&] { cuda_allocator()->resetPeakStats(static_cast<c10::DeviceIndex>(device)); });
}

int shim_empty_cache() {
  return guarded([&] { cuda_allocator()->emptyCache(); });
}

int shim_synchronize(int device) {
  return guarded([&] {
    cuda_allocator();
    c10::impl::VirtualGuardImpl(at::kCUDA).synchronizeDevice(static_cast<c10::DeviceIndex>(device));
  });
}

int shim_tf32() { return at::globalContext().allowTF32CuBLAS() && at::globalContext().allowTF32CuDNN(); }

int shim_bf16_reduction() {
  return at::globalContext().allowBF16ReductionCuBLAS() == at::CuBLASReductionOption::AllowReducedPrecisionWithSplitK;
}

int shim_set_tf32(int allow) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(allow != 0);
    at::globalContext().setAllowTF32CuDNN(allow != 0);
  });
}

int shim_set_bf16_reduction(int allow) {
  return guarded([&] { at::globalContext().setAllowBF16ReductionCuBLAS(allow != 0); });
}

int shim_set_deterministic(int on) {
  return guarded([&] {
    // cuBLAS reads it when its first handle is made; a value that the user has set stays.
    if (on != 0) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
    context.setDeterministicCuDNN(on != 0);
    // Filling every fresh tensor with NaN is a debugging aid and costs a pass over the memory.
    context.setDeterministicFillUninitializedMemory(false);
  });
}

int shim_backward(const at::Tensor* const* outputs, const at::Tensor* const* grads, size_t n, int keep_graph) {
  return guarded([&] {
    torch::autograd::backward(list(outputs, n), list(grads, n), keep_graph != 0, /*create_graph=*/false);
  });
}

int shim_grad(const at::Tensor* const* outputs, const at::Tensor* const* grads, size_t n,
              const at::Tensor* const* inputs, size_t n_inputs, int keep_graph, at::Tensor** out) {
  return guarded([&] {
    const auto result = torch::autograd::grad(list(outputs, n), list(inputs, n_inputs), list(grads, n),
                                              keep_graph != 0, /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < n_inputs; i++) out[i] = result[i].defined() ? new at::Tensor(result[i]) : nullptr;
  });
}

int shim_set_grad(const at::Tensor* tensor, const at::Tensor* grad_or_null) {
  return guarded([&] { tensor->mutable_grad() = grad_or_null ? *grad_or_null : at::Tensor(); });
}

// torch.nn.utils.clip_grad_norm_, operation by operation (torch/nn/utils/clip_grad.py of 2.11).
int shim_clip_grad_norm(const at::Tensor* const* grads, size_t n, double max_norm, at::Tensor** norm) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto g = list(grads, n);
    const auto total = at::linalg_vector_norm(at::stack(at::_foreach_norm(g, 2)), 2);
    // Python's `max_norm / tensor` is reciprocal times number, which rounds differently from a division.
    const auto coefficient = at::clamp_max(at::reciprocal(total + 1e-6) * max_norm, 1.0);
    // Multiplied even when it is 1: asking whether it is would make the host wait for the device.
    at::_foreach_mul_(g, coefficient);
    *norm = new at::Tensor(total);
  });
}

// torch.optim.AdamW of 2.11: `fused` is _fused_adam, else _multi_tensor_adam (on the CPU the same bits as
// _single_tensor_adam, for there each _foreach operation is a loop over the tensors).
int shim_adamw(const at::Tensor* const* params, const at::Tensor* const* grads, const at::Tensor* const* exp_avgs,
               const at::Tensor* const* exp_avg_sqs, size_t n, int64_t step, double lr, double beta1, double beta2,
               double eps, double weight_decay, int fused) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto p = list(params, n), g = list(grads, n), m = list(exp_avgs, n), v = list(exp_avg_sqs, n);
    if (n == 0) return;
    if (fused != 0) {
      // The kernel only reads the steps, so all parameters share one scalar on their device.
      const auto t = at::full({}, static_cast<double>(step), p[0].options().dtype(at::kFloat).requires_grad(false));
      at::_fused_adamw_(p, g, m, v, /*max_exp_avg_sqs=*/{}, std::vector<at::Tensor>(n, t), lr, beta1, beta2,
                        weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
      return;
    }
    const double correction1 = 1 - std::pow(beta1, static_cast<double>(step));
    const double correction2 = 1 - std::pow(beta2, static_cast<double>(step));
    if (weight_decay != 0) at::_foreach_mul_(p, at::Scalar(1 - lr * weight_decay));
    at::_foreach_lerp_(m, g, at::Scalar(1 - beta1));
    at::_foreach_mul_(v, at::Scalar(beta2));
    at::_foreach_addcmul_(v, g, g, at::Scalar(1 - beta2));
    auto denominator = at::_foreach_sqrt(v);
    at::_foreach_div_(denominator, at::Scalar(std::pow(correction2, 0.5)));
    at::_foreach_add_(denominator, at::Scalar(eps));
    at::_foreach_addcdiv_(p, m, denominator, at::Scalar(-(lr / correction1)));
  });
}
