// What a model is made of: sizes, names, first values.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "tests/expect.h"
#include "tests/small_model.h"
#include "training/run_config.h"

namespace ld {
namespace {

// What was published: one row of the table for each size, and the runs of that size.
struct Published {
  int64_t parameters;  // without the positional embedding
  std::vector<const char*> configs;
};

const std::vector<Published> published = {
    {15441192, {"baseline", "baseline_dropout_0.2", "baseline_dropout_0.3", "baseline_dropout_0.4"}},
    {15335424, {"penalty", "no_penalty", "shift_pi_2", "shift_pi"}},
    {15418368, {"precomputed"}},
};

ModelConfig published_config(const std::string& name) {
  ModelConfig config = read_run_config("configs/" + name + ".toml").model_config;
  config.alphabet_size = 50257;
  return config;
}

// The config without what does not change which parameters there are.
ModelConfig size_of(ModelConfig config) {
  config.dropout_rate = 0;
  config.use_dropout_l1_norm_penalty = false;
  config.l1_norm_penalty_type = L1NormPenalty::squared;
  config.dropout_l1_norm_coeff_config = {};
  if (config.learned_dropout_config) config.learned_dropout_config->shift_init = 0;
  return config;
}

// A model with weights of every kind, wide enough for statistics.
ModelConfig wide_config(DropoutInput input) {
  ModelConfig config = small_learned(input);
  config.n_embed = 60;
  config.alphabet_size = 300;
  config.context_size = 50;
  config.use_bias = config.learned_dropout_config->use_bias = true;
  return config;
}

std::vector<Parameter> parameters_of(const ModelConfig& config) {
  return Transformer(config, DType::float32, 1).parameters().all();
}

double mean_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}

double deviation_of(const std::vector<double>& x) {
  return std::sqrt(dot(x, x) / static_cast<double>(x.size()));
}

}  // namespace

TEST_CASE("model: the published configs have the published numbers of parameters") {
  for (const Published& row : published) {
    const ModelConfig config = published_config(row.configs[0]);
    INFO(row.configs[0]);
    const Transformer model(config, DType::float32, 1337);
    CHECK(model.parameter_count() == row.parameters);
    CHECK(model.parameters().elements() == row.parameters + config.context_size * config.n_embed);
    for (const char* other : row.configs) {
      INFO(other);
      CHECK(size_of(published_config(other)) == size_of(config));
    }
  }
}

TEST_CASE("model: parameters have the expected names and shapes, each name once") {
  const ModelConfig config = small_learned();
  std::vector<std::string> names;
  for (const Parameter& p : parameters_of(config)) {
    std::ostringstream line;
    line << p.name << ' ' << p.var.shape() << (p.decays ? " decays" : "");
    names.push_back(line.str());
    CHECK(p.var.slot()->name == p.name);
  }
  const std::vector<std::string> expected = {
      "token_embedding.weight (11, 6) decays",
      "position_embedding.weight (6, 6) decays",
      "blocks.0.layernorm1.weight (6)",
      "blocks.0.attention.qkv.weight (18, 6) decays",
      "blocks.0.attention.projection.weight (6, 6) decays",
      "blocks.0.layernorm2.weight (6)",
      "blocks.0.feed_forward.expand.weight (24, 6) decays",
      "blocks.0.feed_forward.contract.weight (6, 24) decays",
      "blocks.0.feed_forward.learned_dropout.qkv.weight (18, 6) decays",
      "blocks.0.feed_forward.learned_dropout.shift (6)",
      "blocks.1.layernorm1.weight (6)",
      "blocks.1.attention.qkv.weight (18, 6) decays",
      "blocks.1.attention.projection.weight (6, 6) decays",
      "blocks.1.layernorm2.weight (6)",
      "blocks.1.feed_forward.expand.weight (24, 6) decays",
      "blocks.1.feed_forward.contract.weight (6, 24) decays",
      "blocks.1.feed_forward.learned_dropout.qkv.weight (18, 6) decays",
      "blocks.1.feed_forward.learned_dropout.shift (6)",
      "final_layernorm.weight (6)",
  };
  CHECK(names == expected);

  const Transformer embed(wide_config(DropoutInput::embed), DType::float32, 1);
  std::set<std::string> unique;
  for (const Parameter& p : embed.parameters().all()) unique.insert(p.name);
  CHECK(unique.size() == embed.parameters().all().size());
  for (const char* name :
       {"embed_dropout.qkv.weight", "embed_dropout.qkv.bias", "embed_dropout.projection.weight",
        "embed_dropout.projection.bias", "precomputed_masks.qkv.weight", "precomputed_masks.qkv.bias",
        "precomputed_masks.shift", "blocks.1.feed_forward.contract.bias", "final_layernorm.bias"})
    CHECK(unique.contains(name));
  CHECK_FALSE(unique.contains("blocks.0.feed_forward.learned_dropout.shift"));
}

