// Columns [begin, begin + count) of the last dimension: y (…, count) of x (…, C).
//   dx[…, begin + j] += dy[…, j], the other columns get nothing.
#pragma once

#include "autograd/var.h"

namespace ld {

Var slice(const Var& x, int64_t begin, int64_t count);

}  // namespace ld
