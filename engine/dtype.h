// Element types. Kernels are templates over float, double and bfloat16 and sum in acc_t<T>, so the code that
// gradcheck proves in float64 is the code that trains. What that means for bfloat16: every tensor that passes
// between ops (inputs, outputs, gradients, what is saved of them) is stored in bfloat16, every number in
// between is a float, and a single number that measures a whole tensor (a sum, a mean, a loss, a penalty) is
// a float32 tensor, because the next thing done with it is adding it to others like it.
#pragma once

#include <bit>
#include <cstdint>

#include "engine/device.h"
#include "engine/error.h"

namespace ld {

enum class DType : uint8_t { float32, float64, bfloat16, int32, uint16 };

/// The upper half of a float32: same range, 8 significant bits.
struct bfloat16 {
  uint16_t bits = 0;

  bfloat16() = default;
  /// Rounds to nearest, ties to even; NaN stays NaN.
  HOST_AND_KERNEL explicit bfloat16(float value) {
    uint32_t u = std::bit_cast<uint32_t>(value);
    bits = value != value ? static_cast<uint16_t>((u >> 16) | 0x40)
                          : static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
  }
  HOST_AND_KERNEL operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

/// The type a kernel computes and sums in.
template <class T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};
template <class T>
using acc_t = typename Accumulate<T>::type;

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::float32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::float64;
}
template <>
constexpr DType dtype_of<bfloat16>() {
  return DType::bfloat16;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::int32;
}
template <>
constexpr DType dtype_of<uint16_t>() {
  return DType::uint16;
}

constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return 8;
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::bfloat16:
    case DType::uint16:
      return 2;
  }
  return 0;
}

const char* name_of(DType dtype);

inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name_of(dtype); }

/// Calls f with a value of the C++ type behind a floating dtype: dispatch_float("gelu", x.dtype(),
/// [&](auto t) { gelu_forward<decltype(t)>(…); }). Throws for integer types.
template <class F>
void dispatch_float(const char* op, DType dtype, F f) {
  switch (dtype) {
    case DType::float32:
      return f(float{});
    case DType::float64:
      return f(double{});
    case DType::bfloat16:
      return f(bfloat16{});
    default:
      fail(op, ": dtype ", dtype, " is not supported, expected bfloat16, float32 or float64");
  }
}

}  // namespace ld
