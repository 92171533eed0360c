// y (…, O) = x (…, I) · Wᵀ (I, O) [+ b (O)], W stored as (O, I).
//   dx += dy · W      dW += dyᵀ · x      db += Σ over rows of dy
// Saves x if W needs a gradient, W if x does.
#pragma once

#include "autograd/var.h"

namespace ld {

/// `bias` may be an empty Var.
Var linear(const Var& x, const Var& weight, const Var& bias = {});

/// x (…, I) · Wᵀ without gradients and in the accumulation type: where numbers are chosen by their order,
/// bfloat16 would make too many of them equal.
Tensor linear_unrounded(const Tensor& x, const Tensor& weight);

}  // namespace ld
