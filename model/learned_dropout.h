// LearnedDropout: a dropout whose binary mask is computed from an input Z.
//   A = causal attention(Z·W_qkv)      M = ½cos(A + S) + ½      R = M rounded to {0, 1}      y = X ⊙ R
// Z is X itself (HIDDEN_STATE: one attention per block, in the block) or E_dropout, a close derivation of the
// model's embedding (EMBED). All masks of the EMBED variant depend on nothing else, so the attentions of all
// L blocks are computed together before the first one: their 3·L·C rows of weights are one matrix, ordered [q
// of all blocks | k of all | v of all], and the L·H heads one attention.
#pragma once

#include "model/layers.h"
#include "ops/learned_dropout.h"

namespace ld {

/// y = x ⊙ R with R made from columns [first_column, first_column + C) of A (B, T, K) and S (K): the fused
/// op, or the same as small ops when pass.literal.
MaskedInput apply_mask(const Var& x, const Var& a, const Var& shift, const ModelConfig& config,
                       const Pass& pass, int64_t layer, int64_t first_column = 0);

/// HIDDEN_STATE: the module of one block.
struct LearnedDropout {
  Linear qkv;
  Var shift;
  LearnedDropout() = default;
  LearnedDropout(Parameters& p, const std::string& name, const ModelConfig& config);
  MaskedInput operator()(const Var& x, const ModelConfig& config, const Pass& pass, int64_t layer) const;
};

/// EMBED: the masks of all blocks.
struct PrecomputedMasks {
  Linear embed_qkv, embed_projection;  // E_dropout = projection(attention(E))
  Linear qkv;                          // C -> 3·L·C
  Var shift;                           // (L·C)
  PrecomputedMasks() = default;
  PrecomputedMasks(Parameters& p, const ModelConfig& config);
  /// The attention output A of all blocks: embed (B, T, C) -> (B, T, L·C).
  Var attend(const Var& embed, const ModelConfig& config) const;
  MaskedInput operator()(const Var& x, const Var& attended, const ModelConfig& config, const Pass& pass,
                         int64_t layer) const;
};

}  // namespace ld
