// The names of gloo that ProcessGroupGloo.hpp uses. libtorch's wheel has gloo's code, but not its headers.
// ProcessGroupGloo holds these types by pointer only, so that its layout does not depend on what is in them; a
// test compares its size with the one that it was checked against.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace transport {
class Device;
class UnboundBuffer;
}  // namespace transport

namespace rendezvous {
// A base class of which nothing here makes an object.
class Store {
 public:
  virtual ~Store();
  virtual void set(const std::string&, const std::vector<char>&) = 0;
  virtual std::vector<char> get(const std::string&) = 0;
  virtual void wait(const std::vector<std::string>&) = 0;
  virtual void wait(const std::vector<std::string>&, const std::chrono::milliseconds&);
};
}  // namespace rendezvous

}  // namespace gloo
