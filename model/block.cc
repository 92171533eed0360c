#include "model/block.h"

#include <cmath>

#include "ops/binary.h"
#include "ops/concat.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/softmax.h"
#include "ops/unary.h"

namespace ld {
namespace {

/// The deviation of the first weights of a projection into the residual stream: 2L of them add up.
double residual_deviation(const ModelConfig& config) {
  return 0.02 / std::sqrt(2.0 * static_cast<double>(config.n_layer));
}

/// Causal attention with its probabilities (B, H, T, T) in the open, for what has to be done to them.
/// drop: (B, H·T, T) -> the same shape; a row holds the probabilities of one query.
template <class Drop>
Var open_attention(const Var& qkv, int64_t n_head, Drop drop) {
  const int64_t B = qkv.size(0), T = qkv.size(1), D = qkv.size(2) / 3 / n_head;
  std::vector<Var> parts = split_last(qkv, 3);
  for (Var& part : parts) part = split_heads(part, n_head);  // (B, H, T, D)
  Var scores = matmul(parts[0], parts[1], Transpose::no, Transpose::yes);
  Var p = causal_softmax(scale(scores, 1 / std::sqrt(static_cast<double>(D))));
  p = drop(reshape(p, {B, n_head * T, T}));
  return merge_heads(matmul(reshape(p, {B, n_head, T, T}), parts[2]));
}

}  // namespace

Attention::Attention(Parameters& p, const std::string& name, const ModelConfig& config, int64_t layer)
    : qkv(p, name + ".qkv", config.n_embed, 3 * config.n_embed, config.use_bias),
      projection(p, name + ".projection", config.n_embed, config.n_embed, config.use_bias,
                 residual_deviation(config)),
      probabilities_dropout(p, name + ".probabilities", config, DropoutPlace::attention_probabilities, layer,
                            config.context_size),
      output_dropout(p, name, config, DropoutPlace::attention_output, layer, config.n_embed) {}

Var Attention::attend(const Var& qkv, Forward& run) const {
  const ModelConfig& config = run.config;
  if (probabilities_dropout.is_learned())
    return open_attention(qkv, config.n_head, [&](const Var& p) { return probabilities_dropout(p, run); });
  const bool drops = run.pass.training || config.keep_attention_dropout_in_evaluation;
  return run.attend(qkv, config.n_head,
                    {drops ? config.dropout_rate : 0, probabilities_dropout.noise(run.pass)});
}

Var Attention::operator()(const Var& x, Forward& run) const {
  return output_dropout(projection(attend(qkv(x), run)), run);
}

FeedForward::FeedForward(Parameters& p, const std::string& name, const ModelConfig& config, int64_t layer)
    : expand(p, name + ".expand", config.n_embed, 4 * config.n_embed, config.use_bias),
      contract(p, name + ".contract", 4 * config.n_embed, config.n_embed, config.use_bias,
               residual_deviation(config)),
      output_dropout(p, name, config, DropoutPlace::feed_forward, layer, config.n_embed) {}

Var FeedForward::operator()(const Var& x, Forward& run) const {
  return output_dropout(contract(gelu(expand(x))), run);
}

Block::Block(Parameters& p, const std::string& name, const ModelConfig& config, int64_t layer)
    : layernorm1(p, name + ".layernorm1", config.n_embed, config.use_bias) {
  attention = Attention(p, name + ".attention", config, layer);
  layernorm2 = LayerNorm(p, name + ".layernorm2", config.n_embed, config.use_bias);
  feed_forward = FeedForward(p, name + ".feed_forward", config, layer);
}

void Block::operator()(ResidualStream& x, Forward& run) const {
  x.add(attention(x.read(layernorm1), run));
  x.add(feed_forward(x.read(layernorm2), run));
}

}  // namespace ld
