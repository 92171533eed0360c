// The choices a LearnedDropout mask leaves open; a header of its own because configurations name them too.
#pragma once

namespace ld {

/// How the mask M in [0, 1] becomes the R that multiplies the input.
enum class MaskRounding {
  none,              // R = M
  noise_and_linear,  // NOISE_AND_LINEAR: R is 1 with probability M, else 0; gradient straight through
  sigmoid,           // SIGMOID: R = sigmoid(sigmoid_scale (M - 0.5)), with its true gradient
  sigmoid_detach,    // SIGMOID_DETACH: the same value, gradient straight through
};

/// What the L1 norm penalty averages, always over the unrounded M.
enum class L1NormPenalty {
  squared,  // SQUARED: M^2 / 2, which fades as M approaches 0
  linear,   // LINEAR: |M|
};

/// What the entropy penalty averages, always over the unrounded M.
enum class EntropyPenalty {
  canonical,  // CANONICAL: -M log2(M + 1e-9), 0 at both ends of [0, 1]
  alternate,  // ALTERNATE: the same of 1 - M, which punishes values above a half more than those below
};

}  // namespace ld
