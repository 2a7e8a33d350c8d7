#pragma once

#include <cstring>
#include <exception>

// A failure of libtorch as a message, which the caller frees with textgen_free; null if there is none.
template <typename Body>
char* guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  }
}
