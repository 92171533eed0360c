// What a step measures: gathered on the device, averaged, and named.
#include <doctest/doctest.h>

#include <cmath>

#include "autograd/tape.h"
#include "tests/expect.h"
#include "tests/small_model.h"
#include "training/metrics.h"

namespace ld {
namespace {

Losses losses_of(double cross_entropy, std::optional<double> penalty, double ones, DType dtype) {
  Losses losses;
  losses.cross_entropy = Var(Tensor::scalar(cross_entropy, dtype));
  if (penalty) losses.penalty = Var(Tensor::scalar(*penalty, dtype));
  for (double layer : {0.0, 0.25, 0.5})
    losses.masks.push_back(Tensor::from({ones + layer, 1, 2, 3, 4}, {mask_statistics}, dtype));
  return losses;
}

std::vector<std::string> keys_of(const std::vector<LoggedNumber>& numbers) {
  std::vector<std::string> keys;
  for (const LoggedNumber& number : numbers) keys.push_back(number.key);
  return keys;
}

}  // namespace

TEST_CASE("metrics: a step's numbers are the means over its micro-batches, at any moment") {
  for (DType dtype : {DType::float32, DType::float64}) {
    StepGatherer gatherer(4);
    gatherer.add(measured(losses_of(3, 0.5, 0.25, dtype)));
    CHECK(gatherer.read().cross_entropy == 3);
    gatherer.add(measured(losses_of(5, 1, 0.5, dtype)));
    const StepMetrics metrics = gatherer.read();  // the other two are still missing
    CHECK(metrics.cross_entropy == 4);
    CHECK(metrics.penalty == 0.75);
    CHECK(metrics.loss() == 4.75);
    REQUIRE(metrics.masks.size() == 3);
    CHECK(metrics.masks[0] == MaskStatistics{0.375, 1, 2, 3, 4});
    CHECK(metrics.masks[2] == MaskStatistics{0.875, 1, 2, 3, 4});
    CHECK(metrics.mean(fraction_of_ones) == 0.625);
    CHECK(metrics.mean(fraction_below_10) == 4);
  }
}

TEST_CASE("metrics: flips compare the decisions of a step with those of the step before") {
  auto decisions = [](std::vector<double> words) {
    return std::vector<MaskDecisions>{{Tensor::from({words[0]}, {1, 1}, DType::uint16), 10},
                                      {Tensor::from({words[1]}, {1, 1}, DType::uint16), 8}};
  };
  std::vector<Tensor> before;
  auto step = [&](std::vector<double> words) {
    StepGatherer gatherer(1);
    Measured m = measured(losses_of(3, 0.5, 0.25, DType::float32));
    m.flips = flips_since(before, decisions(words));
    gatherer.add(m);
    return gatherer.read();
  };
  CHECK(step({0b11, 0b1010}).flips.empty());  // nothing to compare with
  const StepMetrics second = step({0b111, 0b0101});
  REQUIRE(second.flips.size() == 2);
  CHECK(second.flips[0] == doctest::Approx(0.1));
  CHECK(second.flips[1] == 0.5);
  CHECK(step({0b111, 0b0101}).flips == std::vector<double>{0, 0});
}

TEST_CASE("metrics: NaN and infinity in one micro-batch show in the mean") {
  StepGatherer gatherer(2);
  gatherer.add(measured(losses_of(3, NAN, 0.25, DType::float32)));
  gatherer.add(measured(losses_of(INFINITY, 1, 0.5, DType::float32)));
  CHECK(std::isinf(gatherer.read().cross_entropy));
  CHECK(std::isnan(gatherer.read().penalty));
}

TEST_CASE("metrics: gathered from every variant of the model, they are what the model says") {
  for (const ModelVariant& variant : model_variants()) {
    INFO(variant.name);
    const Transformer model(variant.config, DType::float32, 1);
    StepGatherer gatherer(2);
    std::vector<Losses> said;
    for (uint64_t i : {0, 1}) {
      said.push_back(model(random_tokens(2, 6, 11, i), random_tokens(2, 6, 11, i + 2), training_pass()));
      gatherer.add(measured(said.back()));
    }
    const StepMetrics metrics = gatherer.read();
    auto mean = [&](auto value) { return (value(said[0]) + value(said[1])) / 2; };
    CHECK(metrics.loss() == doctest::Approx(mean([](const Losses& l) { return l.loss.value().item(); })));
    CHECK(metrics.masks.size() == said[0].masks.size());
    for (size_t i = 0; i < metrics.masks.size(); ++i)
      for (size_t k = 0; k < mask_statistics; ++k)
        CHECK(metrics.masks[i][k] == mean([&](const Losses& l) { return l.masks[i].to_vector()[k]; }));
  }
}

TEST_CASE("metrics: a model's numbers are logged, and none that it does not have") {
  StepGatherer plain(1), masked(1);
  Losses losses = losses_of(3, 0.5, 0.25, DType::float32);
  masked.add(measured(losses));
  losses.masks.clear();
  losses.penalty = Var();
  plain.add(measured(losses));
  CHECK(keys_of(logged_numbers(plain.read(), small_baseline(), 1)) ==
        std::vector<std::string>{"loss", "cross_entropy", "grad_norm", "lr", "seconds"});
  CHECK(logged_layers(plain.read()).empty());

  ModelConfig model = small_learned();
  model.use_dropout_l1_norm_penalty = model.use_dropout_entropy_penalty = true;
  model.dropout_l1_norm_coeff_config = {.max_coeff = 0.5, .exp_rate = 0.25, .min_coeff = 0.125};
  model.dropout_entropy_coeff_config = {.max_coeff = 0.25};
  const auto numbers = logged_numbers(masked.read(), model, 2);
  CHECK(keys_of(numbers) == std::vector<std::string>{"loss", "cross_entropy", "grad_norm", "lr", "seconds",
                                                     "penalty", "l1_norm_coefficient", "entropy_coefficient",
                                                     "ones", "l1_norm", "entropy", "above_90", "below_10"});
  // In the second step: exp(0.25 · 1) + 0.125 − 1.
  CHECK(numbers[6].value == doctest::Approx(0.40902541668774146).epsilon(1e-14));
  CHECK(numbers[7].value == 0.25);
  CHECK(numbers[8].tag == "mask/ones");
  const auto layers = logged_layers(masked.read());
  REQUIRE(layers.size() == mask_statistics);
  CHECK(layers[0].key == "ones");
  CHECK(layers[0].values == std::vector<double>{0.25, 0.5, 0.75});
}

}  // namespace ld
