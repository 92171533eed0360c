#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "ops/binary.h"
#include "ops/convert.h"
#include "ops/unary.h"
#include "tests/cases.h"
#include "tests/expect.h"
#include "tests/learned_dropout_definition.h"

namespace ld {
namespace {

struct Variant {
  std::string name;
  MaskOptions options;
};

std::vector<Variant> variants() {
  const NoiseKey key{3, 1, 4, 1};
  auto make = [&](MaskRounding rounding, bool stochastic, double sigmoid_scale, L1NormPenalty l1,
                  EntropyPenalty entropy = EntropyPenalty::canonical) {
    return MaskOptions{rounding, stochastic, sigmoid_scale, l1, entropy, key};
  };
  return {{"noise", make(MaskRounding::noise_and_linear, true, 60, L1NormPenalty::squared)},
          {"threshold", make(MaskRounding::noise_and_linear, false, 60, L1NormPenalty::linear)},
          {"sigmoid", make(MaskRounding::sigmoid, true, 60, L1NormPenalty::linear)},
          {"soft sigmoid", make(MaskRounding::sigmoid, true, 6, L1NormPenalty::squared)},
          {"sigmoid_detach", make(MaskRounding::sigmoid_detach, true, 60, L1NormPenalty::squared)},
          {"none", make(MaskRounding::none, true, 60, L1NormPenalty::linear)},
          {"none, alternate entropy",
           make(MaskRounding::none, true, 60, L1NormPenalty::squared, EntropyPenalty::alternate)}};
}

// All three outputs in one, each with a weight of its own.
Var all_outputs(const MaskedInput& masked) {
  const DType dtype = masked.y.dtype();  // in bfloat16 the penalties are float32
  return add(add(masked.y, convert(scale(masked.l1_norm, 3), dtype)),
             convert(scale(masked.entropy, -2), dtype));
}

std::vector<Tensor> some_inputs(const Shape& x, int64_t K, double shift) {
  return {random_tensor(x, 1), random_tensor(x.with_last(K), 2), random_tensor({K}, 3, shift, 0.1)};
}

OP_CASES(learned_dropout) {
  for (const Variant& v : variants()) {
    const MaskOptions o = v.options;
    auto whole = [o](const std::vector<Var>& in) {
      return all_outputs(learned_dropout(in[0], in[1], in[2], o));
    };
    for (double shift : {0.7, 1.2})
      cases.add(v.name + ", shift " + (shift < 1 ? "0.7" : "1.2"), whole, some_inputs({2, 3, 33}, 33, shift));
    cases.add(
        v.name + ", C 31 of K 43 from 5",
        [o](const std::vector<Var>& in) { return all_outputs(learned_dropout(in[0], in[1], in[2], o, 5)); },
        some_inputs({3, 2, 31}, 43, 0.7));
    // Each output alone: the gradients of the others never arrive.
    cases.add(
        v.name + ", y alone",
        [o](const std::vector<Var>& in) { return learned_dropout(in[0], in[1], in[2], o).y; },
        some_inputs({2, 3, 5}, 5, 1.2));
    auto without_x = [](const std::vector<Tensor>& in) { return std::vector<Tensor>{in[1], in[2]}; };
    auto x_of = [](const std::vector<Var>& in) { return Var(Tensor::zeros(in[0].shape(), in[0].dtype())); };
    cases.add(
        v.name + ", l1_norm alone",
        [o, x_of](const std::vector<Var>& in) { return learned_dropout(x_of(in), in[0], in[1], o).l1_norm; },
        without_x(some_inputs({2, 3, 7}, 7, 0.7)));
    cases.add(
        v.name + ", entropy alone",
        [o, x_of](const std::vector<Var>& in) { return learned_dropout(x_of(in), in[0], in[1], o).entropy; },
        without_x(some_inputs({2, 3, 7}, 7, 1.2)));
  }
  const MaskOptions noise = variants()[0].options;
  for (auto [B, T, C] : {std::array{1, 1, 1}, {1, 1, 1025}, {3, 100, 2}})
    cases.add(
        "noise, " + std::to_string(B * T) + "x" + std::to_string(C),
        [noise](const std::vector<Var>& in) {
          return all_outputs(learned_dropout(in[0], in[1], in[2], noise));
        },
        some_inputs({B, T, C}, C, 0.7));
  MaskOptions later = noise;
  later.first_token = 7;
  cases.add(
      "noise, from token 7 on",
      [later](const std::vector<Var>& in) {
        return all_outputs(learned_dropout(in[0], in[1], in[2], later));
      },
      some_inputs({2, 3, 5}, 5, 0.7));
  cases.add("x is also a",
            [noise](const std::vector<Var>& in) {
              return all_outputs(learned_dropout(in[0], in[0], in[1], noise));
            },
            {random_tensor({2, 3, 5}, 4), random_tensor({5}, 5, 0.7, 0.1)});
  // All masks of a model made at once: one a, read in several places.
  cases.add(
      "two modules, one a",
      [noise](const std::vector<Var>& in) {
        Var first = all_outputs(learned_dropout(in[0], in[1], in[2], noise, 0));
        return all_outputs(learned_dropout(first, in[1], in[2], noise, 5));
      },
      some_inputs({2, 3, 5}, 10, 1.2));
}

TEST_CASE("learned_dropout: value and statistics against a naive loop") {
  for (const Variant& v : variants())
    for (int64_t C : {1, 31, 33, 1025})
      for (double shift : {0.7, 1.2}) {
        INFO(v.name, ", C = ", C, ", shift ", shift);
        const auto in = some_inputs({2, 3, C}, C + 4, shift);
        const MaskedInput masked = learned_dropout(in[0], in[1], in[2], v.options, 3);
        const NaiveMask expected = naive_learned_dropout(in[0], in[1], in[2], v.options, 3);
        CHECK(relative_difference(masked.y.value().to_vector(), expected.y) < 1e-13);
        CHECK(relative_difference(masked.statistics.to_vector(), expected.statistics) < 1e-13);
        CHECK(masked.l1_norm.value().item() ==
              doctest::Approx(expected.statistics[mean_l1_norm]).epsilon(1e-13));
        CHECK(masked.entropy.value().item() ==
              doctest::Approx(expected.statistics[mean_entropy]).epsilon(1e-13));
      }
}

TEST_CASE("learned_dropout: a piece of a text gets the noise of its place") {
  const auto in = some_inputs({1, 9, 5}, 5, 0.7);
  const auto tail = [](const Tensor& t) {  // of the tokens from 4 on
    const auto values = t.to_vector();
    return Tensor::from(std::vector<double>(values.begin() + 4 * 5, values.end()), {1, 5, 5}, t.dtype());
  };
  MaskOptions options = variants()[0].options;
  const Tensor whole = learned_dropout(in[0], in[1], in[2], options).y.value();
  options.first_token = 4;
  CHECK(same_bits(learned_dropout(tail(in[0]), tail(in[1]), in[2], options).y.value(), tail(whole)));
}

TEST_CASE("learned_dropout: one pass equals the composition of small ops") {
  for (const Variant& v : variants())
    for (DType dtype : {DType::float64, DType::float32}) {
      INFO(v.name, " ", name_of(dtype));
      auto with = [&](auto op) {
        std::vector<Tensor> inputs;
        for (const Tensor& x : some_inputs({3, 7, 33}, 43, 0.7)) inputs.push_back(cast(x, dtype));
        return run(
            [&](const std::vector<Var>& in) { return all_outputs(op(in[0], in[1], in[2], v.options, 5)); },
            inputs);
      };
      const Run fused = with(learned_dropout), composed = with(composed_learned_dropout);
      // Only the order of sums and a few roundings differ; a scale of 60 carries those of M into R.
      const double tolerance = dtype == DType::float64 ? 1e-13 : 2e-5;
      CHECK_FALSE(!(relative_difference(fused.value, composed.value) <= tolerance));
      for (size_t k = 0; k < 3; ++k)
        CHECK_FALSE(!(relative_difference(fused.gradients[k], composed.gradients[k]) <= tolerance));
    }
}

TEST_CASE("learned_dropout: noise_and_linear multiplies by exactly 0 or 1") {
  for (const Variant& v : {variants()[0], variants()[1]})
    for (DType dtype : {DType::float32, DType::float64}) {
      const Tensor ones = Tensor::from(std::vector<double>(4 * 10000, 1.0), {4, 100, 100}, dtype);
      const Tensor a = cast(random_tensor({4, 100, 100}, 1, 0, 2), dtype);
      const MaskedInput masked = learned_dropout(ones, a, Tensor::zeros({100}, dtype), v.options);
      double total = 0;
      for (double r : masked.y.value().to_vector()) {
        REQUIRE((r == 0 || r == 1));
        total += r;
      }
      CHECK(masked.statistics.to_vector()[fraction_of_ones] == doctest::Approx(total / 40000).epsilon(1e-6));
    }
}

// Backward makes the mask again instead of saving it. A mask that comes out one ulp different would flip the
// comparison with the noise only where both are that close, so every element here is: a is chosen so that M
// is the noise itself, give or take a rounding.
TEST_CASE("learned_dropout: backward sees the very mask that forward used") {
  for (DType dtype : {DType::float32, DType::float64})
    for (int64_t C : {1, 7, 31, 33, 144, 1025}) {
      INFO(name_of(dtype), ", C = ", C);
      const MaskOptions o = variants()[0].options;
      const int64_t T = 5000 / C + 3;
      std::vector<double> angles;
      for (int64_t i = 0; i < 2 * T * C; ++i) {
        const auto u = static_cast<double>(o.key.uniform(i / (T * C), i % (T * C)));
        angles.push_back(std::acos(2 * u - 1) + (i % 3 - 1) * 2e-8);
      }
      const Tensor a = Tensor::from(angles, {2, T, C}, dtype), shift = Tensor::zeros({C}, dtype);
      const Tensor ones = Tensor::from(std::vector<double>(angles.size(), 1.0), {2, T, C}, dtype);
      Var x = Var::leaf(ones);
      Tape tape;
      Var y = learned_dropout(x, a, shift, o).y;
      tape.backward(y, ones);
      CHECK(same_bits(x.gradient(), y.value()));  // both are R
    }
}

TEST_CASE("learned_dropout: a mask of exactly 0 or 1 has a finite entropy") {
  std::vector<double> a(66);
  for (size_t i = 0; i < a.size(); ++i) a[i] = (static_cast<double>(i) - 33) * 3.14159265358979323846;
  for (EntropyPenalty entropy : {EntropyPenalty::canonical, EntropyPenalty::alternate})
    for (DType dtype : {DType::float32, DType::float64}) {
      const Run result = run(
          [&](const std::vector<Var>& in) {
            return all_outputs(learned_dropout(in[0], in[1], in[2], MaskOptions{.entropy = entropy}));
          },
          {cast(random_tensor({2, 1, 33}, 1), dtype), Tensor::from(a, {2, 1, 33}, dtype),
           Tensor::zeros({33}, dtype)});
      for (const Tensor& t : {result.value, result.gradients[0], result.gradients[1], result.gradients[2]})
        for (double v : t.to_vector()) CHECK(std::isfinite(v));
    }
}

// Word by word against the masks themselves, and flips against a count by hand.
TEST_CASE("learned_dropout: the decisions of the first sample and how many of them flip") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16})
    for (int64_t C : {1, 15, 16, 17, 33}) {
      INFO(name_of(dtype), ", C = ", C);
      const int64_t T = 4, first = 2;
      auto decide = [&](uint64_t seed) {
        const Tensor a = cast(random_tensor({2, T, C + 3}, seed, 0, 2), dtype),
                     shift = cast(random_tensor({C + 3}, 9), dtype);
        const auto values = a.to_vector(), shifts = shift.to_vector();
        std::vector<bool> expected;
        for (int64_t t = 0; t < T; ++t)
          for (int64_t c = first; c < first + C; ++c)
            expected.push_back(
                std::cos(values[static_cast<size_t>(t * (C + 3) + c)] + shifts[static_cast<size_t>(c)]) >= 0);
        return std::pair(mask_decisions(a, shift, first, C), expected);
      };
      const auto [before, before_bits] = decide(1);
      const auto [now, now_bits] = decide(2);
      REQUIRE(now.words.shape() == Shape{T, (C + 15) / 16});
      CHECK(now.count == T * C);
      const auto words = now.words.to_vector();
      for (int64_t i = 0; i < T * C; ++i) {
        const auto word =
            static_cast<int64_t>(words[static_cast<size_t>(i / C * now.words.size(1) + i % C / 16)]);
        CHECK((word >> (i % C % 16) & 1) == now_bits[static_cast<size_t>(i)]);
      }
      double flips = 0;
      for (size_t i = 0; i < now_bits.size(); ++i) flips += now_bits[i] != before_bits[i];
      for (DType result : {DType::float32, DType::float64}) {
        CHECK(fraction_of_flips(now, before.words, result).item() ==
              doctest::Approx(flips / static_cast<double>(T * C)).epsilon(1e-6));
        CHECK(fraction_of_flips(now, now.words, result).item() == 0);
      }
    }
}

