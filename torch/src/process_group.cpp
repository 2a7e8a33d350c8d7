// Processes that train together, by libtorch's Gloo. They meet through a store of libtorch: a file where all are on
// one host, TCP where they are not. A failure comes back as a message that the caller frees with textgen_free.

#include "guarded.h"

#include <ATen/ATen.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Milliseconds = std::chrono::milliseconds;

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
};

at::Tensor view(void* data, int64_t count, at::ScalarType type) { return at::from_blob(data, {count}, type); }

std::string key(int rank) { return "textgen/rank/" + std::to_string(rank); }

// Which ranks have not come, as a message.
std::string missing(c10d::Store& store, int size) {
  std::string ranks;
  int count = 0;
  for (int rank = 0; rank < size; ++rank) {
    if (store.check({key(rank)})) continue;
    ranks += (count++ == 0 ? "" : ", ") + std::to_string(rank);
  }
  return count == 0 ? "" : std::string(count == 1 ? "process " : "processes ") + ranks + " did not come";
}

}  // namespace

extern "C" {

size_t textgen_size_of_group() { return sizeof(c10d::ProcessGroupGloo); }

// Joins a group. `file` is where its processes meet, if they are on one host, or null; else rank 0 listens on
// `host`:`port`. `own` is the address at which the others reach this process.
char* textgen_join(const char* file, const char* host, uint16_t port, const char* own, int rank, int size,
                   int64_t timeout_ms, void** out) {
  return guarded([&] {
    // What goes wrong is in the message; libtorch would print it, too, with a trace of its calls.
    FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    const Milliseconds timeout(timeout_ms);
    c10::intrusive_ptr<c10d::Store> store;
    if (file != nullptr) {
      store = c10::make_intrusive<c10d::FileStore>(file, size);
      store->setTimeout(timeout);
    } else {
      c10d::TCPStoreOptions meeting;
      meeting.port = port;
      meeting.isServer = rank == 0;
      meeting.numWorkers = size;
      meeting.waitWorkers = false;
      meeting.timeout = timeout;
      store = c10::make_intrusive<c10d::TCPStore>(host, meeting);
    }
    store->set(key(rank), std::string("here"));
    try {
      std::vector<std::string> keys;
      for (int other = 0; other < size; ++other) keys.push_back(key(other));
      store->wait(keys, timeout);
    } catch (const std::exception&) {
      const std::string message = missing(*store, size);
      if (message.empty()) throw;
      throw std::runtime_error(message);
    }
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices = {c10d::ProcessGroupGloo::createDeviceForHostname(own)};
    auto prefixed = c10::make_intrusive<c10d::PrefixStore>("textgen/gloo", store);
    auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(prefixed, rank, size, options);
    *out = new Group{store, gloo};
  });
}

void textgen_leave(void* group) { delete static_cast<Group*>(group); }

// Sends the r-th of the equal pieces of `send` to rank r; `receive` gets those that were sent to this rank.
char* textgen_all_to_all(void* group, float* send, float* receive, int64_t count) {
  return guarded([&] {
    auto from = view(send, count, at::kFloat), into = view(receive, count, at::kFloat);
    std::vector<int64_t> equal;
    static_cast<Group*>(group)->gloo->alltoall_base(into, from, equal, equal)->wait();
  });
}

// `receive` gets the `count` bytes `own` of every rank.
char* textgen_all_gather(void* group, uint8_t* own, uint8_t* receive, int64_t count) {
  return guarded([&] {
    auto& gloo = static_cast<Group*>(group)->gloo;
    auto from = view(own, count, at::kByte), into = view(receive, count * gloo->getSize(), at::kByte);
    gloo->_allgather_base(into, from)->wait();
  });
}

// Overwrites `bytes` with those of rank 0.
char* textgen_broadcast(void* group, uint8_t* bytes, int64_t count) {
  return guarded([&] {
    std::vector<at::Tensor> all = {view(bytes, count, at::kByte)};
    static_cast<Group*>(group)->gloo->broadcast(all)->wait();
  });
}

}  // extern "C"
