// A run against the loop that the specification describes, written out once more: batches, losses with their penalties,
// gradients, clipping, learning rate, AdamW, estimates. In float64, where both differ by rounding alone.
#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "autograd/tape.h"
#include "model/sites.h"
#include "tests/expect.h"
#include "tests/small_model.h"
#include "tests/small_run.h"
#include "training/safetensors.h"

namespace ld {
namespace {

// Nothing at its default, and nothing equal to something else that could stand in its place.
RunConfig config_by_hand(const SmallData& data) {
  RunConfig config = small_run(data);
  config.dtype = "float64";
  config.beta1 = 0.8;
  config.beta2 = 0.99;
  config.weight_decay = 0.3;
  config.grad_clip = 0.4;
  ModelConfig& model = config.model_config;
  model.dropout_l1_norm_coeff_config = {.max_coeff = 0.5, .exp_rate = 0.05, .min_coeff = 0.1};
  model.use_dropout_entropy_penalty = true;
  model.dropout_entropy_coeff_config = {.max_coeff = 0.25};
  return config;
}

double l1_norm_coefficient(int64_t step) {
  return std::min(std::exp(0.05 * static_cast<double>(step)) + 0.1 - 1, 0.5);
}

double learning_rate_by_hand(int64_t step) {  // lr 0.01, three steps of warm-up, 0.001 from the twelfth on
  const auto s = static_cast<double>(step + 1);
  return s < 3 ? 0.01 * s / 3 : 0.001 + 0.5 * (1 + std::cos(std::numbers::pi * (s - 3) / 9)) * 0.009;
}

struct Moments {
  std::vector<double> m, v;
};

void adamw_by_hand(const Parameter& parameter, Moments& moments, double scale, double lr, int64_t step) {
  std::vector<double> p = parameter.master.to_vector();
  const std::vector<double> g = parameter.var.gradient().to_vector();
  moments.m.resize(p.size());
  moments.v.resize(p.size());
  const double decay = parameter.master.shape().rank() >= 2 ? 0.3 : 0, t = static_cast<double>(step + 1);
  for (size_t i = 0; i < p.size(); ++i) {
    moments.m[i] = 0.8 * moments.m[i] + 0.2 * scale * g[i];
    moments.v[i] = 0.99 * moments.v[i] + 0.01 * scale * g[i] * scale * g[i];
    const double m = moments.m[i] / (1 - std::pow(0.8, t)), v = moments.v[i] / (1 - std::pow(0.99, t));
    p[i] += -lr * decay * p[i] - lr * m / (std::sqrt(v) + 1e-8);
  }
  Tensor master = parameter.master;
  master.copy_from(Tensor::from(p, master.shape(), DType::float64));
}

// Mean loss and error rate of two batches of three sequences.
std::pair<double, double> estimate_by_hand(const Transformer& model, const TokenFile& file, uint32_t site) {
  double loss = 0, error_rate = 0;
  for (uint32_t i : {0, 1}) {
    const Batch batch = draw_batch(file, 3, 6, {.seed = 3, .step = 12, .first_sample = 3 * i, .site = site});
    const Losses losses = model(batch.ids, batch.targets, {});
    loss += losses.cross_entropy.value().item() / 2;
    error_rate += losses.mistakes.item() / 2;
  }
  return {loss, error_rate};
}

}  // namespace

TEST_CASE("training by hand: a run is its loop, written out") {
  const SmallData data;
  RunConfig config = config_by_hand(data);
  train(config, data.folder("run"));
  const auto lines = metrics_of(data.folder("run"));

  const OneThread one_thread;
  const Dataset dataset = open_dataset(config);
  Transformer model(config.model_config, DType::float64, 3);
  std::vector<Moments> moments(model.parameters().all().size());
  auto line = lines.begin();
  for (int64_t step = 0; step < 12; ++step, ++line) {
    INFO("step ", step + 1);
    if (line->contains("val_loss")) ++line;
    REQUIRE(line->at("step") == step + 1);
    model.parameters().zero_gradients();
    double cross_entropy = 0, penalty = 0, norm = 0;
    for (int64_t i : {0, 1}) {
      const NoiseKey key{3, static_cast<uint32_t>(step), static_cast<uint32_t>(3 * i), 0};
      const Batch batch = draw_batch(dataset.train, 3, 6, key.at(sites::train_batches));
      Pass pass{.training = true, .noise = key};
      pass.penalty_coefficients = Tensor::from({l1_norm_coefficient(step), 0.25}, {2}, DType::float64);
      Tape tape;
      const Losses losses = model(batch.ids, batch.targets, pass);
      tape.backward(losses.loss, Tensor::scalar(0.5, DType::float64));
      cross_entropy += losses.cross_entropy.value().item() / 2;
      penalty += losses.penalty.value().item() / 2;
    }
    for (const Parameter& parameter : model.parameters().all())
      for (double g : parameter.var.gradient().to_vector()) norm += g * g;
    norm = std::sqrt(norm);
    auto expect = [&](const char* key, double expected) {
      INFO(key);
      CHECK(line->at(key).get<double>() == doctest::Approx(expected).epsilon(1e-9));
    };
    expect("cross_entropy", cross_entropy);
    expect("penalty", penalty);
    expect("penalty", l1_norm_coefficient(step) * line->at("l1_norm").get<double>() +
                          0.25 * line->at("entropy").get<double>());
    expect("l1_norm_coefficient", l1_norm_coefficient(step));
    expect("loss", cross_entropy + penalty);
    expect("grad_norm", norm);
    expect("lr", learning_rate_by_hand(step));
    for (size_t k = 0; k < moments.size(); ++k)
      adamw_by_hand(model.parameters().all()[k], moments[k], std::min(1.0, 0.4 / (norm + 1e-6)),
                    learning_rate_by_hand(step), step);
  }

  const SafetensorsFile last(data.folder("run") + "/last.safetensors");
  for (const Parameter& parameter : model.parameters().all()) {
    INFO(parameter.name);
    const double error = relative_difference(last.read(parameter.name), parameter.master);
    INFO("error ", error);
    CHECK_FALSE(!(error <= 1e-9));
  }
  const auto [train_loss, train_error] = estimate_by_hand(model, dataset.train, sites::train_estimate);
  const auto [val_loss, val_error] = estimate_by_hand(model, dataset.val, sites::val_estimate);
  REQUIRE(line->contains("val_loss"));
  CHECK(line->at("train_loss").get<double>() == doctest::Approx(train_loss).epsilon(1e-9));
  CHECK(line->at("val_loss").get<double>() == doctest::Approx(val_loss).epsilon(1e-9));
  CHECK(line->at("train_error_rate").get<double>() == doctest::Approx(train_error).epsilon(1e-9));
  CHECK(line->at("val_error_rate").get<double>() == doctest::Approx(val_error).epsilon(1e-9));
  CHECK(train_loss != val_loss);
  CHECK(train_error > 0);
}

}  // namespace ld
