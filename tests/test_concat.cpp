#include <doctest/doctest.h>

#include "ops/binary.h"
#include "ops/concat.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

OP_CASES(concat) {
  auto all = [](const std::vector<Var>& in) { return concat(in); };
  auto add = [&](const std::string& name, std::vector<Tensor> inputs) {
    cases.add(name, all, std::move(inputs)).kind = OpKind::movement;
  };
  add("one part", {random_tensor({3, 5}, 1)});
  add("vectors", {random_tensor({1}, 2), random_tensor({1025}, 3), random_tensor({33}, 4)});
  add("rank 2", {random_tensor({31, 33}, 5), random_tensor({31, 1}, 6), random_tensor({31, 7}, 7)});
  add("rank 3", {random_tensor({2, 3, 5}, 8), random_tensor({2, 3, 4}, 9)});
  cases
      .add("a part twice",
           [](const std::vector<Var>& in) {
             return concat({in[0], in[1], in[0]});
           },
           {random_tensor({3, 2}, 10), random_tensor({3, 5}, 11)})
      .kind = OpKind::elementwise;  // its gradient is a sum of two
}

// One output of several at a time, and all of them together.
OP_CASES(split_last) {
  auto add_parts = [&](const Shape& shape, int64_t n) {
    for (int64_t k : {int64_t{0}, n - 1}) {
      std::ostringstream name;
      name << shape << ", part " << k << " of " << n;
      OpCase& c =
          cases.add(name.str(),
                    [=](const std::vector<Var>& in) { return split_last(in[0], n)[static_cast<size_t>(k)]; },
                    {random_tensor(shape, 1)});
      c.kind = OpKind::movement;
      c.linear = true;
    }
  };
  add_parts({1}, 1);
  add_parts({33}, 3);
  add_parts({31, 62}, 2);
  add_parts({2, 3, 1025}, 5);
  cases
      .add("all parts, crosswise",
           [](const std::vector<Var>& in) {
             auto part = split_last(in[0], 3);
             return add(multiply(part[0], part[1]), multiply(part[2], part[1]));
           },
           {random_tensor({5, 21}, 2)})
      .kind = OpKind::elementwise;
}

TEST_CASE("concat: side by side, and split_last takes it apart again") {
  const Tensor a = random_tensor({2, 3, 5}, 1), b = random_tensor({2, 3, 5}, 2);
  const Tensor y = concat({a, b}).value();
  CHECK(y.shape() == Shape{2, 3, 10});
  const auto av = a.to_vector(), bv = b.to_vector(), yv = y.to_vector();
  for (size_t r = 0; r < 6; ++r)
    for (size_t j = 0; j < 10; ++j) CHECK(yv[r * 10 + j] == (j < 5 ? av[r * 5 + j] : bv[r * 5 + j - 5]));
  const auto parts = split_last(y, 2);
  CHECK(same_bits(parts[0].value(), a));
  CHECK(same_bits(parts[1].value(), b));
}

TEST_CASE("split_last: a part nobody used contributes zeros, also to a gradient that is there already") {
  Var x = Var::leaf(random_tensor({2, 4}, 1));
  const Tensor dy = Tensor::from({1, 2, 3, 4}, {2, 2}, DType::float64);
  for (int k = 1; k <= 2; ++k) {
    Tape tape;
    tape.backward(split_last(x, 2)[1], dy);
    const double n = k;
    CHECK(x.gradient().to_vector() == std::vector<double>{0, 0, n, 2 * n, 0, 0, 3 * n, 4 * n});
  }
}

TEST_CASE("concat, split_last: misuse names both sides") {
  const Tensor a = random_tensor({2, 3}, 1), b = random_tensor({3, 3}, 2), v = random_tensor({3}, 3),
               scalar = random_tensor({}, 4), single = cast(a, DType::float32);
  expect_refusal([&] { concat({}); }, {"concat: no parts"});
  expect_refusal([&] { concat({a, b}); }, {"concat: part 0 has shape (2, 3), part 1 (3, 3)"});
  expect_refusal([&] { concat({a, a, v}); }, {"part 2 (3)"});
  expect_refusal([&] { concat({scalar}); }, {"concat: part 0 has shape ()"});
  expect_refusal([&] { concat({a, single}); }, {"concat", "float64 and float32"});
  expect_refusal([&] { split_last(a, 2); }, {"split_last: x has shape (2, 3)", "2 equal parts"});
  expect_refusal([&] { split_last(a, 0); }, {"split_last", "0 equal parts"});
  expect_refusal([&] { split_last(scalar, 1); }, {"split_last: x has shape ()"});
}

}  // namespace
}  // namespace ld
