// What stands where a transformer drops: ordinary Dropout or LearnedDropout, as the config says.
#pragma once

#include "model/learned_dropout.h"

namespace ld {

enum class DropoutPlace { embedding, attention_probabilities, attention_output, feed_forward };

/// Whether the dropouts in this place are LearnedDropouts.
bool is_learned(const ModelConfig& config, DropoutPlace place);
/// The places of a model's LearnedDropouts, in the order in which they are run: "blocks.0.feed_forward", …
std::vector<std::string> learned_dropout_names(const ModelConfig& config);

/// One place. An ordinary Dropout is active in training only, a LearnedDropout always.
class Dropout {
 public:
  Dropout() = default;
  /// name: as in learned_dropout_names. width: C of what will be dropped. The layer is that of the block; the
  /// embedding belongs to none.
  Dropout(Parameters& p, const std::string& name, const ModelConfig& config, DropoutPlace place,
          int64_t layer, int64_t width);

  /// x (B, T, C) -> x ⊙ mask.
  Var operator()(const Var& x, Forward& run) const;

  bool is_learned() const { return learned_; }
  /// The noise of the ordinary Dropout.
  NoiseKey noise(const Pass& pass) const { return pass.noise.at(site_); }

 private:
  MaskAngle angle(const Var& x, Forward& run) const;
  MaskOptions mask_options(const Forward& run) const;

  bool learned_ = false;
  uint32_t site_ = 0, mask_site_ = 0;
  int64_t number_ = 0;  // precomputed masks: its place among them
  LearnedDropout own_;  // the others
};

}  // namespace ld
