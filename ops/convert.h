// The same numbers in another floating dtype, rounded to nearest: y = x, dx += dy.
// This is how a float32 weight trains through bfloat16 ops: linear(x, convert(weight, DType::bfloat16))
// computes in bfloat16, and the weight's gradient gathers in float32, where a small contribution to a large
// sum is not lost.
#pragma once

#include "autograd/var.h"

namespace ld {

/// x itself if it has that dtype already.
Var convert(const Var& x, DType dtype);

}  // namespace ld
