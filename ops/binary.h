// Elementwise functions of two tensors. The smaller operand may be a trailing vector or block of the larger
// one's shape, e.g. (C) or (T, C) beside (B, T, C), or a scalar (); its gradient is then summed over the
// repetitions. Each saves only what its derivative reads, and only if the other side needs it.
#pragma once

#include "autograd/var.h"

namespace ld {

Var add(const Var& a, const Var& b);       // a + b    da += dy       db += dy
Var sub(const Var& a, const Var& b);       // a − b    da += dy       db += −dy
Var multiply(const Var& a, const Var& b);  // a ⊙ b    da += dy ⊙ b   db += dy ⊙ a
Var div(const Var& a, const Var& b);       // a / b    da += dy / b   db += −dy ⊙ a / b²

}  // namespace ld
