#include <doctest/doctest.h>

#include <cmath>

#include "ops/attention.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

const NoiseKey key{5, 3, 2, 1};

Function heads(int64_t n_head, double rate = 0) {
  return [=](const std::vector<Var>& in) { return causal_attention(in[0], n_head, {rate, key}); };
}

OP_CASES(attention) {
  struct Sizes {
    int64_t B, T, H, D;
  };
  // Head sizes and lengths on both sides of what a SIMD vector or a block of rows holds.
  for (Sizes s : {Sizes{1, 9, 2, 5},
                  {1, 1, 1, 1},
                  {2, 7, 3, 1},
                  {2, 8, 1, 13},
                  {1, 33, 2, 16},
                  {2, 9, 3, 17},
                  {1, 33, 1, 17},
                  {1, 7, 2, 64},
                  {2, 33, 2, 64}}) {
    std::ostringstream name;
    name << "B " << s.B << " T " << s.T << " H " << s.H << " D " << s.D;
    const Tensor qkv = random_tensor({s.B, s.T, 3 * s.H * s.D}, 1);
    cases.add(name.str(), heads(s.H), {qkv});
    if (s.T > 1) cases.add(name.str() + " dropout", heads(s.H, 0.3), {qkv});
  }
}

/// y (B, T, C), literally: for each sample, head and row the softmax of what may be seen.
std::vector<double> naive(const std::vector<double>& qkv, int64_t B, int64_t T, int64_t H, int64_t D,
                          double rate) {
  const int64_t C = H * D;
  auto at = [&](int64_t b, int64_t t, int64_t part, int64_t h, int64_t d) {
    return qkv[static_cast<size_t>((b * T + t) * 3 * C + part * C + h * D + d)];
  };
  std::vector<double> y(static_cast<size_t>(B * T * C), 0.0);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < T; ++i) {
        std::vector<double> p;
        double total = 0;
        for (int64_t j = 0; j <= i; ++j) {
          double score = 0;
          for (int64_t d = 0; d < D; ++d) score += at(b, i, 0, h, d) * at(b, j, 1, h, d);
          p.push_back(std::exp(score / std::sqrt(static_cast<double>(D))));
          total += p.back();
        }
        for (int64_t j = 0; j <= i; ++j) {
          const bool kept = rate == 0 || key.uniform(b, (h * T + i) * T + j) >= static_cast<float>(rate);
          for (int64_t d = 0; d < D; ++d)
            y[static_cast<size_t>((b * T + i) * C + h * D + d)] +=
                kept ? p[static_cast<size_t>(j)] / total / (1 - rate) * at(b, j, 2, h, d) : 0;
        }
      }
  return y;
}

TEST_CASE("attention: softmax(q·kᵀ/√D) · v, causal") {
  for (int64_t D : {1, 5, 13, 16, 17, 64})
    for (int64_t T : {1, 7, 8, 9, 16, 17, 33})
      for (double rate : {0.0, 0.25}) {
        INFO("D ", D, ", T ", T, ", dropout ", rate);
        const Tensor qkv = random_tensor({2, T, 3 * 3 * D}, 1);
        const auto expected = naive(qkv.to_vector(), 2, T, 3, D, rate);
        const Tensor y = causal_attention(qkv, 3, {rate, key}).value();
        CHECK(y.shape() == Shape{2, T, 3 * D});
        CHECK(relative_difference(y.to_vector(), expected) < 1e-13);
        const Tensor single = causal_attention(cast(qkv, DType::float32), 3, {rate, key}).value();
        CHECK(relative_difference(single.to_vector(), expected) < 5e-6);
      }
}

TEST_CASE("attention: changing a token leaves every output before it bit-identical") {
  const int64_t T = 33, C = 2 * 17;
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16})
    for (double rate : {0.0, 0.25})
      for (int64_t changed : {1, 7, 8, 15, 16, 31, 32}) {
        INFO(name_of(dtype), ", dropout ", rate, ", token ", changed);
        std::vector<double> values = random_tensor({1, T, 3 * C}, 1).to_vector();
        const auto before =
            causal_attention(Tensor::from(values, {1, T, 3 * C}, dtype), 2, {rate, key}).value().to_vector();
        for (int64_t i = changed * 3 * C; i < (changed + 1) * 3 * C; ++i)
          values[static_cast<size_t>(i)] *= -1e6;
        const auto after =
            causal_attention(Tensor::from(values, {1, T, 3 * C}, dtype), 2, {rate, key}).value().to_vector();
        const auto first = static_cast<size_t>(changed * C);
        CHECK(std::equal(before.begin(), before.begin() + static_cast<int64_t>(first), after.begin()));
        CHECK_FALSE(std::equal(before.begin() + static_cast<int64_t>(first), before.end(),
                               after.begin() + static_cast<int64_t>(first)));
      }
}

TEST_CASE("attention: large scores do not overflow") {
  for (DType dtype : {DType::float32, DType::float64}) {
    const Tensor y = causal_attention(cast(random_tensor({2, 9, 3 * 10}, 1, 0, 300), dtype), 2).value();
    for (double v : y.to_vector()) CHECK(std::isfinite(v));
  }
}

