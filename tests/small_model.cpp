#include "tests/small_model.h"

#include <omp.h>

#include "autograd/gradcheck.h"
#include "autograd/tape.h"
#include "tests/expect.h"

namespace ld {

ModelConfig small_baseline() {
  ModelConfig config;
  config.alphabet_size = 11;
  config.context_size = 6;
  config.n_embed = 6;
  config.n_head = 3;
  config.n_layer = 2;
  config.dropout_rate = 0.2;
  return config;
}

ModelConfig small_learned(DropoutInput input, bool detached) {
  ModelConfig config = small_baseline();
  LearnedDropoutConfig dropout;
  dropout.dropout_input_type = input;
  dropout.mask_rounding_type = MaskRounding::noise_and_linear;
  dropout.n_head = 2;
  dropout.shift_init = 0.7;
  dropout.use_detached_input = detached;
  config.learned_dropout_config = dropout;
  return config;
}

std::vector<ModelVariant> model_variants() {
  constexpr auto hidden_state = DropoutInput::hidden_state, embed = DropoutInput::embed;
  auto with = [](ModelConfig config, auto change) {
    change(config);
    return config;
  };
  auto rounding = [](MaskRounding type) {
    return [type](ModelConfig& config) {
      config.learned_dropout_config->mask_rounding_type = type;
      config.learned_dropout_config->sigmoid_scale = 6;  // 60 leaves hardly any gradient at random masks
    };
  };
  auto every_bias = [](ModelConfig& config) {
    config.use_bias = true;
    if (config.learned_dropout_config) config.learned_dropout_config->use_bias = true;
  };
  auto squared = [](ModelConfig& config) {
    config.use_dropout_l1_norm_penalty = true;
    config.dropout_l1_norm_coeff_config.max_coeff = 0.3;
  };
  auto linear_and_entropy = [](ModelConfig& config) {
    config.use_dropout_l1_norm_penalty = config.use_dropout_entropy_penalty = true;
    config.l1_norm_penalty_type = L1NormPenalty::linear;
    config.dropout_l1_norm_coeff_config = {.max_coeff = 5, .exp_rate = 0.1, .min_coeff = 0.25};
    config.dropout_entropy_coeff_config.max_coeff = 0.2;
  };
  auto everywhere = [](ModelConfig& config) {
    config.learned_dropout_config->placement = DropoutPlacement::every_dropout;
    if (config.learned_dropout_config->mask_function == MaskFunction::elementwise) config.dropout_rate = 0;
  };
  auto elementwise = [&](MaskRounding type) {
    ModelConfig config = with(small_learned(), rounding(type));
    config.learned_dropout_config->mask_function = MaskFunction::elementwise;
    config.learned_dropout_config->a_init.mean = 1;
    config.learned_dropout_config->b_init.mean = 0.7;
    return config;
  };
  auto linear_and_alternate = [&](ModelConfig& config) {
    linear_and_entropy(config);
    config.entropy_penalty_type = EntropyPenalty::alternate;
  };
  ModelConfig detached_draft = with(with(elementwise(MaskRounding::none), everywhere), linear_and_entropy);
  detached_draft.learned_dropout_config->use_detached_input = true;
  return {
      {"baseline", small_baseline()},
      {"baseline, bias", with(small_baseline(), every_bias)},
      {"HIDDEN_STATE", small_learned()},
      {"HIDDEN_STATE, bias, squared penalty", with(with(small_learned(), every_bias), squared)},
      {"HIDDEN_STATE, detached, squared penalty", with(small_learned(hidden_state, true), squared)},
      {"HIDDEN_STATE, SIGMOID", with(small_learned(), rounding(MaskRounding::sigmoid))},
      {"HIDDEN_STATE, SIGMOID_DETACH", with(small_learned(), rounding(MaskRounding::sigmoid_detach))},
      {"HIDDEN_STATE, NONE, linear and entropy penalties",
       with(with(small_learned(), rounding(MaskRounding::none)), linear_and_entropy)},
      {"EMBED", small_learned(embed)},
      {"EMBED, bias, linear and entropy penalties",
       with(with(small_learned(embed), every_bias), linear_and_entropy)},
      {"EMBED, detached, squared penalty", with(small_learned(embed, true), squared)},
      {"EMBED, SIGMOID", with(small_learned(embed), rounding(MaskRounding::sigmoid))},
      {"EMBED, SIGMOID_DETACH, detached, linear and entropy penalties",
       with(with(small_learned(embed, true), rounding(MaskRounding::sigmoid_detach)), linear_and_entropy)},
      {"EMBED, NONE", with(small_learned(embed), rounding(MaskRounding::none))},
      {"HIDDEN_STATE everywhere, squared penalty", with(with(small_learned(), everywhere), squared)},
      {"EMBED everywhere, linear and alternate penalties",
       with(with(small_learned(embed), everywhere), linear_and_alternate)},
      {"EMBED everywhere, detached", with(small_learned(embed, true), everywhere)},
      {"ELEMENTWISE, SIGMOID, squared penalty", with(elementwise(MaskRounding::sigmoid), squared)},
      {"ELEMENTWISE everywhere, noise, linear and alternate penalties",
       with(with(elementwise(MaskRounding::noise_and_linear), everywhere), linear_and_alternate)},
      {"ELEMENTWISE everywhere, NONE, detached, linear and entropy penalties", detached_draft}};
}

Transformer lively_model(const ModelConfig& config, DType dtype, uint64_t seed) {
  Transformer model(config, dtype, seed);
  for (size_t k = 0; k < model.parameters().all().size(); ++k) {
    const Parameter& parameter = model.parameters().all()[k];
    const Tensor& value = parameter.var.value();
    const double mean = parameter.decays ? 0 : value.to_vector()[0];
    const double deviation = parameter.decays ? 0.4 : 0.1;
    // Numbers that float32 holds exactly, so that both dtypes can be given the same model.
    const Tensor lively = random_tensor(value.shape(), 100 * seed + k, mean, deviation);
    value.assign(cast(lively, DType::float32).to_vector());
  }
  return model;
}

Tensor random_tokens(int64_t B, int64_t T, int64_t V, uint64_t seed) {
  const NoiseKey key{.seed = seed};
  std::vector<int32_t> ids;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < T; ++t)
      ids.push_back(static_cast<int32_t>(key.bits(b, t) % static_cast<uint32_t>(V)));
  return Tensor::from(ids, {B, T});
}

