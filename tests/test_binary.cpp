#include <doctest/doctest.h>

#include "ops/binary.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

using Op = Var (*)(const Var&, const Var&);

void add_shapes(CaseList& cases, Op op) {
  auto f = [op](const std::vector<Var>& in) { return op(in[0], in[1]); };
  auto both_ways = [&](const std::string& name, const Shape& large, const Shape& small) {
    cases.add(name + " on the right", f, {random_tensor(large, 1), random_tensor(small, 2)});
    cases.add(name + " on the left", f, {random_tensor(small, 3), random_tensor(large, 4)});
  };
  for (int64_t n : {1, 31, 33, 1025})
    cases.add("same shape, " + std::to_string(n), f, {random_tensor({n}, 5), random_tensor({n}, 6)}).kind =
        OpKind::elementwise;
  cases.add("same shape, rank 3", f, {random_tensor({2, 3, 5}, 7), random_tensor({2, 3, 5}, 8)}).kind =
      OpKind::elementwise;
  both_ways("trailing vector", {2, 3, 33}, {33});
  both_ways("trailing vector, many rows", {1025, 2}, {2});
  both_ways("trailing vector of one", {7, 1}, {1});
  both_ways("trailing block", {4, 3, 5}, {3, 5});
  both_ways("scalar", {31, 3}, {});
  both_ways("scalar beside a vector", {1025}, {});
  cases.add("two scalars", f, {random_tensor({}, 9), random_tensor({}, 10)});
  cases.add("inner result on both sides",
            [op](const std::vector<Var>& in) {
              Var y = op(in[0], in[1]);
              return multiply(y, add(y, in[0]));
            },
            {random_tensor({3, 5}, 11), random_tensor({5}, 12)});
}

OP_CASES(add) {
  add_shapes(cases, add);
  cases.add("f(x, x)", [](const std::vector<Var>& in) { return add(in[0], in[0]); }, {random_tensor({33}, 1)})
      .linear = true;
}
OP_CASES(sub) {
  add_shapes(cases, sub);
  cases.add("f(x, x·x)", [](const std::vector<Var>& in) { return sub(in[0], multiply(in[0], in[0])); },
            {random_tensor({33}, 1)});
}
OP_CASES(multiply) {
  add_shapes(cases, multiply);
  cases.add("f(x, x)", [](const std::vector<Var>& in) { return multiply(in[0], in[0]); },
            {random_tensor({33}, 1)});
  cases
      .add("linear in x", [](const std::vector<Var>& in) { return multiply(in[0], in[1]); },
           {random_tensor({2, 3, 5}, 2), random_tensor({3, 5}, 3)})
      .linear = true;
}

// Element i of the larger operand meets element i mod n of the smaller, whose shape is the end of its shape.
template <class F>
void check_values(Op op, const Shape& a_shape, const Shape& b_shape, F expected) {
  const Tensor a = random_tensor(a_shape, 1), b = random_tensor(b_shape, 2);
  const auto av = a.to_vector(), bv = b.to_vector();
  const Tensor y = op(a, b).value();
  CHECK(y.shape() == (a_shape.rank() >= b_shape.rank() ? a_shape : b_shape));
  const auto yv = y.to_vector();
  REQUIRE(yv.size() == std::max(av.size(), bv.size()));
  for (size_t i = 0; i < yv.size(); ++i) REQUIRE(yv[i] == expected(av[i % av.size()], bv[i % bv.size()]));
}

TEST_CASE("binary: values") {
  const std::pair<Shape, Shape> shapes[] = {
      {{33}, {33}},        {{2, 3, 31}, {31}}, {{31}, {2, 3, 31}}, {{4, 3, 5}, {3, 5}},
      {{3, 5}, {4, 3, 5}}, {{1025}, {}},       {{}, {1025}},       {{}, {}},
      {{1, 5}, {5}},       {{7, 1}, {1}},      {{0, 5}, {0, 5}}};
  for (const auto& [a, b] : shapes) {
    INFO("shapes ", a, " and ", b);
    check_values(add, a, b, [](double u, double v) { return u + v; });
    check_values(sub, a, b, [](double u, double v) { return u - v; });
    check_values(multiply, a, b, [](double u, double v) { return u * v; });
  }
}

TEST_CASE("binary: no rows leave the repeated operand a gradient of zeros") {
  for (Op op : {add, sub, multiply}) {
    const Run none = run([op](const std::vector<Var>& in) { return op(in[0], in[1]); },
                         {Tensor({0, 5}, DType::float64), random_tensor({5}, 1)});
    CHECK(none.value.shape() == Shape{0, 5});
    CHECK(none.gradients[1].to_vector() == std::vector<double>(5, 0.0));
  }
}

TEST_CASE("binary: misuse names both sides") {
  const Tensor x = random_tensor({4, 5}, 1), four = random_tensor({4}, 2), single = cast(x, DType::float32);
  const Tensor one = random_tensor({1}, 3), turned = random_tensor({5, 4}, 4);
  expect_refusal([&] { add(x, four); },
                 {"add: shapes (4, 5) and (4)", "the smaller must be the end of the larger"});
  expect_refusal([&] { sub(four, x); }, {"sub: shapes (4) and (4, 5)"});
  expect_refusal([&] { multiply(x, turned); }, {"multiply: shapes (4, 5) and (5, 4)"});
  expect_refusal([&] { multiply(x, one); }, {"multiply: shapes (4, 5) and (1)"});  // a scalar is (), not (1)
  expect_refusal([&] { add(x, single); }, {"add", "float64 and float32"});
}

}  // namespace
}  // namespace ld