// A weight of 0 does not hide a NaN or an infinity: hidden pairs must not be multiplied at all.
TEST_CASE("attention: a NaN or infinity reaches its own token and every later one, and none before") {
  const int64_t T = 33, C = 2 * 17;
  const Tensor dy = random_tensor({1, T, C}, 2);
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16})
    for (double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)})
      for (int64_t part = 0; part < 3; ++part)
        for (int64_t token : {1, 5, 15, 16, 32}) {
          INFO(name_of(dtype), ", ", bad, " in part ", part, " of q, k, v of token ", token);
          std::vector<double> values = random_tensor({1, T, 3 * C}, 1).to_vector();
          auto run = [&] {
            Var qkv = Var::leaf(Tensor::from(values, {1, T, 3 * C}, dtype));
            Tape tape;
            const Var y = causal_attention(qkv, 2);
            // The gradient of what comes before the token only: the others may then be anything.
            auto upstream = dy.to_vector();
            std::fill(upstream.begin() + token * C, upstream.end(), 0.0);
            tape.backward(y, Tensor::from(upstream, y.shape(), dtype));
            return std::pair(y.value().to_vector(), qkv.gradient().to_vector());
          };
          const auto [y, gradient] = run();
          values[static_cast<size_t>((token * 3 + part) * C + 3)] = bad;
          const auto [bad_y, bad_gradient] = run();
          CHECK(std::equal(y.begin(), y.begin() + token * C, bad_y.begin()));
          if (bad != bad || part == 2)  // an infinite score may be −∞, whose weight is 0
            CHECK_FALSE(std::isfinite(bad_y[static_cast<size_t>(token * C + 3)]));
          if (part == 0) continue;  // a query is its own token's alone
          if (bad != bad)
            for (int64_t t = token; t < T; ++t) CHECK(std::isnan(bad_y[static_cast<size_t>(t * C + 3)]));
          // dq of the rows before, which never read the token.
          for (int64_t t = 0; t < token; ++t)
            for (int64_t c = 0; c < C; ++c) {
              const auto at = static_cast<size_t>(t * 3 * C + c);
              CHECK(bad_gradient[at] == gradient[at]);
            }
        }
}

// The noise belongs to the sample's place in the whole batch, not to the tensor it happens to be in.
TEST_CASE("attention: dropout does not depend on how the batch is split") {
  const Tensor qkv = random_tensor({4, 9, 3 * 10}, 1);
  const auto whole = causal_attention(qkv, 2, {0.4, {1, 2, 0, 3}}).value().to_vector();
  auto values = qkv.to_vector();
  const auto half = static_cast<int64_t>(values.size()) / 2;
  const Tensor rest =
      Tensor::from(std::vector<double>(values.begin() + half, values.end()), {2, 9, 30}, DType::float64);
  const auto part = causal_attention(rest, 2, {0.4, {1, 2, 2, 3}}).value().to_vector();
  CHECK(std::equal(part.begin(), part.end(), whole.begin() + static_cast<int64_t>(part.size())));
}

TEST_CASE("attention: no samples, no tokens or no columns give an empty result and empty gradients") {
  for (const Shape& shape : {Shape{0, 5, 12}, Shape{2, 0, 12}, Shape{2, 3, 0}})
    for (double rate : {0.0, 0.5}) {
      INFO("batch ", shape[0], ", tokens ", shape[1], ", columns ", shape[2]);
      const Run none = run(
          [&](const std::vector<Var>& in) {
            return causal_attention(in[0], 2, {rate, key});
          },
          {Tensor(shape, DType::float32)});
      CHECK(none.value.shape() == shape.with_last(shape[2] / 3));
      CHECK(none.gradients[0].shape() == shape);
    }
}

#ifndef ENGINE_CPU
TEST_CASE("attention: a head size that the GPU kernel has no room for is refused") {
  const Tensor fits = random_tensor({1, 2, 3 * 256}, 1), wide = random_tensor({1, 2, 3 * 257}, 1);
  CHECK(std::isfinite(causal_attention(fits, 1).value().to_vector().back()));
  expect_error([&] { causal_attention(wide, 1); },
               {"attention: head size 257 is more than 256", "use more heads"});
}
#endif

TEST_CASE("attention: misuse names both sides") {
  const Tensor flat = random_tensor({4, 12}, 1), qkv = random_tensor({2, 4, 12}, 2),
               odd = random_tensor({2, 4, 13}, 3);
  expect_refusal([&] { causal_attention(flat, 2); }, {"attention: qkv has shape (4, 12)", "(B, T, 3·C)"});
  expect_refusal([&] { causal_attention(qkv, 3); }, {"attention: qkv has shape (2, 4, 12)", "3 heads"});
  expect_refusal([&] { causal_attention(odd, 1); }, {"(2, 4, 13)", "1 heads"});
  expect_refusal([&] { causal_attention(qkv, 0); }, {"attention", "0 heads"});
  expect_refusal(
      [&] {
        causal_attention(qkv, 2, {1.0, key});
      },
      {"attention: dropout rate 1 is not in [0, 1)"});
}

}  // namespace
}  // namespace ld
