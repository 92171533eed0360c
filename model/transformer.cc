#include "model/transformer.h"

#include "model/sites.h"
#include "ops/binary.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/unary.h"

namespace ld {

Transformer::Transformer(const ModelConfig& config, DType dtype, std::optional<uint64_t> seed)
    : config_(config), parameters_(dtype, seed) {
  config.validate();
  check(config.alphabet_size > 0,
        "model config: alphabet_size is not set; give the vocabulary size of the data");
  const int64_t C = config.n_embed;
  token_embedding_ = parameters_.normal("token_embedding.weight", {config.alphabet_size, C}, 0.02);
  position_embedding_ = parameters_.normal("position_embedding.weight", {config.context_size, C}, 0.02);
  if (precomputes_masks()) masks_ = PrecomputedMasks(parameters_, config);
  for (int64_t layer = 0; layer < config.n_layer; ++layer) {
    const std::string name = "blocks." + std::to_string(layer);
    Block block;
    block.layernorm1 = LayerNorm(parameters_, name + ".layernorm1", C, config.use_bias);
    block.attention = Attention(parameters_, name + ".attention", config);
    block.layernorm2 = LayerNorm(parameters_, name + ".layernorm2", C, config.use_bias);
    block.feed_forward = FeedForward(parameters_, name + ".feed_forward", config);
    if (config.learned_dropout_config && !precomputes_masks())
      block.learned_dropout = LearnedDropout(parameters_, name + ".feed_forward.learned_dropout", config);
    blocks_.push_back(block);
  }
  final_layernorm_ = LayerNorm(parameters_, "final_layernorm", C, config.use_bias);
}

bool Transformer::precomputes_masks() const {
  return config_.learned_dropout_config &&
         config_.learned_dropout_config->dropout_input_type == DropoutInput::embed;
}

Transformer::Trunk Transformer::trunk(const Tensor& ids, const Pass& pass) const {
  const double rate = pass.training ? config_.dropout_rate : 0;
  Trunk out;
  Var x = dropout(embedding(ids, token_embedding_, position_embedding_), rate,
                  pass.noise.at(sites::embedding_dropout));
  Var attended = precomputes_masks() ? masks_.attend(x, config_) : Var();
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const auto layer = static_cast<int64_t>(i);
    x = add(x, block.attention(block.layernorm1(x), pass, layer));
    Var h = block.feed_forward(block.layernorm2(x));
    if (!config_.learned_dropout_config) {
      x = add(x, dropout(h, rate, pass.noise.at(sites::block(layer, sites::feed_forward))));
      continue;
    }
    out.masks.push_back(precomputes_masks() ? masks_(h, attended, config_, pass, layer)
                                            : block.learned_dropout(h, config_, pass, layer));
    x = add(x, out.masks.back().y);
    out.masks.back().y = Var();  // only the penalties and statistics are asked for later
  }
  out.x = final_layernorm_(x);
  return out;
}

Var Transformer::penalty(const std::vector<MaskedInput>& masks, int64_t step) const {
  Var total;
  auto add_term = [&](bool used, const CoefficientConfig& coefficient, Var MaskedInput::*term) {
    if (!used) return;
    Var sum;
    for (const MaskedInput& mask : masks) sum = sum ? add(sum, mask.*term) : mask.*term;
    Var scaled = scale(sum, coefficient.at(step) / static_cast<double>(masks.size()));
    total = total ? add(total, scaled) : scaled;
  };
  add_term(config_.use_dropout_l1_norm_penalty, config_.dropout_l1_norm_coeff_config, &MaskedInput::l1_norm);
  add_term(config_.use_dropout_entropy_penalty, config_.dropout_entropy_coeff_config, &MaskedInput::entropy);
  return total;
}

Losses Transformer::operator()(const Tensor& ids, const Tensor& targets, const Pass& pass) const {
  Trunk out = trunk(ids, pass);
  auto [cross_entropy, mistakes] = linear_cross_entropy(
      out.x, token_embedding_, targets, pass.training ? CountMistakes::no : CountMistakes::yes);
  Losses losses{cross_entropy, cross_entropy, {}, mistakes, {}};
  if (pass.training) losses.penalty = penalty(out.masks, pass.noise.step);
  if (losses.penalty) losses.loss = add(cross_entropy, losses.penalty);
  for (const MaskedInput& mask : out.masks) losses.masks.push_back(mask.statistics);
  return losses;
}

Var Transformer::logits(const Tensor& ids, const Pass& pass) const {
  return linear(trunk(ids, pass).x, token_embedding_);
}

int64_t Transformer::parameter_count() const {
  return parameters_.elements() - position_embedding_.value().elements();
}

}  // namespace ld