TEST_CASE("model: LearnedDropout in every place has its parameters where the Dropout stands") {
  auto names_with = [](MaskFunction function, DropoutInput input, const std::string& part) {
    ModelConfig config = small_learned(input);
    config.n_layer = 1;
    config.dropout_rate = 0;
    config.learned_dropout_config->mask_function = function;
    config.learned_dropout_config->placement = DropoutPlacement::every_dropout;
    std::vector<std::string> names;
    for (const Parameter& p : parameters_of(config)) {
      std::ostringstream line;
      line << p.name << ' ' << p.var.shape();
      if (p.name.find(part) != p.name.npos) names.push_back(line.str());
    }
    return names;
  };
  const auto hidden_state = DropoutInput::hidden_state;
  CHECK(names_with(MaskFunction::attention, hidden_state, ".learned_dropout") ==
        std::vector<std::string>{"embedding.learned_dropout.qkv.weight (18, 6)",
                                 "embedding.learned_dropout.shift (6)",
                                 "blocks.0.attention.learned_dropout.qkv.weight (18, 6)",
                                 "blocks.0.attention.learned_dropout.shift (6)",
                                 "blocks.0.feed_forward.learned_dropout.qkv.weight (18, 6)",
                                 "blocks.0.feed_forward.learned_dropout.shift (6)"});
  CHECK(names_with(MaskFunction::attention, DropoutInput::embed, "masks") ==
        std::vector<std::string>{"precomputed_masks.qkv.weight (54, 6)", "precomputed_masks.shift (18)"});
  CHECK(names_with(MaskFunction::elementwise, hidden_state, ".learned_dropout.a") ==
        std::vector<std::string>{
            "embedding.learned_dropout.a (6)", "blocks.0.attention.probabilities.learned_dropout.a (6)",
            "blocks.0.attention.learned_dropout.a (6)", "blocks.0.feed_forward.learned_dropout.a (6)"});
}

TEST_CASE("model: learned_dropout_names are in the order in which the masks are run") {
  ModelConfig config = small_learned();
  CHECK(learned_dropout_names(config) ==
        std::vector<std::string>{"blocks.0.feed_forward", "blocks.1.feed_forward"});
  config.n_layer = 1;
  config.learned_dropout_config->placement = DropoutPlacement::every_dropout;
  CHECK(learned_dropout_names(config) ==
        std::vector<std::string>{"embedding", "blocks.0.attention", "blocks.0.feed_forward"});
  config.learned_dropout_config->mask_function = MaskFunction::elementwise;
  config.dropout_rate = 0;
  const Transformer model = lively_model(config);
  CHECK(learned_dropout_names(config) ==
        std::vector<std::string>{"embedding", "blocks.0.attention.probabilities", "blocks.0.attention",
                                 "blocks.0.feed_forward"});
  // A decision for every token; for the probabilities, one for every head and query.
  Pass pass = training_pass();
  pass.decisions = true;
  const Losses losses = model(random_tokens(2, 5, 11, 1), random_tokens(2, 5, 11, 2), pass);
  REQUIRE(losses.decisions.size() == 4);
  for (size_t k = 0; k < 4; ++k) CHECK(losses.decisions[k].words.size(0) == (k == 1 ? 3 * 5 : 5));
}

TEST_CASE("model: the published baselines' evaluation, with Dropout on the attention left on") {
  ModelConfig config = small_baseline();
  const Tensor ids = random_tokens(2, 6, 11, 5);
  auto evaluate = [&](uint64_t seed) {
    return lively_model(config).logits(ids, {.training = false, .noise = {.seed = seed}}).value().to_vector();
  };
  CHECK(evaluate(1) == evaluate(2));
  const auto without = evaluate(1);
  config.keep_attention_dropout_in_evaluation = true;
  CHECK(evaluate(1) == evaluate(1));
  CHECK(evaluate(1) != evaluate(2));
  CHECK(evaluate(1) != without);
  config.dropout_rate = 0;
  CHECK(evaluate(1) == without);
}

TEST_CASE("model: what decays are the parameters with two dimensions") {
  for (const ModelVariant& v : model_variants()) {
    INFO(v.name);
    for (const Parameter& p : parameters_of(v.config)) {
      INFO(p.name);
      CHECK(p.decays == (p.var.shape().rank() >= 2));
    }
  }
}

TEST_CASE("model: biases are there only where asked for") {
  for (const ModelVariant& v : model_variants()) {
    INFO(v.name);
    const bool of_masks = v.config.learned_dropout_config && v.config.learned_dropout_config->use_bias;
    bool found = false, found_in_masks = false;
    for (const Parameter& p : parameters_of(v.config)) {
      const bool mask = p.name.find("dropout") != p.name.npos || p.name.find("masks") != p.name.npos;
      if (p.name.ends_with(".bias")) (mask ? found_in_masks : found) = true;
    }
    CHECK(found == v.config.use_bias);
    CHECK(found_in_masks == of_masks);
  }
}

