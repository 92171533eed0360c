// The whole model against PyTorch: values, gradients and three AdamW steps, in float64 (tests/fixture.h). Its
// noise is ours, computed there from the same key.
#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "model/sites.h"
#include "tests/expect.h"
#include "tests/fixture.h"
#include "tests/small_model.h"
#include "training/optimizer.h"

namespace ld {
namespace {

// Of the largest element. Two float64 implementations sum in different orders; the rest is a few roundings.
constexpr double tolerance = 1e-11;

// What only the models of bench/pytorch_variants.py vary.
void read_variant(const Fixture& fixture, ModelConfig& config, LearnedDropoutConfig& dropout) {
  constexpr MaskRounding roundings[] = {MaskRounding::noise_and_linear, MaskRounding::sigmoid,
                                        MaskRounding::sigmoid_detach, MaskRounding::none};
  dropout.mask_rounding_type = roundings[static_cast<size_t>(fixture.value("config.rounding"))];
  dropout.sigmoid_scale = fixture.value("config.sigmoid_scale");
  if (fixture.value("config.elementwise") == 1) dropout.mask_function = MaskFunction::elementwise;
  if (fixture.value("config.every_dropout") == 1) dropout.placement = DropoutPlacement::every_dropout;
  if (fixture.value("config.entropy_is_alternate") == 1)
    config.entropy_penalty_type = EntropyPenalty::alternate;
}

ModelConfig config_of(const Fixture& fixture) {
  auto integer = [&](const char* key) {
    return static_cast<int64_t>(fixture.value(std::string("config.") + key));
  };
  ModelConfig config;
  config.alphabet_size = integer("alphabet_size");
  config.context_size = integer("context_size");
  config.n_embed = integer("n_embed");
  config.n_head = integer("n_head");
  config.n_layer = integer("n_layer");
  config.use_bias = integer("use_bias") == 1;
  if (integer("learned_dropout") == 0) return config;
  LearnedDropoutConfig dropout;
  dropout.dropout_input_type =
      integer("mask_input_is_embed") == 1 ? DropoutInput::embed : DropoutInput::hidden_state;
  dropout.mask_rounding_type = MaskRounding::noise_and_linear;
  if (fixture.contains("config.rounding")) read_variant(fixture, config, dropout);
  dropout.n_head = integer("mask_n_head");
  dropout.use_bias = integer("mask_use_bias") == 1;
  dropout.use_detached_input = integer("use_detached_input") == 1;
  config.learned_dropout_config = dropout;
  config.use_dropout_l1_norm_penalty = fixture.value("config.l1_norm_coeff") > 0;
  config.l1_norm_penalty_type =
      integer("l1_norm_is_squared") == 1 ? L1NormPenalty::squared : L1NormPenalty::linear;
  config.dropout_l1_norm_coeff_config.max_coeff = fixture.value("config.l1_norm_coeff");
  config.use_dropout_entropy_penalty = integer("use_entropy") == 1;
  if (config.use_dropout_entropy_penalty)
    config.dropout_entropy_coeff_config.max_coeff = fixture.value("config.entropy_coeff");
  return config;
}

struct PyTorch {
  explicit PyTorch(const std::string& name)
      : fixture(name),
        model(config_of(fixture), DType::float64, 1),
        ids(fixture.integers("tokens")),
        targets(fixture.integers("targets")) {
    training.training = true;
    if (fixture.contains("config.noise_seed"))
      training.noise.seed = static_cast<uint64_t>(fixture.value("config.noise_seed"));
    for (const Parameter& p : model.parameters().all()) {
      Tensor value = p.var.value();
      value.copy_from(fixture.tensor("param." + p.name));
    }
  }

  void expect(const std::string& name, const Tensor& ours) const {
    INFO(name);
    CHECK(ours.shape() == fixture.shape(name));
    const double error = relative_difference(ours.to_vector(), fixture.values(name));
    INFO("error ", error);
    CHECK_FALSE(!(error <= tolerance));
  }

