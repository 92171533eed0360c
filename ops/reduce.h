// Sums and means, over all elements or along the last dimension. Nothing is saved: derivatives are constant.
#pragma once

#include "autograd/var.h"

namespace ld {

// Of a bfloat16 x these two are float32: a number that stands for a whole tensor (a loss, a penalty) goes on
// to be added to others like it, and 8 bits would not hold the difference that one step makes.
Var sum(const Var& x);   // y () = Σ x        dx += dy
Var mean(const Var& x);  // y () = Σ x / n    dx += dy/n

// x (…, C) -> y (…) in the dtype of x, summed in its accumulation type.
Var sum_last(const Var& x);   // y[…] = Σ_j x[…, j]        dx[…, j] += dy[…]
Var mean_last(const Var& x);  // y[…] = Σ_j x[…, j] / C    dx[…, j] += dy[…]/C

}  // namespace ld
