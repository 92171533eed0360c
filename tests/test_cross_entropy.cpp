#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "ops/binary.h"
#include "ops/cross_entropy.h"
#include "ops/unary.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

OP_CASES(cross_entropy) {
  struct Sizes {
    int64_t N, V, C, ignore;
  };
  // Logits exist for 400 rows at a time, on the emulated GPU for 128 or 256: N on both sides of one and of two chunks.
  for (Sizes s : {Sizes{1, 2, 1, 0},
                  {7, 33, 5, 0},
                  {7, 31, 5, 3},
                  {3, 1025, 2, 0},
                  {399, 3, 2, 5},
                  {400, 3, 2, 0},
                  {401, 4, 2, 0},
                  {801, 3, 1, 7}}) {
    std::ostringstream name;
    name << "N " << s.N << " V " << s.V << " C " << s.C;
    if (s.ignore) name << ", some ignored";
    cases.add(name.str(),
              [targets = some_targets(s.N, s.V, s.ignore)](const std::vector<Var>& in) {
                return linear_cross_entropy(in[0], in[1], targets).loss;
              },
              {random_tensor({s.N, s.C}, 1), random_tensor({s.V, s.C}, 2)});
  }
  cases.add("a chunk all ignored",
            [](const std::vector<Var>& in) {
              std::vector<int32_t> targets(450, -1);  // the first 400 rows make a chunk, or hold one
              for (size_t i = 400; i < 450; ++i) targets[i] = static_cast<int32_t>(i % 3);
              return linear_cross_entropy(in[0], in[1], Tensor::from(targets, {450})).loss;
            },
            {random_tensor({450, 2}, 3), random_tensor({3, 2}, 4)});
  cases.add("rank 3, loss scaled and squared",
            [](const std::vector<Var>& in) {
              Var loss = linear_cross_entropy(in[0], in[1], some_targets(6, 7)).loss;
              return multiply(scale(loss, -2.5), loss);
            },
            {random_tensor({2, 3, 5}, 5), random_tensor({7, 5}, 6)});
  cases.add(
      "x is also the weight",
      [](const std::vector<Var>& in) { return linear_cross_entropy(in[0], in[0], some_targets(5, 5)).loss; },
      {random_tensor({5, 3}, 7)});
}

struct Expected {
  double loss = 0, mistakes = 0;
};
Expected naive(const Tensor& x, const Tensor& w, const Tensor& targets) {
  const auto xv = x.to_vector(), wv = w.to_vector(), target = targets.to_vector();
  const auto V = static_cast<size_t>(w.size(0)), C = static_cast<size_t>(w.size(1));
  Expected e;
  double counted = 0;
  for (size_t r = 0; r < target.size(); ++r) {
    if (target[r] < 0) continue;
    std::vector<double> logits(V, 0.0);
    for (size_t v = 0; v < V; ++v)
      for (size_t c = 0; c < C; ++c) logits[v] += xv[r * C + c] * wv[v * C + c];
    double total = 0;
    for (double l : logits) total += std::exp(l);
    const auto t = static_cast<size_t>(target[r]);
    e.loss -= std::log(std::exp(logits[t]) / total);
    e.mistakes += std::max_element(logits.begin(), logits.end()) - logits.begin() != static_cast<int64_t>(t);
    ++counted;
  }
  return {e.loss / counted, e.mistakes / counted};
}

TEST_CASE("cross_entropy: mean of −log softmax, and how often the target is not the first choice") {
  for (int64_t n : {1, 31, 399, 400, 401, 800, 801, 1025})
    for (int64_t ignore : {0, 2, 3}) {
      if (n == 1 && ignore) continue;
      INFO("N = ", n, ", ignored ", ignore);
      const Tensor x = random_tensor({n, 5}, 1), w = random_tensor({33, 5}, 2),
                   targets = some_targets(n, 33, ignore);
      const Expected expected = naive(x, w, targets);
      const CrossEntropy result = linear_cross_entropy(x, w, targets, CountMistakes::yes);
      CHECK(result.loss.value().item() == doctest::Approx(expected.loss).epsilon(1e-13));
      CHECK(result.mistakes.item() == doctest::Approx(expected.mistakes).epsilon(1e-13));
      CHECK_FALSE(linear_cross_entropy(x, w, targets).mistakes);
      const CrossEntropy single =
          linear_cross_entropy(cast(x, DType::float32), cast(w, DType::float32), targets, CountMistakes::yes);
      CHECK(single.loss.value().item() == doctest::Approx(expected.loss).epsilon(1e-6));
    }
}

TEST_CASE("cross_entropy: mistakes are counted before the gradient takes the place of the logits") {
  const Tensor targets = some_targets(401, 33, 3);
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    CAPTURE(dtype);
    const Tensor x = cast(random_tensor({401, 5}, 1), dtype), w = cast(random_tensor({33, 5}, 2), dtype);
    const double alone = linear_cross_entropy(x, w, targets, CountMistakes::yes).mistakes.item();
    CHECK(alone > 0);
    const Tape tape;
    CHECK(linear_cross_entropy(Var::leaf(x), Var::leaf(w), targets, CountMistakes::yes).mistakes.item() ==
          alone);
  }
}

double mistakes_of(const std::vector<double>& logits, int32_t target) {
  const auto n = static_cast<int64_t>(logits.size());
  return linear_cross_entropy(Tensor::scalar(1, DType::float32).reshaped({1, 1}),
                              Tensor::from(logits, {n, 1}, DType::float32), Tensor::from({target}, {1}),
                              CountMistakes::yes)
      .mistakes.item();
}

