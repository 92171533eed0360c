// LearnedDropout after its attention, as one op: mask, rounding, product, penalties, statistics.
//   M = ½cos(a + shift) + ½      R = M rounded (see round_mask)      y = x ⊙ R
//   l1 = mean(M²/2) or mean(|M|)      entropy = mean(−E·log₂(E + 10⁻⁹)), E = M or 1 − M
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
  EntropyPenalty entropy = EntropyPenalty::canonical;
  NoiseKey key = {};        // number (first_token + t)·C + c of sample b decides element (b, t, c)
  int64_t first_token = 0;  // where in its text x begins, when it is given piece after piece
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

/// Which elements of the first sample a mask would keep without noise: M ≥ ½ or not. To ask how many of these
/// decisions flip from one step to the next, a step has to keep its own; those of every sample would be as
/// large as the activations.
struct MaskDecisions {
  Tensor words;       // (T, ⌈C/16⌉) uint16: sixteen decisions a word
  int64_t count = 0;  // T·C
};

/// Those of learned_dropout(x (B, T, C), a, shift, …, first_column).
MaskDecisions mask_decisions(const Tensor& a, const Tensor& shift, int64_t first_column, int64_t C);

/// The share, (), of the decisions that are not what they were: `before` are the words of the same mask.
Tensor fraction_of_flips(const MaskDecisions& now, const Tensor& before, DType dtype);

}  // namespace ld
