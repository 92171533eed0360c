// The transformer, with ordinary Dropout (the baseline) or LearnedDropout in some or all of its places.
//   x = dropout(token_embedding[ids] + position_embedding)
//   L times:  x += attention(layernorm1(x));  x += feed_forward(layernorm2(x))
//   logits = final_layernorm(x) · token_embeddingᵀ
#pragma once

#include <array>

#include "model/block.h"

namespace ld {

/// What a model returns for training.
struct Losses {
  Var loss;           // (): cross_entropy + penalty in training, cross_entropy otherwise
  Var cross_entropy;  // ()
  Var penalty;        // (): empty without one
  Tensor mistakes;    // (): fraction of targets that are not the most likely token; in evaluation
  // Of each LearnedDropout, in the order of learned_dropout_names(config):
  std::vector<Tensor> masks;             // (mask_statistics)
  std::vector<MaskDecisions> decisions;  // if the pass asks for them
};

class Transformer {
 public:
  /// config.alphabet_size must be set. Throws what config.validate() throws. Seed: as in Parameters.
  Transformer(const ModelConfig& config, DType dtype, std::optional<uint64_t> seed);

  /// ids and targets (B, T) int32, T up to context_size; a negative target is ignored.
  Losses operator()(const Tensor& ids, const Tensor& targets, const Pass& pass) const;
  /// ids (B, T) -> (B, T, V).
  Var logits(const Tensor& ids, const Pass& pass) const;
  /// The logits (V) of the token after ids (1, T); with `caches`, after ids and the tokens before
  /// pass.first_token whose keys and values they hold (Forward::caches); float32 if the model is bfloat16.
  /// Nothing is recorded.
  Tensor next_token_logits(const Tensor& ids, const Pass& pass,
                           std::vector<KeyValueCache>* caches = nullptr) const;

  /// What the means over the masks of L1 norm and entropy are multiplied by in `step`.
  std::array<double, 2> penalty_coefficients(int64_t step) const;

  const ModelConfig& config() const { return config_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  /// Number of parameters as published: without the positional embedding, the tied output layer counted once.
  int64_t parameter_count() const;

 private:
  /// ids (B, T) -> x (B, T, C) after the final layernorm.
  Var trunk(const Tensor& ids, Forward& run) const;
  Var penalty(const std::vector<MaskedInput>& masks, const Pass& pass) const;

  ModelConfig config_;
  Parameters parameters_;
  Var token_embedding_, position_embedding_;
  PrecomputedMasks masks_;  // EMBED only
  Dropout embedding_dropout_;
  std::vector<Block> blocks_;
  LayerNorm final_layernorm_;
};

}  // namespace ld
