// Every case of every op (cases.h) in bfloat16: inputs, outputs and gradients have 8 significant bits, the
// arithmetic between them is that of float32. Held against float64 on the same inputs and the same cotangent.
#include <doctest/doctest.h>

#include <cmath>

#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/learned_dropout.h"
#include "ops/select.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

double bfloat16_tolerance(const OpCase& c) {
  if (c.op == "sigmoid" || c.op == "tanh")
    return 0x1p-5;  // the slope is taken from y: an error of 2⁻⁹ of 1, where the slope may be as small as 2⁻⁴
  switch (c.kind) {
    case OpKind::movement:
      return 0;  // a number that is only moved, or multiplied by 0 or 1, stays itself
    case OpKind::elementwise:
      return 0x1p-7;  // two roundings at their worst, 2⁻⁸ each; a case makes at most four in a row
    case OpKind::sum:
      return 0x1p-6;  // as many again: of a saved y, of the terms of a gradient that is a difference of sums
  }
  return 0;
}

// What float64 cannot be compared with: a function of noise rounded to 8 bits.
bool is_another_function(const OpCase& c) { return c.op == "select" && c.name.find("noise") != c.name.npos; }

Run run_with(const OpCase& c, const std::vector<Tensor>& inputs, DType dtype) {
  std::vector<Var> vars;
  for (const Tensor& x : inputs) vars.push_back(Var::leaf(cast(x, dtype)));
  Tape tape;
  const Var y = c.f(vars);
  tape.backward(y, cast(cast(random_tensor(y.shape(), 77), DType::bfloat16), y.dtype()));
  Run result{y.value(), {}};
  for (const Var& v : vars) result.gradients.push_back(v.gradient());
  return result;
}

TEST_CASE("bfloat16: every case follows float64 in value and gradients") {
  for (const OpCase& c : all_cases()) {
    if (is_another_function(c)) continue;
    INFO(c.op, ": ", c.name);
    std::vector<Tensor> inputs;
    for (const Tensor& x : c.inputs) inputs.push_back(cast(x, DType::bfloat16));
    const Run narrow = run_with(c, inputs, DType::bfloat16), full = run_with(c, inputs, DType::float64);
    const double tolerance = bfloat16_tolerance(c);
    const double error = relative_difference(narrow.value, full.value);
    INFO("value: error ", error, ", allowed ", tolerance);
    CHECK_FALSE(!(error <= tolerance));
    for (size_t k = 0; k < inputs.size(); ++k) {
      REQUIRE(narrow.gradients[k]);
      CHECK(narrow.gradients[k].dtype() == DType::bfloat16);
      const double gradient_error = relative_difference(narrow.gradients[k], full.gradients[k]);
      INFO("gradient of input ", k, ": error ", gradient_error, ", allowed ", tolerance);
      CHECK_FALSE(!(gradient_error <= tolerance));
    }
  }
}

TEST_CASE("bfloat16: two runs give the same bits") {
  for (const OpCase& c : all_cases()) {
    if (is_another_function(c)) continue;
    INFO(c.op, ": ", c.name);
    const Run first = run_with(c, c.inputs, DType::bfloat16), second = run_with(c, c.inputs, DType::bfloat16);
    CHECK(same_bits(first.value, second.value));
    for (size_t k = 0; k < c.inputs.size(); ++k) CHECK(same_bits(first.gradients[k], second.gradients[k]));
  }
}

TEST_CASE("bfloat16: losses, penalties and statistics are float32") {
  const Tensor x = cast(random_tensor({2, 3, 5}, 1), DType::bfloat16),
               w = cast(random_tensor({7, 5}, 2), DType::bfloat16);
  const Tensor targets = Tensor::from({0, 1, 2, 3, 4, 5}, {6});
  for (const CrossEntropy& result :
       {linear_cross_entropy(x, w, targets, CountMistakes::yes),
        cross_entropy(x.reshaped({6, 5}), Tensor::from({0, 1, 2, 3, 4, 0}, {6}), CountMistakes::yes)}) {
    CHECK(result.loss.dtype() == DType::float32);
    CHECK(result.mistakes.dtype() == DType::float32);
  }
  const MaskedInput masked = learned_dropout(x, x, cast(random_tensor({5}, 3), DType::bfloat16), {});
  CHECK(masked.y.dtype() == DType::bfloat16);
  CHECK(masked.l1_norm.dtype() == DType::float32);
  CHECK(masked.entropy.dtype() == DType::float32);
  CHECK(masked.statistics.dtype() == DType::float32);
}

// Adding 1 to 256 gives 256 in bfloat16: a sum that is rounded at every step would stop there.
TEST_CASE("bfloat16: the gradient of a frequent token is summed before it is rounded") {
  const int64_t T = 1025;
  Var tokens = Var::leaf(Tensor::zeros({2, 33}, DType::bfloat16)),
      positions(Tensor::zeros({T, 33}, DType::bfloat16));
  Tape tape;
  const Var y =
      embedding(Tensor::from(std::vector<int32_t>(static_cast<size_t>(T), 1), {1, T}), tokens, positions);
  tape.backward(
      y, Tensor::from(std::vector<double>(static_cast<size_t>(T * 33), 1.0), y.shape(), DType::bfloat16));
  const auto d = tokens.gradient().to_vector();
  for (size_t j = 0; j < 33; ++j) {
    CHECK(d[j] == 0);
    CHECK(d[33 + j] == 1024);  // 1025 to 8 bits
  }
}

TEST_CASE("bfloat16: a rounded mask is exactly 0 or 1") {
  const Tensor m = cast(uniform_tensor({1025}, 1), DType::bfloat16), up = at_least(m, 0.5).value();
  const auto r = round_by(up, m).value().to_vector(), expected = up.to_vector();
  CHECK(r == expected);
}

}  // namespace
}  // namespace ld
