// Causal attention one piece of a text after the other (generation): the keys and values of the tokens so far
// are kept, so that a new token costs one row of attention instead of all of them.
//   y_i = Σ_{j ≤ i} softmax_j(q_i · k_j / √D) v_j        i in the new piece, j from the first token on
// The same numbers as causal_attention of the whole text to rounding: the sums run in another order. Nothing
// is recorded on a tape.
#pragma once

#include "autograd/var.h"

namespace ld {

/// Room for the keys and values of one attention over up to `context` tokens of one sample. They lie
/// transposed, so that the loops over the tokens run along memory.
struct KeyValueCache {
  KeyValueCache() = default;
  KeyValueCache(int64_t n_head, int64_t head_size, int64_t context, DType dtype);

  Tensor keys, values;  // (H, D, T)
};

/// qkv (1, n, 3·C) of tokens first … first + n − 1 -> y (1, n, C). Adds their keys and values to the cache,
/// which must hold those of all tokens before `first`.
Tensor cached_attention(const Tensor& qkv, const KeyValueCache& cache, int64_t first);

}  // namespace ld
