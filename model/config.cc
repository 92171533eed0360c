#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "model/config_keys.h"

namespace ld {
namespace {

std::optional<Problem> find_contradiction(const CoefficientConfig& config, const std::string& section) {
  if (!config.min_coeff) return {};
  const std::string min = section + ".min_coeff";
  if (!config.exp_rate)
    return Problem{{min},
                   "without exp_rate the coefficient is constant; set exp_rate too, or remove min_coeff"};
  if (*config.min_coeff >= config.max_coeff)
    return Problem{
        {min, section + ".max_coeff"},
        fmt::format("min_coeff = {} is not below max_coeff = {}; lower min_coeff or raise max_coeff",
                    *config.min_coeff, config.max_coeff)};
  return {};
}

std::string indivisible(int64_t n_embed, const char* head_key, int64_t n_head) {
  return fmt::format("n_embed = {} is not a multiple of {} = {}; change one of them", n_embed, head_key,
                     n_head);
}

}  // namespace

double CoefficientConfig::at(int64_t step) const {
  if (!exp_rate) return max_coeff;
  // exp overflows to infinity after enough steps; the minimum is then max_coeff, as it should be.
  return std::min(std::exp(*exp_rate * static_cast<double>(step)) + min_coeff.value_or(0) - 1, max_coeff);
}

std::optional<Problem> find_contradiction(const ModelConfig& config) {
  if (config.n_embed % config.n_head != 0)
    return Problem{{"n_head", "n_embed"}, indivisible(config.n_embed, "n_head", config.n_head)};

  if (const auto& dropout = config.learned_dropout_config) {
    if (dropout->mask_function == MaskFunction::attention && config.n_embed % dropout->n_head != 0)
      return Problem{{"learned_dropout_config.n_head", "n_embed"},
                     indivisible(config.n_embed, "learned_dropout_config.n_head", dropout->n_head)};
    if (dropout->mask_function == MaskFunction::elementwise &&
        dropout->placement == DropoutPlacement::every_dropout && config.dropout_rate > 0)
      return Problem{
          {"dropout_rate", "learned_dropout_config.placement"},
          "with ELEMENTWISE masks in every Dropout's place none is left to use it; set it to 0, or "
          "placement to FEED_FORWARD"};
    if (dropout->use_noise_at_inference && dropout->mask_rounding_type != MaskRounding::noise_and_linear)
      return Problem{
          {"learned_dropout_config.use_noise_at_inference", "learned_dropout_config.mask_rounding_type"},
          "only NOISE_AND_LINEAR rounds with noise; set mask_rounding_type to it, or this to false"};
  } else {
    const char* advice =
        "there is no LearnedDropout to penalise; add [model_config.learned_dropout_config], or set it to "
        "false";
    if (config.use_dropout_l1_norm_penalty) return Problem{{"use_dropout_l1_norm_penalty"}, advice};
    if (config.use_dropout_entropy_penalty) return Problem{{"use_dropout_entropy_penalty"}, advice};
  }

  std::optional<Problem> problem;
  if (config.use_dropout_l1_norm_penalty)
    problem = find_contradiction(config.dropout_l1_norm_coeff_config, "dropout_l1_norm_coeff_config");
  if (config.use_dropout_entropy_penalty && !problem)
    problem = find_contradiction(config.dropout_entropy_coeff_config, "dropout_entropy_coeff_config");
  return problem;
}

bool ModelConfig::precomputes_masks() const {
  const auto& dropout = learned_dropout_config;
  return dropout && dropout->mask_function == MaskFunction::attention &&
         dropout->dropout_input_type == DropoutInput::embed;
}

void ModelConfig::validate() const {
  ModelConfig copy = *this;  // visitors may change what they see; this one does not
  RangeCheck ranges;
  visit_keys(ranges, copy);
  auto problem = ranges.problem ? ranges.problem : find_contradiction(copy);
  if (problem) fail("model config: ", problem->keys.front(), ": ", problem->message);
}

}  // namespace ld
