// The parts of a transformer, each a few parameters and one formula. Sizes: B samples, T tokens, C width.
#pragma once

#include "model/config.h"
#include "model/parameters.h"
#include "model/pass.h"

namespace ld {

/// y = x·Wᵀ [+ b], W (out, in).
struct Linear {
  Var weight, bias;
  Linear() = default;
  Linear(Parameters& p, const std::string& name, int64_t in, int64_t out, bool use_bias,
         double deviation = 0.02);
  Var operator()(const Var& x) const;
};

struct LayerNorm {
  Var weight, bias;
  LayerNorm() = default;
  LayerNorm(Parameters& p, const std::string& name, int64_t C, bool use_bias);
  Var operator()(const Var& x) const;
};

/// x (B, T, C) -> dropout(projection(attention(qkv(x)))).
struct Attention {
  Linear qkv, projection;
  int64_t n_head = 0;
  double dropout_rate = 0;
  Attention() = default;
  Attention(Parameters& p, const std::string& name, const ModelConfig& config);
  Var operator()(const Var& x, const Pass& pass, int64_t layer) const;
};

/// x (B, T, C) -> contract(gelu(expand(x))). What is dropped from it stands in the block.
struct FeedForward {
  Linear expand, contract;
  FeedForward() = default;
  FeedForward(Parameters& p, const std::string& name, const ModelConfig& config);
  Var operator()(const Var& x) const;
};

/// The deviation of the first weights of a projection into the residual stream: 2L of them add up.
double residual_deviation(const ModelConfig& config);

}  // namespace ld
