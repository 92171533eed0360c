#include <doctest/doctest.h>

#include <cmath>

#include "ops/select.h"
#include "tests/expect.h"

namespace ld {
namespace {

TEST_CASE("comparisons: 1 where they hold, 0 elsewhere and for NaN") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    INFO(name_of(dtype));
    const Tensor a = Tensor::from({1, 2, 3, NAN, -INFINITY, -0.0}, {2, 3}, dtype);
    const Tensor b = Tensor::from({2, 2, 2, 1, 0, 0}, {2, 3}, dtype);
    auto values = [&](Var (*op)(const Var&, const Var&)) { return op(a, b).value().to_vector(); };
    using Values = std::vector<double>;
    CHECK(values(less) == Values{1, 0, 0, 0, 1, 0});
    CHECK(values(less_equal) == Values{1, 1, 0, 0, 1, 1});
    CHECK(values(greater) == Values{0, 0, 1, 0, 0, 0});
    CHECK(values(greater_equal) == Values{0, 1, 1, 0, 0, 1});
    CHECK(values(equal) == Values{0, 1, 0, 0, 0, 1});
    CHECK(less(a, b).dtype() == dtype);
  }
}

TEST_CASE("comparisons: ragged sizes against a plain loop") {
  for (int64_t n : {1, 31, 33, 1025}) {
    const Tensor a = random_tensor({n}, 1), b = random_tensor({n}, 2);
    const auto av = a.to_vector(), bv = b.to_vector(), y = greater(a, b).value().to_vector();
    for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == (av[i] > bv[i] ? 1 : 0));
  }
}

TEST_CASE("comparisons: constants, so nothing behind them is recorded") {
  Var a = Var::leaf(random_tensor({5}, 1)), b = Var::leaf(random_tensor({5}, 2));
  Tape tape;
  for (auto op : {less, less_equal, greater, greater_equal, equal}) CHECK_FALSE(op(a, b).requires_gradient());
  CHECK(tape.size() == 0);
}

TEST_CASE("comparisons: misuse names both sides") {
  const Tensor a = random_tensor({2, 3}, 1), b = random_tensor({3}, 2), single = cast(a, DType::float32);
  expect_refusal([&] { less(a, b); }, {"less: b has shape (3)", "(2, 3)"});
  expect_refusal([&] { greater_equal(a, single); }, {"greater_equal", "float64 and float32"});
  expect_refusal([&] { equal(b, a); }, {"equal: b has shape (2, 3)", "(3)"});
}

}  // namespace
}  // namespace ld
