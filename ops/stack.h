// Tensors of one shape, one after the other: y[k] = x_k        dx_k += dy[k]
// Nothing is saved. One kernel for up to 64 of them, where a copy each would cost a GPU a launch each.
#pragma once

#include <vector>

#include "autograd/var.h"

namespace ld {

/// n times (…) -> (n, …).
Var stack(const std::vector<Var>& parts);

}  // namespace ld