// The bounds are five standard errors wide; the numbers are the same in every run, so none of this can
// flicker.
TEST_CASE("model: first weights are N(0, 0.02²), into the residual stream N(0, (0.02/√2L)²)") {
  for (DropoutInput input : {DropoutInput::hidden_state, DropoutInput::embed}) {
    const ModelConfig config = wide_config(input);
    for (const Parameter& p : parameters_of(config)) {
      INFO(p.name);
      const std::vector<double> values = p.var.value().to_vector();
      if (p.decays) {
        const bool residual =
            p.name.ends_with("attention.projection.weight") || p.name.ends_with("contract.weight");
        const double expected = residual ? 0.02 / std::sqrt(2.0 * 2) : 0.02,
                     n = static_cast<double>(values.size());
        CHECK(std::abs(mean_of(values)) < 5 * expected / std::sqrt(n));
        CHECK(std::abs(deviation_of(values) - expected) < 5 * expected / std::sqrt(2 * n));
      } else {
        const bool layernorm = p.name.ends_with("weight"), shift = p.name.ends_with("shift");
        for (double v : values) CHECK(v == (layernorm ? 1.0 : shift ? static_cast<double>(0.7f) : 0.0));
      }
    }
  }
}

TEST_CASE(
    "model: first values of the elementwise mask's A and B are those of the config, and A has its own rate") {
  ModelConfig config = small_learned();
  config.n_embed = 600;
  LearnedDropoutConfig& dropout = *config.learned_dropout_config;
  dropout.mask_function = MaskFunction::elementwise;
  dropout.a_init = {.mean = 3, .deviation = 0.5};
  dropout.b_init = {.mean = -7, .deviation = 2};
  dropout.a_lr_factor = 10;
  int found = 0;
  for (const Parameter& p : parameters_of(config)) {
    const bool is_a = p.name.ends_with(".a");
    CHECK(p.lr_factor == (is_a ? 10 : 1));
    if (!is_a && !p.name.ends_with(".b")) continue;
    INFO(p.name);
    ++found;
    const NormalConfig& expected = is_a ? dropout.a_init : dropout.b_init;
    std::vector<double> values = p.var.value().to_vector();
    CHECK(std::abs(mean_of(values) - expected.mean) < 5 * expected.deviation / std::sqrt(600));
    for (double& v : values) v -= expected.mean;
    CHECK(std::abs(deviation_of(values) - expected.deviation) < 5 * expected.deviation / std::sqrt(1200));
  }
  CHECK(found == 4);
}

TEST_CASE("model: the same seed gives the same bits, another seed other numbers everywhere") {
  for (DType dtype : {DType::float32, DType::float64}) {
    const ModelConfig config = small_learned(DropoutInput::embed);
    const Transformer one(config, dtype, 7), same(config, dtype, 7), other(config, dtype, 8);
    for (size_t k = 0; k < one.parameters().all().size(); ++k) {
      const Parameter& p = one.parameters().all()[k];
      INFO(p.name);
      CHECK(p.var.dtype() == dtype);
      CHECK(same_bits(p.var.value(), same.parameters().all()[k].var.value()));
      if (!p.decays) continue;
      const auto a = p.var.value().to_vector(), b = other.parameters().all()[k].var.value().to_vector();
      for (size_t i = 0; i < a.size(); ++i) CHECK(a[i] != b[i]);
    }
  }
}

TEST_CASE("model: no two weights of a model start from the same numbers") {
  const Transformer model(wide_config(DropoutInput::hidden_state), DType::float64, 1);
  std::set<double> first;
  size_t weights = 0;
  for (const Parameter& p : model.parameters().all())
    if (p.decays) {
      first.insert(p.var.value().to_vector()[0] / (p.name.find("contract") != p.name.npos ? 0.5 : 1));
      ++weights;
    }
  CHECK(first.size() == weights);
}

TEST_CASE("model: a config that cannot be is refused with its key") {
  ModelConfig config = small_baseline();
  config.alphabet_size = 0;
  expect_error([&] { Transformer(config, DType::float32, 1); }, {"alphabet_size is not set"});
  config = small_baseline();
  config.n_head = 4;
  expect_error([&] { Transformer(config, DType::float32, 1); },
               {"n_embed = 6 is not a multiple of n_head = 4"});
  config = small_learned();
  config.learned_dropout_config->mask_function = MaskFunction::elementwise;
  config.learned_dropout_config->placement = DropoutPlacement::every_dropout;
  expect_error([&] { Transformer(config, DType::float32, 1); }, {"dropout_rate", "every Dropout's place"});
  config = small_baseline();
  config.use_dropout_l1_norm_penalty = true;
  expect_error([&] { Transformer(config, DType::float32, 1); }, {"use_dropout_l1_norm_penalty"});
  const Transformer model(small_baseline(), DType::float32, 1);
  expect_error([&] { model.logits(random_tokens(1, 7, 11, 1), {}); },
               {"7", "6"});  // longer than context_size
}

}  // namespace ld
