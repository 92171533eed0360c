#include "model/dropout.h"

#include <algorithm>

#include "autograd/observer.h"
#include "model/sites.h"
#include "ops/dropout.h"

namespace ld {
bool is_learned(const ModelConfig& config, DropoutPlace place) {
  if (!config.learned_dropout_config) return false;
  const LearnedDropoutConfig& dropout = *config.learned_dropout_config;
  if (place == DropoutPlace::feed_forward) return true;
  if (dropout.placement != DropoutPlacement::every_dropout) return false;
  return place != DropoutPlace::attention_probabilities || dropout.mask_function == MaskFunction::elementwise;
}

std::vector<std::string> learned_dropout_names(const ModelConfig& config) {
  using enum DropoutPlace;
  std::vector<std::string> names;
  auto add_name = [&](DropoutPlace place, const std::string& name) {
    if (is_learned(config, place)) names.push_back(name);
  };
  add_name(embedding, "embedding");
  for (int64_t layer = 0; layer < config.n_layer; ++layer) {
    const std::string block = "blocks." + std::to_string(layer);
    add_name(attention_probabilities, block + ".attention.probabilities");
    add_name(attention_output, block + ".attention");
    add_name(feed_forward, block + ".feed_forward");
  }
  return names;
}

Dropout::Dropout(Parameters& p, const std::string& name, const ModelConfig& config, DropoutPlace place,
                 int64_t layer, int64_t width)
    : learned_(ld::is_learned(config, place)) {
  using enum DropoutPlace;
  switch (place) {
    case embedding:
      site_ = sites::embedding_dropout;
      mask_site_ = sites::embedding_mask;
      break;
    case attention_probabilities:
      site_ = sites::block(layer, sites::attention_probabilities);
      mask_site_ = sites::block(layer, sites::attention_probabilities_mask);
      break;
    case attention_output:
      site_ = sites::block(layer, sites::attention_output);
      mask_site_ = sites::block(layer, sites::attention_output_mask);
      break;
    case feed_forward:
      site_ = sites::block(layer, sites::feed_forward);
      mask_site_ = sites::block(layer, sites::feed_forward_mask);
      break;
  }
  if (!learned_) return;
  if (config.precomputes_masks()) {
    const auto names = learned_dropout_names(config);
    number_ = std::find(names.begin(), names.end(), name) - names.begin();
  } else {
    own_ = LearnedDropout(p, name + ".learned_dropout", config, width);
  }
}

MaskAngle Dropout::angle(const Var& x, Forward& run) const {
  if (!run.config.precomputes_masks()) return own_.angle(x, run);
  return {run.precomputed.a, run.precomputed.shift, number_ * x.size(-1)};
}

MaskOptions Dropout::mask_options(const Forward& run) const {
  const LearnedDropoutConfig& dropout = *run.config.learned_dropout_config;
  return {.rounding = dropout.mask_rounding_type,
          .stochastic = run.pass.training || dropout.use_noise_at_inference,
          .sigmoid_scale = dropout.sigmoid_scale,
          .l1_norm = run.config.l1_norm_penalty_type,
          .entropy = run.config.entropy_penalty_type,
          .key = run.pass.noise.at(mask_site_),
          .first_token = run.pass.first_token};
}

Var Dropout::operator()(const Var& x, Forward& run) const {
  if (!learned_) return dropout(x, run.pass.training ? run.config.dropout_rate : 0, noise(run.pass));
  const MaskAngle of_x = angle(x, run);
  MaskedInput masked = apply_mask(x, of_x, mask_options(run), run.pass.literal);
  if (run.pass.decisions) {
    run.decisions.push_back(
        mask_decisions(of_x.a.value(), of_x.shift.value(), of_x.first_column, x.size(-1)));
    observed("mask decisions");
  }
  Var y = masked.y;
  masked.y = Var();  // only the penalties and statistics are asked for later
  run.masks.push_back(masked);
  return y;
}

}  // namespace ld
