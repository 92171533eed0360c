// The tester is tested: a backward that is wrong in any of the usual ways must not pass.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "autograd/replay.h"
#include "ops/binary.h"
#include "ops/layout.h"
#include "ops/learned_dropout.h"
#include "ops/linear.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/unary.h"
#include "tests/expect.h"

namespace ld {
namespace {

using Values = std::vector<double>;

enum class Write { add, store };

/// Adds host values into a gradient, or overwrites it: what a kernel with a missing += does.
void put(Accumulator<double> to, Values values, Write write) {
  const size_t bytes = values.size() * sizeof(double);
  if (write == Write::add && !to.empty) {
    Values before(values.size());
    copy_to_host(before.data(), to.data, bytes);
    for (size_t i = 0; i < values.size(); ++i) values[i] += before[i];
  }
  copy_to_device(to.data, values.data(), bytes);
}

Values from_device(const double* data, size_t n) {
  Values values(n);
  copy_to_host(values.data(), data, n * sizeof(double));
  return values;
}

/// y = x², whose backward may be spoiled: `spoil` turns the right gradient into what is written.
Var square_with(const Var& x, std::function<void(Values&)> spoil, Write write = Write::add) {
  Values xs = x.value().to_vector(), y = xs;
  for (double& v : y) v *= v;
  return record("square", {x}, Tensor::from(y, x.shape(), DType::float64), [=](const Gradients& g) {
    Values dx = from_device(g.dy<double>(), xs.size());
    for (size_t i = 0; i < dx.size(); ++i) dx[i] *= 2 * xs[i];
    spoil(dx);
    put(g.dx<double>(0), dx, write);
  });
}

GradcheckResult check_square(std::function<void(Values&)> spoil) {
  return gradcheck([&](const std::vector<Var>& in) { return square_with(in[0], spoil); },
                   {random_tensor({3, 5}, 1)});
}

void expect_caught(const GradcheckResult& result) {
  INFO(result.message);
  CHECK_FALSE(result.passed);
  CHECK(result.message.starts_with("gradcheck: input "));
  CHECK((result.worst > 1e-6 || std::isnan(result.worst)));
}

TEST_CASE("gradcheck: what is right passes, and is measured") {
  const GradcheckResult result = check_square([](Values&) {});
  INFO(result.message);
  CHECK(result.passed);
  CHECK(result.message.empty());
  CHECK(result.probes == 15);
  CHECK(result.worst < 1e-9);
  CHECK(result.worst > 0);
}

TEST_CASE("gradcheck catches: 0.1 % too much") {
  expect_caught(check_square([](Values& dx) {
    for (double& d : dx) d *= 1.001;
  }));
}

TEST_CASE("gradcheck catches: a factor 2") {
  expect_caught(check_square([](Values& dx) {
    for (double& d : dx) d *= 2;
  }));
}

TEST_CASE("gradcheck catches: the other sign") {
  expect_caught(check_square([](Values& dx) {
    for (double& d : dx) d = -d;
  }));
}

TEST_CASE("gradcheck catches: one wrong element among many, and names it") {
  const GradcheckResult result = check_square([](Values& dx) { dx[7] *= 1.001; });
  expect_caught(result);
  CHECK(result.where == "input 0, element 7");
  CHECK(result.message.find("input 0, element 7: backward says") != std::string::npos);
  CHECK(result.worst == doctest::Approx(0.001).epsilon(0.01));
}

TEST_CASE("gradcheck catches: the last element forgotten, as at a ragged end") {
  const GradcheckResult result = check_square([](Values& dx) { dx.back() = 0; });
  expect_caught(result);
  CHECK(result.where == "input 0, element 14");
  CHECK(result.worst == 1);
}

TEST_CASE("gradcheck catches: NaN and infinity, anywhere") {
  for (double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    const GradcheckResult result = check_square([=](Values& dx) { dx[3] = bad; });
    expect_caught(result);
    CHECK(std::isnan(result.worst));  // and no later, finite error takes its place
    CHECK(result.where == "input 0, element 3");
  }
  expect_caught(check_square([](Values& dx) {
    for (double& d : dx) d = NAN;
  }));
}

TEST_CASE("gradcheck catches: NaN in the value") {
  expect_caught(gradcheck([](const std::vector<Var>& in) { return log2(in[0]); },
                          {Tensor::from({1, -1, 2}, {3}, DType::float64)}));
}

TEST_CASE("gradcheck catches: a missing +=, where a value is used twice") {
  auto storing = [](const Var& x) {
    return square_with(
        x, [](Values&) {}, Write::store);
  };
  const std::vector<Tensor> inputs = {random_tensor({3, 5}, 1)};
  // Used once, nothing is wrong with it.
  CHECK(gradcheck([&](const std::vector<Var>& in) { return storing(in[0]); }, inputs).passed);
  // Recorded first, it writes last, over what the other use has written.
  auto used_twice = [&](const std::vector<Var>& in) {
    Var y = storing(in[0]);
    return add(y, scale(in[0], 3));
  };
  expect_caught(gradcheck(used_twice, inputs));
  expect_caught(gradcheck(
      [&](const std::vector<Var>& in) { return multiply(storing(in[0]), storing(in[0])); }, inputs));
}

/// y = a ⊙ b, of which backward forgets b.
Var multiply_dropping_b(const Var& a, const Var& b) {
  Values as = a.value().to_vector(), bs = b.value().to_vector(), y = as;
  for (size_t i = 0; i < y.size(); ++i) y[i] *= bs[i];
  return record("multiply", {a, b}, Tensor::from(y, a.shape(), DType::float64), [=](const Gradients& g) {
    Values da = from_device(g.dy<double>(), bs.size());
    for (size_t i = 0; i < da.size(); ++i) da[i] *= bs[i];
    if (g.needs(0)) put(g.dx<double>(0), da, Write::add);
  });
}

TEST_CASE("gradcheck catches: an input that gets no gradient") {
  const GradcheckResult result =
      gradcheck([](const std::vector<Var>& in) { return multiply_dropping_b(in[0], in[1]); },
                {random_tensor({5}, 1), random_tensor({5}, 2)});
  expect_caught(result);
  CHECK(result.message.find("input 1") != std::string::npos);
  CHECK(result.message.find("norm 0") != std::string::npos);
  // The same where only part of the way to it is lost, so that its gradient does not vanish.
  expect_caught(
      gradcheck([](const std::vector<Var>& in) { return add(multiply_dropping_b(in[0], in[1]), in[1]); },
                {random_tensor({5}, 1), random_tensor({5}, 2)}));
}

TEST_CASE("gradcheck catches: a function that is constant") {
  const GradcheckResult result =
      gradcheck([](const std::vector<Var>& in) { return detach(in[0]); }, {random_tensor({5}, 1)});
  CHECK_FALSE(result.passed);
  CHECK(result.message.find("vanished") != std::string::npos);
}

/// y = x · Wᵀ of a constant x and a square W, with the gradient of W the wrong way round.
Var product_turning_dw(const Tensor& x, const Var& w) {
  const auto n = static_cast<size_t>(w.size(0));
  const Values xs = x.to_vector();
  return record("product", {w}, linear(x, w.value()).value(), [=](const Gradients& g) {
    const Values dy = from_device(g.dy<double>(), xs.size());
    Values dw(n * n, 0.0);
    for (size_t r = 0; r < xs.size() / n; ++r)
      for (size_t o = 0; o < n; ++o)
        for (size_t i = 0; i < n; ++i)
          dw[i * n + o] += dy[r * n + o] * xs[r * n + i];  // wanted: dw[o * n + i]
    put(g.dx<double>(0), dw, Write::add);
  });
}

TEST_CASE("gradcheck catches: a transposed gradient") {
  const Tensor x = random_tensor({2, 3}, 1);  // the seed that gradcheck's own numbers are made of by default
  const std::vector<Tensor> w = {random_tensor({3, 3}, 2)};
  CHECK(gradcheck([&](const std::vector<Var>& in) { return linear(x, in[0]); }, w).passed);
  expect_caught(gradcheck([&](const std::vector<Var>& in) { return product_turning_dw(x, in[0]); }, w));
}

/// A detach that lets the gradient through.
Var leaky_detach(const Var& x) {
  const Tensor value = Replay::held_constant(x.value());
  const auto n = static_cast<size_t>(value.elements());
  return record("leaky_detach", {x}, value, [=](const Gradients& g) {
    put(g.dx<double>(0), from_device(g.dy<double>(), n), Write::add);
  });
}
/// A detach that does not tell gradcheck that its value is to be held.
Var silent_detach(const Var& x) { return Var(x.value()); }

TEST_CASE("gradcheck catches: a wrong detach") {
  auto with = [](Var (*stop)(const Var&)) {
    return gradcheck([=](const std::vector<Var>& in) { return multiply(in[0], stop(square(in[0]))); },
                     {random_tensor({5}, 1)});
  };
  CHECK(with(detach).passed);
  expect_caught(with(leaky_detach));
  expect_caught(with(silent_detach));
}

TEST_CASE("gradcheck: straight-through rounding passes with replay and fails without") {
  const NoiseKey key{1, 2, 3, 4};
  auto f = [&](const std::vector<Var>& in) {
    return multiply(round_by(less_equal(uniform_noise(in[0], key), in[0]), in[0]), in[1]);
  };
  const std::vector<Tensor> inputs = {uniform_tensor({3, 5}, 1, 0.1, 0.9), random_tensor({3, 5}, 2)};
  GradcheckOptions options;
  CHECK(gradcheck(f, inputs, options).passed);
  options.replay = false;
  const GradcheckResult without = gradcheck(f, inputs, options);
  expect_caught(without);
  CHECK(without.message.find("a finite difference 0 ") !=
        std::string::npos);  // R does not move, says the world
}

TEST_CASE("gradcheck: a run that holds other values than the recorded one is an error, not a pass") {
  int runs = 0;
  auto restless = [&](const std::vector<Var>& in) {
    return ++runs % 2 ? multiply(in[0], detach(in[0])) : multiply(in[0], in[0]);
  };
  expect_error([&] { gradcheck(restless, {random_tensor({5}, 1)}); },
               {"replay: the run used 0 held values, the recorded one 1"});
  auto in_turn = [&](const std::vector<Var>& in) {
    const int64_t B = ++runs % 2 ? 1 : 2;
    const Var x = reshape(in[0], {B, 2 / B, 2}), shift{Tensor::zeros({2}, DType::float64)};
    return learned_dropout(x, x, shift, {}).y;
  };
  runs = 0;
  expect_error([&] { gradcheck(in_turn, {random_tensor({4}, 1)}); },
               {"replay: the run holds (2, 1, 2) float64 constant, the recorded one (1, 2, 2) float64"});
  const Tensor now = random_tensor({5}, 2);
  CHECK(same_bits(Replay::held_constant(now), now));  // and the recorder is gone
}

TEST_CASE("gradcheck catches: a vanished gradient") {
  // cos at 0: right or wrong, nothing can be seen there.
  const GradcheckResult result =
      gradcheck([](const std::vector<Var>& in) { return cos(in[0]); }, {Tensor::zeros({5}, DType::float64)});
  CHECK_FALSE(result.passed);
  CHECK(result.message.find("input 0: the gradient has norm") != std::string::npos);
  CHECK(result.message.find("vanished") != std::string::npos);
  CHECK(result.where == "input 0");
}

// All ones as a cotangent would be blind here: the softmax-like y = x − mean(x) has the derivative 0 along
// it.
TEST_CASE("gradcheck: the cotangent is not a constant") {
  const GradcheckResult result =
      gradcheck([](const std::vector<Var>& in) { return sub(in[0], mean(in[0])); }, {random_tensor({5}, 1)});
  CHECK(result.passed);
  CHECK(result.probes == 5);
}

TEST_CASE("gradcheck: large inputs are probed along directions, which miss nothing") {
  GradcheckOptions options;
  options.every_element_up_to = 10;
  const std::vector<Tensor> inputs = {random_tensor({31, 33}, 1)};
  const GradcheckResult good =
      gradcheck([](const std::vector<Var>& in) { return square(in[0]); }, inputs, options);
  CHECK(good.passed);
  CHECK(good.probes == options.directions);
  const GradcheckResult bad = gradcheck(
      [](const std::vector<Var>& in) { return square_with(in[0], [](Values& dx) { dx[500] += 1; }); }, inputs,
      options);
  expect_caught(bad);
  CHECK(bad.where.starts_with("input 0, direction "));
}

TEST_CASE("gradcheck: the same seed gives the same result") {
  auto worst = [](uint64_t seed) {
    GradcheckOptions options;
    options.seed = seed;
    return gradcheck([](const std::vector<Var>& in) { return gelu(in[0]); }, {random_tensor({33}, 1)},
                     options)
        .worst;
  };
  CHECK(worst(1) == worst(1));
  CHECK(worst(1) != worst(2));
}

TEST_CASE("gradcheck: misuse") {
  auto f = [](const std::vector<Var>& in) { return square(in[0]); };
  expect_error([&] { gradcheck(f, {}); }, {"gradcheck: no inputs"});
  expect_error([&] { gradcheck(f, {cast(random_tensor({3}, 1), DType::float32)}); },
               {"gradcheck: an input is float32, expected float64"});
}

}  // namespace
}  // namespace ld