Pass training_pass(uint64_t seed) { return {.training = true, .noise = {.seed = seed, .step = 3}}; }

size_t place_of(const Transformer& model, const std::string& name) {
  const auto& all = model.parameters().all();
  for (size_t k = 0; k < all.size(); ++k)
    if (all[k].name == name) return k;
  fail("the model has no parameter ", name);
}

bool is_cut_off(const ModelConfig& config, const Parameter& parameter) {
  return config.learned_dropout_config && config.learned_dropout_config->use_detached_input &&
         parameter.name.starts_with("embed_dropout.");
}

Threads::Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
Threads::~Threads() { omp_set_num_threads(before_); }

ModelRun run_model(Transformer& model, const Tensor& ids, const Tensor& targets, const Pass& pass) {
  model.parameters().zero_gradients();
  ModelRun result;
  {
    Tape tape;
    const Losses losses = model(ids, targets, pass);
    tape.backward(losses.loss);
    result.loss = losses.loss.value().item();
    result.cross_entropy = losses.cross_entropy.value().item();
    for (const Tensor& block : losses.masks) result.masks.push_back(block.to_vector());
  }
  for (const Parameter& parameter : model.parameters().all()) {
    const Tensor gradient = parameter.var.gradient();
    result.gradients.push_back(gradient ? gradient.clone() : Tensor());
  }
  model.parameters().zero_gradients();
  return result;
}

}  // namespace ld
