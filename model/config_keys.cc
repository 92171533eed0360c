#include "model/config_keys.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace ld {
namespace {

using namespace ranges;

/// An enum whose enumerators stand in the order of `names`.
template <class Enum>
void visit_enum(KeyVisitor& keys, const Key& key, Enum& field, std::span<const std::string_view> names) {
  int index = static_cast<int>(field);
  keys.choice(key, index, names);
  field = static_cast<Enum>(index);
}

void visit_keys(KeyVisitor& keys, CoefficientConfig& config) {
  keys.number({"max_coeff", "largest coefficient; without exp_rate, the coefficient of every step"},
              config.max_coeff, positive);
  keys.optional_number(
      {"exp_rate", "per step: coefficient = min(exp(exp_rate step) + min_coeff - 1, max_coeff)"},
      config.exp_rate, positive_rate);
  keys.optional_number({"min_coeff", "coefficient at step 0; only with exp_rate, where unset counts as 0"},
                       config.min_coeff, zero_or_more);
}

void visit_keys(KeyVisitor& keys, LearnedDropoutConfig& config) {
  visit_enum(keys, {"mask_function", "ATTENTION: cos of an attention; ELEMENTWISE: cos(A x + B)"},
             config.mask_function, mask_function_names);
  const bool attends = config.mask_function == MaskFunction::attention;
  const auto of_attention = [&](Key key, bool required) {
    if (attends && required) key = key.required();
    return key.only_if(attends, "mask_function = \"ATTENTION\"");
  };
  const auto of_elementwise = [&](const Key& key) {
    return key.only_if(!attends, "mask_function = \"ELEMENTWISE\"");
  };
  visit_enum(keys, {"placement", "FEED_FORWARD: at its end; EVERY_DROPOUT: wherever the baseline drops"},
             config.placement, placement_names);
  visit_enum(keys, of_attention({"dropout_input_type", "what the masks are computed from"}, true),
             config.dropout_input_type, dropout_input_names);
  visit_enum(keys, {"mask_rounding_type", "how a mask in [0, 1] becomes 0 or 1"}, config.mask_rounding_type,
             mask_rounding_names);
  keys.integer(of_attention({"n_head", "heads of the mask's attention; must divide n_embed"}, true),
               config.n_head, positive_count);
  keys.number(
      of_attention({"shift_init", "initial shift inside the cosine: 0 keeps nearly all, pi drops nearly all"},
                   false),
      config.shift_init, half_turn);
  keys.flag(of_attention({"use_bias", "bias in the mask's q, k, v projection"}, false), config.use_bias);
  keys.flag(
      {"use_detached_input", "stop the mask's gradient before it reaches what the mask is computed from"},
      config.use_detached_input);
  const bool is_sigmoid = config.mask_rounding_type == MaskRounding::sigmoid ||
                          config.mask_rounding_type == MaskRounding::sigmoid_detach;
  keys.number(Key{"sigmoid_scale", "steepness k of the rounding sigmoid(k (M - 0.5))"}.only_if(
                  is_sigmoid, "mask_rounding_type = \"SIGMOID\" or \"SIGMOID_DETACH\""),
              config.sigmoid_scale, positive);
  keys.flag(
      {"use_noise_at_inference", "NOISE_AND_LINEAR only: keep the noise outside training, as a temperature"},
      config.use_noise_at_inference);
  keys.number(of_elementwise({"a_init_mean", "mean of the first values of A, the cosine's frequencies"}),
              config.a_init.mean, finite);
  keys.number(of_elementwise({"a_init_std", "their standard deviation"}), config.a_init.deviation,
              zero_or_more);
  keys.number(of_elementwise({"b_init_mean", "mean of the first values of B, the cosine's phases"}),
              config.b_init.mean, finite);
  keys.number(of_elementwise({"b_init_std", "their standard deviation"}), config.b_init.deviation,
              zero_or_more);
  keys.number(of_elementwise({"a_lr_factor", "the learning rate of A is lr times this"}), config.a_lr_factor,
              positive);
}

}  // namespace

