// cross_entropy of given logits; test_cross_entropy.cpp has the op that makes them itself.
#include <doctest/doctest.h>

#include <cmath>

#include "ops/binary.h"
#include "ops/cross_entropy.h"
#include "ops/linear.h"
#include "ops/unary.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

OP_CASES(logits_cross_entropy) {
  auto loss = [](const Tensor& targets) {
    return [=](const std::vector<Var>& in) { return cross_entropy(in[0], targets).loss; };
  };
  struct Sizes {
    int64_t N, V, ignore;
  };
  for (Sizes s : {Sizes{1, 2, 0}, {7, 33, 0}, {33, 31, 3}, {3, 1025, 0}, {1025, 3, 5}}) {
    std::ostringstream name;
    name << "N " << s.N << " V " << s.V << (s.ignore ? ", some ignored" : "");
    cases.add(name.str(), loss(some_targets(s.N, s.V, s.ignore)), {random_tensor({s.N, s.V}, 1)});
  }
  cases.add("rank 3, loss scaled and squared",
            [](const std::vector<Var>& in) {
              Var loss = cross_entropy(in[0], some_targets(6, 7)).loss;
              return multiply(scale(loss, -2.5), loss);
            },
            {random_tensor({2, 3, 7}, 2)});
}

TEST_CASE("cross_entropy of logits: mean of −log softmax over the counted rows") {
  for (int64_t n : {1, 31, 33, 1025})
    for (int64_t ignore : {0, 3}) {
      if (n == 1 && ignore) continue;
      const Tensor logits = random_tensor({n, 33}, 1, 0, 3), targets = some_targets(n, 33, ignore);
      const auto l = logits.to_vector(), target = targets.to_vector();
      double expected = 0, counted = 0;
      for (size_t r = 0; r < target.size(); ++r) {
        if (target[r] < 0) continue;
        double total = 0;
        for (size_t v = 0; v < 33; ++v) total += std::exp(l[r * 33 + v]);
        expected += std::log(total) - l[r * 33 + static_cast<size_t>(target[r])];
        ++counted;
      }
      CHECK(cross_entropy(logits, targets).loss.value().item() ==
            doctest::Approx(expected / counted).epsilon(1e-13));
      CHECK(cross_entropy(cast(logits, DType::float32), targets).loss.value().item() ==
            doctest::Approx(expected / counted).epsilon(1e-6));
    }
}

TEST_CASE("cross_entropy of logits: the same as the op that makes the logits") {
  const Tensor x = random_tensor({801, 5}, 1), w = random_tensor({33, 5}, 2),
               targets = some_targets(801, 33, 4);
  auto with = [&](bool fused) {
    return run(
        [&](const std::vector<Var>& in) {
          return fused ? linear_cross_entropy(in[0], in[1], targets).loss
                       : cross_entropy(linear(in[0], in[1]), targets).loss;
        },
        {x, w});
  };
  const Run composed = with(false), fused = with(true);
  CHECK(relative_difference(composed.value, fused.value) < 1e-14);
  for (size_t k = 0; k < 2; ++k)
    CHECK(relative_difference(composed.gradients[k], fused.gradients[k]) < 1e-13);
  CHECK(cross_entropy(linear(x, w), targets, CountMistakes::yes).mistakes.item() ==
        linear_cross_entropy(x, w, targets, CountMistakes::yes).mistakes.item());
}

TEST_CASE("cross_entropy of logits: large logits keep their digits, a NaN shows") {
  const Tensor targets = Tensor::from(std::vector<int32_t>{0}, {1});
  auto loss = [&](std::vector<double> row) {
    return cross_entropy(Tensor::from(row, {1, 2}, DType::float32), targets).loss.value().item();
  };
  CHECK(loss({1e30, 1e30}) == doctest::Approx(std::log(2.0)));
  CHECK(loss({10000, 9999}) == doctest::Approx(std::log1p(std::exp(-1.0))).epsilon(1e-6));
  CHECK(loss({-1e30, 1e30}) == doctest::Approx(2e30));
  CHECK(std::isnan(loss({1, NAN})));
}

TEST_CASE("cross_entropy of logits: the caller's logits stay as they are") {
  Var logits = Var::leaf(random_tensor({3, 5}, 1));
  const Tensor before = logits.value().clone();
  Tape tape;
  tape.backward(cross_entropy(logits, some_targets(3, 5)).loss);
  CHECK(same_bits(logits.value(), before));
}

TEST_CASE("cross_entropy of logits: misuse names both sides") {
  const Tensor logits = random_tensor({2, 3, 7}, 1), scalar = random_tensor({}, 2),
               empty({2, 0}, DType::float32);
  const Tensor few = some_targets(5, 7), floats = random_tensor({6}, 3),
               large = Tensor::from({0, 1, 7, 0, 0, 0}, {6});
  expect_refusal([&] { cross_entropy(logits, few); },
                 {"cross_entropy: targets are int32 (5)", "6 int32", "(2, 3, 7)"});
  expect_refusal([&] { cross_entropy(logits, floats); }, {"float64 (6)", "6 int32"});
  expect_refusal([&] { cross_entropy(scalar, few); }, {"cross_entropy: logits have shape ()", "(…, V)"});
  expect_refusal([&] { cross_entropy(empty, few); }, {"(2, 0)", "V > 0"});
  const Tensor none({2, 0, 7}, DType::float32), no_targets = some_targets(0, 7);
  expect_refusal([&] { cross_entropy(none, no_targets); },
                 {"cross_entropy: the input has shape (2, 0, 7), which holds no rows", "at least one"});
#ifndef ENGINE_CUDA
  expect_refusal([&] { cross_entropy(logits, large); }, {"target 7 at place 2", "vocabulary size 7"});
#endif
}

}  // namespace
}  // namespace ld
