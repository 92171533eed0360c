// The elementary functions and activations of ops/unary.h; test_unary.cpp has the others.
#include <doctest/doctest.h>

#include <cmath>

#include "ops/unary.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

void add_sizes(CaseList& cases, Var (*op)(const Var&), double low, double high) {
  for (int64_t n : {1, 31, 33, 1025})
    cases
        .add(std::to_string(n), [op](const std::vector<Var>& in) { return op(in[0]); },
             {uniform_tensor({n}, static_cast<uint64_t>(n), low, high)})
        .kind = OpKind::elementwise;
  cases
      .add("rank 3", [op](const std::vector<Var>& in) { return op(in[0]); },
           {uniform_tensor({2, 3, 5}, 1, low, high)})
      .kind = OpKind::elementwise;
}

OP_CASES(exp) { add_sizes(cases, exp, -3, 2); }
OP_CASES(log) { add_sizes(cases, log, 0.05, 4); }
OP_CASES(sqrt) { add_sizes(cases, sqrt, 0.05, 4); }
OP_CASES(sin) { add_sizes(cases, sin, -7, 7); }
OP_CASES(tanh) { add_sizes(cases, tanh, -2, 2); }  // 1 − y² loses digits where y is near ±1
OP_CASES(gelu_tanh) { add_sizes(cases, gelu_tanh, -4, 4); }
// A kink at 0, where no difference is a derivative; both sides are checked well away from it.
OP_CASES(relu) {
  add_sizes(cases, relu, 0.1, 3);
  cases
      .add("both sides", [](const std::vector<Var>& in) { return relu(in[0]); },
           {Tensor::from({-3, 0.2, -0.1, 4, -7, 1}, {2, 3}, DType::float64)})
      .kind = OpKind::elementwise;
}

TEST_CASE("elementary functions: values") {
  check_values(
      exp, [](double x) { return std::exp(x); }, -700, 700);
  check_values(
      log, [](double x) { return std::log(x); }, 1e-9, 8);
  check_values(
      sqrt, [](double x) { return std::sqrt(x); }, 0, 1e9);
  check_values(
      sin, [](double x) { return std::sin(x); }, -30, 30);
  check_values(
      tanh, [](double x) { return std::tanh(x); }, -20, 20);
  check_values(
      relu, [](double x) { return x > 0 ? x : 0; }, -3, 3);
  check_values(
      gelu_tanh,
      [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); },
      -9, 9);
}

double at(Var (*op)(const Var&), double x, DType dtype) {
  return op(Tensor::scalar(x, dtype)).value().item();
}
double slope_at(Var (*op)(const Var&), double x, DType dtype) {
  Var leaf = Var::leaf(Tensor::scalar(x, dtype));
  Tape tape;
  tape.backward(op(leaf));
  return leaf.gradient().item();
}

TEST_CASE("elementary functions: the ends of the range") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    INFO(name_of(dtype));
    for (double far : {1e4, 1e20}) {  // the square of the second overflows in float32
      CHECK(at(gelu_tanh, far, dtype) == Tensor::scalar(far, dtype).item());
      CHECK(at(gelu_tanh, -far, dtype) == 0);
      CHECK(slope_at(gelu_tanh, far, dtype) == 1);
      CHECK(slope_at(gelu_tanh, -far, dtype) == 0);
      CHECK(at(tanh, far, dtype) == 1);
      CHECK(at(tanh, -far, dtype) == -1);
      CHECK(slope_at(tanh, far, dtype) == 0);
    }
    CHECK(at(exp, -1e4, dtype) == 0);
    CHECK(at(exp, 1e4, dtype) == INFINITY);
    CHECK(at(log, 0, dtype) == -INFINITY);
    CHECK(std::isnan(at(log, -1, dtype)));
    CHECK(at(sqrt, 0, dtype) == 0);
    CHECK(slope_at(sqrt, 0, dtype) == INFINITY);
    CHECK(std::isnan(at(sqrt, -1, dtype)));
    CHECK(at(relu, -2, dtype) == 0);
    CHECK(slope_at(relu, 0, dtype) == 0);
    for (auto op : {exp, log, sqrt, sin, tanh, relu, gelu_tanh}) {
      CHECK(std::isnan(at(op, NAN, dtype)));
      CHECK(std::isnan(slope_at(op, NAN, dtype)));
    }
  }
}

TEST_CASE("elementary functions: an integer tensor is refused by name") {
  const Tensor x = Tensor::from(std::vector<int32_t>{1, 2}, {2});
  expect_error([&] { exp(x); }, {"exp: dtype int32", "bfloat16, float32 or float64"});
  expect_error([&] { gelu_tanh(x); }, {"gelu_tanh: dtype int32"});
}

}  // namespace
}  // namespace ld
