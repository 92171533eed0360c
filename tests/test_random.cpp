#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "engine/normal.h"
#include "engine/random.h"
#ifdef ENGINE_CPU
#include "engine/uniform_line.h"
#endif

namespace ld {
namespace {

void check_known_answer(Philox4 counter, uint32_t key0, uint32_t key1, Philox4 expected) {
  const Philox4 result = philox(counter, key0, key1);
  for (int i = 0; i < 4; ++i) CHECK(result.word[i] == expected.word[i]);
}

// The three vectors for philox4x32-10 that its authors publish with Random123 (tests/kat_vectors).
TEST_CASE("philox: known answers") {
  check_known_answer({{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  const uint32_t ones = 0xffffffff;
  check_known_answer({{ones, ones, ones, ones}}, ones, ones,
                     {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  // The digits of π.
  check_known_answer({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0,
                     {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST_CASE("noise: element e is word e mod 4 of block e / 4") {
  const NoiseKey key{0x0123456789abcdef, 7, 11, 13};
  for (int64_t element : {0, 1, 2, 3, 4, 5, 1025, 70003}) {
    const Philox4 block =
        philox({{static_cast<uint32_t>(element / 4), 13, 11 + 5, 7}}, 0x89abcdef, 0x01234567);
    CHECK(key.bits(5, element) == block.word[element % 4]);
  }
}

TEST_CASE("noise: another seed, step, sample, site or element is another number") {
  std::set<uint32_t> seen;
  for (uint64_t seed : {0ull, 1ull, 1ull << 32})
    for (uint32_t step : {0u, 1u})
      for (uint32_t site : {0u, 1u})
        for (int64_t sample : {0, 1})
          for (int64_t element = 0; element < 9; ++element)
            seen.insert(NoiseKey{seed, step, 0, site}.bits(sample, element));
  CHECK(seen.size() == 3 * 2 * 2 * 2 * 9);
  const NoiseKey key{3, 1, 4, 1};
  CHECK(key.at(5).site == 5);
  CHECK(key.at(5).bits(2, 7) == NoiseKey{3, 1, 4, 5}.bits(2, 7));
  CHECK(key.bits(2, 7) == NoiseKey{3, 1, 6, 1}.bits(0, 7));
}

#ifdef ENGINE_CPU
TEST_CASE("noise: a line of numbers is what one at a time gives") {
  const NoiseKey key{0xfedcba9876543210, 0x89abcdef, 0xfffffffe, 0x01234567};
  for (int64_t sample : {0, 1, 2})  // the last two beyond where the place of a sample begins again at 0
    for (int64_t first : std::initializer_list<int64_t>{0, 1, 2, 3, 4, 63, 1234567, (int64_t{1} << 34) - 65})
      for (int64_t n : {1, 3, 4, 5, 63, 64, 65, 200}) {
        INFO("sample ", sample, ", ", n, " numbers from ", first);
        const float* line = uniform_line(key, sample, first, n);
        for (int64_t i = 0; i < n; ++i) REQUIRE(line[i] == key.uniform(sample, first + i));
      }
}
#endif

TEST_CASE("noise: uniform is a multiple of 2⁻²⁴ in [0, 1)") {
  const NoiseKey key{1, 2, 3, 4};
  double sum = 0;
  const int64_t n = 100000;
  for (int64_t i = 0; i < n; ++i) {
    const float u = key.uniform(0, i);
    REQUIRE((u >= 0 && u < 1));
    REQUIRE(std::ldexp(u, 24) == std::floor(std::ldexp(u, 24)));
    sum += static_cast<double>(u);
  }
  CHECK(std::abs(sum / n - 0.5) < 4 * std::sqrt(1.0 / 12 / n));  // four standard deviations
  // The largest that can be drawn is still below 1.
  CHECK(NoiseKey::unit(0xffffffffu) == 1 - 0x1p-24f);
  CHECK(NoiseKey::unit(0) == 0);
}

TEST_CASE("normal: mean, deviation and tails") {
  const int64_t n = 100001;  // odd: the last pair is cut
  Tensor t({n}, DType::float64);
  fill_normal(t, 3, 2, {5, 0, 0, 0});
  double mean = 0, variance = 0, beyond = 0;
  for (double x : t.to_vector()) mean += x / n;
  for (double x : t.to_vector()) {
    variance += (x - mean) * (x - mean) / n;
    beyond += std::abs(x - 3) > 2 * 1.959964 ? 1.0 / n : 0;
  }
  CHECK(std::abs(mean - 3) < 4 * 2 / std::sqrt(n));
  CHECK(std::abs(variance - 4) < 4 * 4 * std::sqrt(2.0 / n));
  CHECK(std::abs(beyond - 0.05) < 4 * std::sqrt(0.05 * 0.95 / n));  // 95 % lie within 1.96 deviations
}

TEST_CASE("normal: the same key, the same numbers, whatever the dtype and the size") {
  Tensor small({33}, DType::float32), large({1025}, DType::float64);
  fill_normal(small, 0, 1, {5, 0, 0, 9});
  fill_normal(large, 0, 1, {5, 0, 0, 9});
  const auto a = small.to_vector(), b = large.to_vector();
  for (size_t i = 0; i < a.size(); ++i) CHECK(a[i] == static_cast<double>(static_cast<float>(b[i])));
}

}  // namespace
}  // namespace ld
