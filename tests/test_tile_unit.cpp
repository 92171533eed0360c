#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "engine/tile_unit.h"
#include "tests/expect.h"

#ifdef LD_TILE_UNIT

namespace ld {
namespace {

uint32_t bits_of(double x) { return bfloat16(static_cast<float>(x)).bits; }

/// A number of a and of b in their words.
struct Factors {
  int64_t n, lda;  // words
  std::vector<double> a, b;
  std::vector<Word> a_words, b_words;

  // What lies between the rows of a is NaN, so that reading it shows.
  Factors(int64_t depth, int64_t gap)
      : n((depth + 1) / 2),
        lda((n + tile - 1) / tile * tile + gap),
        a(cast(random_tensor({tile, depth}, 1), DType::bfloat16).to_vector()),
        b(cast(random_tensor({depth, tile}, 2), DType::bfloat16).to_vector()),
        a_words(static_cast<size_t>(tile * lda), 0xffffffff),
        b_words(static_cast<size_t>(lda * tile)) {
    for (int64_t r = 0; r < tile; ++r)
      for (int64_t k = 0; k < (lda - gap) * 2; ++k) {
        const int shift = k % 2 * 16;
        Word &in_a = a_words[static_cast<size_t>(r * lda + k / 2)],
             &in_b = b_words[static_cast<size_t>(k / 2 * tile + r)];
        const uint32_t of_a = k < depth ? bits_of(a[static_cast<size_t>(r * depth + k)]) : 0,
                       of_b = k < depth ? bits_of(b[static_cast<size_t>(k * tile + r)]) : 0;
        in_a = (in_a & ~(0xffffu << shift)) | of_a << shift;
        in_b = (in_b & ~(0xffffu << shift)) | of_b << shift;
      }
  }
};

TEST_CASE("tile unit: a product of tiles, stored and added") {
  if (!TileUnit::available()) {
    MESSAGE("this processor has no tile unit, so it is not tested");
    return;
  }
  const TileUnit unit;
  for (int64_t depth : {1, 2, 15, 16, 31, 32, 33, 200})
    for (int64_t gap : {0, 16}) {
      INFO("depth ", depth, ", gap ", gap);
      const Factors f(depth, gap);
      std::vector<double> expected(tile * tile);
      for (int64_t r = 0; r < tile; ++r)
        for (int64_t c = 0; c < tile; ++c)
          for (int64_t k = 0; k < depth; ++k)
            expected[static_cast<size_t>(r * tile + c)] +=
                f.a[static_cast<size_t>(r * depth + k)] * f.b[static_cast<size_t>(k * tile + c)];
      std::vector<float> c(tile * tile, NAN);
      unit.product(c.data(), f.a_words.data(), f.lda, f.b_words.data(), f.n);
      CHECK_FALSE(!(relative_difference({c.begin(), c.end()}, expected) <= 1e-6));
      unit.add_product(c.data(), f.a_words.data(), f.lda, f.b_words.data(), f.n);
      for (double& x : expected) x *= 2;
      CHECK_FALSE(!(relative_difference({c.begin(), c.end()}, expected) <= 1e-6));
    }
}

TEST_CASE("tile unit: numbers are rounded as bfloat16 rounds them") {
  const float inf = std::numeric_limits<float>::infinity();
  const float numbers[] = {0.0f, -0.0f, 1.0f, 1.00390625f, 1.01171875f, -3.14159f, 1e30f,   3.4e38f,
                           inf,  -inf,  NAN,  1.2e-38f,    65280.0f,    0.1f,      -1e-30f, 257.0f};
  Floats even, odd;
  for (int64_t r = 0; r < tile; ++r) even[r] = numbers[r], odd[r] = -numbers[tile - 1 - r];
  const Halves row = rounded(even);
  const Words pairs = rounded_pairs(even, odd);
  for (int64_t r = 0; r < tile; ++r) {
    CAPTURE(numbers[r]);
    CHECK(row[r] == bfloat16(even[r]).bits);
    CHECK((pairs[r] & 0xffff) == bfloat16(even[r]).bits);
    CHECK((pairs[r] >> 16) == bfloat16(odd[r]).bits);
  }
}

}  // namespace
}  // namespace ld

#endif
