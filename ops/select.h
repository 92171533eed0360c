// Choosing, holding constant and rounding: the pieces of a binary mask that can be trained through.
#pragma once

#include "autograd/var.h"
#include "engine/random.h"

namespace ld {

/// x as a constant: its value passes, no gradient does, and nothing behind it runs in backward.
Var detach(const Var& x);

/// 1 where the comparison holds, else 0 (also where a or b is NaN); a and b of one shape. Constants: a
/// comparison has no derivative.
Var less(const Var& a, const Var& b);           // a < b
Var less_equal(const Var& a, const Var& b);     // a <= b
Var greater(const Var& a, const Var& b);        // a > b
Var greater_equal(const Var& a, const Var& b);  // a >= b
Var equal(const Var& a, const Var& b);          // a == b
/// 1 where x >= threshold, else 0. A constant.
Var at_least(const Var& x, double threshold);

/// y = condition != 0 ? a : b, elementwise, three tensors of one shape;
/// da += dy where the condition holds, db += dy elsewhere. Saves the condition.
Var select(const Var& condition, const Var& a, const Var& b);

/// Uniform numbers on [0, 1) in the shape of x (samples first), a pure function of the key; a constant. In
/// bfloat16 they are rounded to its 8 bits, and those above 1 − 2⁻⁹ to 1; the fused ops compare in float32.
Var uniform_noise(const Var& x, NoiseKey key);

/// The seeds' rounding to {0, 1} that keeps a gradient: where `up` holds, M + detach(1 − M), else
/// M − detach(M). The value is exactly 1 or 0 — for 0 <= M <= 1 the rounding error of 1 − M is at most half
/// a unit in the last place of 1 and the sum rounds to even — and dR/dM is 1 everywhere.
Var round_by(const Var& up, const Var& m);

}  // namespace ld
