#include "model/forward.h"

namespace ld {

Var Forward::attend(const Var& qkv, int64_t n_head, const AttentionDropout& dropout) {
  if (!caches) return causal_attention(qkv, n_head, dropout);
  if (attentions == caches->size())
    caches->emplace_back(n_head, qkv.size(2) / (3 * n_head), config.context_size, qkv.dtype());
  return cached_attention(qkv.value(), (*caches)[attentions++], pass.first_token);
}

}  // namespace ld
