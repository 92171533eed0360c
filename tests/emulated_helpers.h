// What the tests of the emulated CUDA device share.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "engine/launch.h"

namespace ld::emulated_test {

using emulated::Order;
using emulated::ScheduleScope;

// A vector in device memory.
template <class T>
struct Device {
  explicit Device(size_t n) : size(n) { CUDA_CHECK(cudaMalloc(&data, n * sizeof(T))); }
  explicit Device(const std::vector<T>& values) : Device(values.size()) {
    CUDA_CHECK(
        cudaMemcpyAsync(data, values.data(), size * sizeof(T), cudaMemcpyHostToDevice, engine_stream()));
  }
  ~Device() { cudaFree(data); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  std::vector<T> host() const {
    std::vector<T> values(size);
    CUDA_CHECK(
        cudaMemcpyAsync(values.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost, engine_stream()));
    CUDA_CHECK(cudaStreamSynchronize(engine_stream()));
    return values;
  }
  size_t size;
  T* data = nullptr;
};

inline std::vector<float> ramp(size_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

/// The message of the ld::Error that f throws.
inline std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

inline bool contains(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != text.npos;
  if (!found) MESSAGE("'" << part << "' is not in: " << text);
  return found;
}

inline constexpr unsigned all_lanes = 0xFFFFFFFFu;

}  // namespace ld::emulated_test
