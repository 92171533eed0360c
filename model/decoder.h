// Generation: the logits of the next token, token after token. A token sees only what stands before it, so
// nothing of an earlier token ever changes, and of all that was computed for it the later ones ask for its
// keys and values alone. Those are kept, for every attention of the model, those of masks included. A token
// then costs one row of the model instead of a whole window.
//
// The window holds context_size tokens. Where the text grows beyond, it slides by a token, every token in it
// has another position, and so all of it is computed again, once for each token from there on.
#pragma once

#include <span>

#include "model/transformer.h"

namespace ld {

enum class Caching : bool {
  off,  // run the whole window for every token: the definition, which the other is tested against
  on
};

class Decoder {
 public:
  /// Decodes sample `noise.first_sample`; noise is used by use_noise_at_inference and by
  /// keep_attention_dropout_in_evaluation alone. Caching::on throws where obstacle(model) says something.
  Decoder(const Transformer& model, const NoiseKey& noise = {}, Caching caching = Caching::on);

  /// Why this model cannot be decoded with caching; else empty.
  static std::string obstacle(const Transformer& model);

  /// Adds tokens to the text; the logits (V) of the token after them. Many tokens (a prompt) are one pass
  /// through the model.
  Tensor append(std::span<const int32_t> tokens);

 private:
  const Transformer& model_;
  Pass pass_;
  Caching caching_;
  std::vector<int32_t> window_;  // the last tokens of the text
  std::vector<KeyValueCache> caches_;
};

}  // namespace ld
