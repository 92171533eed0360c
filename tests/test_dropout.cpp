#include <doctest/doctest.h>

#include <cmath>

#include "ops/dropout.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

const NoiseKey key{7, 5, 3, 11};

OP_CASES(dropout) {
  for (auto [shape, rate] :
       {std::pair{Shape{1, 33}, 0.5}, {Shape{33, 31}, 0.1}, {Shape{2, 3, 5}, 0.4}, {Shape{2, 1025}, 0.9}}) {
    std::ostringstream name;
    name << shape << ", rate " << rate;
    OpCase& c =
        cases.add(name.str(), [rate](const std::vector<Var>& in) { return dropout(in[0], rate, key); },
                  {random_tensor(shape, 1)});
    c.kind = OpKind::elementwise;
    c.linear = true;
  }
}

TEST_CASE("dropout: keeps x/(1 − rate) or nothing, as the noise says") {
  for (double rate : {0.1, 0.5, 0.9}) {
    const Tensor x = random_tensor({3, 5, 31}, 1);
    const auto xv = x.to_vector(), y = dropout(x, rate, key).value().to_vector();
    for (size_t i = 0; i < y.size(); ++i) {
      const auto sample = static_cast<int64_t>(i / 155), element = static_cast<int64_t>(i % 155);
      const bool kept = key.uniform(sample, element) >= static_cast<float>(rate);
      REQUIRE(y[i] == doctest::Approx(kept ? xv[i] / (1 - rate) : 0).epsilon(1e-15));
    }
  }
}

TEST_CASE("dropout: rate 0 is the identity") {
  Var x = Var::leaf(random_tensor({3, 5}, 1));
  Tape tape;
  Var y = dropout(x, 0, key);
  CHECK(same_bits(y.value(), x.value()));
  CHECK(tape.size() == 0);
}

TEST_CASE("dropout: the expectation stays") {
  const int64_t n = 200000;
  for (double rate : {0.1, 0.3, 0.75}) {
    const Tensor ones = Tensor::from(std::vector<double>(n, 1.0), {2, n / 2}, DType::float32);
    double total = 0;
    for (double v : dropout(ones, rate, key).value().to_vector()) total += v;
    // Four standard deviations of the mean of n independent draws, each of variance rate/(1 − rate).
    CHECK(std::abs(total / n - 1) < 4 * std::sqrt(rate / (1 - rate) / n));
  }
}

TEST_CASE("dropout: backward drops what forward dropped") {
  for (DType dtype : {DType::float32, DType::float64}) {
    Var x = Var::leaf(Tensor::from(std::vector<double>(3 * 1025, 1.0), {3, 1025}, dtype));
    Tape tape;
    Var y = dropout(x, 0.37, key);
    tape.backward(y, x.value());
    CHECK(same_bits(x.gradient(), y.value()));  // both are the mask itself
  }
}

TEST_CASE("dropout: the mask does not depend on how the batch is split") {
  const Tensor one = Tensor::from(std::vector<double>(33, 1.0), {1, 33}, DType::float32);
  const Tensor four = Tensor::from(std::vector<double>(4 * 33, 1.0), {4, 33}, DType::float32);
  const auto whole = dropout(four, 0.5, {1, 2, 0, 3}).value().to_vector();
  for (uint32_t s = 0; s < 4; ++s) {
    const auto part = dropout(one, 0.5, {1, 2, s, 3}).value().to_vector();
    CHECK(std::equal(part.begin(), part.end(), whole.begin() + s * 33));
  }
  // Any other key gives another mask.
  for (NoiseKey other :
       {NoiseKey{2, 2, 0, 3}, NoiseKey{1, 3, 0, 3}, NoiseKey{1, 2, 0, 4}, NoiseKey{1ull << 32 | 1, 2, 0, 3}})
    CHECK(dropout(four, 0.5, other).value().to_vector() != whole);
}

TEST_CASE("dropout: misuse names both sides") {
  const Tensor x = random_tensor({3, 5}, 1), flat = random_tensor({5}, 2);
  expect_refusal([&] { dropout(x, 1.0, key); }, {"dropout: rate 1 is not in [0, 1)"});
  expect_refusal([&] { dropout(x, -0.1, key); }, {"dropout: rate -0.1 is not in [0, 1)"});
  expect_refusal([&] { dropout(x, NAN, key); }, {"dropout: rate nan is not in [0, 1)"});
  expect_refusal([&] { dropout(flat, 0.5, key); }, {"dropout: x has shape (5)", "(samples, …, C)"});
}

}  // namespace
}  // namespace ld
