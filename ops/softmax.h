// Softmax over the last dimension: y_j = e^(x_j − m) / Σ_k e^(x_k − m). The m cancels; as the row's largest
// element it keeps every exponential at most 1, so nothing overflows.
//   dx_j += y_j · (dy_j − Σ_k dy_k y_k)
// Saves y. An element of −∞ gets probability 0. A row that holds a NaN or +∞, or nothing but −∞, has no
// softmax: all of it is NaN, so that a row in which a mask left nothing to choose from shows.
#pragma once

#include "autograd/var.h"

namespace ld {

/// x (…, C) -> y (…, C).
Var softmax(const Var& x);

/// x (…, T, T) -> y of the same shape: row i is the softmax of its first i + 1 elements, then zeros. The
/// elements beyond are not looked at, and their gradient is 0.
Var causal_softmax(const Var& x);

}  // namespace ld
