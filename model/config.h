// What a model is made of: plain values, checked together by `ModelConfig::validate`. Nothing here knows of
// files; model/config_keys.h gives every field its name, range and explanation for readers and writers.
#pragma once

#include <cstdint>
#include <optional>

#include "ops/mask_rounding.h"

namespace ld {

/// Which tensor Z a LearnedDropout computes its mask from.
enum class DropoutInput {
  hidden_state,  // HIDDEN_STATE: the tensor that is dropped, so masks are computed block after block
  embed,         // EMBED: E_dropout, derived once from the embedding, so all masks can be computed together
};

/// What a mask is made of.
enum class MaskFunction {
  attention,    // ATTENTION: a causal attention over the mask's input
  elementwise,  // ELEMENTWISE: the draft's A ⊙ X + B, each element of what is dropped on its own
};

/// Where LearnedDropouts stand.
enum class DropoutPlacement {
  feed_forward,   // FEED_FORWARD: at the end of every FeedForward
  every_dropout,  // EVERY_DROPOUT: wherever the baseline has a Dropout; on attention probabilities, which are
                  // no (B, T, C), only the elementwise mask, and ordinary Dropout beside the attention mask
};

/// The first values of A or B of the elementwise mask: N(mean, deviation²).
struct NormalConfig {
  double mean = 0, deviation = 0.02;

  bool operator==(const NormalConfig&) const = default;
};

/// The coefficient of a penalty: constant, or growing exponentially from about `min_coeff` to `max_coeff`.
struct CoefficientConfig {
  double max_coeff = 0.1;                // > 0; without exp_rate, the coefficient of every step
  std::optional<double> exp_rate = {};   // in (0, 1), per step
  std::optional<double> min_coeff = {};  // >= 0, < max_coeff; only with exp_rate; unset counts as 0

  /// max_coeff without exp_rate, else min(exp(exp_rate * step) + min_coeff - 1, max_coeff).
  double at(int64_t step) const;

  bool operator==(const CoefficientConfig&) const = default;
};

struct LearnedDropoutConfig {
  MaskFunction mask_function = MaskFunction::attention;
  DropoutPlacement placement = DropoutPlacement::feed_forward;
  DropoutInput dropout_input_type = DropoutInput::hidden_state;
  MaskRounding mask_rounding_type = MaskRounding::none;
  int64_t n_head = 0;                   // heads of the mask's attention; must divide n_embed
  double shift_init = 0;                // initial shift S, in [0, pi]: 0 starts with masks near 1, pi near 0
  bool use_bias = false;                // of the mask's own q, k, v projection
  bool use_detached_input = false;      // no gradient flows from the mask into Z
  double sigmoid_scale = 60;            // > 0; only read by the two sigmoid roundings
  bool use_noise_at_inference = false;  // noise_and_linear only: keep the noise, as a temperature

  // Only read by mask_function elementwise, which in turn reads none of dropout_input_type, n_head,
  // shift_init and use_bias.
  NormalConfig a_init = {}, b_init = {};
  double a_lr_factor = 1;  // > 0: the learning rate of A is lr times this

  bool operator==(const LearnedDropoutConfig&) const = default;
};

struct ModelConfig {
  int64_t alphabet_size = 0;  // V, different tokens; 0 = taken from the data
  int64_t context_size = 0;   // T, tokens the model sees at once
  int64_t n_embed = 0;        // C, width
  int64_t n_head = 0;         // H, attention heads; must divide n_embed
  int64_t n_layer = 0;        // L, blocks
  bool use_bias = false;    // of every linear layer and layernorm (not of LearnedDropout, which has its own)
  double dropout_rate = 0;  // of the ordinary Dropouts, in [0, 1)
  bool keep_attention_dropout_in_evaluation = false;  // as the published baselines did; off elsewhere

  /// Present: LearnedDropout stands where its placement says. Absent: the baseline transformer.
  std::optional<LearnedDropoutConfig> learned_dropout_config;

  bool use_dropout_l1_norm_penalty = false;
  L1NormPenalty l1_norm_penalty_type = L1NormPenalty::squared;  // the write-up's formula
  CoefficientConfig dropout_l1_norm_coeff_config;

  bool use_dropout_entropy_penalty = false;
  EntropyPenalty entropy_penalty_type = EntropyPenalty::canonical;
  CoefficientConfig dropout_entropy_coeff_config;

  /// Whether all masks depend on nothing but the embedding, and are made together before the first block.
  bool precomputes_masks() const;

  /// Throws ld::Error, naming the first key whose value is out of range or contradicts another's.
  void validate() const;

  bool operator==(const ModelConfig&) const = default;
};

}  // namespace ld
