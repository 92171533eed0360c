#include <doctest/doctest.h>

#include "ops/binary.h"
#include "ops/slice.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

OP_CASES(slice) {
  auto columns = [](int64_t begin, int64_t count) {
    return [=](const std::vector<Var>& in) { return slice(in[0], begin, count); };
  };
  auto add = [&](const std::string& name, const Shape& shape, int64_t begin, int64_t count) {
    OpCase& c = cases.add(name, columns(begin, count), {random_tensor(shape, 1)});
    c.kind = OpKind::movement;
    c.linear = true;
  };
  add("all of one", {3, 1}, 0, 1);
  add("from the start", {31, 33}, 0, 5);
  add("to the end", {33, 31}, 26, 5);
  add("the middle, rank 3", {2, 3, 33}, 1, 31);
  add("of a vector", {1025}, 7, 1001);
  add("all", {3, 5}, 0, 5);
  cases
      .add("two that overlap",
           [](const std::vector<Var>& in) { return multiply(slice(in[0], 0, 4), slice(in[0], 2, 4)); },
           {random_tensor({3, 7}, 2)})
      .kind = OpKind::elementwise;
}

TEST_CASE("slice: columns of the last dimension") {
  const Tensor x = random_tensor({2, 3, 33}, 1);
  const Tensor y = slice(x, 4, 5).value();
  CHECK(y.shape() == Shape{2, 3, 5});
  const auto xv = x.to_vector(), yv = y.to_vector();
  for (size_t r = 0; r < 6; ++r)
    for (size_t j = 0; j < 5; ++j) CHECK(yv[r * 5 + j] == xv[r * 33 + 4 + j]);
  CHECK(slice(x, 33, 0).shape() == Shape{2, 3, 0});
}

TEST_CASE("slice: the other columns get exactly nothing") {
  Var x = Var::leaf(random_tensor({2, 5}, 1));
  Tape tape;
  tape.backward(slice(x, 1, 2), Tensor::from({1, 2, 3, 4}, {2, 2}, DType::float64));
  CHECK(x.gradient().to_vector() == std::vector<double>{0, 1, 2, 0, 0, 0, 3, 4, 0, 0});
}

TEST_CASE("slice: misuse names both sides") {
  const Tensor x = random_tensor({2, 5}, 1), scalar = random_tensor({}, 2);
  expect_refusal([&] { slice(x, 3, 3); }, {"slice: columns 3 to 6", "(2, 5)"});
  expect_refusal([&] { slice(x, -1, 2); }, {"slice: columns -1 to 1", "(2, 5)"});
  expect_refusal([&] { slice(x, 3, -1); }, {"slice: columns 3 to 2", "(2, 5)"});
  expect_refusal([&] { slice(scalar, 0, 1); }, {"slice", "shape is ()"});
}

}  // namespace
}  // namespace ld
