#include <doctest/doctest.h>

#include <cmath>

#include "ops/attention.h"
#include "ops/cached_attention.h"
#include "tests/expect.h"

namespace ld {
namespace {

// qkv (1, T, 3·C) cut into pieces of these lengths, one after the other through a cache.
std::vector<double> in_pieces(const Tensor& qkv, int64_t n_head, const std::vector<int64_t>& lengths,
                              int64_t context) {
  const int64_t width = qkv.size(2);
  const KeyValueCache cache(n_head, width / 3 / n_head, context, qkv.dtype());
  const auto values = qkv.to_vector();
  std::vector<double> y;
  auto next = values.begin();
  int64_t first = 0;
  for (int64_t n : lengths) {
    const Tensor piece =
        Tensor::from(std::vector<double>(next, next + n * width), {1, n, width}, qkv.dtype());
    const auto part = cached_attention(piece, cache, first).to_vector();
    y.insert(y.end(), part.begin(), part.end());
    next += n * width;
    first += n;
  }
  return y;
}

TEST_CASE("cached attention: pieces of a text give what the whole text gives") {
  for (int64_t D : {1, 5, 16, 33})
    for (const std::vector<int64_t>& lengths :
         {std::vector<int64_t>{1, 1, 1, 1, 1}, {7, 1, 1}, {1, 8}, {3, 4, 30, 1}, {33, 1}, {9}}) {
      int64_t T = 0;
      for (int64_t n : lengths) T += n;
      INFO("D ", D, ", ", lengths.size(), " pieces of ", T, " tokens");
      const Tensor qkv = random_tensor({1, T, 3 * 3 * D}, 1);
      const auto expected = causal_attention(qkv, 3).value().to_vector();
      CHECK(relative_difference(in_pieces(qkv, 3, lengths, T), expected) < 1e-13);
      CHECK(relative_difference(in_pieces(qkv, 3, lengths, T + 5), expected) < 1e-13);
      CHECK(relative_difference(in_pieces(cast(qkv, DType::float32), 3, lengths, T), expected) < 5e-6);
      // Rounded to bfloat16: the inputs are, once, on both sides; the result is, to 2⁻⁸ of itself.
      const Tensor half = cast(qkv, DType::bfloat16);
      const auto half_expected = causal_attention(half, 3).value().to_vector();
      CHECK(relative_difference(in_pieces(half, 3, lengths, T), half_expected) < 0.008);
    }
}

TEST_CASE("cached attention: enough heads and tokens for several threads") {
  const Tensor qkv = random_tensor({1, 130, 3 * 12 * 16}, 1);
  CHECK(relative_difference(in_pieces(qkv, 12, {100, 29, 1}, 130),
                            causal_attention(qkv, 12).value().to_vector()) < 1e-13);
}

TEST_CASE("cached attention: large scores do not overflow") {
  const Tensor qkv = cast(random_tensor({1, 9, 3 * 10}, 1, 0, 300), DType::float32);
  for (double v : in_pieces(qkv, 2, {4, 1, 4}, 9)) CHECK(std::isfinite(v));
}

TEST_CASE("cached attention: misuse names both sides") {
  const KeyValueCache cache(2, 2, 6, DType::float64);
  const Tensor qkv = random_tensor({1, 3, 12}, 1), wide = random_tensor({1, 3, 15}, 2),
               two = random_tensor({2, 3, 12}, 3), single = cast(qkv, DType::float32);
  expect_refusal([&] { cached_attention(wide, cache, 0); },
                 {"cached attention: qkv has shape (1, 3, 15)", "(1, n, 12)"});
  expect_refusal([&] { cached_attention(two, cache, 0); }, {"(2, 3, 12)", "(1, n, 12)"});
  expect_refusal([&] { cached_attention(single, cache, 0); }, {"float32", "the cache float64"});
  expect_refusal([&] { cached_attention(qkv, cache, 4); }, {"tokens 4 to 7", "6 tokens"});
  expect_refusal([&] { cached_attention(qkv, cache, -1); }, {"tokens -1"});
  expect_refusal([&] { cached_attention(qkv, {}, 0); }, {"cached attention: the cache is empty"});
}

}  // namespace
}  // namespace ld
