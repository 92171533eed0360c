// A pre-norm transformer block.
//   x += attention(layernorm1(x))      x += feed_forward(layernorm2(x))
#pragma once

#include "model/dropout.h"

namespace ld {

/// x (B, T, C) -> dropout(projection(attention(qkv(x)))), with dropout on the attention's probabilities.
struct Attention {
  Linear qkv, projection;
  Dropout probabilities_dropout, output_dropout;
  Attention() = default;
  Attention(Parameters& p, const std::string& name, const ModelConfig& config, int64_t layer);
  Var operator()(const Var& x, Forward& run) const;

 private:
  Var attend(const Var& qkv, Forward& run) const;
};

/// x (B, T, C) -> dropout(contract(gelu(expand(x)))).
struct FeedForward {
  Linear expand, contract;
  Dropout output_dropout;
  FeedForward() = default;
  FeedForward(Parameters& p, const std::string& name, const ModelConfig& config, int64_t layer);
  Var operator()(const Var& x, Forward& run) const;
};

struct Block {
  LayerNorm layernorm1, layernorm2;
  Attention attention;
  FeedForward feed_forward;
  Block() = default;
  Block(Parameters& p, const std::string& name, const ModelConfig& config, int64_t layer);
  void operator()(ResidualStream& x, Forward& run) const;
};

}  // namespace ld
