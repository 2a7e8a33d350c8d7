// The few calls of libtorch that tch does not expose. Plain C functions: tensors are the pointers
// that tch holds; a failure comes back as a message that the caller frees with textgen_free.

#include "guarded.h"
#include "of_cuda.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/version.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

std::vector<at::Tensor> list(at::Tensor** tensors, size_t count) {
  std::vector<at::Tensor> all;
  all.reserve(count);
  for (size_t i = 0; i < count; ++i) all.push_back(*tensors[i]);
  return all;
}

// All tensors cut into pieces of at most `size` elements, which share their memory.
std::vector<at::Tensor> pieces(const std::vector<at::Tensor>& tensors, int64_t size) {
  std::vector<at::Tensor> all;
  for (const auto& tensor : tensors) {
    for (auto& piece : tensor.view(-1).split(size)) all.push_back(std::move(piece));
  }
  return all;
}

// A place for an at::cuda::CUDAGraph, which is smaller.
struct Graph {
  alignas(std::max_align_t) char object[2048];
};

// Elements of the parameters that Adam cuts into pieces, and of a piece.
constexpr int64_t SMALL = 1 << 20, PIECE = 1 << 13;

using Pool = std::pair<unsigned long long, unsigned long long>;
constexpr int GLOBAL = 0;  // cudaStreamCaptureModeGlobal

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

// One step of Adam (AdamW if `decoupled`) on all parameters at once. `largest` holds the running maxima
// of AMSGrad, or is null. `step` is the number of this step, from 1, and `rate` the learning rate.
char* textgen_adam(at::Tensor** parameters, at::Tensor** gradients, at::Tensor** first, at::Tensor** second,
                   at::Tensor** largest, at::Tensor* step, size_t count, at::Tensor* rate, double beta1, double beta2,
                   double weight_decay, double epsilon, bool decoupled) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    auto p = list(parameters, count), g = list(gradients, count), m = list(first, count), v = list(second, count);
    auto x = largest == nullptr ? std::vector<at::Tensor>() : list(largest, count);
    int64_t total = 0;
    for (const auto& parameter : p) total += parameter.numel();
    // libtorch gives 65,536 elements to a multiprocessor, and so a small network to a few of them.
    if (p[0].is_cuda() && total < SMALL) {
      for (auto* all : {&p, &g, &m, &v, &x}) *all = pieces(*all, PIECE);
    }
    std::vector<at::Tensor> s(p.size(), *step);
    const at::Tensor& lr = *rate;
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

// Copies a CPU tensor to one on a CUDA device, through page-locked memory, so that nothing
// waits for pending work of the device. The allocator holds that memory until it has been read.
char* textgen_upload(at::Tensor* tensor, at::Tensor* to) {
  return guarded([&] {
    at::Tensor locked = at::empty(tensor->sizes(), tensor->options().pinned_memory(true));
    locked.copy_(*tensor);
    to->copy_(locked, /*non_blocking=*/true);
  });
}

// Copies a tensor of f32, on a CUDA device, to `to`, through page-locked memory: at the full rate of its connection.
char* textgen_download(at::Tensor* tensor, float* to) {
  return guarded([&] {
    at::Tensor locked = at::empty(tensor->sizes(), at::TensorOptions().dtype(at::kFloat).pinned_memory(true));
    locked.copy_(*tensor);
    std::memcpy(to, locked.const_data_ptr<float>(), locked.nbytes());
  });
}

// A stream of CUDA device `index` besides the one in use, by its number.
char* textgen_stream(int64_t index, int64_t* out) {
  return guarded([&] {
    c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
    *out = c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStreamFromGlobalPool(device, false).id();
  });
}

// Waits for the device; from then on the calling thread uses the stream `id`, and no longer `before`.
char* textgen_use_stream(int64_t index, int64_t id, int64_t* before) {
  return guarded([&] {
    c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
    cuda.synchronizeDevice(device.index());
    *before = cuda.exchangeStream(c10::Stream(c10::Stream::UNSAFE, device, id)).id();
  });
}

// Captures what the calling thread gives to its stream from now on, without running it, in memory of the
// graph `other`, if that is not null. textgen_graph_end must follow, whatever happens between.
char* textgen_graph_begin(Graph* other, Graph** out) {
  return guarded([&] {
    auto construct = of_cuda<void(void*, bool)>("_ZN2at4cuda9CUDAGraphC1Eb");
    auto destroy = of_cuda<void(void*)>("_ZN2at4cuda9CUDAGraphD1Ev");
    auto pool = of_cuda<Pool(void*)>("_ZN2at4cuda9CUDAGraph4poolEv");
    auto begin = of_cuda<void(void*, Pool, int)>(
        "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode");
    auto graph = std::make_unique<Graph>();
    construct(graph->object, false);
    try {
      begin(graph->object, other == nullptr ? Pool(0, 0) : pool(other->object), GLOBAL);
    } catch (...) {
      destroy(graph->object);
      throw;
    }
    *out = graph.release();
  });
}

// Ends a capture.
char* textgen_graph_end(Graph* graph) {
  return guarded([&] { of_cuda<void(void*)>("_ZN2at4cuda9CUDAGraph11capture_endEv")(graph->object); });
}

// Runs what was captured.
char* textgen_graph_replay(Graph* graph) {
  return guarded([&] { of_cuda<void(void*)>("_ZN2at4cuda9CUDAGraph6replayEv")(graph->object); });
}

void textgen_graph_free(Graph* graph) {
  of_cuda<void(void*)>("_ZN2at4cuda9CUDAGraphD1Ev")(graph->object);
  delete graph;
}

}  // extern "C"
