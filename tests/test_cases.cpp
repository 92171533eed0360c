// Every case of every op (cases.h), the same questions to all of them.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

double float32_tolerance(OpKind kind) {
  switch (kind) {
    case OpKind::movement:
      return 0;  // a number that is only moved, or multiplied by 0 or 1, stays itself
    case OpKind::elementwise:
      return 1e-6;  // 2⁻²⁴ per rounding, 4 ulp for an elementary function: 16 roundings
    case OpKind::sum:
      return 2e-5;  // a sum of 1000 terms errs by about √1000 · 2⁻²⁴ = 2e-6; then tenfold
  }
  return 0;
}

// Every float64 sum here is short enough for its error to stay below this; regrouping a sum changes no more.
constexpr double regrouping = 1e-12;

std::vector<Tensor> cast_all(const std::vector<Tensor>& tensors, DType dtype) {
  std::vector<Tensor> result;
  for (const Tensor& t : tensors) result.push_back(cast(t, dtype));
  return result;
}

}  // namespace

TEST_CASE("cases: backward is the derivative (finite differences, float64)") {
  for (const OpCase& c : all_cases()) {
    INFO(c.op, ": ", c.name);
    const GradcheckResult result = gradcheck(c.f, c.inputs, case_options());
    INFO(result.message);
    CHECK(result.passed);
    CHECK(result.probes > 0);
  }
}

// Both runs start from numbers that float32 holds exactly. Noise is a multiple of 2⁻²⁴, the same in both. A
// comparison that float32 rounding decides otherwise would show as an error of the order of 1: the cases'
// seeds are such that none does.
TEST_CASE("cases: float32 follows float64 in value and gradients") {
  for (const OpCase& c : all_cases()) {
    INFO(c.op, ": ", c.name);
    const std::vector<Tensor> inputs = cast_all(c.inputs, DType::float32);
    const Run single = run(c.f, inputs), full = run(c.f, cast_all(inputs, DType::float64));
    const double tolerance = float32_tolerance(c.kind);
    CHECK(single.value.dtype() == DType::float32);
    const double error = relative_difference(single.value, full.value);
    INFO("value: error ", error, ", allowed ", tolerance);
    CHECK_FALSE(!(error <= tolerance));
    for (size_t k = 0; k < inputs.size(); ++k) {
      REQUIRE(single.gradients[k]);
      const double gradient_error = relative_difference(single.gradients[k], full.gradients[k]);
      INFO("gradient of input ", k, ": error ", gradient_error, ", allowed ", tolerance);
      CHECK_FALSE(!(gradient_error <= tolerance));
    }
  }
}

TEST_CASE("cases: two runs give the same bits") {
  for (const OpCase& c : all_cases())
    for (DType dtype : {DType::float32, DType::float64}) {
      INFO(c.op, ": ", c.name, " ", name_of(dtype));
      const std::vector<Tensor> inputs = cast_all(c.inputs, dtype);
      const Run first = run(c.f, inputs), second = run(c.f, inputs);
      CHECK(same_bits(first.value, second.value));
      for (size_t k = 0; k < inputs.size(); ++k) CHECK(same_bits(first.gradients[k], second.gradients[k]));
    }
}

TEST_CASE("cases: inputs are left as they were") {
  for (const OpCase& c : all_cases()) {
    INFO(c.op, ": ", c.name);
    std::vector<Tensor> before;
    for (const Tensor& x : c.inputs) before.push_back(x.clone());
    run(c.f, c.inputs);
    for (size_t k = 0; k < before.size(); ++k) CHECK(same_bits(before[k], c.inputs[k]));
  }
}

TEST_CASE("cases: backward twice adds up to twice the gradient") {
  for (const OpCase& c : all_cases()) {
    INFO(c.op, ": ", c.name);
    const Run once = run(c.f, c.inputs), twice = run(c.f, c.inputs, {}, 2);
    for (size_t k = 0; k < c.inputs.size(); ++k) {
      std::vector<double> expected = once.gradients[k].to_vector();
      for (double& g : expected) g *= 2;
      const double error = relative_difference(twice.gradients[k].to_vector(), expected);
      INFO("input ", k, ": error ", error);
      CHECK_FALSE(!(error <= regrouping));
    }
  }
}

TEST_CASE("cases: <Ax, y> = <x, Aᵀy> where the op is linear") {
  int checked = 0;
  for (const OpCase& c : all_cases()) {
    if (!c.linear) continue;
    INFO(c.op, ": ", c.name);
    const Run result = run(c.f, c.inputs);
    const std::vector<double> x = c.inputs[0].to_vector(), ax = result.value.to_vector();
    const std::vector<double> y = cotangent_for(result.value.shape(), DType::float64).to_vector();
    const std::vector<double> aty = result.gradients[0].to_vector();
    const double scale = std::sqrt(dot(ax, ax) * dot(y, y)) + std::sqrt(dot(x, x) * dot(aty, aty));
    const double error = std::abs(dot(ax, y) - dot(x, aty)) / scale;
    INFO("error ", error);
    CHECK_FALSE(!(error <= regrouping));
    ++checked;
  }
  CHECK(checked > 0);
}

TEST_CASE("cases: a constant input gets no gradient, and the others' keep their bits") {
  for (const OpCase& c : all_cases()) {
    INFO(c.op, ": ", c.name);
    const Run full = run(c.f, c.inputs);
    for (size_t k = 0; k < c.inputs.size(); ++k) {
      INFO("constant input ", k);
      std::vector<bool> constant(c.inputs.size(), false);
      constant[k] = true;
      const Run part = run(c.f, c.inputs, constant);
      CHECK(same_bits(part.value, full.value));
      CHECK_FALSE(part.gradients[k]);
      for (size_t other = 0; other < c.inputs.size(); ++other)
        if (other != k) CHECK(same_bits(part.gradients[other], full.gradients[other]));
    }
    const Run none = run(c.f, c.inputs, std::vector<bool>(c.inputs.size(), true));
    CHECK(same_bits(none.value, full.value));
  }
}

}  // namespace ld
