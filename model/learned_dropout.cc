#include "model/learned_dropout.h"

#include "autograd/tape.h"
#include "model/dropout.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/slice.h"
#include "ops/unary.h"

namespace ld {
namespace {

Var first_columns(const Var& vector, int64_t count) {
  return count == vector.size(-1) ? vector : slice(vector, 0, count);
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
  Var e = options.entropy == EntropyPenalty::canonical ? m : add_scalar(neg(m), 1);
  Var entropy = mean(neg(multiply(e, log2(add_scalar(e, 1e-9)))));
  Var y = multiply(x, r);
  NoGradient no_gradient;
  auto fraction = [](const Var& condition) { return mean(condition).value().item(); };
  Tensor statistics = Tensor::from({fraction(at_least(r, 0.5)), l1.value().item(), entropy.value().item(),
                                    1 - fraction(at_least(neg(m), -0.9)), 1 - fraction(at_least(m, 0.1))},
                                   {mask_statistics}, l1.dtype());
  return {y, l1, entropy, statistics};
}

}  // namespace

MaskedInput apply_mask(const Var& x, const MaskAngle& angle, const MaskOptions& options, bool literal) {
  if (!literal) return learned_dropout(x, angle.a, angle.shift, options, angle.first_column);
  const auto columns = [&](const Var& all) { return slice(all, angle.first_column, x.size(-1)); };
  return literal_mask(x, columns(angle.a), columns(angle.shift), options);
}

LearnedDropout::LearnedDropout(Parameters& p, const std::string& name, const ModelConfig& config,
                               int64_t width) {
  const LearnedDropoutConfig& dropout = *config.learned_dropout_config;
  if (dropout.mask_function == MaskFunction::elementwise) {
    a = p.normal(name + ".a", {width}, dropout.a_init.deviation, dropout.a_init.mean, dropout.a_lr_factor);
    b = p.normal(name + ".b", {width}, dropout.b_init.deviation, dropout.b_init.mean);
  } else {
    qkv = Linear(p, name + ".qkv", width, 3 * width, dropout.use_bias);
    shift = p.constant(name + ".shift", {width}, dropout.shift_init);
  }
}

MaskAngle LearnedDropout::angle(const Var& x, Forward& run) const {
  const LearnedDropoutConfig& config = *run.config.learned_dropout_config;
  Var z = config.use_detached_input ? detach(x) : x;
  if (config.mask_function == MaskFunction::attention) return {run.attend(qkv(z), config.n_head), shift};
  const int64_t C = x.size(-1);
  return {multiply(z, first_columns(a, C)), first_columns(b, C)};
}

PrecomputedMasks::PrecomputedMasks(Parameters& p, const ModelConfig& config) {
  const LearnedDropoutConfig& dropout = *config.learned_dropout_config;
  const int64_t C = config.n_embed, N = std::ssize(learned_dropout_names(config));
  embed_qkv = Linear(p, "embed_dropout.qkv", C, 3 * C, dropout.use_bias);
  embed_projection = Linear(p, "embed_dropout.projection", C, C, dropout.use_bias);
  qkv = Linear(p, "precomputed_masks.qkv", C, 3 * N * C, dropout.use_bias);
  shift = p.constant("precomputed_masks.shift", {N * C}, dropout.shift_init);
}

MaskAngle PrecomputedMasks::angles(const Var& embed, Forward& run) const {
  const LearnedDropoutConfig& dropout = *run.config.learned_dropout_config;
  const int64_t heads = shift.size(0) / run.config.n_embed * dropout.n_head;
  auto e_dropout = [&] { return embed_projection(run.attend(embed_qkv(embed), dropout.n_head)); };
  if (!dropout.use_detached_input) return {run.attend(qkv(e_dropout()), heads), shift};
  // Detached, E_dropout and its weights get no gradient; so nothing of it is recorded either.
  Var z = [&] {
    NoGradient pause;
    return detach(e_dropout());
  }();
  return {run.attend(qkv(z), heads), shift};
}

}  // namespace ld
