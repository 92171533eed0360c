// Attention at lengths and head sizes on both sides of every tile that a device may use, held against float64
// written out; in bfloat16 element by element, within bounds that follow from the roundings.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/attention.h"
#include "tests/expect.h"
#ifdef ENGINE_CPU
#include "engine/tile_unit.h"
#endif
#ifdef ENGINE_EMULATED
#include "ops/attention_gpu.h"
#include "tests/emulated_helpers.h"
#endif

namespace ld {
namespace {

const NoiseKey key{5, 3, 2, 1};

struct Sizes {
  int64_t B, T, H, D;
};
const std::vector<Sizes> ragged_sizes = {{2, 1, 3, 1},   {2, 2, 2, 5},    {1, 15, 3, 13},  {2, 16, 2, 16},
                                         {1, 17, 2, 24}, {1, 63, 2, 32},  {1, 64, 2, 64},  {1, 65, 3, 13},
                                         {1, 64, 1, 16}, {1, 65, 2, 128}, {1, 100, 1, 80}, {1, 130, 2, 16},
                                         {1, 129, 1, 5}, {1, 130, 1, 64}, {1, 17, 1, 130}};

std::ostream& operator<<(std::ostream& out, const Sizes& s) {
  return out << "B " << s.B << " T " << s.T << " H " << s.H << " D " << s.D;
}

/// Numbers and how far a bfloat16 result may be from each.
struct Bounded {
  std::vector<double> value, bound;
  explicit Bounded(size_t n) : value(n), bound(n) {}
};
struct Expected {
  Bounded y, dqkv;
};

constexpr double rounding = 0x1p-8;  // of a number to bfloat16 (8 significant bits), relative to it
constexpr double rest = 0x1p-14;  // what float32 does to a term of a sum: 2⁻²⁴ in a score of some tens

// Bounds: P̃ and dS may be rounded as factors of a product and the result is rounded; δ is dy · y with the y
// that was stored, so that an error ε_i of it changes dS_ij by P_ij ε_i.
Expected expected_attention(const std::vector<double>& qkv, const std::vector<double>& dy, Sizes s,
                            double rate) {
  const int64_t C = s.H * s.D;
  Expected e{Bounded(dy.size()), Bounded(qkv.size())};
  const double factor = 1 / std::sqrt(static_cast<double>(s.D));
  for (int64_t b = 0; b < s.B; ++b)
    for (int64_t h = 0; h < s.H; ++h)
      for (int64_t i = 0; i < s.T; ++i) {
        auto at = [&](int64_t t, int64_t part, int64_t d) {
          return static_cast<size_t>(((b * s.T + t) * 3 + part) * C + h * s.D + d);
        };
        auto out = [&](int64_t d) { return static_cast<size_t>((b * s.T + i) * C + h * s.D + d); };
        std::vector<double> p(static_cast<size_t>(i + 1)), keep(p.size());
        for (int64_t j = 0; j <= i; ++j) {
          const auto n = static_cast<size_t>(j);
          for (int64_t d = 0; d < s.D; ++d) p[n] += factor * qkv[at(i, 0, d)] * qkv[at(j, 1, d)];
          keep[n] = key.uniform(b, (h * s.T + i) * s.T + j) >= static_cast<float>(rate) ? 1 / (1 - rate) : 0;
        }
        const double largest = *std::max_element(p.begin(), p.end());
        for (double& weight : p) weight = std::exp(weight - largest);
        const double total = std::accumulate(p.begin(), p.end(), 0.0);
        for (double& weight : p) weight /= total;
        double delta = 0, delta_error = 0;
        for (int64_t d = 0; d < s.D; ++d) {
          double &y = e.y.value[out(d)], sum = 0;
          for (int64_t j = 0; j <= i; ++j) {
            const auto n = static_cast<size_t>(j);
            const double term = keep[n] * p[n] * qkv[at(j, 2, d)];
            y += term;
            sum += std::abs(term);
          }
          e.y.bound[out(d)] = rounding * std::abs(y) + (rounding + rest) * sum;
          delta += dy[out(d)] * y;
          delta_error += std::abs(dy[out(d)]) * (e.y.bound[out(d)] + rest * std::abs(y));
        }
        auto add = [&](size_t place, double term, double relative_error) {
          e.dqkv.value[place] += term;
          e.dqkv.bound[place] += std::abs(term) * relative_error;
        };
        for (int64_t j = 0; j <= i; ++j) {
          const auto n = static_cast<size_t>(j);
          double dp = 0;
          for (int64_t d = 0; d < s.D; ++d) dp += keep[n] * dy[out(d)] * qkv[at(j, 2, d)];
          const double ds = p[n] * (dp - delta);
          const double ds_error =
              rounding * std::abs(ds) + p[n] * (delta_error + rest * (std::abs(dp) + std::abs(delta)));
          for (int64_t d = 0; d < s.D; ++d) {
            const double q = qkv[at(i, 0, d)], k = qkv[at(j, 1, d)];
            add(at(i, 0, d), factor * ds * k, 0);
            add(at(j, 1, d), factor * ds * q, 0);
            e.dqkv.bound[at(i, 0, d)] += factor * ds_error * std::abs(k);
            e.dqkv.bound[at(j, 1, d)] += factor * ds_error * std::abs(q);
            add(at(j, 2, d), keep[n] * p[n] * dy[out(d)], rounding + rest);
          }
        }
      }
  for (size_t i = 0; i < qkv.size(); ++i) e.dqkv.bound[i] += rounding * std::abs(e.dqkv.value[i]);
  return e;
}

void check_within(const Tensor& result, const Bounded& expected) {
  const auto found = result.to_vector();
  REQUIRE(found.size() == expected.value.size());
  double worst = 0;  // error, in bounds
  for (size_t i = 0; i < found.size(); ++i) {
    // The tiny term: a result that is 0 but for float32 rounding has hardly a bound.
    const double error = std::abs(found[i] - expected.value[i]) / (expected.bound[i] + 1e-9);
    if (!(error <= worst)) worst = error;
  }
  CAPTURE(worst);
  CHECK_FALSE(!(worst <= 1));
}

Tensor random_bfloat16(const Shape& shape, uint64_t seed) {
  return cast(random_tensor(shape, seed), DType::bfloat16);
}

Run run_attention(const Tensor& qkv, const Tensor& dy, int64_t H, double rate, int times = 1) {
  Var x = Var::leaf(qkv);
  Tape tape;
  const Var y = causal_attention(x, H, {rate, key});
  for (int i = 0; i < times; ++i) tape.backward(y, dy, i + 1 < times ? KeepTape::yes : KeepTape::no);
  return {y.value(), {x.gradient()}};
}

void check_ragged_sizes() {
  for (const Sizes& s : ragged_sizes)
    for (double rate : {0.0, 0.3}) {
      INFO(s, ", dropout ", rate);
      const Tensor qkv = random_bfloat16({s.B, s.T, 3 * s.H * s.D}, 1),
                   dy = random_bfloat16({s.B, s.T, s.H * s.D}, 2);
      const Run found = run_attention(qkv, dy, s.H, rate);
      const Expected expected = expected_attention(qkv.to_vector(), dy.to_vector(), s, rate);
      check_within(found.value, expected.y);
      check_within(found.gradients[0], expected.dqkv);
    }
}

TEST_CASE("attention in bfloat16: value and gradient within what the roundings allow, at ragged sizes") {
  check_ragged_sizes();
}

#if defined(ENGINE_CPU) && defined(LD_TILE_UNIT)
TEST_CASE("attention in bfloat16: the same on a processor without tile unit") {
  const TileUnit::Absent absent;
  check_ragged_sizes();
}
#endif

// The tolerances of every op's cases (test_cases.cpp).
TEST_CASE("attention: in float32 and float64 the formula, at ragged sizes") {
  for (const Sizes& s : ragged_sizes)
    for (double rate : {0.0, 0.3})
      for (DType dtype : {DType::float32, DType::float64}) {
        INFO(name_of(dtype), " ", s, ", dropout ", rate);
        const Tensor qkv = random_bfloat16({s.B, s.T, 3 * s.H * s.D}, 1),
                     dy = random_bfloat16({s.B, s.T, s.H * s.D}, 2);
        const Run found = run_attention(cast(qkv, dtype), cast(dy, dtype), s.H, rate);
        const Expected expected = expected_attention(qkv.to_vector(), dy.to_vector(), s, rate);
        const double tolerance = dtype == DType::float32 ? 2e-5 : 1e-12;
        CHECK_FALSE(!(relative_difference(found.value.to_vector(), expected.y.value) <= tolerance));
        CHECK_FALSE(!(relative_difference(found.gradients[0].to_vector(), expected.dqkv.value) <= tolerance));
      }
}

TEST_CASE("attention in bfloat16: the heads of all masks at once") {
  const Sizes s{1, 5, 234, 3};
  const Tensor qkv = random_bfloat16({s.B, s.T, 3 * s.H * s.D}, 1),
               dy = random_bfloat16({s.B, s.T, s.H * s.D}, 2);
  const Run found = run_attention(qkv, dy, s.H, 0);
  const Expected expected = expected_attention(qkv.to_vector(), dy.to_vector(), s, 0);
  check_within(found.value, expected.y);
  check_within(found.gradients[0], expected.dqkv);
}

TEST_CASE("attention in bfloat16: a second backward adds to the first") {
  for (int64_t D : {13, 16}) {
    const Tensor qkv = random_bfloat16({1, 33, 3 * 3 * D}, 1), dy = random_bfloat16({1, 33, 3 * D}, 2);
    const auto once = run_attention(qkv, dy, 3, 0.3).gradients[0].to_vector();
    const auto twice = run_attention(qkv, dy, 3, 0.3, 2).gradients[0].to_vector();
    for (size_t i = 0; i < once.size(); ++i) REQUIRE(twice[i] == 2 * once[i]);
  }
}

// Scores of thousands, either sign: the largest score of a row comes in any of its tiles.
TEST_CASE("attention in bfloat16: large scores") {
  for (int64_t D : {16, 24}) {  // 1/√D is a power of 2, or not
    const Sizes s{1, 150, 1, D};
    const Tensor qkv = cast(random_tensor({1, s.T, 3 * s.D}, 1, 0, 40), DType::bfloat16),
                 dy = random_bfloat16({1, s.T, s.D}, 2);
    const Run found = run_attention(qkv, dy, 1, 0);
    Bounded y = expected_attention(qkv.to_vector(), dy.to_vector(), s, 0).y;
    check_within(found.value, y);
    for (double v : found.gradients[0].to_vector()) CHECK(std::isfinite(v));
  }
}

#ifdef ENGINE_CPU
// So large that each row's weight is at one key. A largest score that is not exactly what the others are compared with
// shows as weights above 1, or infinite. (A GPU's fused multiply-add does not round the product, and so makes weights
// uncertain by as much as a score's last digit, which from scores of a million on shows: docs/gpu.md.)
TEST_CASE("attention in bfloat16: scores of billions") {
  const int64_t T = 70, D = 24;
  const Tensor dy = random_bfloat16({1, T, D}, 2);
  for (double size : {1e3, 1e4, 1e5}) {
    CAPTURE(size);
    std::vector<double> values = random_tensor({1, T, 3 * D}, 1).to_vector();
    for (size_t i = 0; i < values.size(); ++i)
      if (static_cast<int64_t>(i) / D % 3 < 2) values[i] *= size;  // q and k
    const Tensor qkv = Tensor::from(values, {1, T, 3 * D}, DType::bfloat16);
    const Run found = run_attention(qkv, dy, 1, 0),
              wide = run_attention(cast(qkv, DType::float32), cast(dy, DType::float32), 1, 0);
    CHECK_FALSE(!(relative_difference(found.value, wide.value) <= 2 * rounding));
    // Of dv: dq and dk are differences of nearly equal numbers, times the size of k and q.
    const auto gradient = found.gradients[0].to_vector(), expected = wide.gradients[0].to_vector();
    for (size_t i = 0; i < gradient.size(); ++i)
      if (static_cast<int64_t>(i) / D % 3 == 2)
        CHECK_FALSE(!(std::abs(gradient[i] - expected[i]) <= 2 * rounding * (1 + std::abs(expected[i]))));
  }
}
#endif

// A weight of 0 hides neither a NaN nor an infinity. What a query does not see must not even be multiplied.
void check_not_finite(int64_t D, int64_t column, double rate) {
  INFO("head size ", D, ", column ", column, ", dropout ", rate);
  const int64_t T = 70, rows = T * 3;
  const Tensor qkv = random_bfloat16({1, T, 3 * D}, 1), dy = random_bfloat16({1, T, D}, 2);
  enum { q, k, v, upstream };
  for (DType dtype : {DType::bfloat16, DType::float32}) {
    const Run clean = run_attention(cast(qkv, dtype), cast(dy, dtype), 1, rate);
    const auto y = clean.value.to_vector(), gradient = clean.gradients[0].to_vector();
    for (double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)})
      for (int64_t token : {0, 15, 40, 64})
        for (int64_t part = 0; part <= upstream; ++part) {
          INFO(name_of(dtype), ", ", bad, " in part ", part, " of q, k, v, dy of token ", token);
          auto x = qkv.to_vector(), g = dy.to_vector();
          if (part != upstream)
            x[static_cast<size_t>((token * 3 + part) * D + column)] = bad;
          else
            g[static_cast<size_t>(token * D + column)] = bad;
          const Run found =
              run_attention(Tensor::from(x, qkv.shape(), dtype), Tensor::from(g, dy.shape(), dtype), 1, rate);
          const auto bad_y = found.value.to_vector(), bad_gradient = found.gradients[0].to_vector();
          for (int64_t r = 0; r < rows; ++r) {
            const int64_t t = r / 3, of = r % 3;
            // q and dy reach their own dq, and dk and dv of what they see; k and v reach every query that sees
            // them, and through it anything before.
            const bool of_query = part == q || part == upstream;
            if (of == q ? (of_query ? t == token : t >= token) : !(of_query && t > token)) continue;
            for (int64_t d = 0; d < D; ++d) {
              const auto i = static_cast<size_t>(r * D + d);
              CHECK_FALSE(!(bad_gradient[i] == gradient[i]));
            }
          }
          for (int64_t t = 0; t < T; ++t)
            for (int64_t d = 0; d < D; ++d) {
              const auto i = static_cast<size_t>(t * D + d);
              const bool sees = part == q ? t == token : t >= token;
              if (part == upstream || !sees || (part == v && d != column))
                CHECK_FALSE(!(bad_y[i] == y[i]));
              else if (part == v || bad != bad)
                CHECK_FALSE(std::isfinite(bad_y[i]));
            }
        }
  }
}