  Fixture fixture;
  Transformer model;
  Tensor ids, targets;
  Pass training, evaluation;
};

constexpr const char* fixtures[] = {
    "model_baseline",         "model_baseline_bias", "model_hidden_state",     "model_embed",
    "model_embed_detached",   "model_everywhere",    "model_everywhere_embed", "model_elementwise",
    "model_elementwise_noise"};

}  // namespace

TEST_CASE("model fixtures: the models have the parameters that PyTorch's have") {
  for (const char* name : fixtures) {
    INFO(name);
    const PyTorch torch(name);
    CHECK(torch.fixture.names("param.").size() == torch.model.parameters().all().size());
  }
}

TEST_CASE("model fixtures: PyTorch was given the noise that the engine draws") {
  const PyTorch torch("model_hidden_state");
  const Shape shape = torch.fixture.shape("noise");  // (L, B, T, C)
  std::vector<double> ours;
  for (int64_t layer = 0; layer < shape[0]; ++layer) {
    const NoiseKey key = torch.training.noise.at(sites::block(layer, sites::feed_forward_mask));
    for (int64_t b = 0; b < shape[1]; ++b)
      for (int64_t e = 0; e < shape[2] * shape[3]; ++e)
        ours.push_back(static_cast<double>(key.uniform(b, e)));
  }
  CHECK(ours == torch.fixture.values("noise"));
}

TEST_CASE("model fixtures: logits, losses and every gradient are PyTorch's") {
  const OneThread one_thread;
  for (const char* name : fixtures)
    for (bool literal : {false, true}) {
      INFO(name, std::string(literal ? ", literal" : ", fused"));
      PyTorch torch(name);
      torch.training.literal = torch.evaluation.literal = literal;
      torch.expect("logits", torch.model.logits(torch.ids, torch.training).value());
      torch.expect("eval.logits", torch.model.logits(torch.ids, torch.evaluation).value());
      torch.expect("eval.loss", torch.model(torch.ids, torch.targets, torch.evaluation).loss.value());

      const ModelRun run = run_model(torch.model, torch.ids, torch.targets, torch.training);
      torch.expect("loss", Tensor::scalar(run.loss, DType::float64));
      torch.expect("cross_entropy", Tensor::scalar(run.cross_entropy, DType::float64));
      for (size_t k = 0; k < run.gradients.size(); ++k) {
        const std::string& parameter = torch.model.parameters().all()[k].name;
        INFO(parameter);
        REQUIRE(static_cast<bool>(run.gradients[k]) == torch.fixture.contains("grad." + parameter));
        if (run.gradients[k]) torch.expect("grad." + parameter, run.gradients[k]);
      }
    }
}

TEST_CASE("model fixtures: the statistics of the masks are those of PyTorch's masks") {
  for (const char* name : {"model_hidden_state", "model_embed", "model_embed_detached"}) {
    INFO(name);
    PyTorch torch(name);
    const ModelRun run = run_model(torch.model, torch.ids, torch.targets, torch.training);
    double ones = 0, l1_norm = 0, above_90 = 0, below_10 = 0;
    const auto& mask = torch.fixture.values("mask");
    const double share = 1 / static_cast<double>(mask.size());
    for (double m : mask) {
      above_90 += m > 0.9 ? share : 0;
      below_10 += m < 0.1 ? share : 0;
    }
    for (double r : torch.fixture.values("rounded")) ones += r * share;
    std::vector<double> mean(mask_statistics, 0);
    for (const auto& block : run.masks)
      for (size_t i = 0; i < block.size(); ++i) mean[i] += block[i] / static_cast<double>(run.masks.size());
    l1_norm = torch.fixture.value("l1_norm");
    CHECK(mean[fraction_of_ones] == doctest::Approx(ones).epsilon(1e-13));
    CHECK(mean[mean_l1_norm] == doctest::Approx(l1_norm).epsilon(1e-13));
    CHECK(mean[fraction_above_90] == doctest::Approx(above_90).epsilon(1e-13));
    CHECK(mean[fraction_below_10] == doctest::Approx(below_10).epsilon(1e-13));
    if (torch.fixture.contains("entropy"))
      CHECK(mean[mean_entropy] == doctest::Approx(torch.fixture.value("entropy")).epsilon(1e-13));
  }
}

// Adam divides by the square root of a running mean of squares, so in its first steps an element whose
// gradient is nearly zero turns rounding errors into updates of the size of lr. Hence the wider tolerance,
// still 1e-9.
TEST_CASE("model fixtures: three AdamW steps lead where PyTorch's do") {
  const OneThread one_thread;
  for (const char* name : fixtures) {
    PyTorch torch(name);
    AdamW optimizer(torch.model.parameters(), {});
    for (int step = 1; step <= 3; ++step) {
      INFO(name, ", step ", step);
      const std::string prefix = "adamw." + std::to_string(step) + ".";
      torch.model.parameters().zero_gradients();
      {
        Tape tape;
        const Losses losses = torch.model(torch.ids, torch.targets, torch.training);
        tape.backward(losses.loss);
        CHECK(losses.loss.value().item() ==
              doctest::Approx(torch.fixture.value(prefix + "loss")).epsilon(1e-10));
      }
      optimizer.step(1e-3);
      for (const Parameter& p : torch.model.parameters().all()) {
        if (!torch.fixture.contains(prefix + "param." + p.name)) continue;
        INFO(p.name);
        const double error =
            relative_difference(p.var.value().to_vector(), torch.fixture.values(prefix + "param." + p.name));
        INFO("error ", error);
        CHECK_FALSE(!(error <= 1e-9));
      }
      CHECK((step != 3 || torch.fixture.contains(prefix + "param.token_embedding.weight")));
    }
  }
}

}  // namespace ld
