#include <doctest/doctest.h>

#include <cmath>

#include "ops/binary.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

OP_CASES(div) {
  auto quotient = [](const std::vector<Var>& in) { return div(in[0], in[1]); };
  for (int64_t n : {1, 31, 33, 1025})
    cases.add(std::to_string(n), quotient, {random_tensor({n}, 1), uniform_tensor({n}, 2, 0.5, 3)}).kind =
        OpKind::elementwise;
  // Where an operand is repeated its gradient is a sum.
  cases.add("by a vector", quotient, {random_tensor({33, 31}, 3), uniform_tensor({31}, 4, -3, -0.5)});
  cases.add("a vector by a block", quotient, {random_tensor({5}, 5), uniform_tensor({2, 7, 5}, 6, 0.5, 3)});
  cases.add("by a scalar", quotient, {random_tensor({3, 5}, 7), uniform_tensor({}, 8, 0.5, 3)});
  cases.add("a scalar by a block", quotient, {random_tensor({}, 9), uniform_tensor({1025, 3}, 10, 0.5, 3)});
  cases
      .add("x / x, whose derivative is 0 and vanishes, times y",
           [](const std::vector<Var>& in) { return multiply(div(in[0], in[0]), multiply(in[0], in[1])); },
           {uniform_tensor({7}, 11, 0.5, 3), random_tensor({7}, 12)})
      .kind = OpKind::elementwise;
}

TEST_CASE("div: a / b") {
  const Tensor a = random_tensor({31, 33}, 1), b = uniform_tensor({33}, 2, 0.5, 3);
  const auto av = a.to_vector(), bv = b.to_vector(), y = div(a, b).value().to_vector(),
             inverse = div(b, a).value().to_vector();
  for (size_t i = 0; i < y.size(); ++i) {
    CHECK(y[i] == av[i] / bv[i % 33]);
    CHECK(inverse[i] == bv[i % 33] / av[i]);
  }
  const auto ends =
      div(Tensor::from({1, -1, 0}, {3}, DType::float32), Tensor::scalar(0, DType::float32)).value();
  CHECK(ends.to_vector()[0] == INFINITY);
  CHECK(ends.to_vector()[1] == -INFINITY);
  CHECK(std::isnan(ends.to_vector()[2]));
}

TEST_CASE("div: a constant denominator keeps nothing of the numerator") {
  Var a = Var::leaf(random_tensor({7}, 1));
  const Tensor b = uniform_tensor({7}, 2, 0.5, 3);
  Tape tape;
  tape.backward(div(a, b), Tensor::from(std::vector<double>(7, 2.0), {7}, DType::float64));
  const auto da = a.gradient().to_vector(), bv = b.to_vector();
  for (size_t i = 0; i < 7; ++i) CHECK(da[i] == doctest::Approx(2 / bv[i]).epsilon(1e-15));
}

TEST_CASE("div: misuse names both sides") {
  const Tensor a = random_tensor({2, 3}, 1), b = random_tensor({2}, 2), single = cast(a, DType::float32);
  expect_refusal([&] { div(a, b); }, {"div: shapes (2, 3) and (2)"});
  expect_refusal([&] { div(a, single); }, {"div", "float64 and float32"});
}

}  // namespace
}  // namespace ld
