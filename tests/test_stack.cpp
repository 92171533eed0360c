#include <doctest/doctest.h>

#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/stack.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

std::vector<Tensor> random_parts(size_t n, const Shape& shape) {
  std::vector<Tensor> parts;
  for (size_t k = 0; k < n; ++k) parts.push_back(random_tensor(shape, k + 1));
  return parts;
}

OP_CASES(stack) {
  auto all = [](const std::vector<Var>& in) { return stack(in); };
  cases.add("one part", all, random_parts(1, {3, 5})).kind = OpKind::movement;
  cases.add("numbers", all, random_parts(7, {})).kind = OpKind::movement;
  cases.add("more than one kernel takes", all, random_parts(65, {3})).kind = OpKind::movement;
  cases.add(
      "mean of numbers", [](const std::vector<Var>& in) { return mean(stack(in)); }, random_parts(26, {}));
  cases
      .add(
          "a part three times",
          [](const std::vector<Var>& in) {
            return stack({in[0], in[1], in[0], in[0]});
          },
          random_parts(2, {33}))
      .kind = OpKind::elementwise;  // its gradient is a sum of three
}

TEST_CASE("stack: one after the other") {
  std::vector<Var> parts;
  for (int k = 0; k < 70; ++k) parts.push_back(Tensor::from({k + 0.0, k + 0.5}, {2}, DType::float32));
  const Tensor y = stack(parts).value();
  CHECK(y.shape() == Shape{70, 2});
  const auto values = y.to_vector();
  for (size_t i = 0; i < 140; ++i) CHECK(values[i] == static_cast<double>(i) / 2);
}

TEST_CASE("stack: parts that do not match are refused") {
  const Var a = random_tensor({2}, 1), b = random_tensor({3}, 2);
  CHECK_THROWS_WITH_AS(stack({}), "stack: no parts given, expected at least one", Error);
  expect_error([&] { stack({a, b}); }, {"stack: a part has shape (3), expected (2)"});
  expect_error([&] { stack({a, Tensor::zeros({2}, DType::float32)}); }, {"stack: operands have dtypes"});
}

}  // namespace
}  // namespace ld
