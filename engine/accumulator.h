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

}  // namespace ld
