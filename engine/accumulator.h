// Memory that several producers add into. The first contribution is stored, later ones are added, so no pass
// over memory is spent on zeros. This is how gradients are written: a backward kernel calls dx.add(i, value)
// exactly once for every i, and a null accumulator means "nobody needs it".
#pragma once

#include "engine/dtype.h"

namespace ld {

template <class T>
struct Accumulator {
  T* data = nullptr;
  bool empty = false;  // holds nothing yet: store instead of add

  HOST_AND_KERNEL explicit operator bool() const { return data != nullptr; }
  HOST_AND_KERNEL void add(int64_t i, acc_t<T> value) const {
    data[i] = static_cast<T>(empty ? value : static_cast<acc_t<T>>(data[i]) + value);
  }
  /// The same memory from element `offset` on.
  Accumulator from(int64_t offset) const { return {data + offset, empty}; }
};

/// What bfloat16 kernels add into may be kept in float32 instead: gradients of weights are, for in 8 bits a
/// sum over micro-batches stops growing when it is 256 times as large as what is added. Then `wide` is the
/// memory and `data` is null.
template <>
struct Accumulator<bfloat16> {
  bfloat16* data = nullptr;
  bool empty = false;
  float* wide = nullptr;

  HOST_AND_KERNEL explicit operator bool() const { return data != nullptr || wide != nullptr; }
  HOST_AND_KERNEL void add(int64_t i, float value) const {
    if (wide)
      wide[i] = empty ? value : wide[i] + value;
    else
      data[i] = bfloat16(empty ? value : static_cast<float>(data[i]) + value);
  }
  Accumulator from(int64_t offset) const {
    return wide ? Accumulator{nullptr, empty, wide + offset} : Accumulator{data + offset, empty};
  }
};

}  // namespace ld
