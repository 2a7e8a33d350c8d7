// Collective operations of GPUs by NVIDIA's NCCL, which libtorch's CUDA part needs, so that it is loaded with it. Its
// functions are found by name, since a build needs nothing of CUDA; types and numbers are those of nccl.h. A failure comes
// back as a message that the caller frees with textgen_free.

#include "guarded.h"
#include "of_cuda.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

using Comm = void*;
using Stream = void*;  // cudaStream_t

// ncclUniqueId
struct Id {
  char bytes[128];
};

// ncclConfig_t of the first version that has it; later ones take it as it is and use their defaults for the rest.
struct Config {
  size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;
};

enum Result : int { SUCCESS = 0, IN_PROGRESS = 7 };  // ncclResult_t
constexpr int FLOAT32 = 7;                           // ncclFloat32

void check(int result) {
  if (result == SUCCESS || result == IN_PROGRESS) return;
  throw std::runtime_error(of_cuda<const char*(int)>("ncclGetErrorString")(result));
}

// A communicator that never blocks, so that whoever waits for a process that has gone notices it.
struct Group {
  Comm comm = nullptr;
  int rank, size;
  c10::Device device;
  std::chrono::milliseconds timeout;

  ~Group() { abort(); }

  // Ends what the device does for this group, too.
  void abort() {
    if (comm != nullptr) of_cuda<int(Comm)>("ncclCommAbort")(comm);
    comm = nullptr;
  }

  // Calls `give`, which gives work to the group, and waits until it is done; `on_device` if it is the device's.
  template <typename Give>
  void run(bool on_device, Give give) {
    TORCH_CHECK(comm != nullptr || !on_device, "a group that has failed");
    try {
      give();
      wait(on_device);
    } catch (...) {
      abort();
      throw;
    }
  }

  void wait(bool on_device) {
    static auto state_of = of_cuda<int(Comm, int*)>("ncclCommGetAsyncError");
    c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    const auto until = std::chrono::steady_clock::now() + timeout;
    for (;;) {
      int state = SUCCESS;
      check(state_of(comm, &state));
      check(state);
      if (state == SUCCESS && (!on_device || cuda.queryStream(cuda.getStream(device)))) return;
      if (std::chrono::steady_clock::now() > until) throw std::runtime_error("Timed out");
      std::this_thread::yield();
    }
  }

  // The device's stream in use, which must be the default one: NCCL has no other name for it.
  Stream stream() const {
    const auto own = c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStream(device);
    TORCH_CHECK(own.id() == 0, "the default stream is not in use");
    return nullptr;
  }
};

// The memory of a tensor of f32 on the group's device.
float* floats(const Group& group, const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous() && tensor.device() == group.device, "not a tensor of ", group.device);
  return tensor.data_ptr<float>();
}

}  // namespace

extern "C" {

// Whether there is an NCCL that can do all that is called here.
bool textgen_nccl_is_there() {
  for (const char* name :
       {"ncclGetUniqueId", "ncclCommInitRankConfig", "ncclCommGetAsyncError", "ncclCommAbort", "ncclGetErrorString",
        "ncclGroupStart", "ncclGroupEnd", "ncclSend", "ncclRecv", "ncclAllGather"}) {
    if (find_of_cuda(name) == nullptr) return false;
  }
  return true;
}

// The bytes by which the processes of a new group find each other.
char* textgen_nccl_id(Id* out) {
  return guarded([&] { check(of_cuda<int(Id*)>("ncclGetUniqueId")(out)); });
}

// Joins a group; all its processes must call this.
char* textgen_nccl_join(const Id* id, int rank, int size, int64_t device, int64_t timeout_ms, Group** out) {
  return guarded([&] {
    const c10::Device own(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device));
    // NCCL takes the device that is the thread's.
    c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).setDevice(own);
    auto group = std::unique_ptr<Group>(new Group{nullptr, rank, size, own, std::chrono::milliseconds(timeout_ms)});
    auto join = of_cuda<int(Comm*, int, Id, int, Config*)>("ncclCommInitRankConfig");
    Config config;
    group->run(false, [&] { check(join(&group->comm, size, *id, rank, &config)); });
    *out = group.release();
  });
}

void textgen_nccl_leave(Group* group) { delete group; }

// Sends the r-th of the equal pieces of `send` to rank r; `receive` gets those that were sent to this rank.
char* textgen_nccl_all_to_all(Group* group, at::Tensor* send, at::Tensor* receive) {
  return guarded([&] {
    static auto begin = of_cuda<int()>("ncclGroupStart"), end = of_cuda<int()>("ncclGroupEnd");
    static auto to = of_cuda<int(const void*, size_t, int, int, Comm, Stream)>("ncclSend");
    static auto from = of_cuda<int(void*, size_t, int, int, Comm, Stream)>("ncclRecv");
    float *sent = floats(*group, *send), *received = floats(*group, *receive);
    TORCH_CHECK(send->numel() == receive->numel() && send->numel() % group->size == 0, "pieces of different sizes");
    const size_t piece = send->numel() / group->size;
    group->run(true, [&] {
      check(begin());
      for (int rank = 0; rank < group->size; ++rank) {
        check(to(sent + rank * piece, piece, FLOAT32, rank, group->comm, group->stream()));
        check(from(received + rank * piece, piece, FLOAT32, rank, group->comm, group->stream()));
      }
      check(end());
    });
  });
}

// `receive` gets `own` of every rank.
char* textgen_nccl_all_gather(Group* group, at::Tensor* own, at::Tensor* receive) {
  return guarded([&] {
    static auto gather = of_cuda<int(const void*, void*, size_t, int, Comm, Stream)>("ncclAllGather");
    float *from = floats(*group, *own), *into = floats(*group, *receive);
    TORCH_CHECK(receive->numel() == own->numel() * group->size, "not as many numbers as all have");
    const size_t count = own->numel();
    group->run(true, [&] { check(gather(from, into, count, FLOAT32, group->comm, group->stream())); });
  });
}

}  // extern "C"
