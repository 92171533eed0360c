#include "model/decoder.h"

#include <algorithm>

#include "autograd/tape.h"
#include "ops/binary.h"
#include "ops/embedding.h"
#include "ops/linear.h"

namespace ld {
namespace {

/// "blocks.3.attention.qkv.weight" -> "attention.qkv"
std::string part_of(const std::string& parameter) {
  std::string part = parameter.substr(0, parameter.rfind('.'));
  if (part.starts_with("blocks.")) part = part.substr(part.find('.', 7) + 1);
  return part;
}

/// x (1, n, K) -> its last row (1, 1, K).
Tensor last_row(const Tensor& x) {
  if (x.size(1) == 1) return x;
  Tensor row({1, 1, x.size(2)}, x.dtype());
  copy_on_device(row.raw(), static_cast<const char*>(x.raw()) + x.bytes() - row.bytes(),
                 static_cast<size_t>(row.bytes()));
  return row;
}

}  // namespace

std::string Decoder::obstacle(const Transformer& model) {
  static const std::vector<std::string> known = {"token_embedding",
                                                 "position_embedding",
                                                 "layernorm1",
                                                 "attention.qkv",
                                                 "attention.projection",
                                                 "layernorm2",
                                                 "feed_forward.expand",
                                                 "feed_forward.contract",
                                                 "feed_forward.learned_dropout.qkv",
                                                 "feed_forward.learned_dropout",
                                                 "embed_dropout.qkv",
                                                 "embed_dropout.projection",
                                                 "precomputed_masks.qkv",
                                                 "precomputed_masks",
                                                 "final_layernorm"};
  for (const Parameter& parameter : model.parameters().all())
    if (std::find(known.begin(), known.end(), part_of(parameter.name)) == known.end())
      return "decoder: does not know " + parameter.name +
             ", so it cannot keep keys and values for this model";
  return {};
}

Decoder::Decoder(const Transformer& model, const NoiseKey& noise, Caching caching)
    : model_(model), pass_{.noise = noise}, caching_(caching) {
  if (caching == Caching::off) return;
  const std::string reason = obstacle(model);
  check(reason.empty(), reason, "; decode without caching");
  const ModelConfig& config = model.config();
  auto room = [&](int64_t n_head, int64_t copies = 1) {
    return KeyValueCache(copies * n_head, config.n_embed / n_head, config.context_size,
                         model.token_embedding_.dtype());
  };
  for (int64_t layer = 0; layer < config.n_layer; ++layer) attention_.push_back(room(config.n_head));
  if (!config.learned_dropout_config) return;
  const int64_t mask_heads = config.learned_dropout_config->n_head;
  if (model.precomputes_masks()) {
    embed_attention_ = room(mask_heads);
    all_masks_ = room(mask_heads, config.n_layer);
  } else {
    for (int64_t layer = 0; layer < config.n_layer; ++layer) mask_attention_.push_back(room(mask_heads));
  }
}

Tensor Decoder::append(std::span<const int32_t> tokens) {
  check(!tokens.empty(), "decoder: was given no tokens; a text begins with at least one");
  const NoGradient no_gradient;
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
  const Tensor all = caching_ == Caching::on ? logits(ids).value() : model_.logits(ids, pass_).value();
  return last_row(all).reshaped({model_.config().alphabet_size});
}

// Transformer::trunk, but for the attentions; the output layer, half of the model, runs for the last row
// only.
Var Decoder::logits(const Tensor& ids) {
  Var x = embedding(ids, model_.token_embedding_, model_.position_embedding_, pass_.first_token);
  const Var attended = model_.precomputes_masks() ? attend_for_all_masks(x) : Var();
  for (size_t i = 0; i < model_.blocks_.size(); ++i) {
    const Block& block = model_.blocks_[i];
    const Var y = attend(block.attention.qkv(block.layernorm1(x)), attention_[i]);
    x = add(x, block.attention.projection(y));
    x = add(x, drop(block.feed_forward(block.layernorm2(x)), attended, static_cast<int64_t>(i)));
  }
  return linear(model_.final_layernorm_(last_row(x.value())), model_.token_embedding_);
}

Var Decoder::attend(const Var& qkv, const KeyValueCache& cache) const {
  return cached_attention(qkv.value(), cache, pass_.first_token);
}

Var Decoder::attend_for_all_masks(const Var& embed) const {
  const PrecomputedMasks& masks = model_.masks_;
  const Var e_dropout = masks.embed_projection(attend(masks.embed_qkv(embed), embed_attention_));
  return attend(masks.qkv(e_dropout), all_masks_);
}

Var Decoder::drop(const Var& x, const Var& attended, int64_t layer) const {
  const ModelConfig& config = model_.config();
  if (!config.learned_dropout_config) return x;
  if (attended)
    return apply_mask(x, attended, model_.masks_.shift, config, pass_, layer, layer * config.n_embed).y;
  const auto i = static_cast<size_t>(layer);
  const LearnedDropout& module = model_.blocks_[i].learned_dropout;
  return apply_mask(x, attend(module.qkv(x), mask_attention_[i]), module.shift, config, pass_, layer).y;
}

}  // namespace ld
