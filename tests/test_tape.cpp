#include <doctest/doctest.h>

#include <cmath>

#include "autograd/tape.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/unary.h"
#include "tests/expect.h"

namespace ld {
namespace {

Var leaf(double value) { return Var::leaf(Tensor::scalar(value, DType::float64)); }
Tensor number(double value) { return Tensor::scalar(value, DType::float64); }
double slope(const Var& x) { return x.gradient().item(); }

TEST_CASE("tape: without one nothing is recorded") {
  Var x = leaf(3);
  CHECK(Tape::current() == nullptr);
  Var y = multiply(x, x);
  CHECK(y.value().item() == 9);
  CHECK_FALSE(y.requires_gradient());
}

TEST_CASE("tape: nothing is recorded of constants or under NoGradient") {
  Var x = leaf(3);
  Tape tape;
  CHECK_FALSE(multiply(number(2), number(3)).requires_gradient());
  {
    NoGradient pause;
    CHECK(Tape::current() == nullptr);
    CHECK_FALSE(multiply(x, x).requires_gradient());
  }
  CHECK(Tape::current() == &tape);
  CHECK(tape.size() == 0);
  CHECK(multiply(x, number(2)).requires_gradient());
  REQUIRE(tape.size() == 1);
  CHECK(std::string(tape.nodes()[0].name) == "multiply");
  CHECK(tape.nodes()[0].inputs[0] != nullptr);
  CHECK(tape.nodes()[0].inputs[1] == nullptr);
}

TEST_CASE("tape: one within another, and the outer one goes on") {
  Var x = leaf(3);
  Tape outer;
  Var y = square(x);
  {
    Tape inner;
    Var z = square(x);
    CHECK(inner.size() == 1);
    inner.backward(z);
    CHECK(slope(x) == 6);
  }
  CHECK(Tape::current() == &outer);
  outer.backward(y);
  CHECK(slope(x) == 12);
}

TEST_CASE("tape: one value used in many places gathers all gradients") {
  Var x = leaf(3);
  Tape tape;
  Var y = scale(x, 2);                                          // 6
  Var z = add(add(multiply(y, y), multiply(y, x)), square(x));  // 4x² + 2x² + x²
  CHECK(z.value().item() == 63);
  tape.backward(z);
  CHECK(slope(x) == 42);
}

TEST_CASE("tape: f(x, x)") {
  for (auto [op, expected] : {std::pair{&multiply, 6.0}, {&add, 2.0}, {&sub, 0.0}}) {
    Var x = leaf(3);
    Tape tape;
    tape.backward(op(x, x));
    CHECK(slope(x) == expected);
  }
}

TEST_CASE("tape: leaves accumulate over tapes until they are cleared") {
  Var x = leaf(3);
  CHECK_FALSE(x.gradient());
  for (int micro_batch = 1; micro_batch <= 3; ++micro_batch) {
    Tape tape;
    tape.backward(square(x));
    CHECK(slope(x) == 6 * micro_batch);
  }
  x.zero_gradient();
  CHECK_FALSE(x.gradient());
}

TEST_CASE("tape: backward twice over a tape that is kept") {
  Var x = leaf(3);
  Tape tape;
  Var y = multiply(square(x), x);
  tape.backward(y, KeepTape::yes);
  CHECK(slope(x) == 27);
  CHECK(tape.size() == 2);
  tape.backward(y, KeepTape::yes);
  CHECK(slope(x) == 54);
  tape.backward(y);
  CHECK(slope(x) == 81);
  CHECK(tape.size() == 0);
}

TEST_CASE("tape: backward from a value in the middle leaves the later ones alone") {
  Var x = leaf(3);
  Tape tape;
  Var y = square(x), z = scale(y, 100);
  tape.backward(y, KeepTape::yes);
  CHECK(slope(x) == 6);
  tape.backward(z);
  CHECK(slope(x) == 606);
}

TEST_CASE("tape: it can be used again after backward") {
  Var x = leaf(3);
  Tape tape;
  tape.backward(square(x));
  tape.backward(scale(x, 10));
  CHECK(slope(x) == 16);
}

TEST_CASE("tape: dy is the gradient of a result of many elements, and is only read") {
  Var x = Var::leaf(Tensor::from({1, 2, 3}, {3}, DType::float64));
  Tape tape;
  const Tensor dy = Tensor::from({1, -1, 0.5}, {3}, DType::float64);
  tape.backward(square(x), dy);
  CHECK(x.gradient().to_vector() == std::vector<double>{2, -4, 3});
  CHECK(dy.to_vector() == std::vector<double>{1, -1, 0.5});
}

TEST_CASE("tape: a gradient never shares memory with another") {
  Var x = leaf(3), y = leaf(5);
  Tape tape;
  const Tensor dy = number(1);
  tape.backward(add(x, y), dy);
  CHECK(x.gradient().raw() != y.gradient().raw());
  CHECK(x.gradient().raw() != dy.raw());
}

TEST_CASE("tape: detach stops what is behind it") {
  Var x = leaf(3);
  Tape tape;
  Var y = multiply(detach(square(x)), x);  // 9 · x
  tape.backward(y);
  CHECK(slope(x) == 9);
  // Alone, there is nothing to go back to.
  expect_error([&] { tape.backward(detach(square(x))); }, {"nothing behind this value requires a gradient"});
}

TEST_CASE("tape: an op without a derivative says so, unless no gradient is wanted") {
  Var x = leaf(3);
  refuse_gradient("argmax", {x});  // no tape: nothing would be recorded
  Tape tape;
  refuse_gradient("argmax", {number(3), detach(x)});
  expect_error(
      [&] {
        refuse_gradient("argmax", {number(3), x});
      },
      {"argmax: has no derivative", "detach it"});
}

TEST_CASE("tape: mistakes have a message") {
  Var x = Var::leaf(Tensor::from({1, 2, 3}, {3}, DType::float64)), once = leaf(3);
  Var forgotten;
  {
    Tape tape;
    forgotten = square(x);
  }
  Tape tape;
  Var y = square(x);
  expect_error([&] { tape.backward(y); }, {"backward: the loss has shape (3), expected one element"});
  expect_error([&] { tape.backward(y, number(1)); },
               {"backward: the gradient has shape () float64, the value (3) float64"});
  expect_error([&] { tape.backward(y, Tensor::zeros({3}, DType::float32)); }, {"(3) float32", "(3) float64"});
  expect_error([&] { tape.backward(number(1)); }, {"nothing behind this value requires a gradient"});
  expect_error([&] { tape.backward(forgotten, x.value()); },
               {"backward: this value was not recorded on this tape"});
  expect_error([&] { multiply(forgotten, x); },
               {"multiply: an input was computed on another tape", "detach it"});
  tape.backward(y, x.value());
  expect_error([&] { square(y); },
               {"square: an input was computed on another tape", "backward has already run"});
  expect_error([&] { tape.backward(y, x.value()); }, {"the tape has been used up"});
  CHECK_FALSE(detach(y).requires_gradient());  // the way out that the message names
  expect_error([] { Var::leaf(Tensor::from({1, 2}, {2}), "ids"); }, {"leaf ids", "int32"});
}

TEST_CASE("tape: closures are dropped on the way back, and memory falls") {
  constexpr int64_t n = 1 << 16, bytes = n * 8;
  constexpr int length = 32;
  Var x = Var::leaf(Tensor::from(std::vector<double>(n, 1.0), {n}, DType::float64));
  auto now = [] { return memory_report().total.now; };
  const int64_t before = now();
  Tape tape;
  Var loss;
  std::vector<int64_t> seen;
  {
    Var y = x;
    for (int i = 0; i < length; ++i) {
      // A node that looks at the memory when backward passes it, and lets the gradient through.
      y = cos(y);
      Tensor value = y.value();
      y = record("look", {y}, value, [&seen, &now](const Gradients& g) {
        seen.push_back(now());
        copy_on_device(g.dx<double>(0).data, g.dy<double>(), static_cast<size_t>(bytes));
      });
    }
    loss = mean(y);
  }
  CHECK(now() - before >= (length - 1) * bytes);  // every cos has saved its input
  reset_memory_peaks();
  tape.backward(loss);
  loss = Var();
  REQUIRE(seen.size() == length);
  for (size_t i = 2; i < seen.size(); ++i) CHECK(seen[i] < seen[i - 1]);
  CHECK(now() - before == bytes);  // the gradient of x
  CHECK(memory_report().total.peak - before <= (length + 4) * bytes);
}

TEST_CASE("tape: a chain of 200,000 ops needs no stack") {
  constexpr int length = 200000;
  Var x = leaf(1);
  Tape tape;
  Var y = x;
  for (int i = 0; i < length; ++i) y = add_scalar(y, 1);
  CHECK(y.value().item() == length + 1);
  CHECK(tape.size() == length);
  tape.backward(y);
  CHECK(slope(x) == 1);
  CHECK(tape.size() == 0);
}

TEST_CASE("tape: outputs that nothing has reached give null, and a node not reached does not run") {
  Var x = leaf(3);
  Tape tape;
  int runs = 0;
  auto outputs = record("pair", {x}, std::vector<Tensor>{number(1), number(2)}, [&](const Gradients& g) {
    ++runs;
    CHECK(g.dy<double>(0) == nullptr);
    CHECK(g.dy<double>(1) != nullptr);
    CHECK(g.needs(0));
    g.dx_zeroed<double>(0);
  });
  Var unused = record("unused", {x}, number(1), [](const Gradients&) { FAIL("must not run"); });
  tape.backward(outputs[1]);
  CHECK(runs == 1);
}

TEST_CASE("tape: gradients of leaves count as gradients, those on the way as activations") {
  Var x = Var::leaf(Tensor::zeros({1000}, DType::float64));
  auto count = [](MemoryUse use) { return memory_report().by_use[static_cast<size_t>(use)].now; };
  const int64_t before = count(MemoryUse::gradients);
  {
    Tape tape;
    tape.backward(mean(square(x)));
  }
  CHECK(count(MemoryUse::gradients) - before >= 8000);
  CHECK(count(MemoryUse::gradients) - before < 16000);
}

}  // namespace
}  // namespace ld
