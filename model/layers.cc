#include "model/layers.h"

#include <cmath>

#include "model/sites.h"
#include "ops/attention.h"
#include "ops/dropout.h"
#include "ops/layernorm.h"
#include "ops/linear.h"
#include "ops/unary.h"

namespace ld {

double residual_deviation(const ModelConfig& config) {
  return 0.02 / std::sqrt(2.0 * static_cast<double>(config.n_layer));
}

Linear::Linear(Parameters& p, const std::string& name, int64_t in, int64_t out, bool use_bias,
               double deviation)
    : weight(p.normal(name + ".weight", {out, in}, deviation)) {
  if (use_bias) bias = p.constant(name + ".bias", {out}, 0);
}

Var Linear::operator()(const Var& x) const { return linear(x, weight, bias); }

LayerNorm::LayerNorm(Parameters& p, const std::string& name, int64_t C, bool use_bias)
    : weight(p.constant(name + ".weight", {C}, 1)) {
  if (use_bias) bias = p.constant(name + ".bias", {C}, 0);
}

Var LayerNorm::operator()(const Var& x) const { return layernorm(x, weight, bias); }

Attention::Attention(Parameters& p, const std::string& name, const ModelConfig& config)
    : qkv(p, name + ".qkv", config.n_embed, 3 * config.n_embed, config.use_bias),
      projection(p, name + ".projection", config.n_embed, config.n_embed, config.use_bias,
                 residual_deviation(config)),
      n_head(config.n_head),
      dropout_rate(config.dropout_rate) {}

Var Attention::operator()(const Var& x, const Pass& pass, int64_t layer) const {
  const double rate = pass.training ? dropout_rate : 0;
  const auto site = [&](sites::Block place) { return pass.noise.at(sites::block(layer, place)); };
  Var y = causal_attention(qkv(x), n_head, {rate, site(sites::attention_probabilities)});
  return dropout(projection(y), rate, site(sites::attention_output));
}

FeedForward::FeedForward(Parameters& p, const std::string& name, const ModelConfig& config)
    : expand(p, name + ".expand", config.n_embed, 4 * config.n_embed, config.use_bias),
      contract(p, name + ".contract", 4 * config.n_embed, config.n_embed, config.use_bias,
               residual_deviation(config)) {}

Var FeedForward::operator()(const Var& x) const { return contract(gelu(expand(x))); }

}  // namespace ld