void visit_keys(KeyVisitor& keys, ModelConfig& config) {
  keys.integer(Key{"alphabet_size", "V: different tokens"}.defaults_to("0: taken from the data"),
               config.alphabet_size, zero_or_count);
  keys.integer(Key{"context_size", "T: tokens the model sees at once"}.required(), config.context_size,
               positive_count);
  keys.integer(Key{"n_embed", "C: width of the model"}.required(), config.n_embed, positive_count);
  keys.integer(Key{"n_head", "H: attention heads; must divide n_embed"}.required(), config.n_head,
               positive_count);
  keys.integer(Key{"n_layer", "L: transformer blocks"}.required(), config.n_layer, positive_count);
  keys.flag({"use_bias", "biases in all linear layers and layernorms (LearnedDropout has its own key)"},
            config.use_bias);
  keys.number({"dropout_rate", "share of values the ordinary Dropouts set to 0"}, config.dropout_rate, rate);
  keys.flag({"keep_attention_dropout_in_evaluation",
             "evaluate with Dropout on attention probabilities, as the published baselines did"},
            config.keep_attention_dropout_in_evaluation);

  keys.flag({"use_dropout_l1_norm_penalty", "add a penalty on large masks to the training loss"},
            config.use_dropout_l1_norm_penalty);
  visit_enum(keys,
             Key{"l1_norm_penalty_type", "SQUARED: mean of M^2 / 2; LINEAR: mean of |M|"}.only_if(
                 config.use_dropout_l1_norm_penalty, "use_dropout_l1_norm_penalty = true"),
             config.l1_norm_penalty_type, l1_norm_penalty_names);
  keys.flag({"use_dropout_entropy_penalty", "add a penalty on undecided masks to the training loss"},
            config.use_dropout_entropy_penalty);
  visit_enum(keys,
             Key{"entropy_penalty_type", "CANONICAL: of the mask M; ALTERNATE: of 1 - M"}.only_if(
                 config.use_dropout_entropy_penalty, "use_dropout_entropy_penalty = true"),
             config.entropy_penalty_type, entropy_penalty_names);

  auto& dropout = config.learned_dropout_config;
  if (keys.enter({"learned_dropout_config", "use LearnedDropout; without this section, the baseline"},
                 dropout.has_value())) {
    if (!dropout) dropout.emplace();
    visit_keys(keys, *dropout);
    keys.leave();
  }
  if (keys.enter(Key{"dropout_l1_norm_coeff_config", "coefficient of the L1 norm penalty"}.only_if(
                     config.use_dropout_l1_norm_penalty, "use_dropout_l1_norm_penalty = true"),
                 config.use_dropout_l1_norm_penalty)) {
    visit_keys(keys, config.dropout_l1_norm_coeff_config);
    keys.leave();
  }
  if (keys.enter(Key{"dropout_entropy_coeff_config", "coefficient of the entropy penalty"}.only_if(
                     config.use_dropout_entropy_penalty, "use_dropout_entropy_penalty = true"),
                 config.use_dropout_entropy_penalty)) {
    visit_keys(keys, config.dropout_entropy_coeff_config);
    keys.leave();
  }
}

Key Key::required() const {
  Key key = *this;
  key.is_required = true;
  return key;
}

Key Key::defaults_to(std::string text) const {
  Key key = *this;
  key.default_text = std::move(text);
  return key;
}

Key Key::only_if(bool condition, std::string condition_text) const {
  Key key = *this;
  key.applies = condition;
  key.applies_when = std::move(condition_text);
  return key;
}

bool Range::contains(double value) const {
  const bool above = excludes_low ? value > low : value >= low;
  const bool below = excludes_high ? value < high : value <= high;
  return above && below;  // both comparisons are false for NaN
}

std::string Range::text() const {
  if (std::isinf(low)) return "that is finite";
  if (std::isinf(high)) return fmt::format("{} {}", excludes_low ? "above" : "at least", low);
  if (!excludes_low && !excludes_high) return fmt::format("from {} to {}", low, high);
  return fmt::format("{} {} and {} {}", excludes_low ? "above" : "at least", low,
                     excludes_high ? "below" : "at most", high);
}

bool KeyVisitor::enter(const Key& key, bool present) {
  if (!wants_section(key, present)) return false;
  section_ = path(key);
  return true;
}

void KeyVisitor::leave() {
  const size_t dot = section_.rfind('.');
  section_.resize(dot == std::string::npos ? 0 : dot);
}

void RangeCheck::complain(const Key& key, std::string message) {
  if (!problem && key.applies) problem = Problem{{path(key)}, std::move(message)};
}

void RangeCheck::integer(const Key& key, int64_t& field, const Range& range) {
  if (!range.contains(static_cast<double>(field)))
    complain(key, fmt::format("got {}; set it to an integer {}", field, range.text()));
}

void RangeCheck::number(const Key& key, double& field, const Range& range) {
  if (!range.contains(field))
    complain(key, fmt::format("got {}; set it to a number {}", field, range.text()));
}

void RangeCheck::optional_number(const Key& key, std::optional<double>& field, const Range& range) {
  if (field) number(key, *field, range);
}

void RangeCheck::text(const Key& key, std::string& field) {
  if (field.empty()) complain(key, "got an empty string; set it or remove the line");
}

void RangeCheck::choice(const Key& key, int& index, std::span<const std::string_view> names) {
  if (index < 0 || index >= std::ssize(names))
    complain(key, fmt::format("got none of its values; set it to one of {}", quoted_list(names)));
}

std::string quoted_list(std::span<const std::string_view> names) {
  std::string list;
  for (const std::string_view name : names) list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", name);
  return list;
}

}  // namespace ld
