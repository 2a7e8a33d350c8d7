// How a failure of libtorch reaches Rust: as a message that the caller frees with textgen_free.
#pragma once

#include <cstring>
#include <exception>

template <typename Body>
char* guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  }
}
