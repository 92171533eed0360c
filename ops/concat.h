// Tensors side by side along the last dimension, and the way back. The gradient of each is the other's value.
//   concat      y (…, C₁ + C₂ + …) of x₁ (…, C₁), x₂ (…, C₂), …    dx_k += the columns of dy that x_k became
//   split_last  y_k (…, C/n), k < n, of x (…, C)                   dx += the dy_k side by side
// Nothing is saved. A part of a split that nobody used contributes zeros.
#pragma once

#include <vector>

#include "autograd/var.h"

namespace ld {

/// The parts agree in dtype and in every dimension but the last.
Var concat(const std::vector<Var>& parts);
/// n equal parts; the last size of x is a multiple of n.
std::vector<Var> split_last(const Var& x, int64_t n);

}  // namespace ld