TEST_CASE("learned_dropout: NaN is seen") {
  std::vector<double> a(10, 0.3);
  a[4] = NAN;
  for (const Variant& v : variants()) {
    INFO(v.name);
    const Tensor ones = Tensor::from(std::vector<double>(10, 1.0), {1, 2, 5}, DType::float32);
    const MaskedInput masked = learned_dropout(ones, Tensor::from(a, {1, 2, 5}, DType::float32),
                                               Tensor::zeros({5}, DType::float32), v.options);
    const auto y = masked.y.value().to_vector();
    for (size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i == 4));
    CHECK(std::isnan(masked.l1_norm.value().item()));
    CHECK(std::isnan(masked.entropy.value().item()));
  }
}

TEST_CASE("learned_dropout: the mask does not depend on how the batch is split") {
  const auto in = some_inputs({4, 3, 33}, 33, 0.7);
  const MaskOptions o = variants()[0].options;
  const auto whole = learned_dropout(in[0], in[1], in[2], o).y.value().to_vector();
  for (int64_t s = 0; s < 4; ++s) {
    auto sample = [&](const Tensor& t) {
      const auto values = t.to_vector();
      return Tensor::from(std::vector<double>(values.begin() + s * 99, values.begin() + (s + 1) * 99),
                          {1, 3, 33}, DType::float64);
    };
    MaskOptions at = o;
    at.key.first_sample += static_cast<uint32_t>(s);
    const auto part = learned_dropout(sample(in[0]), sample(in[1]), in[2], at).y.value().to_vector();
    CHECK(std::equal(part.begin(), part.end(), whole.begin() + s * 99));
  }
}

