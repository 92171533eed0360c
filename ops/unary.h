// Elementwise functions of one tensor: y = f(x), dx += dy · f'(x). x may have any shape; y has the same.
// Each saves x, or y where the derivative is cheaper from it, or nothing where the derivative is a constant. A NaN stays
// one, in the value, and in the gradient where that depends on x.
#pragma once

#include "autograd/var.h"

namespace ld {

Var neg(const Var& x);                      // −x             dx += −dy
Var scale(const Var& x, double factor);     // factor·x       dx += factor·dy
Var add_scalar(const Var& x, double term);  // x + term       dx += dy
Var square(const Var& x);                   // x²             dx += 2x·dy
Var abs(const Var& x);                      // |x|            dx += sign(x)·dy, 0 at 0
Var exp(const Var& x);                      // eˣ             dx += y·dy
Var log(const Var& x);                      // ln x           dx += dy/x
Var log2(const Var& x);                     // log₂ x         dx += dy/(x·ln 2)
Var sqrt(const Var& x);                     // √x             dx += dy/2y, infinite at 0
Var sin(const Var& x);                      // sin x          dx += cos x·dy
Var cos(const Var& x);                      // cos x          dx += −sin x·dy
Var tanh(const Var& x);                     // tanh x         dx += (1 − y²)·dy
Var relu(const Var& x);                     // max(x, 0)      dx += dy where x > 0, else 0
Var sigmoid(const Var& x);                  // 1/(1+e⁻ˣ)      dx += y(1−y)·dy
/// Exact GELU, x·Φ(x) with Φ the standard normal distribution function: ½x(1+erf(x/√2));
/// dx += (Φ(x) + x·φ(x))·dy, φ(x) = e^(−x²/2)/√(2π). (Hendrycks and Gimpel 2016, arXiv:1606.08415.)
Var gelu(const Var& x);
/// GELU with the approximation Φ(x) ≈ ½(1 + tanh(√(2/π)(x + 0.044715x³))) of the same paper, which GPT-2 was
/// trained with; the derivative is the approximation's own.
Var gelu_tanh(const Var& x);

}  // namespace ld
