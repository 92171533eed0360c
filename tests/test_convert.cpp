#include <doctest/doctest.h>

#include <cmath>

#include "ops/convert.h"
#include "ops/linear.h"
#include "tests/expect.h"

namespace ld {
namespace {

TEST_CASE("convert: rounds to nearest, ties to even; NaN and infinity stay") {
  const double ulp = 0x1p-7;  // of bfloat16 in [1, 2)
  const Tensor x = Tensor::from(
      {1 + 0.5 * ulp, 1 + 1.5 * ulp, 1 + 0.51 * ulp, -1 - 0.49 * ulp, NAN, -INFINITY}, {6}, DType::float32);
  const Var y = convert(x, DType::bfloat16);
  CHECK(y.dtype() == DType::bfloat16);
  const auto v = y.value().to_vector();
  CHECK(std::vector<double>(v.begin(), v.begin() + 4) == std::vector<double>{1, 1 + 2 * ulp, 1 + ulp, -1});
  CHECK(std::isnan(v[4]));
  CHECK(v[5] == -INFINITY);
}

TEST_CASE("convert: there and back is exact upwards") {
  for (DType narrow : {DType::bfloat16, DType::float32})
    for (int64_t n : {1, 31, 33, 1025}) {
      const Tensor x = cast(random_tensor({n}, 1), narrow);
      CHECK(same_bits(convert(convert(x, DType::float64), narrow).value(), x));
      CHECK(convert(x, DType::float64).value().to_vector() == x.to_vector());
    }
}

TEST_CASE("convert: to the same dtype is x itself") {
  Var x = Var::leaf(random_tensor({3}, 1));
  Tape tape;
  CHECK(convert(x, DType::float64).value().raw() == x.value().raw());
  CHECK(tape.size() == 0);
}

// The arrangement it is for: 1 + 2⁻¹⁰ does not exist in bfloat16, but the gradient of 1024 passes adds up to
// it.
TEST_CASE("convert: a float32 weight gathers the gradients of bfloat16 ops in float32") {
  Var weight = Var::leaf(Tensor::from({3.0}, {1, 1}, DType::float32));
  const Tensor x = Tensor::from({1, 1}, {2, 1}, DType::bfloat16);
  for (double dy : {1.0, 0x1p-10}) {
    Tape tape;
    tape.backward(linear(x, convert(weight, DType::bfloat16)),
                  Tensor::from({dy, 0}, {2, 1}, DType::bfloat16));
  }
  CHECK(weight.gradient().dtype() == DType::float32);
  CHECK(weight.gradient().item() == 1 + 0x1p-10);
}

TEST_CASE("convert: integers are refused") {
  const Tensor x = random_tensor({2}, 1), ids = Tensor::from(std::vector<int32_t>{1, 2}, {2});
  expect_refusal([&] { convert(ids, DType::float32); }, {"convert", "int32"});
  expect_refusal([&] { convert(x, DType::int32); }, {"convert", "int32"});
}

}  // namespace
}  // namespace ld
