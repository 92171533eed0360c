// Sums and means over all elements.
#pragma once

#include "autograd/var.h"

namespace ld {

Var sum(const Var& x);   // y () = Σ x        dx += dy
Var mean(const Var& x);  // y () = Σ x / n    dx += dy/n

}  // namespace ld
