#include "model/learned_dropout.h"

#include "autograd/tape.h"

#include "model/sites.h"
#include "ops/attention.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/slice.h"
#include "ops/unary.h"

namespace ld {
namespace {

MaskOptions mask_options(const ModelConfig& config, const Pass& pass, int64_t layer) {
  const LearnedDropoutConfig& dropout = *config.learned_dropout_config;
  return {.rounding = dropout.mask_rounding_type,
          .stochastic = pass.training || dropout.use_noise_at_inference,
          .sigmoid_scale = dropout.sigmoid_scale,
          .l1_norm = config.l1_norm_penalty_type,
          .key = pass.noise.at(sites::block(layer, sites::learned_mask)),
          .first_token = pass.first_token};
}

// R of M, as the seed writes it.
Var rounded(const Var& m, const MaskOptions& options) {
  auto sharpened = [&] { return sigmoid(scale(add_scalar(m, -0.5), options.sigmoid_scale)); };
  switch (options.rounding) {
    case MaskRounding::none:
      return m;
    case MaskRounding::sigmoid:
      return sharpened();
    case MaskRounding::sigmoid_detach:
      return add(m, detach(sub(sharpened(), m)));
    case MaskRounding::noise_and_linear:
      return round_by(options.stochastic ? less_equal(uniform_noise(m, options.key), m) : at_least(m, 0.5),
                      m);
  }
  fail("learned_dropout: unknown rounding");
}

// The definition. Everything the fused op computes, in ops that are each checked on their own.
MaskedInput literal_mask(const Var& x, const Var& a, const Var& shift, const MaskOptions& options) {
  Var m = add_scalar(scale(cos(add(a, shift)), 0.5), 0.5);
  Var r = rounded(m, options);
  Var l1 = mean(options.l1_norm == L1NormPenalty::squared ? scale(square(m), 0.5) : abs(m));
  Var entropy = mean(neg(multiply(m, log2(add_scalar(m, 1e-9)))));
  Var y = multiply(x, r);
  NoGradient no_gradient;
  auto fraction = [](const Var& condition) { return mean(condition).value().item(); };
  Tensor statistics = Tensor::from({fraction(at_least(r, 0.5)), l1.value().item(), entropy.value().item(),
                                    1 - fraction(at_least(neg(m), -0.9)), 1 - fraction(at_least(m, 0.1))},
                                   {mask_statistics}, l1.dtype());
  return {y, l1, entropy, statistics};
}

}  // namespace

MaskedInput apply_mask(const Var& x, const Var& a, const Var& shift, const ModelConfig& config,
                       const Pass& pass, int64_t layer, int64_t first_column) {
  const MaskOptions options = mask_options(config, pass, layer);
  if (!pass.literal) return learned_dropout(x, a, shift, options, first_column);
  return literal_mask(x, slice(a, first_column, x.size(-1)), slice(shift, first_column, x.size(-1)), options);
}

LearnedDropout::LearnedDropout(Parameters& p, const std::string& name, const ModelConfig& config)
    : qkv(p, name + ".qkv", config.n_embed, 3 * config.n_embed, config.learned_dropout_config->use_bias),
      shift(p.constant(name + ".shift", {config.n_embed}, config.learned_dropout_config->shift_init)) {}

MaskedInput LearnedDropout::operator()(const Var& x, const ModelConfig& config, const Pass& pass,
                                       int64_t layer) const {
  const LearnedDropoutConfig& dropout = *config.learned_dropout_config;
  Var z = dropout.use_detached_input ? detach(x) : x;
  return apply_mask(x, causal_attention(qkv(z), dropout.n_head), shift, config, pass, layer);
}

PrecomputedMasks::PrecomputedMasks(Parameters& p, const ModelConfig& config)
    : embed_qkv(p, "embed_dropout.qkv", config.n_embed, 3 * config.n_embed,
                config.learned_dropout_config->use_bias),
      embed_projection(p, "embed_dropout.projection", config.n_embed, config.n_embed,
                       config.learned_dropout_config->use_bias),
      qkv(p, "precomputed_masks.qkv", config.n_embed, 3 * config.n_layer * config.n_embed,
          config.learned_dropout_config->use_bias),
      shift(p.constant("precomputed_masks.shift", {config.n_layer * config.n_embed},
                       config.learned_dropout_config->shift_init)) {}

Var PrecomputedMasks::attend(const Var& embed, const ModelConfig& config) const {
  const LearnedDropoutConfig& dropout = *config.learned_dropout_config;
  auto e_dropout = [&] { return embed_projection(causal_attention(embed_qkv(embed), dropout.n_head)); };
  if (!dropout.use_detached_input) return causal_attention(qkv(e_dropout()), config.n_layer * dropout.n_head);
  // Detached, E_dropout and its weights get no gradient; so nothing of it is recorded either.
  Var z = [&] {
    NoGradient pause;
    return detach(e_dropout());
  }();
  return causal_attention(qkv(z), config.n_layer * dropout.n_head);
}

MaskedInput PrecomputedMasks::operator()(const Var& x, const Var& attended, const ModelConfig& config,
                                         const Pass& pass, int64_t layer) const {
  return apply_mask(x, attended, shift, config, pass, layer, layer * config.n_embed);
}

}  // namespace ld
