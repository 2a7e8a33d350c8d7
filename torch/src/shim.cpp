// The few calls of libtorch that tch does not expose. Plain C functions: tensors are the pointers
// that tch holds; a failure comes back as a message that the caller frees with textgen_free.

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/GradMode.h>
#include <torch/version.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

std::vector<at::Tensor> list(at::Tensor** tensors, size_t count) {
  std::vector<at::Tensor> all;
  all.reserve(count);
  for (size_t i = 0; i < count; ++i) all.push_back(*tensors[i]);
  return all;
}

// A failure of libtorch as a message.
template <typename Body>
char* guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  }
}

}  // namespace

extern "C" {

void textgen_free(char* text) { std::free(text); }

// The version of the headers that this program was compiled against.
const char* textgen_compiled_version() { return TORCH_VERSION; }

// The build settings of the libtorch that is loaded, TORCH_VERSION among them.
char* textgen_loaded_config() {
  try {
    return strdup(at::show_config().c_str());
  } catch (const std::exception& error) {
    return strdup(error.what());
  }
}

// One step of Adam (AdamW if `decoupled`) on all parameters at once. `largest` holds the
// running maxima of AMSGrad, or is null. `steps` are one-element tensors that count the steps.
char* textgen_adam(at::Tensor** parameters, at::Tensor** gradients, at::Tensor** first, at::Tensor** second,
                   at::Tensor** largest, at::Tensor** steps, size_t count, double lr, double beta1, double beta2,
                   double weight_decay, double epsilon, bool decoupled) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    auto p = list(parameters, count), g = list(gradients, count), m = list(first, count), v = list(second, count);
    auto s = list(steps, count);
    auto x = largest == nullptr ? std::vector<at::Tensor>() : list(largest, count);
    at::_foreach_add_(s, 1);
    if (decoupled) {
      at::_fused_adamw_(p, g, m, v, x, s, lr, beta1, beta2, weight_decay, epsilon, largest != nullptr, false);
    } else {
      at::_fused_adam_(p, g, m, v, x, s, lr, beta1, beta2, weight_decay, epsilon, largest != nullptr, false);
    }
  });
}

// Scales all gradients down so that their common norm is at most `limit`, without a read-back.
char* textgen_clip(at::Tensor** gradients, size_t count, double limit) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    auto g = list(gradients, count);
    auto norm = at::stack(at::_foreach_norm(g)).norm();
    auto factor = (limit / (norm + 1e-6)).clamp_max(1.0);
    at::_foreach_mul_(g, factor);
  });
}

// Whether CUDA may compute products of f32 matrices in TF32. libtorch's own default: cuDNN may, cuBLAS
// not. Its newer settings, one for each operator, must not be mixed with these two: reading would fail.
char* textgen_allow_tf32(bool allowed) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(allowed);
    at::globalContext().setAllowTF32CuDNN(allowed);
  });
}

// A copy of a CPU tensor on CUDA device `index`, through page-locked memory, so that nothing
// waits for pending work of the device. The allocator holds that memory until it has been read.
char* textgen_upload(at::Tensor* tensor, int64_t index, at::Tensor** out) {
  return guarded([&] {
    at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    at::Tensor locked = at::empty(tensor->sizes(), tensor->options().pinned_memory(true));
    locked.copy_(*tensor);
    *out = new at::Tensor(locked.to(device, /*non_blocking=*/true));
  });
}

}  // extern "C"
