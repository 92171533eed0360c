// The two choices a LearnedDropout mask leaves open. A header of its own: configurations name them too.
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

}  // namespace ld
