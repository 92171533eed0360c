#include <doctest/doctest.h>

#include <cmath>

#include "ops/softmax.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

OP_CASES(softmax) {
  auto op = [](const std::vector<Var>& in) { return softmax(in[0]); };
  for (const Shape& shape : {Shape{3, 2}, {33, 31}, {31, 33}, {2, 1025}, {2, 3, 5}, {7}}) {
    std::ostringstream name;
    name << shape;
    cases.add(name.str(), op, {random_tensor(shape, 1)});
  }
  cases.add("far from 0", op, {random_tensor({3, 7}, 2, 10, 1)});
}

OP_CASES(causal_softmax) {
  auto op = [](const std::vector<Var>& in) { return causal_softmax(in[0]); };
  for (const Shape& shape : {Shape{2, 2}, {3, 5, 5}, {2, 3, 4, 4}, {33, 33}}) {
    std::ostringstream name;
    name << shape;
    cases.add(name.str(), op, {random_tensor(shape, 1)});
  }
}

TEST_CASE("causal_softmax: softmax of what is seen, zeros beyond, whatever stands there") {
  for (DType dtype : {DType::float32, DType::float64})
    for (int64_t T : {1, 5, 33}) {
      INFO(name_of(dtype), ", T ", T);
      std::vector<double> x = cast(random_tensor({2, T, T}, 1, 0, 2), dtype).to_vector();
      std::vector<double> masked = x;
      for (size_t i = 0; i < x.size(); ++i) {
        const auto n = static_cast<size_t>(T), row = i / n % n, column = i % n;
        if (column > row) {
          masked[i] = -INFINITY;
          x[i] = i % 2 ? NAN : INFINITY;
        }
      }
      Var leaf = Var::leaf(Tensor::from(x, {2, T, T}, dtype));
      const auto expected = softmax(Tensor::from(masked, {2, T, T}, dtype)).value().to_vector();
      Tape tape;
      Var y = causal_softmax(leaf);
      CHECK(relative_difference(y.value().to_vector(), expected) < (dtype == DType::float64 ? 1e-14 : 1e-6));
      std::vector<double> dy(x.size(), NAN);  // of what is not seen, nothing may arrive
      for (size_t i = 0; i < x.size(); ++i)
        if (masked[i] != -INFINITY) dy[i] = static_cast<double>(i % 3);
      tape.backward(y, Tensor::from(dy, {2, T, T}, dtype));
      const auto gradient = leaf.gradient().to_vector();
      for (size_t i = 0; i < x.size(); ++i) {
        CHECK(std::isfinite(gradient[i]));
        if (masked[i] == -INFINITY) CHECK(gradient[i] == 0);
      }
    }
  const Tensor wide = random_tensor({3, 4}, 1);
  expect_refusal([&] { causal_softmax(wide); }, {"causal_softmax: x has shape (3, 4)", "(…, T, T)"});
}

TEST_CASE("softmax: e^x / Σ e^x") {
  for (int64_t cols : {1, 31, 33, 1025}) {
    INFO("cols ", cols);
    const Tensor x = random_tensor({7, cols}, 1, 0, 2);
    const auto n = static_cast<size_t>(cols);
    std::vector<double> expected = x.to_vector();
    for (size_t r = 0; r < 7; ++r) {
      double total = 0;
      for (size_t j = 0; j < n; ++j) total += std::exp(expected[r * n + j]);
      for (size_t j = 0; j < n; ++j) expected[r * n + j] = std::exp(expected[r * n + j]) / total;
    }
    CHECK(relative_difference(softmax(x).value().to_vector(), expected) < 1e-14);
    CHECK(relative_difference(softmax(cast(x, DType::float32)).value().to_vector(), expected) < 1e-5);
  }
}

std::vector<double> of(const std::vector<double>& row, DType dtype) {
  return softmax(Tensor::from(row, {1, static_cast<int64_t>(row.size())}, dtype)).value().to_vector();
}

TEST_CASE("softmax: large numbers, −∞, and rows that have none") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    INFO(name_of(dtype));
    CHECK(of({1e30, 0, -1e30}, dtype) == std::vector<double>{1, 0, 0});
    CHECK(of({-1e30, -1e30}, dtype) == std::vector<double>{0.5, 0.5});
    CHECK(of({-INFINITY, 2, 2}, dtype) == std::vector<double>{0, 0.5, 0.5});
    for (const auto& row : {std::vector<double>{1, NAN, 2}, {1, INFINITY, 2}, {-INFINITY, -INFINITY}})
      for (double p : of(row, dtype)) CHECK(std::isnan(p));
  }
}

TEST_CASE("softmax: a NaN stays in its row") {
  const auto y = softmax(Tensor::from({NAN, 1, 1, 1}, {2, 2}, DType::float32)).value().to_vector();
  CHECK(std::isnan(y[1]));
  CHECK(y[2] == 0.5);
}

TEST_CASE("softmax: misuse") {
  const Tensor scalar = random_tensor({}, 1);
  expect_refusal([&] { softmax(scalar); }, {"softmax: x has shape ()", "(…, C)"});
}

}  // namespace
}  // namespace ld