TEST_CASE("cross_entropy: of equal logits the first is the prediction") {
  CHECK(mistakes_of({1, 5, 5, 2}, 1) == 0);
  CHECK(mistakes_of({1, 5, 5, 2}, 2) == 1);
  CHECK(mistakes_of({3, 3, 3, 3}, 0) == 0);
  CHECK(mistakes_of({3, 3, 3, 3}, 3) == 1);
  CHECK(mistakes_of({1, 2, 3, 4}, 3) == 0);
  CHECK(mistakes_of({1, 2, 3, 4}, 0) == 1);
}

TEST_CASE("cross_entropy: a row that is not counted adds no loss and no gradient") {
  Var x = Var::leaf(random_tensor({4, 3}, 1)), w = Var::leaf(random_tensor({5, 3}, 2));
  Tape tape;
  Var loss = linear_cross_entropy(x, w, Tensor::from({2, -1, 0, -100}, {4})).loss;
  tape.backward(loss);
  const auto dx = x.gradient().to_vector();
  for (size_t i = 0; i < dx.size(); ++i) CHECK((dx[i] == 0) == (i / 3 == 1 || i / 3 == 3));
  auto xs = x.value().to_vector();
  const Tensor kept = Tensor::from({xs[0], xs[1], xs[2], xs[6], xs[7], xs[8]}, {2, 3}, DType::float64);
  CHECK(linear_cross_entropy(kept, w, Tensor::from({2, 0}, {2})).loss.value().item() ==
        doctest::Approx(loss.value().item()).epsilon(1e-15));
}

TEST_CASE("cross_entropy: an upstream factor scales the gradient") {
  const Tensor x = random_tensor({7, 3}, 1), w = random_tensor({5, 3}, 2), targets = some_targets(7, 5);
  auto gradients = [&](double factor) {
    Var a = Var::leaf(x), b = Var::leaf(w);
    Tape tape;
    tape.backward(linear_cross_entropy(a, b, targets).loss, Tensor::scalar(factor, DType::float64));
    return std::pair{a.gradient().to_vector(), b.gradient().to_vector()};
  };
  const auto [dx, dw] = gradients(1);
  const auto [dx4, dw4] = gradients(-4);  // a power of two: exact
  for (size_t i = 0; i < dx.size(); ++i) CHECK(dx4[i] == -4 * dx[i]);
  for (size_t i = 0; i < dw.size(); ++i) CHECK(dw4[i] == -4 * dw[i]);
}

TEST_CASE("cross_entropy: large logits do not overflow, a NaN is seen") {
  const Tensor x = cast(random_tensor({7, 3}, 1, 0, 1e4), DType::float32),
               w = cast(random_tensor({33, 3}, 2), DType::float32);
  CHECK(std::isfinite(linear_cross_entropy(x, w, some_targets(7, 33)).loss.value().item()));
  std::vector<double> values(21, 1.0);
  values[20] = NAN;
  const Tensor bad = Tensor::from(values, {7, 3}, DType::float32);
  CHECK(std::isnan(linear_cross_entropy(bad, w, some_targets(7, 33)).loss.value().item()));
  // A mean over nothing: visible, as in PyTorch.
  CHECK(std::isnan(
      linear_cross_entropy(x, w, Tensor::from(std::vector<int32_t>(7, -1), {7})).loss.value().item()));
}

TEST_CASE("cross_entropy: nothing is kept for a gradient when no tape records") {
  Var x = Var::leaf(random_tensor({7, 3}, 1)), w = Var::leaf(random_tensor({5, 3}, 2));
  const int64_t before = memory_report().total.now;
  Var loss = linear_cross_entropy(x, w, some_targets(7, 5)).loss;
  CHECK_FALSE(loss.requires_gradient());
  const int64_t one_scalar = 256;  // the pool's smallest block
  CHECK(memory_report().total.now - before == one_scalar);
}

TEST_CASE("cross_entropy: misuse names both sides") {
  const Tensor x = random_tensor({4, 3}, 1), w = random_tensor({5, 3}, 2), narrow = random_tensor({5, 2}, 3);
  const Tensor targets = some_targets(4, 5), fewer = some_targets(3, 5), real = random_tensor({4}, 4);
  const Tensor single = cast(w, DType::float32);
  expect_refusal([&] { linear_cross_entropy(x, narrow, targets); },
                 {"linear_cross_entropy: x has shape (4, 3), weight (5, 2)"});
  expect_refusal([&] { linear_cross_entropy(x, w, fewer); },
                 {"targets are int32 (3), expected 4 int32", "(4, 3)"});
  expect_refusal([&] { linear_cross_entropy(x, w, real); }, {"targets are float64 (4), expected 4 int32"});
  expect_refusal([&] { linear_cross_entropy(x, single, targets); },
                 {"linear_cross_entropy", "float64 and float32"});
  const Tensor none({0, 3}, DType::float64), no_targets = some_targets(0, 5),
                                             no_tokens({0, 3}, DType::float64);
  expect_refusal([&] { linear_cross_entropy(none, w, no_targets); },
                 {"linear_cross_entropy: the input has shape (0, 3), which holds no rows", "at least one"});
  expect_refusal([&] { linear_cross_entropy(x, no_tokens, targets); },
                 {"linear_cross_entropy: weight has shape (0, 3)", "V > 0"});
#ifndef ENGINE_CUDA
  const Tensor high = Tensor::from({0, 1, 5, 2}, {4});
  expect_refusal([&] { linear_cross_entropy(x, w, high); },
                 {"target 5 at place 2 is not below the vocabulary size 5"});
#endif
}

}  // namespace
}  // namespace ld
