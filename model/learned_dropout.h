// LearnedDropout: a dropout whose binary mask is computed.
//   M = ½cos(a + S) + ½      R = M rounded to {0, 1}      y = x ⊙ R
// The angle a + S, S a vector that is learned, is made in one of three ways:
//   ATTENTION of the HIDDEN_STATE:  a = causal attention(x·W_qkv), for each place on its own;
//   ATTENTION of the EMBED:         a = causal attention(Z·W_qkv), Z a close derivation of the model's
//   embedding.
//     The masks of all N places depend on nothing else, so they are made together before the first block:
//     their 3·N·C rows of weights are one matrix, ordered [q of all places | k of all | v of all], and the
//     N·H heads one attention;
//   ELEMENTWISE:                    a = A ⊙ x, with S called B, as the draft of the idea had it.
#pragma once

#include "model/forward.h"
#include "model/layers.h"

namespace ld {

/// x ⊙ R: the fused op, or the same as small ops.
MaskedInput apply_mask(const Var& x, const MaskAngle& angle, const MaskOptions& options, bool literal);

/// The parameters of one place's own mask.
struct LearnedDropout {
  Linear qkv;
  Var shift;  // S
  Var a, b;   // A and B, (width)
  LearnedDropout() = default;
  LearnedDropout(Parameters& p, const std::string& name, const ModelConfig& config, int64_t width);
  /// x (B, T, C) -> its angle, C up to `width`.
  MaskAngle angle(const Var& x, Forward& run) const;
};

/// EMBED: the masks of all places.
struct PrecomputedMasks {
  Linear embed_qkv, embed_projection;  // Z = projection(attention(embedding))
  Linear qkv;                          // C -> 3·N·C
  Var shift;                           // (N·C)
  PrecomputedMasks() = default;
  PrecomputedMasks(Parameters& p, const ModelConfig& config);
  /// embed (B, T, C) -> the angles of all places, a (B, T, N·C).
  MaskAngle angles(const Var& embed, Forward& run) const;
};

}  // namespace ld
