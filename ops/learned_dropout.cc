#include "ops/learned_dropout.h"

#include "autograd/replay.h"
#include "ops/op.h"

namespace ld {
namespace {

constexpr double entropy_epsilon = 1e-9;

/// What the kernels are told.
struct MaskSizes {
  int64_t rows, T, C, K, first;  // rows = B·T
  int64_t first_token;
  bool linear_l1, alternate_entropy;
  double sigmoid_scale;
  NoiseKey key;
};

/// The rounding as a type, so that a loop over elements has no choice left to make.
template <MaskRounding rounding, bool stochastic>
struct Rounding {};

template <class F>
void with_rounding(const MaskOptions& options, F f) {
  using enum MaskRounding;
  switch (options.rounding) {
    case none:
      return f(Rounding<none, false>{});
    case sigmoid:
      return f(Rounding<sigmoid, false>{});
    case sigmoid_detach:
      return f(Rounding<sigmoid_detach, false>{});
    case noise_and_linear:
      return options.stochastic ? f(Rounding<noise_and_linear, true>{})
                                : f(Rounding<noise_and_linear, false>{});
  }
}

template <class A>
HOST_AND_KERNEL A mask_of(A angle) {
  return A(0.5) * math::cos(angle) + A(0.5);
}

/// The noise of a row, number first + c for column c; 0 where the rounding needs none.
template <bool stochastic, class Row>
HOST_AND_KERNEL auto noise_of(const Row& row, const MaskSizes& s, int64_t sample, int64_t first) {
  if constexpr (stochastic)
    return row.uniforms(s.key, sample, first);
  else
    return [](int64_t) { return 0.0f; };
}

/// R of a mask value m with noise u. `base` is m itself, except when gradcheck perturbs m: then it is the
/// unperturbed value, which is what detach and the comparison would have held on to.
template <MaskRounding rounding, bool stochastic, class A>
HOST_AND_KERNEL A round_mask(A m, A base, float u, const MaskSizes& s) {
  const A half = A(0.5), k = static_cast<A>(s.sigmoid_scale);
  if constexpr (rounding == MaskRounding::sigmoid) return math::sigmoid(k * (m - half));
  if constexpr (rounding == MaskRounding::sigmoid_detach)
    return math::sigmoid(k * (base - half)) + (m - base);
  if constexpr (rounding == MaskRounding::noise_and_linear) {
    const bool up = stochastic ? static_cast<A>(u) <= base : base >= half;
    return (up ? A(1) : A(0)) + (m - base);
  }
  return m;
}

/// m = M of a row.
template <class Row, class T>
HOST_AND_KERNEL void mask_row(const Row& row, acc_t<T>* m, const T* a, const T* shift) {
  using A = acc_t<T>;
  row.each([=](int64_t c) { m[c] = mask_of(static_cast<A>(a[c]) + static_cast<A>(shift[c])); });
}

/// y, m = M and, per row, the sums behind the statistics. `held`, if not null, are the masks to round by
/// instead of M.
template <MaskRounding rounding, bool stochastic, class T>
void learned_dropout_forward(Rounding<rounding, stochastic>, T* y, acc_t<T>* m, acc_t<T>* sums,
                             const acc_t<T>* held, const T* x, const T* a, const T* shift,
                             const MaskSizes s) {
  using A = acc_t<T>;
  for_each_row(s.rows, s.C, [=] KERNEL(int64_t r, auto row) {
    const int64_t at = r * s.C, sample = r / s.T, first = (s.first_token + r % s.T) * s.C;
    A* mr = m + at;
    const A* base_r = held ? held + at : mr;
    mask_row(row, mr, a + r * s.K + s.first, shift + s.first);
    const auto noise = noise_of<stochastic>(row, s, sample, first);
    const A ones = row.sum([=](int64_t c) {
      const A rounded = round_mask<rounding, stochastic>(mr[c], base_r[c], noise(c), s);
      y[at + c] = static_cast<T>(static_cast<A>(x[at + c]) * rounded);
      return rounded >= A(0.5) ? A(1) : A(0);
    });
    const A l1 = s.linear_l1 ? row.sum([=](int64_t c) { return math::abs(mr[c]); })
                             : row.sum([=](int64_t c) { return A(0.5) * mr[c] * mr[c]; });
    auto entropy_of = [](A e) { return -e * math::log2(e + A(entropy_epsilon)); };
    const A entropy = s.alternate_entropy ? row.sum([=](int64_t c) { return entropy_of(A(1) - mr[c]); })
                                          : row.sum([=](int64_t c) { return entropy_of(mr[c]); });
    const A high = row.sum([=](int64_t c) { return mr[c] > A(0.9) ? A(1) : A(0); });
    const A low = row.sum([=](int64_t c) { return mr[c] < A(0.1) ? A(1) : A(0); });
    row.once([=] {
      A* out = sums + r * mask_statistics;
      out[fraction_of_ones] = ones;
      out[mean_l1_norm] = l1;
      out[mean_entropy] = entropy;
      out[fraction_above_90] = high;
      out[fraction_below_10] = low;
    });
  });
}

template <class T>
void mean_of_sums(T* statistics, const T* sums, const MaskSizes s) {
  const T factor = T(1) / static_cast<T>(s.rows * s.C);
  reduce_columns<T>({statistics, true}, s.rows, mask_statistics,
                    [=] KERNEL(int64_t r, int64_t k) { return factor * sums[r * mask_statistics + k]; });
}

/// dx, da and d_angle = dM · −½ sin(angle), which is what da gets, too; its memory holds M first.
template <MaskRounding rounding, bool stochastic, class T>
void learned_dropout_backward(Rounding<rounding, stochastic>, acc_t<T>* d_angle, Accumulator<T> dx,
                              Accumulator<T> da, const T* dy, const acc_t<T>* dl1, const acc_t<T>* dentropy,
                              const T* x, const T* a, const T* shift, const MaskSizes s) {
  using A = acc_t<T>;
  for_each_row(s.rows, s.C, [=] KERNEL(int64_t r, auto row) {
    const T *ar = a + r * s.K + s.first, *sh = shift + s.first;
    const int64_t at = r * s.C, sample = r / s.T, first = (s.first_token + r % s.T) * s.C;
    const auto noise = noise_of<stochastic>(row, s, sample, first);
    const A n = static_cast<A>(s.rows * s.C);
    const A l1 = dl1 ? dl1[0] / n : A(0), entropy = dentropy ? dentropy[0] / n : A(0);
    mask_row(row, d_angle + at, ar, sh);
    row.each([=](int64_t c) {
      const int64_t i = at + c;
      const A m = d_angle[i], d = dy ? static_cast<A>(dy[i]) : A(0);
      const A rounded = round_mask<rounding, stochastic>(m, m, noise(c), s);
      const A slope = rounding == MaskRounding::sigmoid
                          ? static_cast<A>(s.sigmoid_scale) * rounded * (A(1) - rounded)
                          : A(1);
      if (dx) dx.add(i, d * rounded);
      d_angle[i] = d * static_cast<A>(x[i]) * slope + l1 * (s.linear_l1 ? A(1) : m);
      if (dentropy) {
        const A e = s.alternate_entropy ? A(1) - m : m, inner = e + A(entropy_epsilon);
        const A slope_of_e = math::log2(inner) + A(math::log2_e) * e / inner;
        d_angle[i] += entropy * (s.alternate_entropy ? slope_of_e : -slope_of_e);
      }
    });
    // A loop of its own: g++ would make one call of sin here and the cos behind M, which has no SIMD form.
    row.each([=](int64_t c) {
      const A d = d_angle[at + c] * (A(-0.5) * math::sin(static_cast<A>(ar[c]) + static_cast<A>(sh[c])));
      d_angle[at + c] = d;
      if (da) da.add(r * s.K + s.first + c, d);
    });
  });
}

template <class T>
void add_shift(Accumulator<T> dshift, const acc_t<T>* d_angle, const MaskSizes s) {
  reduce_columns(dshift.from(s.first), s.rows, s.C,
                 [=] KERNEL(int64_t r, int64_t c) { return d_angle[r * s.C + c]; });
}

template <class T>
void decide(uint16_t* words, const T* a, const T* shift, int64_t tokens, int64_t K, int64_t first,
            int64_t C) {
  using A = acc_t<T>;
  const int64_t per_token = (C + 15) / 16;
  for_each(tokens * per_token, [=] KERNEL(int64_t i) {
    const int64_t t = i / per_token, begin = i % per_token * 16, end = begin + 16 < C ? begin + 16 : C;
    uint32_t word = 0;
    for (int64_t c = begin; c < end; ++c) {
      const A m = mask_of(static_cast<A>(a[t * K + first + c]) + static_cast<A>(shift[first + c]));
      if (m >= A(0.5)) word |= 1u << (c - begin);
    }
    words[i] = static_cast<uint16_t>(word);
  });
}

template <class T>
void count_flips(T* fraction, const uint16_t* now, const uint16_t* before, int64_t words, int64_t count) {
  reduce_sum(fraction, words, acc_t<T>(1) / static_cast<acc_t<T>>(count), [=] KERNEL(int64_t i) {
    int bits = 0;
    for (auto differing = static_cast<uint32_t>(now[i] ^ before[i]); differing; differing &= differing - 1)
      ++bits;
    return static_cast<acc_t<T>>(bits);
  });
}

}  // namespace

MaskDecisions mask_decisions(const Tensor& a, const Tensor& shift, int64_t first_column, int64_t C) {
  check(a.shape().rank() == 3 && a.size(0) > 0, "mask_decisions: a has shape ", a.shape(),
        ", expected (B, T, K), B > 0");
  const int64_t T = a.size(1), K = a.size(2);
  check(shift.shape() == Shape{K}, "mask_decisions: shift has shape ", shift.shape(), ", expected ",
        Shape{K});
  check(first_column >= 0 && C > 0 && first_column + C <= K, "mask_decisions: columns ", first_column, " to ",
        first_column + C, " of a, whose shape is ", a.shape());
  Tensor words({T, (C + 15) / 16}, DType::uint16);
  dispatch_float("mask_decisions", a.dtype(), [&](auto t) {
    using S = decltype(t);
    decide(words.data<uint16_t>(), a.data<S>(), shift.data<S>(), T, K, first_column, C);
  });
  return {words, T * C};
}

Tensor fraction_of_flips(const MaskDecisions& now, const Tensor& before, DType dtype) {
  check(before.shape() == now.words.shape(), "fraction_of_flips: decisions of shape ", before.shape(),
        " and ", now.words.shape(), ", expected those of the same mask");
  Tensor fraction(Shape{}, dtype);
  dispatch_float("fraction_of_flips", dtype, [&](auto t) {
    using T = decltype(t);
    count_flips(fraction.data<T>(), now.words.data<uint16_t>(), before.data<uint16_t>(), before.elements(),
                now.count);
  });
  return fraction;
}

MaskedInput learned_dropout(const Var& x, const Var& a, const Var& shift, const MaskOptions& options,
                            int64_t first_column) {
  check(x.shape().rank() == 3 && a.shape().rank() == 3 && a.size(0) == x.size(0) && a.size(1) == x.size(1),
        "learned_dropout: x has shape ", x.shape(), ", a ", a.shape(), ", expected (B, T, C) and (B, T, K)");
  check_same_dtype("learned_dropout", x, a);
  check_same_dtype("learned_dropout", x, shift);
  const int64_t C = x.size(2), K = a.size(2);
  check_shape("learned_dropout", "shift", shift, {K});
  check(first_column >= 0 && first_column + C <= K, "learned_dropout: columns ", first_column, " to ",
        first_column + C, " of a, whose shape is ", a.shape());
  const MaskSizes s{x.size(0) * x.size(1),
                    x.size(1),
                    C,
                    K,
                    first_column,
                    options.first_token,
                    options.l1_norm == L1NormPenalty::linear,
                    options.entropy == EntropyPenalty::alternate,
                    options.sigmoid_scale,
                    options.key};
  const Tensor xs = x.value(), as = a.value(), shifts = shift.value();
  Tensor y = Tensor::like(xs), l1, entropy, statistics;
  dispatch_float("learned_dropout", x.dtype(), [&](auto t) {
    using T = decltype(t);
    using A = acc_t<T>;
    statistics = Tensor({mask_statistics}, dtype_of<A>());
    const Tensor m(xs.shape(), dtype_of<A>()), sums({s.rows, mask_statistics}, dtype_of<A>());
    const std::optional<Tensor> held = Replay::next_recorded(m.shape(), m.dtype());
    with_rounding(options, [&](auto r) {
      learned_dropout_forward(r, y.data<T>(), m.data<A>(), sums.data<A>(), held ? held->data<A>() : nullptr,
                              xs.data<T>(), as.data<T>(), shifts.data<T>(), s);
    });
    if (!held) Replay::record(m);
    mean_of_sums(statistics.data<A>(), sums.data<A>(), s);
  });
  l1 = statistics.part(mean_l1_norm, {});
  entropy = statistics.part(mean_entropy, {});
  auto outputs = record("learned_dropout", {x, a, shift}, {y, l1, entropy}, [=](const Gradients& g) {
    dispatch_float("learned_dropout", xs.dtype(), [&](auto t) {
      using T = decltype(t);
      using A = acc_t<T>;
      const Tensor d_angle(xs.shape(), dtype_of<A>());
      // Where only some columns are touched, the others must hold values already.
      const bool all_columns = s.K == s.C;
      const auto dx = g.dx<T>(0), da = all_columns ? g.dx<T>(1) : g.dx_zeroed<T>(1);
      with_rounding(options, [&](auto r) {
        learned_dropout_backward(r, d_angle.data<A>(), dx, da, g.dy<T>(0), g.dy<A>(1), g.dy<A>(2),
                                 xs.data<T>(), as.data<T>(), shifts.data<T>(), s);
      });
      auto to_shift = [&](auto dshift) { add_shift(dshift, d_angle.data<A>(), s); };
      all_columns ? g.with_dx<T>(2, to_shift) : g.with_dx_zeroed<T>(2, to_shift);
    });
  });
  return {outputs[0], outputs[1], outputs[2], statistics};
}

}  // namespace ld
