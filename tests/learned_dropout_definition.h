// LearnedDropout two ways, to hold the fused op against: composed of small ops, as the formulas say, and a
// naive loop in float64 with no library behind it.
#pragma once

#include <vector>

#include "ops/learned_dropout.h"

namespace ld {

/// The definition on the tape.
MaskedInput composed_learned_dropout(const Var& x, const Var& a, const Var& shift, const MaskOptions& options,
                                     int64_t first_column = 0);

struct NaiveMask {
  std::vector<double> m, rounded, y;
  std::vector<double> statistics;  // in the order of MaskStatistic
};
/// The definition as a loop: x (B, T, C), a (B, T, K), shift (K).
NaiveMask naive_learned_dropout(const Tensor& x, const Tensor& a, const Tensor& shift,
                                const MaskOptions& options, int64_t first_column = 0);

}  // namespace ld
