// Layer normalisation over the last dimension (Ba, Kiros and Hinton 2016, arXiv:1607.06450).
//   x̂ = (x − mean) · rstd,  rstd = 1/√(var + eps),  var = mean((x − mean)²)
//   y = x̂ ⊙ w [+ b]
// With g = dy ⊙ w:
//   dx += rstd · (g − mean(g) − x̂ · mean(g ⊙ x̂))     dw += Σ over rows of dy ⊙ x̂     db += Σ over rows of dy
// Saves x and w, and mean and rstd of each row.
#pragma once

#include "autograd/var.h"

namespace ld {

/// x (…, C), weight (C), bias (C) or empty. PyTorch's eps is the default.
Var layernorm(const Var& x, const Var& weight, const Var& bias = {}, double eps = 1e-5);

/// sum = x + to_add and y = layernorm(sum), both (…, C), in one pass over memory: a residual block goes on with
/// the sum, and its next layer reads y. The gradient of both inputs is dsum plus that of layernorm.
struct SumAndNorm {
  Var sum, y;
};
SumAndNorm add_layernorm(const Var& x, const Var& to_add, const Var& weight, const Var& bias = {},
                         double eps = 1e-5);

}  // namespace ld
