#include "tests/learned_dropout_definition.h"

#include <cmath>

#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/slice.h"
#include "ops/unary.h"

namespace ld {
namespace {

Var rounded(const Var& m, const MaskOptions& o) {
  switch (o.rounding) {
    case MaskRounding::none:
      return m;
    case MaskRounding::sigmoid:
      return sigmoid(scale(add_scalar(m, -0.5), o.sigmoid_scale));
    case MaskRounding::sigmoid_detach:
      return add(m, detach(sub(sigmoid(scale(add_scalar(m, -0.5), o.sigmoid_scale)), m)));
    case MaskRounding::noise_and_linear:
      return round_by(o.stochastic ? less_equal(uniform_noise(m, o.key), m) : at_least(m, 0.5), m);
  }
  return {};
}

double rounded(double m, int64_t sample, int64_t element, const MaskOptions& o) {
  switch (o.rounding) {
    case MaskRounding::none:
      return m;
    case MaskRounding::sigmoid:
    case MaskRounding::sigmoid_detach:
      return 1 / (1 + std::exp(-o.sigmoid_scale * (m - 0.5)));
    case MaskRounding::noise_and_linear:
      return (o.stochastic ? static_cast<double>(o.key.uniform(sample, element)) <= m : m >= 0.5) ? 1 : 0;
  }
  return NAN;
}

}  // namespace

MaskedInput composed_learned_dropout(const Var& x, const Var& a, const Var& shift, const MaskOptions& options,
                                     int64_t first_column) {
  const int64_t C = x.size(-1);
  Var angle = add(slice(a, first_column, C), slice(shift, first_column, C));
  Var m = add_scalar(scale(cos(angle), 0.5), 0.5);
  Var l1 = mean(options.l1_norm == L1NormPenalty::linear ? abs(m) : scale(square(m), 0.5));
  Var e = options.entropy == EntropyPenalty::alternate ? add_scalar(neg(m), 1) : m;
  Var entropy = neg(mean(multiply(e, log2(add_scalar(e, 1e-9)))));
  return {multiply(x, rounded(m, options)), l1, entropy, {}};
}

NaiveMask naive_learned_dropout(const Tensor& x, const Tensor& a, const Tensor& shift,
                                const MaskOptions& options, int64_t first_column) {
  const int64_t B = x.size(0), T = x.size(1), C = x.size(2), K = a.size(2);
  const auto xv = x.to_vector(), av = a.to_vector(), sv = shift.to_vector();
  NaiveMask result;
  result.statistics.assign(mask_statistics, 0);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < T; ++t)
      for (int64_t c = 0; c < C; ++c) {
        const auto column = static_cast<size_t>(first_column + c), row = static_cast<size_t>(b * T + t);
        const double m = 0.5 * std::cos(av[row * static_cast<size_t>(K) + column] + sv[column]) + 0.5;
        const double r = rounded(m, b, t * C + c, options);
        result.m.push_back(m);
        result.rounded.push_back(r);
        result.y.push_back(xv[row * static_cast<size_t>(C) + static_cast<size_t>(c)] * r);
        const double share = 1.0 / static_cast<double>(B * T * C);
        result.statistics[fraction_of_ones] += r >= 0.5 ? share : 0;
        result.statistics[mean_l1_norm] +=
            share * (options.l1_norm == L1NormPenalty::linear ? std::abs(m) : m * m / 2);
        const double e = options.entropy == EntropyPenalty::alternate ? 1 - m : m;
        result.statistics[mean_entropy] -= share * e * std::log2(e + 1e-9);
        result.statistics[fraction_above_90] += m > 0.9 ? share : 0;
        result.statistics[fraction_below_10] += m < 0.1 ? share : 0;
      }
  return result;
}

}  // namespace ld
