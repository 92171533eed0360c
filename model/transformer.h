// The transformer, with ordinary Dropout (the baseline) or LearnedDropout at the end of every feed-forward.
//   x = dropout(token_embedding[ids] + position_embedding)
//   L times:  x += attention(layernorm1(x));  x += drop(feed_forward(layernorm2(x)))
//   logits = final_layernorm(x) · token_embeddingᵀ
#pragma once

#include "model/learned_dropout.h"

namespace ld {

struct Block {
  LayerNorm layernorm1, layernorm2;
  Attention attention;
  FeedForward feed_forward;
  LearnedDropout learned_dropout;  // HIDDEN_STATE only
};

/// What a model returns for training.
struct Losses {
  Var loss;                   // (): cross_entropy + penalty in training, cross_entropy otherwise
  Var cross_entropy;          // ()
  Var penalty;                // (): empty without one
  Tensor mistakes;            // (): fraction of targets that are not the most likely token; in evaluation
  std::vector<Tensor> masks;  // per block, (mask_statistics); none in the baseline
};

class Transformer {
 public:
  /// config.alphabet_size must be set. Throws what config.validate() throws.
  Transformer(const ModelConfig& config, DType dtype, uint64_t seed);

  /// ids and targets (B, T) int32, T up to context_size; a negative target is ignored.
  Losses operator()(const Tensor& ids, const Tensor& targets, const Pass& pass) const;
  /// ids (B, T) -> (B, T, V).
  Var logits(const Tensor& ids, const Pass& pass) const;

  const ModelConfig& config() const { return config_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  /// Number of parameters as published: without the positional embedding, the tied output layer counted once.
  int64_t parameter_count() const;

 private:
  friend class Decoder;  // runs the same blocks a token at a time

  struct Trunk {
    Var x;  // (B, T, C), after the final layernorm
    std::vector<MaskedInput> masks;
  };
  Trunk trunk(const Tensor& ids, const Pass& pass) const;
  Var penalty(const std::vector<MaskedInput>& masks, int64_t step) const;
  bool precomputes_masks() const;

  ModelConfig config_;
  Parameters parameters_;
  Var token_embedding_, position_embedding_;
  std::vector<Block> blocks_;
  PrecomputedMasks masks_;  // EMBED only
  LayerNorm final_layernorm_;
};

}  // namespace ld
