#pragma once

#include <c10/util/Exception.h>
#include <dlfcn.h>

// A function of libtorch's CUDA part or of a library that it needs, which is loaded at run time, without headers; null
// if there is none.
inline void* find_of_cuda(const char* name) {
  static void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : dlsym(library, name);
}

template <typename Function>
Function* of_cuda(const char* name) {
  void* found = find_of_cuda(name);
  TORCH_CHECK(found != nullptr, "libtorch has no ", name);
  return reinterpret_cast<Function*>(found);
}
