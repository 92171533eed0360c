#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "ops/binary.h"
#include "ops/layernorm.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

Var apply(const std::vector<Var>& in) { return layernorm(in[0], in[1], in.size() > 2 ? in[2] : Var()); }

OP_CASES(layernorm) {
  for (auto [rows, cols] : {std::array{7, 5}, {33, 31}, {31, 33}, {2, 1025}, {300, 3}}) {
    std::vector<Tensor> inputs = {random_tensor({rows, cols}, 1, 0.5, 0.5), random_tensor({cols}, 2, 1, 0.5)};
    const std::string name = std::to_string(rows) + "x" + std::to_string(cols);
    cases.add(name, apply, inputs);
    inputs.push_back(random_tensor({cols}, 3));
    cases.add(name + " with bias", apply, inputs);
  }
  cases.add("rank 3", apply, {random_tensor({2, 3, 5}, 4), random_tensor({5}, 5), random_tensor({5}, 6)});
  cases.add("a large eps", [](const std::vector<Var>& in) { return layernorm(in[0], in[1], {}, 0.3); },
            {random_tensor({3, 5}, 7), random_tensor({5}, 8)});
  cases.add("weight is also the bias",
            [](const std::vector<Var>& in) { return layernorm(in[0], in[1], in[1]); },
            {random_tensor({3, 5}, 9), random_tensor({5}, 10)});
}

OP_CASES(add_layernorm) {
  auto both = [](const std::vector<Var>& in) {
    const SumAndNorm out = add_layernorm(in[0], in[1], in[2], in.size() > 3 ? in[3] : Var());
    return add(out.sum, multiply(out.y, out.y));
  };
  for (auto [rows, cols] : {std::array{7, 5}, {33, 31}, {2, 1025}}) {
    std::vector<Tensor> inputs = {random_tensor({rows, cols}, 1, 0.5, 0.5), random_tensor({rows, cols}, 4),
                                  random_tensor({cols}, 2, 1, 0.5)};
    const std::string name = std::to_string(rows) + "x" + std::to_string(cols);
    cases.add(name, both, inputs);
    inputs.push_back(random_tensor({cols}, 3));
    cases.add(name + " with bias", both, inputs);
  }
  const std::vector<Tensor> inputs = {random_tensor({3, 5}, 5), random_tensor({3, 5}, 6),
                                      random_tensor({5}, 7)};
  cases.add(
      "only the norm", [](const std::vector<Var>& in) { return add_layernorm(in[0], in[1], in[2]).y; },
      inputs);
  cases.add("x is added to itself",
            [](const std::vector<Var>& in) { return add_layernorm(in[0], in[0], in[1]).y; },
            {inputs[0], inputs[2]});
}

std::vector<double> naive(const std::vector<double>& x, const std::vector<double>& w,
                          const std::vector<double>& b, size_t cols, double eps) {
  std::vector<double> y(x.size());
  for (size_t at = 0; at < x.size(); at += cols) {
    double mean = 0, variance = 0;
    for (size_t j = 0; j < cols; ++j) mean += x[at + j] / static_cast<double>(cols);
    for (size_t j = 0; j < cols; ++j) variance += std::pow(x[at + j] - mean, 2) / static_cast<double>(cols);
    for (size_t j = 0; j < cols; ++j)
      y[at + j] = (x[at + j] - mean) / std::sqrt(variance + eps) * w[j] + (b.empty() ? 0 : b[j]);
  }
  return y;
}

TEST_CASE("layernorm: (x − mean)/√(var + eps) · w + b") {
  for (int64_t cols : {1, 31, 33, 1025}) {
    INFO("C = ", cols);
    const Tensor x = random_tensor({7, cols}, 1, 3, 2), w = random_tensor({cols}, 2),
                 b = random_tensor({cols}, 3);
    CHECK(relative_difference(
              layernorm(x, w, b).value().to_vector(),
              naive(x.to_vector(), w.to_vector(), b.to_vector(), static_cast<size_t>(cols), 1e-5)) < 1e-12);
    CHECK(relative_difference(layernorm(x, w, {}, 0.1).value().to_vector(),
                              naive(x.to_vector(), w.to_vector(), {}, static_cast<size_t>(cols), 0.1)) <
          1e-12);
  }
}

