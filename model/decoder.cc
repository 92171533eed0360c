#include "model/decoder.h"

namespace ld {

std::string Decoder::obstacle(const Transformer& model) {
  const ModelConfig& config = model.config();
  if (is_learned(config, DropoutPlace::attention_probabilities))
    return "decoder: masks on attention probabilities need all of them, not the keys and values alone";
  if (config.keep_attention_dropout_in_evaluation && config.dropout_rate > 0)
    return "decoder: keep_attention_dropout_in_evaluation drops from a whole window";
  return {};
}

Decoder::Decoder(const Transformer& model, const NoiseKey& noise, Caching caching)
    : model_(model), pass_{.noise = noise}, caching_(caching) {
  if (caching == Caching::off) return;
  const std::string reason = obstacle(model);
  check(reason.empty(), reason, "; decode without caching");
}

Tensor Decoder::append(std::span<const int32_t> tokens) {
  check(!tokens.empty(), "decoder: was given no tokens; a text begins with at least one");
  const auto context = static_cast<size_t>(model_.config().context_size);
  size_t first = window_.size();
  window_.insert(window_.end(), tokens.begin(), tokens.end());
  if (window_.size() > context) {
    window_.erase(window_.begin(), window_.end() - static_cast<std::ptrdiff_t>(context));
    first = 0;
  }
  if (caching_ == Caching::off) first = 0;
  pass_.first_token = static_cast<int64_t>(first);
  const std::vector<int32_t> fresh(window_.begin() + pass_.first_token, window_.end());
  const Tensor ids = Tensor::from(fresh, {1, static_cast<int64_t>(fresh.size())});
  return model_.next_token_logits(ids, pass_, caching_ == Caching::on ? &caches_ : nullptr);
}

}  // namespace ld
