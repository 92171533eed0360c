// AdamW against its formulas, written down once more in float64, and the learning rate against values by
// hand.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/expect.h"
#include "training/optimizer.h"
#include "training/schedule.h"

namespace ld {
namespace {

// The definition, element by element (Loshchilov and Hutter, algorithm 2, as PyTorch orders it).
struct Reference {
  std::vector<double> p, m, v;
  int64_t t = 0;
  void step(const std::vector<double>& g, double lr, double decay, const AdamWOptions& o) {
    if (m.empty()) m = v = std::vector<double>(p.size(), 0);
    ++t;
    for (size_t i = 0; i < p.size(); ++i) {
      p[i] -= lr * decay * p[i];
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
      const double m_hat = m[i] / (1 - std::pow(o.beta1, static_cast<double>(t)));
      const double v_hat = v[i] / (1 - std::pow(o.beta2, static_cast<double>(t)));
      p[i] -= lr * m_hat / (std::sqrt(v_hat) + o.epsilon);
    }
  }
};

// A weight, a layernorm, a weight that gets a gradient in every other step only, and one that never does. A kernel
// works on pieces of 2048 elements: the first has two and a rest, the third is one exactly.
struct Four {
  explicit Four(DType dtype) : parameters(dtype, 5) {
    parameters.normal("weight", {5, 1000}, 0.5);
    parameters.constant("layernorm", {7}, 1);
    parameters.normal("sometimes", {2, 1024}, 0.5);
    parameters.normal("never", {2, 2}, 0.5);
  }
  void set_gradient(size_t k, const Tensor& gradient) {
    parameters.all()[k].var.slot()->gradient = cast(gradient, parameters.all()[k].var.dtype());
  }
  Parameters parameters;
};

RunConfig published_schedule() {
  RunConfig config;
  config.lr = 9e-4;
  config.min_lr = 9e-5;
  config.warmup_iters = 300;
  config.lr_decay_iters = 700000;
  return config;
}

}  // namespace

TEST_CASE("optimizer: AdamW is its formulas, for several steps and any mix of gradients") {
  for (DType dtype : {DType::float64, DType::float32}) {
    INFO(std::string(name_of(dtype)));
    // float32: a few roundings of 2⁻²⁴ in each of 6 steps, and pow and 1 − β in float32 in between.
    const double tolerance = dtype == DType::float64 ? 1e-14 : 3e-6;
    Four four(dtype);
    const AdamWOptions options{.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1};
    AdamW optimizer(four.parameters, options);
    const Tensor untouched = four.parameters.all()[3].var.value().clone();
    std::vector<Reference> reference(3);
    for (size_t k = 0; k < 3; ++k) reference[k].p = four.parameters.all()[k].var.value().to_vector();
    for (uint64_t step = 0; step < 6; ++step) {
      const double lr = 0.01 * static_cast<double>(step + 1);
      four.parameters.zero_gradients();
      double squares = 0;
      for (size_t k = 0; k < 3; ++k) {
        if (k == 2 && step % 2 == 0) continue;  // its first update is in the second step
        const Tensor g = random_tensor(four.parameters.all()[k].var.shape(), 10 * step + k);
        four.set_gradient(k, g);
        reference[k].step(g.to_vector(), lr, k == 1 ? 0 : options.weight_decay, options);
        for (double x : four.parameters.all()[k].var.gradient().to_vector()) squares += x * x;
      }
      CHECK(optimizer.gradient_norm().item() == doctest::Approx(std::sqrt(squares)).epsilon(1e-13));
      optimizer.step(lr);
      for (size_t k = 0; k < 3; ++k) {
        INFO(four.parameters.all()[k].name, " after step ", step);
        const double error =
            relative_difference(four.parameters.all()[k].var.value().to_vector(), reference[k].p);
        INFO("error ", error);
        CHECK_FALSE(!(error <= tolerance));
        CHECK(optimizer.moments()[k].updates == reference[k].t);
        if (reference[k].t == 0) continue;
        CHECK_FALSE(
            !(relative_difference(optimizer.moments()[k].m.to_vector(), reference[k].m) <= tolerance));
        CHECK_FALSE(
            !(relative_difference(optimizer.moments()[k].v.to_vector(), reference[k].v) <= tolerance));
      }
    }
    CHECK(same_bits(four.parameters.all()[3].var.value(), untouched));
    CHECK_FALSE(optimizer.moments()[3].m);
    CHECK(optimizer.moments()[3].updates == 0);
  }
}

TEST_CASE("optimizer: the first step moves each element by lr against its gradient, whatever its size") {
  Four four(DType::float64);
  AdamW optimizer(four.parameters, {.weight_decay = 0});
  const auto before = four.parameters.all()[0].var.value().to_vector();
  const Tensor g = random_tensor({5, 1000}, 1, 0, 1e3);
  four.set_gradient(0, g);
  optimizer.step(0.01);
  const auto after = four.parameters.all()[0].var.value().to_vector(), gradient = g.to_vector();
  for (size_t i = 0; i < before.size(); ++i)
    CHECK(after[i] - before[i] == doctest::Approx(gradient[i] > 0 ? -0.01 : 0.01).epsilon(1e-6));
}

TEST_CASE("optimizer: a parameter with a learning rate of its own, and options out of range") {
  Parameters parameters(DType::float64, 5);
  parameters.normal("a", {50}, 0.5, 1, 10);
  AdamW optimizer(parameters, {});
  const auto before = parameters.all()[0].master.to_vector();
  parameters.all()[0].var.slot()->gradient = random_tensor({50}, 1);
  optimizer.step(0.01);
  for (size_t i = 0; i < before.size(); ++i)
    CHECK(std::abs(parameters.all()[0].master.to_vector()[i] - before[i]) ==
          doctest::Approx(0.1).epsilon(1e-3));
  for (const AdamWOptions& bad : {AdamWOptions{.beta1 = 1}, AdamWOptions{.beta2 = 1},
                                  AdamWOptions{.beta1 = -0.1}, AdamWOptions{.epsilon = 0}})
    CHECK_THROWS_AS(AdamW(parameters, bad), Error);
}

// Norm 5 of (3, 4): brought to 1, the gradient is (0.6, 0.8), up to PyTorch's 10⁻⁶ in the divisor.
TEST_CASE("optimizer: clipping scales the whole gradient down to its limit, by hand") {
  auto factor = [](double norm, double limit) {
    return clip_factor(Tensor::scalar(norm, DType::float64), limit).item();
  };
  CHECK(factor(5, 1) == doctest::Approx(0.2).epsilon(1e-6));
  CHECK(factor(5, 1) < 0.2);
  CHECK(factor(5, 10) == 1);
  CHECK(factor(5, 0) == 1);  // off
  CHECK(factor(0, 1) == 1);
  Parameters parameters(DType::float64, 1);
  parameters.constant("one", {1}, 2);
  parameters.constant("two", {1}, 2);
  AdamW optimizer(parameters, {.weight_decay = 0});
  for (size_t k : {0, 1})
    parameters.all()[k].var.slot()->gradient = Tensor::scalar(k == 0 ? 3 : 4, DType::float64).reshaped({1});
  const Tensor norm = optimizer.gradient_norm();
  CHECK(norm.item() == doctest::Approx(5).epsilon(1e-15));
  optimizer.step(0.01, clip_factor(norm, 1));
  // m = 0.1·g and v = 0.05·g²; the first step's direction does not depend on the gradient's size.
  for (size_t k : {0, 1}) {
    const double g = k == 0 ? 0.6 : 0.8;
    CHECK(optimizer.moments()[k].m.item() == doctest::Approx(0.1 * g).epsilon(1e-6));
    CHECK(optimizer.moments()[k].v.item() == doctest::Approx(0.05 * g * g).epsilon(1e-6));
    CHECK(parameters.all()[k].var.value().item() == doctest::Approx(1.99).epsilon(1e-6));
    CHECK(parameters.all()[k].var.gradient().item() == (k == 0 ? 3 : 4));  // untouched
  }
}

TEST_CASE("optimizer: NaN is not hidden") {
  Four four(DType::float32);
  AdamW optimizer(four.parameters, {});
  std::vector<double> gradient(7, 1.0);
  gradient[3] = NAN;
  four.set_gradient(1, Tensor::from(gradient, {7}, DType::float64));
  optimizer.step(0.01);
  const auto after = four.parameters.all()[1].var.value().to_vector();
  for (size_t i = 0; i < after.size(); ++i) CHECK(std::isnan(after[i]) == (i == 3));
}

TEST_CASE("optimizer: where the norm or a loss is not finite, nothing is updated") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    INFO(std::string(name_of(dtype)));
    Parameters parameters(dtype, 5);
    const Var w = parameters.normal("w", {5, 1000}, 0.5);
    const Parameter& parameter = parameters.all()[0];
    AdamW optimizer(parameters, {});
    auto step = [&](double in_gradient, double loss) {
      std::vector<double> gradient(5000, 1);
      gradient[4321] = in_gradient;
      w.slot()->gradient = Tensor::from(gradient, w.shape(), parameters.master_dtype());
      const Tensor losses = Tensor::from({1.5, 0.5, loss, 0.5}, {2, 2}, parameters.master_dtype());
      optimizer.step(0.01, clip_factor(optimizer.gradient_norm(), 1, losses));
    };
    step(2, 3);
    const AdamW::Moments& moments = optimizer.moments()[0];
    const Tensor kept[] = {parameter.master.clone(), w.value().clone(), moments.m.clone(), moments.v.clone()};
    auto unchanged = [&] {
      return same_bits(parameter.master, kept[0]) && same_bits(w.value(), kept[1]) &&
             same_bits(moments.m, kept[2]) && same_bits(moments.v, kept[3]);
    };
    for (double bad : {double(NAN), double(INFINITY), -double(INFINITY)}) {
      step(bad, 3);
      CHECK(unchanged());
      step(2, bad);
      CHECK(unchanged());
    }
    step(2, 3);
    CHECK_FALSE(same_bits(parameter.master, kept[0]));
    CHECK_FALSE(same_bits(moments.v, kept[3]));
  }
}

