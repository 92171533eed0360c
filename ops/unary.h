// Elementwise functions of one tensor: y = f(x), dx += dy · f'(x). x may have any shape; y has the same.
// Each saves x, except where the derivative is cheaper from y.
#pragma once

#include "autograd/var.h"

namespace ld {

Var neg(const Var& x);                      // −x             dx += −dy
Var scale(const Var& x, double factor);     // factor·x       dx += factor·dy
Var add_scalar(const Var& x, double term);  // x + term       dx += dy
Var square(const Var& x);                   // x²             dx += 2x·dy
Var abs(const Var& x);                      // |x|            dx += sign(x)·dy, 0 at 0
Var log2(const Var& x);                     // log₂ x         dx += dy/(x·ln 2)
Var cos(const Var& x);                      // cos x          dx += −sin x·dy
Var sigmoid(const Var& x);                  // 1/(1+e⁻ˣ)      dx += y(1−y)·dy
/// Exact GELU, x·Φ(x) with Φ the standard normal distribution function: ½x(1+erf(x/√2));
/// dx += (Φ(x) + x·φ(x))·dy, φ(x) = e^(−x²/2)/√(2π). (Hendrycks and Gimpel 2016, arXiv:1606.08415.)
Var gelu(const Var& x);

}  // namespace ld