TEST_CASE("add_layernorm: the bits of add and layernorm, values and gradients") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    INFO(name_of(dtype));
    std::vector<Tensor> inputs;
    for (const Tensor& x : {random_tensor({7, 33}, 1), random_tensor({7, 33}, 2), random_tensor({33}, 3)})
      inputs.push_back(cast(x, dtype));
    const Run fused = run([](auto&in) { return add_layernorm(in[0], in[1], in[2]).y; }, inputs),
              plain = run([](auto&in) { return layernorm(add(in[0], in[1]), in[2]); }, inputs);
    CHECK(fused.value.to_vector() == plain.value.to_vector());
    for (size_t i = 0; i < inputs.size(); ++i)
      CHECK(fused.gradients[i].to_vector() == plain.gradients[i].to_vector());
  }
}

TEST_CASE("add_layernorm: the sum alone is an addition") {
  const std::vector<Tensor> inputs = {random_tensor({3, 5}, 1), random_tensor({3, 5}, 2),
                                      random_tensor({5}, 3)};
  const Run sum = run([](auto&in) { return add_layernorm(in[0], in[1], in[2]).sum; }, inputs),
            plain = run([](auto&in) { return add(in[0], in[1]); }, {inputs[0], inputs[1]});
  CHECK(sum.value.to_vector() == plain.value.to_vector());
  for (size_t i : {0, 1}) CHECK(sum.gradients[i].to_vector() == plain.gradients[i].to_vector());
  for (double dw : sum.gradients[2].to_vector()) CHECK(dw == 0);
}

TEST_CASE("add_layernorm: misuse") {
  const Tensor x = random_tensor({3, 5}, 1), w = random_tensor({5}, 2), other = random_tensor({3, 4}, 3);
  expect_refusal([&] { add_layernorm(x, other, w); }, {"add_layernorm: to_add", "(3, 4)", "(3, 5)"});
  expect_refusal([&] { add_layernorm(x, {}, w); }, {"add_layernorm", "nothing to add"});
}

TEST_CASE("layernorm: one column is its bias, and no gradient reaches x") {
  const Run result = run(apply, {random_tensor({5, 1}, 1), random_tensor({1}, 2), random_tensor({1}, 3)});
  CHECK(result.value.to_vector() == std::vector<double>(5, random_tensor({1}, 3).item()));
  // To rounding: g − mean(g) is a fused multiply and subtract, and 1/√eps = 316 times larger.
  for (double dx : result.gradients[0].to_vector()) CHECK(std::abs(dx) < 1e-12);
}

// With a mean far from 0, E[x²] − E[x]² would lose every digit in float32; two passes do not.
TEST_CASE("layernorm: a large mean costs no accuracy") {
  std::vector<double> values = random_tensor({4, 33}, 1).to_vector();
  for (double& v : values) v = std::round(v * 64) / 64 + 8192;  // exact in float32
  const Tensor x = Tensor::from(values, {4, 33}, DType::float64),
               w = Tensor::from(std::vector<double>(33, 1.0), {33}, DType::float64);
  const Tensor single = layernorm(cast(x, DType::float32), cast(w, DType::float32)).value();
  // Half an ulp of 8192, 2⁻¹¹, is the mean's own error, beside a deviation of 1.
  CHECK(relative_difference(single.to_vector(), layernorm(x, w).value().to_vector()) < 1e-3);
}

TEST_CASE("layernorm: a NaN stays in its row") {
  std::vector<double> x(3 * 33, 1.0);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i % 7);
  x[33 + 5] = NAN;
  const Tensor w = Tensor::from(std::vector<double>(33, 1.0), {33}, DType::float32);
  const auto y = layernorm(Tensor::from(x, {3, 33}, DType::float32), w).value().to_vector();
  for (size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i / 33 == 1));
}

TEST_CASE("layernorm: misuse names both sides") {
  const Tensor x = random_tensor({4, 5}, 1), w = random_tensor({5}, 2), wrong = random_tensor({4}, 3);
  const Tensor single = cast(w, DType::float32), scalar = Tensor::scalar(1, DType::float64),
               empty({3, 0}, DType::float64);
  expect_refusal([&] { layernorm(x, wrong); }, {"layernorm: weight has shape (4), expected (5)"});
  expect_refusal([&] { layernorm(x, w, wrong); }, {"layernorm: bias has shape (4), expected (5)"});
  expect_refusal([&] { layernorm(x, single); }, {"layernorm", "float64 and float32"});
  expect_refusal([&] { layernorm(x, w, single); }, {"layernorm", "float64 and float32"});
  expect_refusal([&] { layernorm(scalar, w); }, {"layernorm: x has shape ()", "(…, C)"});
  expect_refusal([&] { layernorm(empty, w); }, {"layernorm: x has shape (3, 0)", "C > 0"});
}

}  // namespace
}  // namespace ld
