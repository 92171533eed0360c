#include <doctest/doctest.h>

#include <cmath>

#include "ops/binary.h"
#include "ops/select.h"
#include "ops/unary.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

const NoiseKey key{1, 2, 3, 4};

// Ops whose own derivative is zero by declaration are checked inside a function that has one. Their values
// are what finite differences must be kept from moving (autograd/replay.h).
OP_CASES(select) {
  auto by_noise = [](const Var& a, const Var& b) {
    return select(at_least(uniform_noise(a, key), 0.4), a, b);
  };
  for (int64_t n : {5, 31, 33, 1025})
    cases
        .add("by noise, " + std::to_string(n),
             [=](const std::vector<Var>& in) { return by_noise(in[0], in[1]); },
             {random_tensor({n, 2}, 1), random_tensor({n, 2}, 2)})
        .kind = OpKind::movement;
  cases
      .add("f(x, x)", [=](const std::vector<Var>& in) { return by_noise(in[0], in[0]); },
           {random_tensor({33, 2}, 3)})
      .kind = OpKind::movement;
  cases
      .add("by a comparison of the operands",
           [](const std::vector<Var>& in) { return select(less_equal(in[0], in[1]), square(in[0]), in[1]); },
           {random_tensor({2, 33}, 4), random_tensor({2, 33}, 5)})
      .kind = OpKind::elementwise;
}

OP_CASES(less_equal) {
  cases
      .add("as a factor",
           [](const std::vector<Var>& in) { return multiply(less_equal(in[0], in[1]), add(in[0], in[1])); },
           {random_tensor({3, 33}, 1), random_tensor({3, 33}, 2)})
      .kind = OpKind::elementwise;
}

OP_CASES(at_least) {
  cases
      .add("as a factor", [](const std::vector<Var>& in) { return multiply(at_least(in[0], 0.2), in[0]); },
           {random_tensor({3, 33}, 1)})
      .kind = OpKind::elementwise;
}

OP_CASES(detach) {
  cases
      .add("x · detach(x²)",
           [](const std::vector<Var>& in) { return multiply(in[0], detach(square(in[0]))); },
           {random_tensor({3, 31}, 1)})
      .kind = OpKind::elementwise;
  cases
      .add("twice, in another order",
           [](const std::vector<Var>& in) {
             Var y = multiply(detach(in[1]), in[0]);
             return add(multiply(y, detach(y)), multiply(in[1], detach(in[0])));
           },
           {random_tensor({33}, 2), random_tensor({33}, 3)})
      .kind = OpKind::elementwise;
}

OP_CASES(round_by) {
  cases.add("up where noise <= M",
            [](const std::vector<Var>& in) {
              return multiply(round_by(less_equal(uniform_noise(in[0], key), in[0]), in[0]), in[1]);
            },
            {uniform_tensor({5, 33}, 1), random_tensor({5, 33}, 2)});
  cases.add("up from one half",
            [](const std::vector<Var>& in) { return multiply(round_by(at_least(in[0], 0.5), in[0]), in[1]); },
            {uniform_tensor({1025}, 3), random_tensor({1025}, 4)});
}

OP_CASES(uniform_noise) {
  cases
      .add("as a factor",
           [](const std::vector<Var>& in) { return multiply(uniform_noise(in[0], key), in[0]); },
           {random_tensor({3, 7, 5}, 1)})
      .kind = OpKind::elementwise;
}

TEST_CASE("select: values, and a NaN on the side that is not chosen") {
  const Tensor condition = Tensor::from({1, 0, -2, 0}, {4}, DType::float32);
  const Tensor a = Tensor::from({1, NAN, 3, 4}, {4}, DType::float32),
               b = Tensor::from({-1, -2, NAN, -4}, {4}, DType::float32);
  CHECK(select(condition, a, b).value().to_vector() == std::vector<double>{1, -2, 3, -4});
}

TEST_CASE("less_equal and at_least: the boundary belongs to yes, NaN to no") {
  const Tensor a = Tensor::from({1, 2, 3, NAN}, {4}, DType::float64),
               b = Tensor::from({2, 2, 2, 2}, {4}, DType::float64);
  CHECK(less_equal(a, b).value().to_vector() == std::vector<double>{1, 1, 0, 0});
  CHECK(less_equal(b, a).value().to_vector() == std::vector<double>{0, 1, 1, 0});
  CHECK(at_least(a, 2).value().to_vector() == std::vector<double>{0, 1, 1, 0});
}

TEST_CASE("comparisons, noise and detach record nothing") {
  Var x = Var::leaf(random_tensor({3, 5}, 1));
  Tape tape;
  for (const Var& y : {less_equal(x, x), at_least(x, 0), uniform_noise(x, key), detach(x)})
    CHECK_FALSE(y.requires_gradient());
  CHECK(tape.size() == 0);
  CHECK(same_bits(detach(x).value(), x.value()));
}

