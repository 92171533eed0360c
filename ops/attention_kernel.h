// What both attention kernels are told; see attention.h for the mathematics.
#pragma once

#include <cstdint>

#include "engine/random.h"

namespace ld {

struct AttentionSizes {
  int64_t B, T, H, D;
  double dropout_rate = 0;
  NoiseKey key;

  HOST_AND_KERNEL int64_t C() const { return H * D; }
  /// Offset of element 0 of head h of token t of sample b in qkv (q; k and v lie C and 2·C further).
  HOST_AND_KERNEL int64_t qkv(int64_t b, int64_t t, int64_t h) const { return (b * T + t) * 3 * C() + h * D; }
  /// The same in y (B, T, C).
  HOST_AND_KERNEL int64_t out(int64_t b, int64_t t, int64_t h) const { return (b * T + t) * C() + h * D; }
  /// The same in the saved (B, H, T).
  HOST_AND_KERNEL int64_t row(int64_t b, int64_t t, int64_t h) const { return (b * H + h) * T + t; }
  /// What P_ij is multiplied by: 1, or 0 or 1/(1 − rate) with dropout.
  template <class A>
  HOST_AND_KERNEL A keep(int64_t b, int64_t h, int64_t i, int64_t j) const {
    if (dropout_rate == 0) return A(1);
    bool kept = key.uniform(b, (h * T + i) * T + j) >= static_cast<float>(dropout_rate);
    return kept ? static_cast<A>(1.0 / (1.0 - dropout_rate)) : A(0);
  }
};

}  // namespace ld
