// Which token a uniform number falls on, against distributions made by hand.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/expect.h"
#include "training/sampling.h"

namespace ld {
namespace {

std::vector<double> logits_of(const std::vector<double>& probabilities) {
  std::vector<double> logits;
  for (double p : probabilities) logits.push_back(std::log(p) + 3);  // softmax does not see the 3
  return logits;
}

SamplingOptions options(double temperature, int64_t top_k = 100, double top_p = 1) {
  return {.temperature = temperature, .top_k = top_k, .top_p = top_p};
}

// The probability of each token: how much of [0, 1) falls on it.
std::vector<double> shares(const std::vector<double>& logits, const SamplingOptions& options) {
  constexpr int steps = 20000;
  std::vector<double> share(logits.size(), 0.0);
  for (int i = 0; i < steps; ++i)
    share[static_cast<size_t>(choose_token(logits, options, (i + 0.5) / steps))] += 1.0 / steps;
  return share;
}

void expect_shares(const std::vector<double>& probabilities, const SamplingOptions& options,
                   const std::vector<double>& expected) {
  const auto found = shares(logits_of(probabilities), options);
  for (size_t i = 0; i < expected.size(); ++i) {
    INFO("token ", i);
    CHECK(found[i] == doctest::Approx(expected[i]).epsilon(2e-4));
    if (expected[i] == 0) CHECK(found[i] == 0);
  }
}

const std::vector<double> some = {0.1, 0.5, 0.15, 0.25};

}  // namespace

TEST_CASE("sampling: tokens have the probabilities of softmax(logits / temperature)") {
  expect_shares(some, options(1), some);
  const double total = 0.01 + 0.25 + 0.0225 + 0.0625;
  expect_shares(some, options(0.5), {0.01 / total, 0.25 / total, 0.0225 / total, 0.0625 / total});
  double flat = 0;
  for (double p : some) flat += std::sqrt(p);
  expect_shares(some, options(2),
                {std::sqrt(0.1) / flat, std::sqrt(0.5) / flat, std::sqrt(0.15) / flat, 0.5 / flat});
}

TEST_CASE("sampling: temperature 0 takes the most likely token, the first of equals") {
  for (double u : {0.0, 0.5, 0.999999}) {
    CHECK(choose_token(logits_of(some), options(0), u) == 1);
    CHECK(choose_token(std::vector<double>{1, 2, 2, 2}, options(0), u) == 1);
    CHECK(choose_token(logits_of(some), options(1e-9), u) == 1);  // nor does a low one overflow
  }
}

TEST_CASE("sampling: top-k keeps k tokens and those that tie with the last") {
  expect_shares(some, options(1, 1), {0, 1, 0, 0});
  expect_shares(some, options(1, 2), {0, 2.0 / 3, 0, 1.0 / 3});
  expect_shares(some, options(1, 4), some);
  expect_shares(some, options(1, 1000000), some);
  expect_shares({0.2, 0.4, 0.2, 0.2}, options(1, 2), {0.2, 0.4, 0.2, 0.2});
}

TEST_CASE("sampling: top-p keeps the fewest tokens that have the probability p") {
  expect_shares(some, options(1, 100, 0.01), {0, 1, 0, 0});
  expect_shares(some, options(1, 100, 0.49), {0, 1, 0, 0});
  expect_shares(some, options(1, 100, 0.51), {0, 2.0 / 3, 0, 1.0 / 3});
  expect_shares(some, options(1, 100, 0.76), {0, 0.5 / 0.9, 0.15 / 0.9, 0.25 / 0.9});
  expect_shares(some, options(1, 100, 0.91), some);
  // Of equals the first: which of them stays does not depend on anything else.
  expect_shares({0.25, 0.25, 0.25, 0.25}, options(1, 100, 0.5), {0.5, 0.5, 0, 0});
}

TEST_CASE("sampling: as many tokens as make a SIMD loop") {
  std::vector<double> shares(33, 1.0 / 65);  // the last is one more than four vectors
  shares[7] = 33.0 / 65;
  expect_shares(shares, options(1), shares);
  // Equals stay in their order wherever in the loop they were computed: 31 of the 32 light ones reach 64/65.
  std::vector<double> cut(33, 1.0 / 64);
  cut[7] = 33.0 / 64;
  cut[32] = 0;
  expect_shares(shares, options(1, 100, 63.5 / 65), cut);
  for (size_t place : {size_t{2}, size_t{32}}) {
    std::vector<double> logits(33, 1.0);
    logits[place] = NAN;
    expect_error([&] { choose_token(logits, options(1), 0.5); },
                 {"logit of token " + std::to_string(place), "nan"});
  }
}

TEST_CASE("sampling: temperature, then top-k, then top-p of what is left") {
  // The two most likely have 2/3 and 1/3 of what top-k leaves: 0.6 needs one of them, 0.7 both.
  expect_shares(some, options(1, 2, 0.6), {0, 1, 0, 0});
  expect_shares(some, options(1, 2, 0.7), {0, 2.0 / 3, 0, 1.0 / 3});
  // At temperature 0.5 they have 0.8 and 0.2.
  expect_shares(some, options(0.5, 2, 0.7), {0, 1, 0, 0});
}

TEST_CASE("sampling: a token of no probability is never chosen, and all of u falls on one") {
  const std::vector<double> logits = {-INFINITY, 0, -INFINITY};
  for (double u : {0.0, 0.5, 1 - 0x1p-53}) CHECK(choose_token(logits, options(1), u) == 1);
  CHECK(choose_token(std::vector<double>{0, 0, 0}, options(1), 1 - 0x1p-53) == 2);
}

TEST_CASE("sampling: misuse and a diverged model are refused") {
  const std::vector<double> good = {1, 2};
  auto refuse = [&](const std::vector<double>& logits, const SamplingOptions& options,
                    std::initializer_list<std::string> parts) {
    expect_error([&] { choose_token(logits, options, 0.5); }, parts);
  };
  refuse(good, options(-1), {"temperature -1", "0 or more"});
  refuse(good, options(NAN), {"temperature nan"});
  refuse(good, options(1, 0), {"top-k 0", "1 or more"});
  refuse(good, options(1, 1, 0), {"top-p 0"});
  refuse(good, options(1, 1, 1.5), {"top-p 1.5"});
  refuse({1, NAN}, options(0), {"logit of token 1 is nan", "diverged"});
  refuse({INFINITY, 1}, options(1), {"logit of token 0 is inf"});
  refuse({}, options(1), {"no logits"});
}

}  // namespace ld