// Masks where rounding is hardest: 0 and 1 and their neighbours, denormal numbers, both sides of ½, and every
// power of two on the way, with thousands of ordinary ones.
std::vector<double> hard_masks() {
  std::vector<double> m = {0, 1, 0.5, 0x1p-149, 0x1.fffffcp-127, 1e-9};
  for (int e = -149; e <= 0; ++e) {
    const auto power = std::ldexp(1.0f, e);
    m.push_back(power);
    for (float next = power, step = 0; step < 20; ++step) m.push_back(next = std::nextafterf(next, 0));
    for (float next = power, step = 0; e < 0 && step < 20; ++step)
      m.push_back(next = std::nextafterf(next, 1));
  }
  for (double v : uniform_tensor({50000}, 1).to_vector()) m.push_back(v);
  for (double v : uniform_tensor({20000}, 2, 0.49999, 0.50001).to_vector()) m.push_back(v);
  return m;
}

TEST_CASE("round_by: exactly 0 or 1, and derivative exactly 1") {
  const std::vector<double> masks = hard_masks();
  const auto n = static_cast<int64_t>(masks.size());
  CHECK(n > 70000);
  for (DType dtype : {DType::float32, DType::float64})
    for (double up : {0.0, 1.0}) {
      INFO(name_of(dtype), ", up = ", up);
      Var m = Var::leaf(Tensor::from(masks, {n}, dtype));
      const Tensor decision = Tensor::from(std::vector<double>(masks.size(), up), {n}, dtype);
      const Tensor ones = Tensor::from(std::vector<double>(masks.size(), 1.0), {n}, dtype);
      Tape tape;
      Var r = round_by(decision, m);
      CHECK(same_bits(r.value(), decision));
      tape.backward(r, ones);
      CHECK(same_bits(m.gradient(), ones));
    }
}

TEST_CASE("round_by: NaN stays NaN") {
  const Tensor m = Tensor::from({NAN, NAN}, {2}, DType::float32);
  for (double r : round_by(Tensor::from({0, 1}, {2}, DType::float32), m).value().to_vector())
    CHECK(std::isnan(r));
}

TEST_CASE("uniform_noise: in [0, 1), with the right mean and variance, the same in every dtype") {
  const int64_t n = 200000;
  const Tensor noise = uniform_noise(Tensor({4, n / 4}, DType::float32), key).value();
  double total = 0, squares = 0;
  for (double u : noise.to_vector()) {
    REQUIRE((u >= 0 && u < 1));
    total += u;
    squares += u * u;
  }
  const double mean = total / n;
  CHECK(std::abs(mean - 0.5) < 4 * std::sqrt(1.0 / 12 / n));  // four standard deviations
  CHECK(std::abs(squares / n - mean * mean - 1.0 / 12) < 4 * std::sqrt(1.0 / 180 / n));
  CHECK(uniform_noise(Tensor({4, n / 4}, DType::float64), key).value().to_vector() == noise.to_vector());
}

TEST_CASE("uniform_noise: does not depend on how the batch is split") {
  const auto whole = uniform_noise(Tensor({5, 33}, DType::float32), {1, 2, 10, 3}).value().to_vector();
  for (uint32_t s = 0; s < 5; ++s) {
    const auto part = uniform_noise(Tensor({1, 33}, DType::float32), {1, 2, 10 + s, 3}).value().to_vector();
    CHECK(std::equal(part.begin(), part.end(), whole.begin() + s * 33));
  }
}

TEST_CASE("select and comparisons: misuse names both sides") {
  const Tensor x = random_tensor({3, 5}, 1), turned = random_tensor({5, 3}, 2),
               single = cast(x, DType::float32);
  expect_refusal([&] { select(x, x, turned); }, {"select: b has shape (5, 3), expected (3, 5)"});
  expect_refusal([&] { select(turned, x, x); }, {"select: condition has shape (5, 3), expected (3, 5)"});
  expect_refusal([&] { select(x, x, single); }, {"select", "float64 and float32"});
  expect_refusal([&] { select(single, x, x); }, {"select", "float32 and float64"});
  expect_refusal([&] { less_equal(x, turned); }, {"less_equal: b has shape (5, 3), expected (3, 5)"});
  expect_refusal([&] { less_equal(x, single); }, {"less_equal", "float64 and float32"});
  Var leaf = Var::leaf(x);
  Tape tape;
  expect_refusal([&] { select(leaf, x, x); }, {"select: condition: has no derivative", "detach"});
}

}  // namespace
}  // namespace ld
