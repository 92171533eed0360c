#include "model/transformer.h"

#include "autograd/tape.h"
#include "ops/binary.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/reduce.h"
#include "ops/stack.h"
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
  if (config.precomputes_masks()) masks_ = PrecomputedMasks(parameters_, config);
  embedding_dropout_ = Dropout(parameters_, "embedding", config, DropoutPlace::embedding, 0, C);
  for (int64_t layer = 0; layer < config.n_layer; ++layer)
    blocks_.emplace_back(parameters_, "blocks." + std::to_string(layer), config, layer);
  final_layernorm_ = LayerNorm(parameters_, "final_layernorm", C, config.use_bias);
}

Var Transformer::trunk(const Tensor& ids, Forward& run) const {
  Var embed = embedding(ids, token_embedding_, position_embedding_, run.pass.first_token);
  // Masks made from the embedding see it after its dropout, unless that is one of them.
  if (config_.precomputes_masks() && embedding_dropout_.is_learned())
    run.precomputed = masks_.angles(embed, run);
  Var x = embedding_dropout_(embed, run);
  if (config_.precomputes_masks() && !embedding_dropout_.is_learned())
    run.precomputed = masks_.angles(x, run);
  ResidualStream stream(x);
  for (const Block& block : blocks_) block(stream, run);
  return stream.read(final_layernorm_);
}

std::array<double, 2> Transformer::penalty_coefficients(int64_t step) const {
  return {config_.dropout_l1_norm_coeff_config.at(step), config_.dropout_entropy_coeff_config.at(step)};
}

Var Transformer::penalty(const std::vector<MaskedInput>& masks, const Pass& pass) const {
  Var total;
  auto add_term = [&](bool used, int64_t which, Var MaskedInput::*term) {
    if (!used) return;
    std::vector<Var> terms;
    for (const MaskedInput& mask : masks) terms.push_back(mask.*term);
    const Var over_masks = mean(stack(terms));
    const Var scaled =
        pass.penalty_coefficients
            ? multiply(over_masks, pass.penalty_coefficients.part(which, {}))
            : scale(over_masks, penalty_coefficients(pass.noise.step)[static_cast<size_t>(which)]);
    total = total ? add(total, scaled) : scaled;
  };
  add_term(config_.use_dropout_l1_norm_penalty, 0, &MaskedInput::l1_norm);
  add_term(config_.use_dropout_entropy_penalty, 1, &MaskedInput::entropy);
  return total;
}

Losses Transformer::operator()(const Tensor& ids, const Tensor& targets, const Pass& pass) const {
  Forward run{config_, pass};
  Var x = trunk(ids, run);
  auto [cross_entropy, mistakes] = linear_cross_entropy(
      x, token_embedding_, targets, pass.training ? CountMistakes::no : CountMistakes::yes);
  Losses losses{cross_entropy, cross_entropy, {}, mistakes, {}, run.decisions};
  if (pass.training) losses.penalty = penalty(run.masks, pass);
  if (losses.penalty) losses.loss = add(cross_entropy, losses.penalty);
  for (const MaskedInput& mask : run.masks) losses.masks.push_back(mask.statistics);
  return losses;
}

Var Transformer::logits(const Tensor& ids, const Pass& pass) const {
  Forward run{config_, pass};
  return linear(trunk(ids, run), token_embedding_);
}

// The output layer, half of the model's arithmetic, is run for the last token alone.
Tensor Transformer::next_token_logits(const Tensor& ids, const Pass& pass,
                                      std::vector<KeyValueCache>* caches) const {
  const NoGradient no_gradient;
  Forward run{config_, pass, caches};
  const Tensor x = trunk(ids, run).value();
  Tensor last({1, config_.n_embed}, x.dtype());
  copy_on_device(last.raw(), static_cast<const char*>(x.raw()) + x.bytes() - last.bytes(),
                 static_cast<size_t>(last.bytes()));
  return linear_unrounded(last, token_embedding_.value()).reshaped({config_.alphabet_size});
}

int64_t Transformer::parameter_count() const {
  return parameters_.elements() - position_embedding_.value().elements();
}

}  // namespace ld
