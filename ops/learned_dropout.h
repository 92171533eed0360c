// LearnedDropout after its attention, as one op: mask, rounding, product, penalties, statistics.
//   M = ½cos(a + shift) + ½      R = M rounded (see round_mask)      y = x ⊙ R
//   l1 = mean(M²/2) or mean(|M|)      entropy = mean(−M·log₂(M + 10⁻⁹))
// Backward, with dR/dM = 1 for the straight-through roundings:
//   dx += dy ⊙ R
//   dM = dy ⊙ x · dR/dM + dl1 · ∂l1/∂M + dentropy · ∂entropy/∂M
//   da += −½sin(a + shift) ⊙ dM      dshift += Σ over rows of the same
// The penalties and statistics of a bfloat16 x are float32, and so is M on its way: what is rounded to
// bfloat16 is y. Saves x, a and shift; M, and the noise behind R, are computed again.
// model/learned_dropout.cc has the same module written as a composition of small ops; tests hold the two
// equal.
#pragma once

#include "autograd/var.h"
#include "engine/random.h"
#include "ops/mask_rounding.h"

namespace ld {

struct MaskOptions {
  MaskRounding rounding = MaskRounding::noise_and_linear;
  bool stochastic = true;     // noise_and_linear: R = [u ≤ M] with uniform noise u; otherwise [M ≥ ½]
  double sigmoid_scale = 60;  // k of σ(k(M − ½))
  L1NormPenalty l1_norm = L1NormPenalty::squared;
  NoiseKey key;  // number t·C + c of sample b decides element (b, t, c)
};

/// Means over the elements of one mask; the order of MaskedInput::statistics.
enum MaskStatistic {
  fraction_of_ones,
  mean_l1_norm,
  mean_entropy,
  fraction_above_90,
  fraction_below_10,
  mask_statistics
};

struct MaskedInput {
  Var y;              // (B, T, C)
  Var l1_norm;        // ()
  Var entropy;        // ()
  Tensor statistics;  // (mask_statistics)
};

/// x (B, T, C); a (B, T, K) and shift (K), of which columns [first_column, first_column + C) belong to x.
MaskedInput learned_dropout(const Var& x, const Var& a, const Var& shift, const MaskOptions& options,
                            int64_t first_column = 0);

}  // namespace ld
