// What watches the tape: the trace that prints and draws it, and the mode that finds the first NaN.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/anomaly.h"
#include "autograd/trace.h"
#include "ops/binary.h"
#include "ops/linear.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/unary.h"
#include "tests/expect.h"

namespace ld {
namespace {

Var leaf(const std::vector<double>& values, const Shape& shape, const std::string& name) {
  return Var::leaf(Tensor::from(values, shape, DType::float32), name);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// y = x with a gradient of the test's choice: stands for an op whose derivative goes wrong.
Var with_gradient(const char* name, const Var& x, double gradient) {
  return record(name, {x}, x.value().clone(), [=](const Gradients& g) {
    auto dx = g.dx<float>(0);
    REQUIRE(dx.empty);
    const Tensor wrong = Tensor::from(
        std::vector<double>(static_cast<size_t>(x.value().elements()), gradient), x.shape(), DType::float32);
    copy_on_device(dx.data, wrong.raw(), static_cast<size_t>(wrong.bytes()));
  });
}

/// loss = Σ (x · Wᵀ)², x (1, 2), W (3, 2): y = (3, 7, 11), loss = 179, dy = 2y.
struct SmallGraph {
  Var x = leaf({1, 1}, {1, 2}, "x"), w = leaf({1, 2, 3, 4, 5, 6}, {3, 2}, "w \"quoted\\\"");
  void run() {
    Tape tape;
    const Var loss = sum(square(linear(x, w)));  // in between, only the tape holds what backward needs
    tape.backward(loss);
  }
};

TEST_CASE("trace: what is measured of a small graph") {
  SmallGraph graph;
  TapeTrace trace;
  graph.run();
  const auto& ops = trace.log().ops();
  const auto& measured = trace.measured();
  REQUIRE(ops.size() == 3);
  CHECK(ops[0].name == "linear");
  CHECK(ops[1].name == "square");
  CHECK(ops[2].name == "sum");
  REQUIRE(ops[0].inputs.size() == 3);
  CHECK(ops[0].inputs[0].is_leaf());
  CHECK_FALSE(ops[0].inputs[2].given);  // no bias
  CHECK(ops[1].inputs[0].producer == 0);
  CHECK(ops[2].inputs[0].producer == 1);
  CHECK(ops[0].outputs[0].shape == Shape{1, 3});
  CHECK(ops[0].outputs[0].bytes() == 12);
  for (const auto& m : measured) {
    CHECK(m.forward_ms >= 0);
    REQUIRE(m.backward_ms);
    CHECK(*m.backward_ms >= 0);
    REQUIRE(m.saved);
  }
  CHECK(*measured[0].gradient == doctest::Approx(2 * std::sqrt(179.0)));  // dy = 2y
  CHECK(*measured[1].gradient == doctest::Approx(std::sqrt(3.0)));        // of the sum: all ones
  CHECK(*measured[2].gradient == 1);
  CHECK(*measured[0].saved == 0);    // x and W, which the leaves hold as well
  CHECK(*measured[1].saved == 256);  // y, 12 bytes in the smallest block of the pool
  CHECK(*measured[2].saved == 0);    // a sum needs nothing
  REQUIRE(trace.log().leaves().size() == 2);
  CHECK(trace.log().leaves()[0]->name == "x");
}

TEST_CASE("trace: the table") {
  SmallGraph graph;
  TapeTrace trace;
  graph.run();
  const std::string table = trace.table();
  CAPTURE(table);
  CHECK(contains(table, "inputs -> outputs\n"));
  CHECK(contains(table, "   0  linear          12           0"));
  CHECK(contains(table, "x (1, 2), w \"quoted\\\" (3, 2) -> (1, 3) float32\n"));
  CHECK(contains(table, "op 0 (1, 3) -> (1, 3) float32\n"));
  CHECK(contains(table, "   1.732e+00  op 0"));
  CHECK(contains(table, "op 1 (1, 3) -> () float32\n"));
  CHECK(contains(table, "      total           28         256"));
  // dx = dy · W = (6·1 + 14·3 + 22·5, 6·2 + 14·4 + 22·6) = (158, 200)
  CHECK(contains(table, "   2.549e+02  x (1, 2) float32\n"));
}

TEST_CASE("trace: the graph") {
  SmallGraph graph;
  TapeTrace trace;
  graph.run();
  const std::string dot = trace.dot();
  CAPTURE(dot);
  CHECK(dot.starts_with("digraph tape {\n"));
  CHECK(dot.ends_with("}\n"));
  CHECK(contains(
      dot,
      "  leaf0 [shape=ellipse, style=filled, fillcolor=gray92, label=\"x\\n(1, 2) float32\\n8 bytes\\n"));
  CHECK(contains(dot, "label=\"w \\\"quoted\\\\\\\"\\n(3, 2) float32\\n"));
  CHECK(contains(dot, "  op0 [shape=box, label=\"0  linear\\n(1, 3) float32\\n12 bytes, 0 saved\\nforward "));
  CHECK(contains(dot, "gradient 1.732e+00\"];\n"));
  for (const char* edge : {"leaf0 -> op0;", "leaf1 -> op0;", "op0 -> op1;", "op1 -> op2;"})
    CHECK(contains(dot, edge));
}

TEST_CASE("trace: what is not on the tape or not reached has dashes") {
  const Var x = leaf({1, 2}, {2}, "x"), constant(Tensor::from({3, 4}, {2}, DType::float32));
  TapeTrace trace;
  Tape tape;
  const Var aside = square(constant), unused = neg(x), y = add(x, aside);
  CHECK_FALSE(trace.measured()[2].backward_ms);
  tape.backward(sum(y));
  const auto& measured = trace.measured();
  CHECK_FALSE(trace.log().ops()[0].on_tape());
  CHECK_FALSE(measured[0].saved);
  CHECK_FALSE(measured[0].gradient);
  CHECK(trace.log().ops()[1].on_tape());
  CHECK(measured[1].saved);
  CHECK_FALSE(measured[1].gradient);
  CHECK_FALSE(measured[1].backward_ms);
  CHECK(*measured[2].gradient == doctest::Approx(std::sqrt(2.0)));
  CHECK(contains(trace.dot(), "op0 [shape=box, style=dashed, "));
  CHECK(contains(trace.table(), "constant (2) -> (2) float32\n"));
}

TEST_CASE("trace: a tape that is kept drops nothing, and what came before the trace is left out") {
  const Var x = leaf({1, 2}, {2}, "x");
  Tape tape;
  const Var before = square(x);
  TapeTrace trace;
  const Var y = sum(before);
  tape.backward(y, KeepTape::yes);
  REQUIRE(trace.log().ops().size() == 1);
  CHECK(trace.log().leaves().empty());
  CHECK_FALSE(trace.measured()[0].saved);
  tape.backward(y);
  CHECK(trace.measured()[0].saved);
  CHECK(x.gradient().to_vector() == std::vector<double>{4, 8});
}

TEST_CASE("observers: gradients have the same bits with and without") {
  auto gradients = [] {
    const Var x = Var::leaf(cast(random_tensor({33, 31}, 1), DType::float32));
    const Var w = Var::leaf(cast(random_tensor({5, 31}, 2), DType::float32));
    Tape tape;
    tape.backward(mean(square(gelu(linear(x, w)))));
    CHECK(tape.size() == 0);
    return std::vector<Tensor>{x.gradient(), w.gradient()};
  };
  const auto plain = gradients();
  std::vector<Tensor> traced, checked;
  {
    TapeTrace trace;
    traced = gradients();
  }
  {
    AnomalyMode watch;
    checked = gradients();
  }
  CHECK(TapeObserver::current() == nullptr);
  for (size_t k = 0; k < plain.size(); ++k) {
    CHECK(same_bits(traced[k], plain[k]));
    CHECK(same_bits(checked[k], plain[k]));
  }
}

TEST_CASE("observers: one at a time") {
  TapeTrace trace;
  expect_error([] { AnomalyMode watch; }, {"tape: another observer is watching"});
}

TEST_CASE("anomaly: the logarithm of a negative number") {
  const Var x = leaf({1, 2, 3, 4, 5, 6}, {2, 3}, "x"), y = leaf({0, 0, 0, 0, 7, 0}, {2, 3}, "y");
  AnomalyMode watch;
  Tape tape;
  expect_error([&] { mean(log2(sub(x, y))); },
               {"op 1, log2: output 0 (2, 3) float32 is nan at element 4, place (1, 1)",
                "\n  input 0 (2, 3) float32, op 0, sub, is finite, from -2 to 6"});
}

TEST_CASE("anomaly: a weight that is infinite already") {
  const Var x = leaf({1, 2}, {2}, "x"),
            w = leaf({1, -std::numeric_limits<double>::infinity()}, {2}, "blocks.0.shift");
  AnomalyMode watch;
  Tape tape;
  expect_error([&] { multiply(x, w); },
               {"op 0, multiply: output 0 (2) float32 is -inf at element 1, place (1)",
                "input 0 (2) float32, leaf x, is finite, from 1 to 2",
                "input 1 (2) float32, leaf blocks.0.shift, is -inf at element 1"});
}

TEST_CASE("anomaly: without a tape, and in an op that is not on it") {
  AnomalyMode watch;
  const Var x(Tensor::from({-1, 1}, {2}, DType::float32));
  expect_error([&] { log2(x); },
               {"op 0, log2: ", "is nan at element 0", "constant, is finite, from -1 to 1"});
  Tape tape;
  expect_error([&] { log2(x); }, {"op 1, log2: ", "is nan at element 0"});
}

TEST_CASE("anomaly: a derivative that is infinite where the value is not") {
  const Var x = leaf({1, 2, 3}, {3}, "blocks.0.weight");
  AnomalyMode watch;
  Tape tape;
  const Var loss = sum(with_gradient("root", neg(x), std::numeric_limits<double>::infinity()));
  expect_error(
      [&] { tape.backward(loss); },
      {"op 1, root, backward: the gradient of input 0 (3) float32, op 0, neg is inf at element 0, place (0)",
       "\n  output 0 (3) float32"});
}

TEST_CASE("anomaly: a real op's derivative overflows, and the leaf is named") {
  const Var x = leaf({1, 1e-30}, {2}, "blocks.0.weight");  // 1e20 / (1e-30 · ln 2) is beyond float32
  AnomalyMode watch;
  Tape tape;
  const Var loss = sum(scale(log2(x), 1e20));
  expect_error([&] { tape.backward(loss); }, {"op 0, log2, backward: the gradient of input 0 (2) float32, "
                                              "leaf blocks.0.weight is inf at element 1"});
}

TEST_CASE("anomaly: the gradient that backward is given") {
  const Var x = leaf({1, 2}, {2}, "x");
  AnomalyMode watch;
  Tape tape;
  const Var y = square(neg(x));
  expect_error(
      [&] {
        tape.backward(y, Tensor::from({1, NAN}, {2}, DType::float32));
      },
      {"op 1, square: the gradient that backward starts from, (2) float32 is nan at element 1"});
}

TEST_CASE("anomaly: finite numbers pass, also twice and through several uses") {
  const Var x = leaf({1, 2}, {2}, "x");
  AnomalyMode watch;
  Tape tape;
  const Var loss = sum(multiply(x, add(x, detach(square(x)))));
  tape.backward(loss, KeepTape::yes);
  tape.backward(loss);
  CHECK(x.gradient().to_vector() == std::vector<double>{6, 16});  // twice 2x + x²
}

}  // namespace
}  // namespace ld
