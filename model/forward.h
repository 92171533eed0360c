// What one run through the model carries from part to part.
#pragma once

#include <vector>

#include "model/config.h"
#include "model/pass.h"
#include "ops/attention.h"
#include "ops/cached_attention.h"
#include "ops/learned_dropout.h"

namespace ld {

/// The argument of a mask's cosine: a (B, T, K) + shift (K), of which the C columns from first_column on are
/// meant.
struct MaskAngle {
  Var a, shift;
  int64_t first_column = 0;
};

struct Forward {
  const ModelConfig& config;
  const Pass& pass;
  /// Generation: the keys and values of every attention, in the order in which they are run, of the tokens
  /// before pass.first_token; those of this run are added. The first run makes them.
  std::vector<KeyValueCache>* caches = nullptr;
  size_t attentions = 0;  // run so far with caches

  // What LearnedDropouts leave:
  MaskAngle precomputed = {};                 // EMBED: of all of them
  std::vector<MaskedInput> masks = {};        // of those run so far; y is left empty
  std::vector<MaskDecisions> decisions = {};  // likewise, if the pass asks for them

  /// causal_attention, or the same of a piece of text with the rest in the caches.
  Var attend(const Var& qkv, int64_t n_head, const AttentionDropout& dropout = {});
};

}  // namespace ld