// At angle 0 the mask is at its top, and sin 0 = 0: whatever backward says, nothing is tested there.
TEST_CASE("learned_dropout: at a + shift = 0 gradcheck reports a vanished gradient") {
  const MaskOptions o = variants()[0].options;
  const GradcheckResult result =
      gradcheck([&](const std::vector<Var>& in) { return learned_dropout(in[0], in[1], in[2], o).y; },
                {random_tensor({2, 3, 5}, 1), Tensor::zeros({2, 3, 5}, DType::float64),
                 Tensor::zeros({5}, DType::float64)});
  CHECK_FALSE(result.passed);
  INFO(result.message);
  CHECK(result.message.find("input 1") != std::string::npos);
  CHECK(result.message.find("vanished") != std::string::npos);
}

TEST_CASE("learned_dropout: misuse names both sides") {
  const Tensor x = random_tensor({2, 3, 5}, 1), a = random_tensor({2, 3, 7}, 2),
               shift = random_tensor({7}, 3);
  const Tensor flat = random_tensor({6, 5}, 4), other = random_tensor({3, 2, 7}, 5),
               five = random_tensor({5}, 6);
  const Tensor single = cast(a, DType::float32), single_shift = cast(shift, DType::float32);
  const MaskOptions o;
  expect_refusal([&] { learned_dropout(flat, a, shift, o); },
                 {"learned_dropout: x has shape (6, 5), a (2, 3, 7)", "(B, T, C)"});
  expect_refusal([&] { learned_dropout(x, other, shift, o); }, {"x has shape (2, 3, 5), a (3, 2, 7)"});
  expect_refusal([&] { learned_dropout(x, a, five, o); },
                 {"learned_dropout: shift has shape (5), expected (7)"});
  expect_refusal([&] { learned_dropout(x, a, shift, o, 3); },
                 {"learned_dropout: columns 3 to 8", "(2, 3, 7)"});
  expect_refusal([&] { learned_dropout(x, a, shift, o, -1); },
                 {"learned_dropout: columns -1 to 4", "(2, 3, 7)"});
  expect_refusal([&] { learned_dropout(x, single, shift, o); }, {"learned_dropout", "float64 and float32"});
  expect_refusal([&] { learned_dropout(x, a, single_shift, o); }, {"learned_dropout", "float64 and float32"});
}

}  // namespace
}  // namespace ld
