#include <doctest/doctest.h>

#include <cmath>

#include "ops/unary.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

// Every op is checked at the ragged sizes; rank does not matter to an elementwise function.
void add_sizes(CaseList& cases, Var (*op)(const Var&), double low, double high, bool linear = false) {
  for (int64_t n : {1, 31, 33, 1025}) {
    OpCase& c = cases.add(std::to_string(n), [op](const std::vector<Var>& in) { return op(in[0]); },
                          {uniform_tensor({n}, static_cast<uint64_t>(n), low, high)});
    c.kind = OpKind::elementwise;
    c.linear = linear;
  }
  cases
      .add("rank 3", [op](const std::vector<Var>& in) { return op(in[0]); },
           {uniform_tensor({2, 3, 5}, 1, low, high)})
      .kind = OpKind::elementwise;
  cases
      .add("twice in a row", [op](const std::vector<Var>& in) { return op(op(in[0])); },
           {uniform_tensor({7}, 2, 1.2, 1.9)})
      .kind = OpKind::sum;
}

OP_CASES(neg) { add_sizes(cases, neg, -3, 3, true); }
OP_CASES(square) { add_sizes(cases, square, -3, 3); }
OP_CASES(cos) { add_sizes(cases, cos, -7, 7); }
OP_CASES(sigmoid) { add_sizes(cases, sigmoid, -4, 4); }
OP_CASES(gelu) { add_sizes(cases, gelu, -4, 4); }
OP_CASES(log2) { add_sizes(cases, log2, 0.05, 4); }
OP_CASES(scale) {
  add_sizes(
      cases, [](const Var& x) { return scale(x, -1.7); }, -3, 3, true);
}
OP_CASES(add_scalar) {
  add_sizes(
      cases, [](const Var& x) { return add_scalar(x, -0.7); }, -3, 3);
}
// |x| has a kink at 0, where no difference is a derivative; both sides are checked well away from it.
OP_CASES(abs) {
  add_sizes(cases, abs, 0.1, 3);
  cases
      .add("negative", [](const std::vector<Var>& in) { return abs(in[0]); },
           {uniform_tensor({33}, 3, -3, -0.1)})
      .kind = OpKind::elementwise;
}

TEST_CASE("unary: values") {
  check_values(
      neg, [](double x) { return -x; }, -3, 3);
  check_values(
      square, [](double x) { return x * x; }, -3, 3);
  check_values(
      abs, [](double x) { return x < 0 ? -x : x; }, -3, 3);
  check_values(
      log2, [](double x) { return std::log2(x); }, 1e-9, 8);
  check_values(
      cos, [](double x) { return std::cos(x); }, -30, 30);
  check_values(
      sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -40, 40);
  check_values(
      gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }, -9, 9);
  check_values([](const Var& x) { return scale(x, 0.3); }, [](double x) { return 0.3 * x; }, -3, 3);
  check_values([](const Var& x) { return add_scalar(x, 0.3); }, [](double x) { return x + 0.3; }, -3, 3);
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

TEST_CASE("unary: the ends of the range") {
  for (DType dtype : {DType::float32, DType::float64}) {
    INFO(name_of(dtype));
    CHECK(at(gelu, 1e4, dtype) == 1e4);
    CHECK(at(gelu, -1e4, dtype) == 0);
    CHECK(slope_at(gelu, 1e4, dtype) == 1);
    CHECK(slope_at(gelu, -1e4, dtype) == 0);
    CHECK(at(sigmoid, 1e4, dtype) == 1);
    CHECK(at(sigmoid, -1e4, dtype) == 0);  // e^10000 overflows on the way, and 1/∞ is 0
    CHECK(slope_at(sigmoid, -1e4, dtype) == 0);
    CHECK(at(log2, 0, dtype) == -INFINITY);
    CHECK(std::isnan(at(log2, -1, dtype)));
    CHECK(slope_at(abs, 0, dtype) == 0);
    CHECK(slope_at(abs, -2, dtype) == -1);
    CHECK(at(abs, -0.0, dtype) == 0);
    for (auto op : {neg, square, abs, log2, cos, sigmoid, gelu}) {
      CHECK(std::isnan(at(op, NAN, dtype)));
      if (op != neg) CHECK(std::isnan(slope_at(op, NAN, dtype)));
    }
  }
}

// ½cos(a) + ½ is a mask: one ulp above 1 or below 0 would be a probability that is none.
TEST_CASE("cos: never leaves [−1, 1] in float32") {
  std::vector<double> x;
  for (int k = -64; k <= 64; ++k) {
    float near = static_cast<float>(k * 3.14159265358979323846);
    for (int step = 0; step < 200; ++step) near = std::nextafterf(near, -INFINITY);
    for (int step = 0; step < 400; ++step, near = std::nextafterf(near, INFINITY))
      x.push_back(static_cast<double>(near));
  }
  for (int i = -20000; i < 20000; ++i) x.push_back(i / 4096.0);
  const auto n = static_cast<int64_t>(x.size());
  double largest = 0;
  for (double y : cos(Tensor::from(x, {n}, DType::float32)).value().to_vector())
    largest = std::max(largest, std::abs(y));
  CHECK(largest == 1);
}

TEST_CASE("unary: another dtype is refused by name") {
  const Tensor x = Tensor::from(std::vector<int32_t>{1, 2}, {2});
  expect_error([&] { gelu(x); }, {"gelu", "int32", "float32 or float64"});
  expect_error([&] { cos(x); }, {"cos", "int32"});
}

}  // namespace
}  // namespace ld
