// The input of a transformer: y[b, t] = token_table[ids[b, t]] + position_table[first + t].
//   d token_table[v] += Σ over (b, t) with ids[b, t] = v of dy[b, t]
//   d position_table[first + t] += Σ_b dy[b, t]
// Saves ids. A token that occurs more than once is summed in the order of its occurrences: no atomics.
#pragma once

#include "autograd/var.h"

namespace ld {

/// ids (B, T) int32 in [0, V); token_table (V, C); position_table (P, C) with P >= first + T -> y (B, T, C).
Var embedding(const Tensor& ids, const Var& token_table, const Var& position_table, int64_t first = 0);

}  // namespace ld