TEST_CASE("attention: what is not finite stays where it is seen, in every tile") {
  check_not_finite(16, 5, 0);
  check_not_finite(40, 35, 0.3);
}

// Sums of small numbers in which two large ones cancel show the order of the additions, even after they are
// rounded to bfloat16. The large ones stand in the upper columns of k and v (for y and dq) or of q and dy (for dk
// and dv), where the other two are 0, so that they touch neither scores nor dP: row `first` and minus that in row
// `second`, which are equal otherwise, and so are the weights that they get.
struct Cancelling {
  std::vector<double> qkv, dy;
};
Cancelling cancelling(int64_t T, int64_t D, int64_t first, int64_t second, bool in_keys) {
  Cancelling data{random_bfloat16({1, T, 3 * D}, 1).to_vector(), random_bfloat16({1, T, D}, 2).to_vector()};
  const auto large = random_bfloat16({D}, 3).to_vector();
  for (int part = 0; part < 4; ++part) {  // q, k, v, dy
    const auto element = [&](int64_t t, int64_t d) -> double& {
      return part < 3 ? data.qkv[static_cast<size_t>((t * 3 + part) * D + d)]
                      : data.dy[static_cast<size_t>(t * D + d)];
    };
    const bool cancels = (part == 1 || part == 2) == in_keys;
    for (int64_t d = 0; d < D; ++d) {
      element(second, d) = element(first, d);
      if (d < D / 2) continue;
      for (int64_t t = 0; t < T; ++t)
        if (!cancels) element(t, d) = 0;
      if (cancels) element(first, d) = 0x1p22 * large[static_cast<size_t>(d)];
      if (cancels) element(second, d) = -element(first, d);
    }
  }
  // Queries get equal weights only if the second sees no more: a key so far off that its own weight is 0.
  if (!in_keys)
    for (int64_t d = 0; d < D / 2; ++d)
      data.qkv[static_cast<size_t>((second * 3 + 1) * D + d)] =
          -0x1p14 * data.qkv[static_cast<size_t>(second * 3 * D + d)];
  return data;
}