// s = step + 1: lr·s/300 below 300, then half a cosine to 700,000, then min_lr.
TEST_CASE("schedule: warm-up, half a cosine, minimum, by hand") {
  const RunConfig config = published_schedule();
  auto lr = [&](int64_t s) { return learning_rate(config, s - 1); };
  CHECK(lr(1) == doctest::Approx(3e-6).epsilon(1e-14));
  CHECK(lr(150) == doctest::Approx(4.5e-4).epsilon(1e-14));
  CHECK(lr(299) == doctest::Approx(8.97e-4).epsilon(1e-14));
  CHECK(lr(300) == doctest::Approx(9e-4).epsilon(1e-14));
  CHECK(lr(301) < 9e-4);
  CHECK(lr(300 + 699700 / 2) == doctest::Approx(4.95e-4).epsilon(1e-14));  // half way: the middle
  CHECK(lr(300 + 699700 / 4) ==
        doctest::Approx(7.8137825e-4).epsilon(1e-7));  // a quarter: 0.9e-4 + 8.1e-4·0.85355339
  CHECK(lr(700000) == doctest::Approx(9e-5).epsilon(1e-14));
  CHECK(lr(700001) == 9e-5);
  CHECK(lr(10000000) == 9e-5);
  for (int64_t s = 2; s < 300; ++s) CHECK(lr(s) > lr(s - 1));
  for (int64_t s = 1300; s <= 700000; s += 1000) CHECK(lr(s) < lr(s - 1000));
}

TEST_CASE("schedule: without warm-up, and without decay") {
  RunConfig config = published_schedule();
  config.warmup_iters = 0;
  config.lr_decay_iters = 4;
  CHECK(learning_rate(config, 0) ==
        doctest::Approx(9e-5 + 8.1e-4 * 0.5 * (1 + std::sqrt(0.5))).epsilon(1e-14));
  CHECK(learning_rate(config, 1) == doctest::Approx(4.95e-4).epsilon(1e-14));
  CHECK(learning_rate(config, 3) == doctest::Approx(9e-5).epsilon(1e-14));
  config.warmup_iters = 300;
  config.decay_lr = false;
  for (int64_t step : {0, 1, 299, 300, 1000000}) CHECK(learning_rate(config, step) == 9e-4);
}

}  // namespace ld
