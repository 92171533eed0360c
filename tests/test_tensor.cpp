#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <sstream>

#include "engine/tensor.h"
#include "tests/expect.h"

namespace ld {
namespace {

TEST_CASE("shape: sizes, from both ends") {
  const Shape s{2, 3, 5};
  CHECK(s.rank() == 3);
  CHECK(s.elements() == 30);
  CHECK(s[0] == 2);
  CHECK(s[-1] == 5);
  CHECK(s[-3] == 2);
  CHECK(Shape{}.elements() == 1);
  CHECK(Shape{4, 0}.elements() == 0);
  CHECK(s.with_last(7) == Shape{2, 3, 7});
  CHECK(s.without_last() == Shape{2, 3});
  CHECK_FALSE(s == Shape{2, 3});
  CHECK_FALSE(s == Shape{2, 5, 3});
  std::ostringstream text;
  text << s << ' ' << Shape{} << ' ' << Shape{7};
  CHECK(text.str() == "(2, 3, 5) () (7)");
}

TEST_CASE("shape: mistakes have a message") {
  const Shape s{2, 3}, scalar;
  expect_error([&] { s[2]; }, {"dimension 2 of (2, 3)"});
  expect_error([&] { s[-3]; }, {"dimension -3 of (2, 3)"});
  expect_error([&] { Shape{1, 1, 1, 1, 1, 1, 1}; }, {"more than 6 dimensions"});
  expect_error([&] { Shape{3, -1}; }, {"negative size -1"});
  expect_error([&] { scalar.with_last(1); }, {"a scalar has no last dimension"});
  expect_error([&] { scalar.without_last(); }, {"a scalar has no last dimension"});
}

TEST_CASE("tensor: values go in and come out") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::int32, DType::uint16}) {
    INFO(name_of(dtype));
    const Tensor t = Tensor::from({1, 2, 3, 100, 5, 6}, {2, 3}, dtype);
    CHECK(t.dtype() == dtype);
    CHECK(t.shape() == Shape{2, 3});
    CHECK(t.bytes() == 6 * size_of(dtype));
    CHECK(t.to_vector() == std::vector<double>{1, 2, 3, 100, 5, 6});
    CHECK(Tensor::zeros({3}, dtype).to_vector() == std::vector<double>(3, 0.0));
  }
  CHECK(Tensor::from({7, -8}, {2}).dtype() == DType::int32);
  CHECK(Tensor::from({7, -8}, {2}).to_vector() == std::vector<double>{7, -8});
  CHECK(Tensor::scalar(2.5, DType::float32).item() == 2.5);
  CHECK(Tensor::zeros({3, 0}, DType::float32).to_vector().empty());
}

TEST_CASE("tensor: copies share memory, clones do not") {
  CHECK_FALSE(Tensor());
  const Tensor t = Tensor::from({1, 2, 3, 4}, {4}, DType::float32), same = t, clone = t.clone();
  const Tensor turned = t.reshaped({2, 2});
  CHECK(same.raw() == t.raw());
  CHECK(turned.raw() == t.raw());
  CHECK(turned.shape() == Shape{2, 2});
  CHECK(clone.raw() != t.raw());
  t.assign({5, 6, 7, 8});
  CHECK(turned.to_vector() == std::vector<double>{5, 6, 7, 8});
  CHECK(clone.to_vector() == std::vector<double>{1, 2, 3, 4});
}

TEST_CASE("tensor: mistakes name both sides") {
  const Tensor t = Tensor::from({1, 2, 3, 4}, {4}, DType::float32);
  Tensor other({2, 2}, DType::float32), integers({4}, DType::int32);
  expect_error([&] { t.data<double>(); }, {"holds float32, asked for float64"});
  expect_error([&] { t.reshaped({3}); }, {"(4) has 4 elements, (3) has 3"});
  expect_error([&] { other.copy_from(t); }, {"from (4) float32 to (2, 2) float32"});
  expect_error([&] { integers.copy_from(t); }, {"from (4) float32 to (4) int32"});
  expect_error([&] { t.item(); }, {"(4)", "one element"});
  expect_error([&] { t.assign({1, 2}); }, {"2 values", "(4)"});
  expect_error([&] { Tensor::from({1.0, 2.0}, {3}, DType::float32); }, {"2 values", "(3)"});
  expect_error([&] { Tensor::from({1, 2}, {3}); }, {"2 values", "(3)"});
}

float rounded(float x) { return static_cast<float>(bfloat16(x)); }

TEST_CASE("bfloat16: rounds to nearest, ties to even") {
  CHECK(rounded(1.0f) == 1.0f);
  CHECK(rounded(-2.5f) == -2.5f);
  // Eight significant bits: neighbours of 1 are 2⁻⁷ apart above.
  CHECK(rounded(1 + 0x1p-9f) == 1.0f);
  CHECK(rounded(1 + 0x1.8p-8f) == 1 + 0x1p-7f);
  CHECK(rounded(1 + 0x1p-8f) == 1.0f);              // a tie, down to even
  CHECK(rounded(1 + 0x3p-8f) == 1 + 0x1p-6f);       // a tie, up to even
  CHECK(rounded(1 + 0x1.0002p-8f) == 1 + 0x1p-7f);  // just above a tie
  CHECK(rounded(0x1.fffffep127f) == std::numeric_limits<float>::infinity());
  CHECK(rounded(0x1.fep127f) == 0x1.fep127f);  // its largest
  CHECK(rounded(std::numeric_limits<float>::infinity()) == std::numeric_limits<float>::infinity());
  CHECK(rounded(0x1p-133f) == 0x1p-133f);  // its smallest
  CHECK(std::signbit(rounded(-0.0f)));
  for (uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xffffffffu})
    CHECK(std::isnan(rounded(std::bit_cast<float>(bits))));
}

TEST_CASE("bfloat16: every one of them survives the way to float and back") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    bfloat16 b;
    b.bits = static_cast<uint16_t>(bits);
    const auto value = static_cast<float>(b);
    if (!std::isnan(value)) REQUIRE(bfloat16(value).bits == bits);
  }
}

TEST_CASE("dtype: an op meets a dtype it does not know") {
  expect_error([] { dispatch_float("gelu", DType::int32, [](auto) {}); },
               {"gelu: dtype int32", "float32 or float64"});
}

}  // namespace
}  // namespace ld