TEST_CASE("attention: a token that becomes NaN or infinite changes no bit of what does not see it") {
  const int64_t T = 70, D = 16;
  enum { q, k, v, upstream };
  for (DType dtype : {DType::bfloat16, DType::float32, DType::float64})
    for (int64_t token : {12, 24, 31, 32, 40, 64})
      for (int part : {k, v, q, upstream}) {
        const bool of_key = part == k || part == v;
        // Keys before the token are seen with it by queries before it, queries after it by keys after it.
        const Cancelling data = of_key ? cancelling(T, D, token - 9, token - 2, true)
                                       : cancelling(T, D, token + 4, token + 5, false);
        const auto attention = [&](const std::vector<double>& x, const std::vector<double>& g) {
          return run_attention(Tensor::from(x, {1, T, 3 * D}, dtype), Tensor::from(g, {1, T, D}, dtype), 1,
                               0);
        };
        const Run clean = attention(data.qkv, data.dy);
        for (double bad :
             {static_cast<double>(NAN), static_cast<double>(INFINITY), -static_cast<double>(INFINITY)}) {
          INFO(name_of(dtype), ", ", bad, " in part ", part, " of q, k, v, dy of token ", token);
          auto x = data.qkv, g = data.dy;
          for (int64_t d = 0; d < D; ++d)
            (part == upstream ? g[static_cast<size_t>(token * D + d)]
                              : x[static_cast<size_t>((token * 3 + part) * D + d)]) = bad;
          const Run found = attention(x, g);
          // y and dq of the tokens before, or dk and dv of those after.
          const auto y = clean.value.to_vector(), bad_y = found.value.to_vector(),
                     gradient = clean.gradients[0].to_vector(), bad_gradient = found.gradients[0].to_vector();
          for (int64_t t = of_key ? 0 : token + 1; t < (of_key ? token : T); ++t)
            for (int64_t d = 0; d < D; ++d) {
              const auto of_gradient = [&](int of) { return static_cast<size_t>((t * 3 + of) * D + d); };
              INFO("row ", t, ", column ", d);
              if (of_key) {
                CHECK(bad_y[static_cast<size_t>(t * D + d)] == y[static_cast<size_t>(t * D + d)]);
                CHECK(bad_gradient[of_gradient(q)] == gradient[of_gradient(q)]);
              } else {
                CHECK(bad_gradient[of_gradient(k)] == gradient[of_gradient(k)]);
                CHECK(bad_gradient[of_gradient(v)] == gradient[of_gradient(v)]);
              }
            }
        }
      }
}

