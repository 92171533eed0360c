#include <doctest/doctest.h>

#include <array>

#include "ops/linear.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

Var apply(const std::vector<Var>& in) { return linear(in[0], in[1], in.size() > 2 ? in[2] : Var()); }

OP_CASES(linear) {
  for (auto [rows, in, out] : {std::array{1, 1, 1}, {31, 5, 33}, {33, 31, 2}, {3, 1025, 2}, {1025, 2, 3}}) {
    std::vector<Tensor> inputs = {random_tensor({rows, in}, 1), random_tensor({out, in}, 2)};
    const std::string name = std::to_string(rows) + "x" + std::to_string(in) + " -> " + std::to_string(out);
    cases.add(name, apply, inputs).linear = true;
    inputs.push_back(random_tensor({out}, 3));
    cases.add(name + " with bias", apply, inputs);
  }
  cases.add("rank 3", apply, {random_tensor({2, 3, 5}, 4), random_tensor({7, 5}, 5)}).linear = true;
  cases.add("rank 3 with bias", apply,
            {random_tensor({2, 3, 5}, 6), random_tensor({7, 5}, 7), random_tensor({7}, 8)});
  cases.add("rank 1", apply, {random_tensor({5}, 9), random_tensor({3, 5}, 10), random_tensor({3}, 11)});
  cases.add("x is also the weight", [](const std::vector<Var>& in) { return linear(in[0], in[0]); },
            {random_tensor({5, 3}, 12)});
}

// Rows of x against rows of w, as the definition says.
std::vector<double> naive(const std::vector<double>& x, const std::vector<double>& w,
                          const std::vector<double>& b, size_t rows, size_t in, size_t out) {
  std::vector<double> y(rows * out);
  for (size_t r = 0; r < rows; ++r)
    for (size_t o = 0; o < out; ++o) {
      double sum = b.empty() ? 0 : b[o];
      for (size_t i = 0; i < in; ++i) sum += x[r * in + i] * w[o * in + i];
      y[r * out + o] = sum;
    }
  return y;
}

TEST_CASE("linear: x · Wᵀ + b") {
  const Tensor x = random_tensor({3, 11, 33}, 1), w = random_tensor({31, 33}, 2), b = random_tensor({31}, 3);
  const Var y = linear(x, w, b), without = linear(x, w);
  CHECK(y.shape() == Shape{3, 11, 31});
  CHECK(relative_difference(y.value().to_vector(),
                            naive(x.to_vector(), w.to_vector(), b.to_vector(), 33, 33, 31)) < 1e-14);
  CHECK(relative_difference(without.value().to_vector(),
                            naive(x.to_vector(), w.to_vector(), {}, 33, 33, 31)) < 1e-14);
  CHECK(linear(Tensor({0, 33}, DType::float64), w, b).shape() == Shape{0, 31});
}

TEST_CASE("linear: no rows give zero gradients") {
  for (DType dtype : {DType::float32, DType::float64}) {
    const Run none =
        run(apply, {Tensor({0, 3}, dtype), cast(random_tensor({2, 3}, 1), dtype), Tensor::zeros({2}, dtype)});
    CHECK(none.gradients[1].to_vector() == std::vector<double>(6, 0.0));
    CHECK(none.gradients[2].to_vector() == std::vector<double>(2, 0.0));
  }
}

TEST_CASE("linear: no input columns give the bias, or zeros") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    const Tensor x({2, 3, 0}, dtype), w({2, 0}, dtype), b = Tensor::from({1.5, -2.0}, {2}, dtype);
    CHECK(linear(x, w).value().to_vector() == std::vector<double>(12, 0.0));
    const Run with_bias = run(apply, {x, w, b});
    CHECK(with_bias.value.to_vector() ==
          std::vector<double>{1.5, -2, 1.5, -2, 1.5, -2, 1.5, -2, 1.5, -2, 1.5, -2});
    CHECK(with_bias.gradients[0].shape() == Shape{2, 3, 0});
    CHECK(with_bias.gradients[1].shape() == Shape{2, 0});
    const auto dy = cotangent_for({2, 3, 2}, DType::float64).to_vector(),
               db = with_bias.gradients[2].to_vector();
    for (size_t o = 0; o < 2; ++o) {
      double sum = 0;
      for (size_t r = 0; r < 6; ++r) sum += dy[2 * r + o];
      CHECK(db[o] == doctest::Approx(sum).epsilon(dtype == DType::bfloat16 ? 0.02 : 1e-5));
    }
  }
}

TEST_CASE("linear: misuse names both sides") {
  const Tensor x = random_tensor({4, 5}, 1), w = random_tensor({3, 5}, 2), b = random_tensor({3}, 3);
  const Tensor narrow = random_tensor({3, 6}, 4), flat = random_tensor({5}, 5), wide = random_tensor({4}, 6);
  const Tensor single = cast(w, DType::float32), single_bias = cast(b, DType::float32);
  expect_refusal([&] { linear(x, narrow); }, {"linear", "(4, 5)", "(3, 6)", "last dimensions must agree"});
  expect_refusal([&] { linear(x, flat); }, {"linear: weight has shape (5)", "expected (out, in)"});
  expect_refusal([&] { linear(x, w, wide); }, {"linear: bias has shape (4), expected (3)"});
  expect_refusal([&] { linear(x, single); }, {"linear", "float64 and float32"});
  expect_refusal([&] { linear(x, w, single_bias); }, {"linear", "float64 and float32"});
}

}  // namespace
}  // namespace ld
