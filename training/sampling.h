// Choosing a token by its logit, as users of nanoGPT and of Hugging Face's generate expect it:
//   p = softmax(logits / temperature)
//   top-k: only the k most likely tokens stay (and those that tie with the last of them)
//   top-p: of these only the fewest, most likely first, that together have the probability p
//          (Holtzman et al. 2019, arXiv:1904.09751)
#pragma once

#include <cstdint>
#include <span>

namespace ld {

struct SamplingOptions {
  double temperature = 0.8;  // >= 0; 0 takes the most likely token
  int64_t top_k = 200;       // >= 1; a number above the vocabulary keeps every token
  double top_p = 1;          // in (0, 1]

  /// Throws, naming the option that is out of range.
  void validate() const;
};

/// The token that the uniform random number u in [0, 1) falls on; equal logits are ordered by token. Error: a
/// logit that is NaN or +infinity.
int32_t choose_token(std::span<const double> logits, const SamplingOptions& options, double u);

}  // namespace ld