#ifdef ENGINE_EMULATED
TEST_CASE("attention: the tiled kernels only where a GPU has the shared memory for them") {
  const auto fits = [](auto number, int64_t head_size, size_t kib) {
    return attention_gpu::fits_flash<decltype(number)>({1, 1, 1, head_size, 0, {}}, kib * 1024);
  };
  for (size_t kib : {227, 163, 99}) {  // capability 9.0, 8.0, 8.6
    INFO(kib, " KiB");
    const bool large = kib > 99;
    CHECK(fits(bfloat16{}, 128, kib));
    CHECK(fits(float{}, 64, kib));
    CHECK(fits(float{}, 65, kib) == large);
    CHECK(fits(float{}, 128, kib) == large);
    CHECK(fits(double{}, 16, kib));
    CHECK(fits(double{}, 17, kib) == large);
    CHECK(fits(double{}, 64, kib) == large);
    CHECK_FALSE(fits(double{}, 65, kib));
    CHECK_FALSE(fits(float{}, 129, kib));
  }
  CHECK(attention_gpu::fits_flash<float>({1, 1, 1, 128, 0, {}}));  // the emulated device is like an H100
}

TEST_CASE("attention: the same bits in every order of blocks, warps and lanes") {
  using emulated_test::Order, emulated_test::ScheduleScope;
  for (DType dtype : {DType::bfloat16, DType::float32})
    for (const Sizes& s :
         {Sizes{1, 65, 2, 13}, {1, 100, 1, 24}, {1, 130, 1, 16}, {1, 70, 1, 64}, {1, 65, 1, 80}}) {
      INFO(name_of(dtype), " ", s);
      const Tensor qkv = cast(random_bfloat16({s.B, s.T, 3 * s.H * s.D}, 1), dtype),
                   dy = cast(random_bfloat16({s.B, s.T, s.H * s.D}, 2), dtype);
      const Run forward = run_attention(qkv, dy, s.H, 0.3);
      for (auto [order, seed] : {std::pair{Order::reverse, 0}, {Order::random, 1}, {Order::random, 2}}) {
        const ScheduleScope scope(order, static_cast<uint64_t>(seed));
        const Run other = run_attention(qkv, dy, s.H, 0.3);
        CHECK(same_bits(forward.value, other.value));
        CHECK(same_bits(forward.gradients[0], other.gradients[0]));
      }
    }
}
#endif

}  // namespace
}  // namespace ld
