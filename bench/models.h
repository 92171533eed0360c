// The models that are timed.
#pragma once

#include <string>

#include "model/config.h"

namespace ld {

/// What the command line says.
struct BenchOptions {
  std::string variant = "all", model = "published", dtype = "float32", python, json_file;
  int64_t batch_size = 0;  // 0: the model's
  int steps = 10, rounds = 3;
  bool compile = false;
  double peak_tflops = 0;  // 0: what is known of the device

  bool in_bfloat16() const { return dtype == "bfloat16"; }
};

/// One of the models that are timed: its sizes but for the variant.
struct Sizes {
  int64_t batch_size, context_size, n_layer, n_embed, n_head, alphabet_size;
};

/// Of the published model: on a GPU that of the published runs.
#ifdef ENGINE_CUDA
inline constexpr int64_t batch_of_published = 50;
#else
inline constexpr int64_t batch_of_published = 4;
#endif

inline Sizes sizes_of(const BenchOptions& o) {
  Sizes s = o.model == "small"       ? Sizes{16, 64, 4, 64, 4, 256}
            : o.model == "gpt2"      ? Sizes{4, 64, 12, 768, 12, 50257}
            : o.model == "gpt2_1024" ? Sizes{4, 1024, 12, 768, 12, 50257}
                                     : Sizes{batch_of_published, 200, 26, 144, 9, 50257};
  if (o.model == "published" && o.variant == "baseline") s.n_embed = 156, s.n_head = 12;  // as many weights
  if (o.batch_size > 0) s.batch_size = o.batch_size;
  return s;
}

inline ModelConfig model_config(const BenchOptions& o) {
  const Sizes s = sizes_of(o);
  ModelConfig config;
  config.alphabet_size = s.alphabet_size;
  config.context_size = s.context_size;
  config.n_embed = s.n_embed;
  config.n_head = s.n_head;
  config.n_layer = s.n_layer;
  if (o.variant == "baseline") return config;
  const bool embed = o.variant == "embed";
  LearnedDropoutConfig& dropout = config.learned_dropout_config.emplace();
  dropout.dropout_input_type = embed ? DropoutInput::embed : DropoutInput::hidden_state;
  dropout.mask_rounding_type = MaskRounding::noise_and_linear;
  dropout.n_head = config.n_head;
  dropout.use_detached_input = embed;
  config.use_dropout_l1_norm_penalty = true;
  return config;
}

/// Operations in matrix products for one token, forward and backward: 2 for each weight and 4 back, and of
/// attention, where a query sees half of the keys on average, a product with keys and one with values.
inline double flop_per_token(const BenchOptions& o) {
  const Sizes s = sizes_of(o);
  const auto C = static_cast<double>(s.n_embed), L = static_cast<double>(s.n_layer),
             V = static_cast<double>(s.alphabet_size), T = static_cast<double>(s.context_size);
  const bool masks = o.variant != "baseline";
  return 6 * (L * (12 + (masks ? 3 : 0)) * C * C + V * C) + 6 * L * (masks ? 2 : 1) * T * C;
}

}  // namespace ld
