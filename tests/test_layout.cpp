#include <doctest/doctest.h>

#include "ops/binary.h"
#include "ops/layout.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

void add_case(CaseList& cases, Function f, const Shape& shape) {
  std::ostringstream name;
  name << shape;
  OpCase& c = cases.add(name.str(), std::move(f), {random_tensor(shape, 1)});
  c.kind = OpKind::movement;
  c.linear = true;
}

OP_CASES(reshape) {
  auto to = [](Shape shape) { return [=](const std::vector<Var>& in) { return reshape(in[0], shape); }; };
  add_case(cases, to({}), {1});
  add_case(cases, to({3, 11}), {33});
  add_case(cases, to({31, 1, 1}), {31});
  add_case(cases, to({1025}), {5, 205});
  add_case(cases, to({4, 3, 2}), {2, 3, 4});
  cases
      .add("beside x itself",
           [](const std::vector<Var>& in) { return multiply(reshape(in[0], {6}), reshape(in[0], {6})); },
           {random_tensor({2, 3}, 2)})
      .kind = OpKind::elementwise;
}

OP_CASES(split_heads) {
  auto heads = [](int64_t n) { return [=](const std::vector<Var>& in) { return split_heads(in[0], n); }; };
  add_case(cases, heads(1), {1, 1, 1});
  add_case(cases, heads(3), {2, 5, 21});
  add_case(cases, heads(2), {3, 31, 66});
  add_case(cases, heads(5), {1, 1025, 5});
}
OP_CASES(merge_heads) {
  auto merge = [](const std::vector<Var>& in) { return merge_heads(in[0]); };
  add_case(cases, merge, {1, 1, 1, 1});
  add_case(cases, merge, {2, 3, 5, 7});
  add_case(cases, merge, {3, 2, 31, 33});
  add_case(cases, merge, {1, 5, 1025, 1});
}

TEST_CASE("reshape: the value shares the memory, the gradient has its own") {
  Var x = Var::leaf(random_tensor({2, 3}, 1));
  Tape tape;
  Var y = reshape(x, {3, 2});
  CHECK(y.shape() == Shape{3, 2});
  CHECK(y.value().raw() == x.value().raw());
  const Tensor dy = random_tensor({3, 2}, 2);
  tape.backward(y, dy);
  CHECK(x.gradient().shape() == Shape{2, 3});
  CHECK(x.gradient().raw() != dy.raw());
  CHECK(x.gradient().to_vector() == dy.to_vector());
}

TEST_CASE("split_heads: head h of token t holds columns h·D … of that token") {
  const int64_t B = 2, T = 31, H = 3, D = 5;
  const Tensor x = random_tensor({B, T, H * D}, 1);
  const Tensor y = split_heads(x, H).value();
  CHECK(y.shape() == Shape{B, H, T, D});
  const auto xv = x.to_vector(), yv = y.to_vector();
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t t = 0; t < T; ++t)
        for (int64_t d = 0; d < D; ++d)
          CHECK(yv[static_cast<size_t>(((b * H + h) * T + t) * D + d)] ==
                xv[static_cast<size_t>((b * T + t) * H * D + h * D + d)]);
  CHECK(same_bits(merge_heads(split_heads(x, H)).value(), x));
}

TEST_CASE("layout: misuse names both sides") {
  const Tensor x = random_tensor({2, 3, 4}, 1), flat = random_tensor({6, 4}, 2);
  expect_refusal([&] { reshape(x, {5, 5}); }, {"reshape: (2, 3, 4) has 24 elements", "(5, 5) has 25"});
  expect_refusal([&] { split_heads(x, 3); }, {"split_heads: x has shape (2, 3, 4)", "3 heads"});
  expect_refusal([&] { split_heads(x, 0); }, {"split_heads", "0 heads"});
  expect_refusal([&] { split_heads(flat, 2); }, {"(6, 4)", "(B, T, C)"});
  expect_refusal([&] { merge_heads(x); }, {"merge_heads: x has shape (2, 3, 4)", "(B, H, T, D)"});
}

}  // namespace
}  // namespace ld
