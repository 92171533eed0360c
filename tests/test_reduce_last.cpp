#include <doctest/doctest.h>

#include "ops/reduce.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

void add_shapes(CaseList& cases, Var (*op)(const Var&)) {
  for (const Shape& shape : {Shape{1, 1}, {31, 33}, {33, 31}, {3, 1025}, {1025, 3}, {2, 3, 5}, {7}}) {
    std::ostringstream name;
    name << shape;
    cases.add(name.str(), [op](const std::vector<Var>& in) { return op(in[0]); }, {random_tensor(shape, 1)})
        .linear = true;
  }
}
OP_CASES(sum_last) { add_shapes(cases, sum_last); }
OP_CASES(mean_last) { add_shapes(cases, mean_last); }

TEST_CASE("sum_last, mean_last: along the last dimension") {
  for (int64_t cols : {1, 31, 33, 1025}) {
    const Tensor x = random_tensor({2, 5, cols}, 1);
    const auto xv = x.to_vector(), sums = sum_last(x).value().to_vector(),
               means = mean_last(x).value().to_vector();
    CHECK(sum_last(x).shape() == Shape{2, 5});
    for (size_t r = 0; r < 10; ++r) {
      double expected = 0;
      for (size_t j = 0; j < static_cast<size_t>(cols); ++j)
        expected += xv[r * static_cast<size_t>(cols) + j];
      CHECK(sums[r] == doctest::Approx(expected).epsilon(1e-13));
      CHECK(means[r] == doctest::Approx(expected / static_cast<double>(cols)).epsilon(1e-13));
    }
  }
  CHECK(sum_last(random_tensor({}, 1).reshaped({1})).shape() == Shape{});
}

TEST_CASE("sum_last: the sum of nothing is 0") {
  const Tensor x({3, 0}, DType::float32);
  CHECK(sum_last(x).value().to_vector() == std::vector<double>{0, 0, 0});
}

TEST_CASE("sum_last, mean_last: misuse names both sides") {
  const Tensor scalar = random_tensor({}, 1), empty({3, 0}, DType::float32);
  expect_refusal([&] { sum_last(scalar); }, {"sum_last: x has shape ()", "(…, C)"});
  expect_refusal([&] { mean_last(scalar); }, {"mean_last: x has shape ()"});
  expect_refusal([&] { mean_last(empty); }, {"mean_last: x has shape (3, 0)", "C > 0"});
}

TEST_CASE("sum, mean: of bfloat16 they are float32, and not rounded on the way") {
  // 0.25 · 4097 needs 13 bits.
  const Tensor x = Tensor::from(std::vector<double>(4097, 0.25), {4097}, DType::bfloat16);
  CHECK(sum(x).dtype() == DType::float32);
  CHECK(sum(x).value().item() == 1024.25);
  CHECK(mean(x).value().item() == doctest::Approx(0.25).epsilon(1e-6));
  CHECK(sum_last(x).dtype() == DType::bfloat16);
  CHECK(sum_last(x).value().item() == 1024);
}

}  // namespace
}  // namespace ld
