// The same elements in another shape or order. The gradient takes the way back; nothing is saved.
#pragma once

#include "autograd/var.h"

namespace ld {

/// x under another shape with as many elements. The value shares the memory of x; dx += dy, reshaped.
Var reshape(const Var& x, const Shape& shape);

/// (B, T, H·D) -> (B, H, T, D): each head's columns together, as batched products want them.
Var split_heads(const Var& x, int64_t n_head);
/// (B, H, T, D) -> (B, T, H·D), the inverse.
Var merge_heads(const Var& x);

}  // namespace ld
